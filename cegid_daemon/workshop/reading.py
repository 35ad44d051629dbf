"""The second hand of a worker: a process that reads a large file's records, their stock and its buffers.

The worker rewrites meanwhile. A fork of the worker, under the same limits and killed with it; what it dies of, the
worker dies of, so that whoever looks at the worker's end sees the true cause. Faults of the file come at the place
where they stand. Knows nothing of templates.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn

from cegid_daemon.coverage import Coverage
from cegid_daemon.errors import CegidDaemonError
from cegid_daemon.rewrite import columns, travel
from cegid_daemon.rewrite.buffers import Belongs, Stocking
from cegid_daemon.rewrite.layouts import Source, plain_xml
from cegid_daemon.rewrite.ports import Book
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.remarks import Remarks
from cegid_daemon.rewrite.sums import Scratch
from cegid_daemon.rewrite.tally import Tally
from cegid_daemon.workshop.kinship import die_with
from cegid_daemon.workshop.wire import Kind, Lost, receive_answer, send

_Found = tuple[bytes, list[tuple[str, str]]]
"""A packed sheet, and what its records say of the catalogue: (SKU, product)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the process is to read, and with what."""

    layout: Layout
    fields: frozenset[str] | None  # those that layout and templates read
    source: Source
    book: Callable[[], Book]  # opens the buffer book; called in the process
    scratch: Scratch
    classify: Callable[[Exception], CegidDaemonError]  # sorts what goes wrong; ends the process if memory ran out


@contextmanager
def second_hand(
    reading: Reading, *, closed: Iterable[socket.socket], tick: Callable[[int], None]
) -> Iterator[Stocking]:
    """Starts the process; gives its stocking of the records, for this reading only.

    The worker must have no connection to a database open. `closed` are the sockets the process has no business with,
    `tick` hears in the worker of bytes that came over.
    """
    worker = os.getpid()
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            pid = os.fork()
            if pid == 0:
                die_with(worker)
                for sock in (ours, *closed):
                    sock.close()
                _read_to_the_end(reading, theirs)

        def stock(
            _layout: Layout, _source: Source, _book: Book, tally: Tally, /, *, belongs: Belongs, scratch: Scratch
        ) -> Iterator[Record]:
            del scratch  # sums are made where the file is read
            return _records(pid, ours, tally, belongs, tick)

        try:
            yield stock
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _records(
    pid: int, sock: socket.socket, tally: Tally, belongs: Belongs, tick: Callable[[int], None]
) -> Iterator[Record]:
    while isinstance(body := _next_body(pid, sock), tuple):
        sheet, pairs = body
        tick(len(sheet))
        for pair in pairs:
            belongs(*pair)
        yield from travel.unpacked(sheet)
    tally.add(body)


def _read_to_the_end(reading: Reading, sock: socket.socket) -> NoReturn:
    status = 1
    try:
        for body in _bodies(reading):
            send(sock, Kind.RECORDS, body)
        status = 0
    except (BrokenPipeError, ConnectionResetError):
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _bodies(reading: Reading) -> Iterator[_Found | Coverage | CegidDaemonError]:
    """Sheets with what they say of the catalogue, and at the end what was counted, or the error that stands there."""
    layout, tally = reading.layout, Tally(remarks=Remarks(reading.fields))
    pairs: list[tuple[str, str]] = []
    try:
        for sheet in columns.stocked(
            plain_xml.read(layout, reading.source, tally), layout, reading.book(), tally,
            belongs=lambda *pair: pairs.append(pair), scratch=reading.scratch,
        ):  # fmt: skip
            yield travel.packed(sheet), pairs
            pairs.clear()
    except Exception as error:
        yield reading.classify(error)
    else:
        yield tally.coverage()


def _next_body(pid: int, sock: socket.socket) -> _Found | Coverage:
    """What came next; behind the last sheet what was counted. Raises the error that stands here in the file."""
    try:
        _, body = receive_answer(sock)
    except (Lost, OSError):
        _die_as(pid)
    if isinstance(body, CegidDaemonError):
        raise body
    found: _Found | Coverage = body
    return found


def _die_as(pid: int) -> NoReturn:
    """Ends the worker as its second hand ended."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code < 0:
        with suppress(OSError):  # SIGKILL has no other way anyhow
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code or 1)
