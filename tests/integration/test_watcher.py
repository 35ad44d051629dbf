"""The watcher on real folders: what wakes a route, and that nothing stops it from being woken again."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path

import pytest
from watchdog.observers.inotify_c import InotifyFD

from cegid_daemon.watcher import Watcher

SOON = 5.0
A_WHILE = 0.15


class Bell:
    """Counts the wake-ups and waits for them."""

    def __init__(self) -> None:
        self._rung: dict[Hashable, threading.Event] = {}

    def ring(self, key: Hashable) -> None:
        self._of(key).set()

    def hears(self, key: Hashable, within: float = SOON) -> bool:
        """Whether `key` was woken since the last time it was asked."""
        rung = self._of(key).wait(within)
        self._of(key).clear()
        return rung

    def _of(self, key: Hashable) -> threading.Event:
        return self._rung.setdefault(key, threading.Event())


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def watcher(bell: Bell) -> Iterator[Watcher]:
    before = threading.active_count()
    made = Watcher(bell.ring)
    made.start()
    yield made
    made.stop()
    assert threading.active_count() == before


@pytest.fixture
def inbox(tmp_path: Path, watcher: Watcher, bell: Bell) -> Path:
    """A folder watched under the key "route", its first wake-up heard."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    watcher.watch("route", str(inbox))
    assert bell.hears("route")
    return inbox


def written(inbox: Path) -> None:
    (inbox / "a.csv").write_bytes(b"x")


def renamed_in(inbox: Path) -> None:
    (inbox.parent / "outside").write_bytes(b"x")
    (inbox.parent / "outside").rename(inbox / "a.csv")


def renamed_within(inbox: Path) -> None:
    (inbox / "a.csv").rename(inbox / "b.csv")


def appended(inbox: Path) -> None:
    with (inbox / "a.csv").open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize("event", [written, renamed_in])
def test_a_file_that_comes_wakes_the_route(inbox: Path, bell: Bell, event: Callable[[Path], None]) -> None:
    event(inbox)
    assert bell.hears("route")


@pytest.mark.parametrize("event", [renamed_within, appended])
def test_a_file_that_changes_wakes_the_route(inbox: Path, bell: Bell, event: Callable[[Path], None]) -> None:
    written(inbox)
    assert bell.hears("route")
    event(inbox)
    assert bell.hears("route")


def test_beginning_to_watch_wakes_the_route_for_what_lies_there_already(
    tmp_path: Path, watcher: Watcher, bell: Bell
) -> None:
    written(tmp_path)
    watcher.watch("route", str(tmp_path))
    assert bell.hears("route")


def test_a_file_still_open_and_a_file_taken_away_wake_nobody(inbox: Path, bell: Bell) -> None:
    written(inbox)
    assert bell.hears("route")
    (inbox / "a.csv").rename(inbox.parent / "a.csv")
    with (inbox / "b.csv").open("wb") as file:
        file.write(b"half")
        file.flush()
        assert not bell.hears("route", within=A_WHILE)
    assert bell.hears("route")


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold soon."""
    end = time.monotonic() + SOON
    while not holds() and time.monotonic() < end:
        time.sleep(0.005)
    return holds()


def test_who_writes_is_known_until_the_file_is_closed(inbox: Path, watcher: Watcher) -> None:
    with (inbox / "a.csv").open("wb") as file:
        assert not watcher.is_being_written("route", "a.csv"), "nothing was written yet"
        file.write(b"half")
        file.flush()
        assert eventually(lambda: watcher.is_being_written("route", "a.csv"))
    assert eventually(lambda: not watcher.is_being_written("route", "a.csv"))


def test_who_writes_is_known_under_the_new_name_of_the_file(inbox: Path, watcher: Watcher) -> None:
    with (inbox / "a.tmp").open("wb") as file:
        file.write(b"half")
        file.flush()
        (inbox / "a.tmp").rename(inbox / "a.csv")
        assert eventually(lambda: watcher.is_being_written("route", "a.csv"))
        assert not watcher.is_being_written("route", "a.tmp")
    assert eventually(lambda: not watcher.is_being_written("route", "a.csv"))


def test_who_reopens_a_file_and_writes_is_known(inbox: Path, watcher: Watcher, bell: Bell) -> None:
    written(inbox)
    assert bell.hears("route")
    with (inbox / "a.csv").open("ab") as file:
        file.write(b"more")
        file.flush()
        assert eventually(lambda: watcher.is_being_written("route", "a.csv"))
        (inbox / "a.csv").unlink()
        assert eventually(lambda: not watcher.is_being_written("route", "a.csv"))


def test_a_writer_of_many_small_pieces_costs_little(inbox: Path, watcher: Watcher) -> None:
    """Equal events are merged while they are not read."""
    [reader] = [thread for thread in threading.enumerate() if isinstance(thread, InotifyFD)]
    seen: list[int] = []
    handle = reader.handle_event
    reader.handle_event = lambda event: seen.append(event.mask) or handle(event)  # type: ignore[method-assign, func-returns-value]
    with (inbox / "a.csv").open("wb", buffering=0) as file:
        for _ in range(20_000):
            file.write(b"x")
    assert eventually(lambda: not watcher.is_being_written("route", "a.csv"))
    assert len(seen) < 4_000


def test_filing_a_file_away_does_not_delay_the_next_event(inbox: Path, bell: Bell) -> None:
    written(inbox)
    assert bell.hears("route")
    (inbox / "a.csv").rename(inbox.parent / "a.csv")
    written(inbox)
    assert bell.hears("route", within=A_WHILE)


def test_a_folder_that_is_not_there_yet_is_watched_once_it_is(tmp_path: Path, watcher: Watcher, bell: Bell) -> None:
    inbox = tmp_path / "later"
    watcher.watch("route", str(inbox))
    watcher.tend()
    assert watcher.watched() == frozenset()
    assert not bell.hears("route", within=0)
    inbox.mkdir()
    watcher.tend()
    assert bell.hears("route")
    written(inbox)
    assert bell.hears("route")


def deleted(inbox: Path) -> None:
    shutil.rmtree(inbox)


def moved_away(inbox: Path) -> None:
    inbox.rename(inbox.parent / "elsewhere")


@pytest.mark.parametrize("away", [deleted, moved_away])
def test_a_folder_made_anew_is_watched_again(
    inbox: Path, watcher: Watcher, bell: Bell, away: Callable[[Path], None]
) -> None:
    away(inbox)
    assert bell.hears("route")
    watcher.tend()
    assert watcher.watched() == frozenset()
    inbox.mkdir()
    watcher.tend()
    assert bell.hears("route")
    written(inbox)
    assert bell.hears("route")


def test_a_folder_deleted_and_made_between_two_looks_is_watched_again(
    inbox: Path, watcher: Watcher, bell: Bell
) -> None:
    deleted(inbox)
    inbox.mkdir()
    assert bell.hears("route")
    watcher.tend()
    written(inbox)
    assert bell.hears("route")


def test_tending_a_healthy_watch_wakes_nobody(inbox: Path, watcher: Watcher, bell: Bell) -> None:
    watcher.tend()
    assert watcher.watched() == {"route"}
    assert not bell.hears("route", within=0)


def test_an_overflow_of_the_kernel_s_queue_wakes_the_route(inbox: Path, watcher: Watcher, bell: Bell) -> None:
    """12,000 files at once; whatever was lost, the last wake-up comes after the last file."""
    for number in range(12_000):
        (inbox / f"{number}.csv").touch()
    (inbox / "last.csv").touch()
    while bell.hears("route", within=A_WHILE):
        pass
    written(inbox)
    assert bell.hears("route")


def test_a_dead_thread_is_replaced_and_every_folder_woken(inbox: Path, watcher: Watcher, bell: Bell) -> None:
    [reader] = [thread for thread in threading.enumerate() if isinstance(thread, InotifyFD)]
    reader.stop()
    reader.join()
    watcher.tend()
    assert bell.hears("route")
    written(inbox)
    assert bell.hears("route")


def test_several_routes_may_watch_one_folder(inbox: Path, watcher: Watcher, bell: Bell) -> None:
    watcher.watch("second", str(inbox))
    assert bell.hears("second")
    written(inbox)
    assert bell.hears("route")
    assert bell.hears("second")
    watcher.unwatch("second")
    appended(inbox)
    assert bell.hears("route")
    assert not bell.hears("second", within=A_WHILE)


def test_a_key_may_change_its_folder(inbox: Path, watcher: Watcher, bell: Bell, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    watcher.watch("route", str(tmp_path / "other"))
    assert bell.hears("route")
    written(inbox)
    assert not bell.hears("route", within=A_WHILE)
    written(tmp_path / "other")
    assert bell.hears("route")


def test_what_is_watched_before_the_start_is_watched_from_the_start(tmp_path: Path, bell: Bell) -> None:
    watcher = Watcher(bell.ring)
    watcher.watch("route", str(tmp_path))
    assert not bell.hears("route", within=0)
    watcher.start()
    try:
        assert bell.hears("route")
        assert watcher.watched() == {"route"}
    finally:
        watcher.stop()
    watcher.tend()
    assert watcher.watched() == frozenset()


def test_the_kernel_s_limit_leaves_folders_to_the_sweeps_with_one_line(
    tmp_path: Path, watcher: Watcher, bell: Bell, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def limited(*_args: object) -> int:
        raise OSError(errno.ENOSPC, "inotify watch limit reached")

    caplog.set_level(logging.INFO)
    with monkeypatch.context() as patched:
        patched.setattr(InotifyFD, "add_callback", limited)
        for number in range(3):
            (tmp_path / str(number)).mkdir()
            watcher.watch(number, str(tmp_path / str(number)))
        watcher.tend()
        assert watcher.watched() == frozenset()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "max_user_watches" in caplog.text
    watcher.tend()
    assert watcher.watched() == {0, 1, 2}
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_no_inotify_at_all_leaves_everything_to_the_sweeps(
    tmp_path: Path, bell: Bell, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def limited(_cls: object) -> int:
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    monkeypatch.setattr(InotifyFD, "_create_inotify_fd", limited)
    watcher = Watcher(bell.ring)
    watcher.watch("route", str(tmp_path))
    watcher.start()
    watcher.tend()
    watcher.stop()
    assert len(caplog.records) == 1
    assert watcher.watched() == frozenset()


def test_stopping_closes_every_descriptor(tmp_path: Path, bell: Bell) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        watcher = Watcher(bell.ring)
        watcher.watch("route", str(tmp_path))
        watcher.start()
        watcher.stop()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.skipif(os.getuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_left_to_the_sweeps(tmp_path: Path, watcher: Watcher) -> None:
    tmp_path.chmod(0)
    watcher.watch("route", str(tmp_path))
    watcher.tend()
    assert watcher.watched() == frozenset()
    tmp_path.chmod(0o700)


def test_a_folder_the_kernel_refuses_leaves_nothing_behind(
    tmp_path: Path, watcher: Watcher, bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchdog.observers.inotify_c.inotify_add_watch", lambda *_args: -1)
    monkeypatch.setattr("ctypes.get_errno", lambda: errno.EACCES)
    watcher.watch("route", str(tmp_path))
    assert watcher.watched() == frozenset()
    assert not bell.hears("route", within=0)
