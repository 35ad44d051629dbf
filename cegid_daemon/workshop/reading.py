"""The second hand of a worker: a process that reads a large file's records while the worker rewrites them.

A fork of the worker, under the same limits and killed with it; what it dies of, the worker dies of, so that whoever
looks at the worker's end sees the true cause. Faults of the file come at the place where they stand. Knows nothing of
buffers, templates and the journal but the received bytes.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import NoReturn

from cegid_daemon.errors import CegidDaemonError
from cegid_daemon.rewrite import layouts, travel
from cegid_daemon.rewrite.layouts import Source
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.tally import Tally
from cegid_daemon.workshop.kinship import die_with
from cegid_daemon.workshop.wire import Kind, Lost, receive_answer, send

Classify = Callable[[Exception], CegidDaemonError]
"""Sorts what goes wrong while a file is read; ends the process if memory ran out."""


@contextmanager
def second_hand(
    layout: Layout,
    source: Source,
    classify: Classify,
    *,
    closed: Iterable[socket.socket],
    tick: Callable[[int], None],
) -> Iterator[layouts.Read]:
    """Starts the process; gives the reading of its records, for this layout and source only.

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
                _read_to_the_end(layout, source, theirs, classify)
        try:
            yield lambda _layout, _source, tally: _records(pid, ours, tally, tick)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _records(pid: int, sock: socket.socket, tally: Tally, tick: Callable[[int], None]) -> Iterator[Record]:
    while block := _next_block(pid, sock):
        tick(len(block))
        for record in travel.unpacked(block):
            tally.read = record.number
            yield record


def _read_to_the_end(layout: Layout, source: Source, sock: socket.socket, classify: Classify) -> NoReturn:
    status = 1
    try:
        for block in _blocks(layouts.read(layout, source, Tally()), classify):
            send(sock, Kind.RECORDS, block)
        send(sock, Kind.RECORDS)
        status = 0
    except (BrokenPipeError, ConnectionResetError):
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _blocks(records: Iterator[Record], classify: Classify) -> Iterator[bytes | CegidDaemonError]:
    """The records in blocks; an error comes after the records before it."""
    while True:
        block: list[Record] = []
        error: CegidDaemonError | None = None
        try:
            block.extend(islice(records, travel.MANY))
        except Exception as exc:
            error = classify(exc)
        if block:
            yield travel.packed(block)
        if error:
            yield error
        if error or not block:
            return


def _next_block(pid: int, sock: socket.socket) -> bytes | None:
    """Raises the error that stands here in the file."""
    try:
        _, body = receive_answer(sock)
    except (Lost, OSError):
        _die_as(pid)
    if isinstance(body, CegidDaemonError):
        raise body
    return body if isinstance(body, bytes) else None


def _die_as(pid: int) -> NoReturn:
    """Ends the worker as its second hand ended."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code < 0:
        with suppress(OSError):  # SIGKILL has no other way anyhow
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code or 1)
