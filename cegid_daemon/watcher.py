"""Events of local folders, as hints: "something may lie in this folder, look there", and which files are being written.

Owns the watches on folders and keeps them alive; what lies in a folder is the scanner's to find out, and its sweeps are
the truth. A folder that cannot be watched (not there, no right, the kernel's limit) is no error: it is swept.

Stands on watchdog's inotify reader alone: one thread and one inotify instance for all folders. Its observers would add
a thread a folder, and hold back every event for half a second after a file was moved out of the folder, which is what
filing away does.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyEvent, InotifyFD, Mask, WatchDescriptor

from cegid_daemon.open_files import OpenFiles

log = logging.getLogger(__name__)

# A file is worth a look when its writer closed it or when it was renamed in; others tell who is still writing.
_WORTH_A_LOOK = (
    InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_MOVE_SELF
    | InotifyConstants.IN_DELETE_SELF
)
_MASK = Mask(
    _WORTH_A_LOOK
    | InotifyConstants.IN_MODIFY
    | InotifyConstants.IN_MOVED_FROM
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_ONLYDIR
)
_MERGE_SECONDS = 0.01  # equal events that nobody has read yet are merged by the kernel
_LIMITS = frozenset({errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_NONE = WatchDescriptor(-1)
_FolderId = tuple[int, int]  # device and inode


class Watcher:
    """Calls `wake(key)` when something happened in the folder watched under `key`.

    `wake` is mostly called on the watcher's own thread: it may set an event and nothing else, and must not raise.
    All methods are for one thread, the daemon's.
    """

    def __init__(self, wake: Callable[[Hashable], None]) -> None:
        self._wake = wake
        self._paths: dict[Hashable, str] = {}
        self._watches: dict[Hashable, _Watch] = {}
        self._ids = itertools.count(1)
        self._reader: InotifyFD | None = None
        self._running = False
        self._limited = False

    def start(self) -> None:
        """Begins to watch what was asked for."""
        self._running = True
        self.tend()

    def stop(self) -> None:
        """Ends all watches and the thread."""
        self._running = False
        self._end_reader()

    def watch(self, key: Hashable, path: str) -> None:
        """From now on wakes `key` for `path`; from the next `tend` on, if the folder is not there yet."""
        self.unwatch(key)
        self._paths[key] = path
        if self._reader is not None:
            self._tend_key(self._reader, key, path)

    def unwatch(self, key: Hashable) -> None:
        """No longer wakes `key`; one that is not watched is no error."""
        self._paths.pop(key, None)
        self._release(key)

    def watched(self) -> frozenset[Hashable]:
        """The keys whose folders give events now; all others depend on sweeps."""
        return frozenset(key for key, watch in self._watches.items() if watch.alive)

    def is_being_written(self, key: Hashable, name: str) -> bool:
        """Whether a file of a watched folder is known to be open for writing. May be called from any thread."""
        watch = self._watches.get(key)
        return watch is not None and watch.alive and name in watch.open_files

    def tend(self) -> None:
        """Puts right what has died: the thread, and watches on folders deleted, moved away or made anew.

        Cheap (one `stat` a folder); call it every few seconds. Wakes the key of every folder it watches anew, for
        what happened there meanwhile was not told.
        """
        if not self._running:
            return
        if self._reader is None or not self._reader.is_alive():
            self._new_reader()
        if self._reader is not None:
            for key, path in self._paths.items():
                self._tend_key(self._reader, key, path)
        if self._limited and len(self.watched()) == len(self._paths):
            self._limited = False
            log.info("All folders are watched again.")

    def _tend_key(self, reader: InotifyFD, key: Hashable, path: str) -> None:
        folder = _folder_id(path)
        watch = self._watches.get(key)
        if watch is not None and watch.alive and watch.folder == folder:
            return
        self._release(key)
        if folder is not None:
            self._begin(reader, key, path, folder)

    def _begin(self, reader: InotifyFD, key: Hashable, path: str, folder: _FolderId) -> None:
        watch = _Watch(self._wake, key, folder, CallbackId(next(self._ids)))
        try:
            watch.descriptor = reader.add_callback(os.fsencode(path), _MASK, watch, watch.id)
        except OSError as error:
            self._tell_limit(error)
            return
        if watch.descriptor == _NONE:  # no right to read the folder: watchdog keeps the callback all the same
            reader.remove_callbacks([(watch.descriptor, watch.id)])
            return
        self._watches[key] = watch
        self._wake(key)

    def _release(self, key: Hashable) -> None:
        watch = self._watches.pop(key, None)
        if watch is not None and watch.alive and self._reader is not None:
            self._reader.remove_callbacks([(watch.descriptor, watch.id)])

    def _tell_limit(self, error: OSError) -> None:
        if error.errno in _LIMITS and not self._limited:
            self._limited = True
            log.warning(
                "Some folders are only swept on a timer: %s. "
                "Raise fs.inotify.max_user_watches or max_user_instances (sysctl) to have their files taken at once.",
                error.strerror,
            )

    def _new_reader(self) -> None:
        self._end_reader()
        try:
            reader = _Reader()
        except OSError as error:
            self._tell_limit(error)
            return
        reader.start()
        self._reader = reader

    def _end_reader(self) -> None:
        reader, self._reader = self._reader, None
        self._watches.clear()
        if reader is not None:
            reader.stop()
            reader.join()


class _Reader(InotifyFD):
    """Leaves a busy writer's events to be merged: a large file written in small pieces would be thousands a second."""

    def run(self) -> None:
        """Reads events until it is stopped."""
        while self.should_keep_running():
            events = self.read_events()
            for event in events:
                self.handle_event(event)
            if any(event.is_modify for event in events):
                self.stopped_event.wait(_MERGE_SECONDS)


@dataclass
class _Watch:
    """One watched folder, as the reader's thread calls it back."""

    wake: Callable[[Hashable], None]
    key: Hashable
    folder: _FolderId
    id: CallbackId
    descriptor: WatchDescriptor = _NONE
    alive: bool = True
    open_files: OpenFiles = field(default_factory=OpenFiles)

    def on_event(self, event: InotifyEvent) -> None:
        """A file was written, closed or moved, or the folder itself went; `tend` finds out about the latter."""
        self._note_writer(event, os.fsdecode(event.name))
        if event.mask & _WORTH_A_LOOK:
            self.wake(self.key)

    def _note_writer(self, event: InotifyEvent, name: str) -> None:
        if event.is_modify:
            self.open_files.written(name)
        elif event.is_close_write:
            self.open_files.closed(name)
        elif event.is_moved_from:
            self.open_files.moved_from(name, event.cookie)
        elif event.is_moved_to:
            self.open_files.moved_to(name, event.cookie)
        elif event.is_delete:
            self.open_files.removed(name)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:  # noqa: ARG002
        """The kernel dropped the watch with its folder."""
        self.alive = False
        self.wake(self.key)

    def on_queue_overflow(self) -> None:
        """Events were lost: the folder has to be looked at."""
        self.open_files.forget()
        self.wake(self.key)


def _folder_id(path: str) -> _FolderId | None:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return status.st_dev, status.st_ino
