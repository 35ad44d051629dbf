"""The nursery process: imports the rewriting once, then forks a worker in milliseconds whenever it is asked.

One small single-threaded process between the daemon and its workers. It outlives nobody: when the daemon's end of the
socket closes, by whatever death, it kills its workers and ends; when it is killed itself, the kernel kills them.
`multiprocessing`'s own forkserver would import the command line again in every worker, and add a resource tracker.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import struct
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

from cegid_daemon.protection import offer_as_victim, protect_memory
from cegid_daemon.workshop.kinship import die_with
from cegid_daemon.workshop.orders import Bench
from cegid_daemon.workshop.wire import receive_orders
from cegid_daemon.workshop.worker import Core, work

NUMBER = struct.Struct("!q")
SPAWN = 0  # request, with a socket for the worker; any other number is the pid of a worker to end
READY = 0  # the first answer; later ones are a pid, or the wait status of a worker that was ended


def serve(descriptor: int) -> None:
    """The life of the nursery; `descriptor` is its end of the socket to the daemon."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # meant for the daemon, which ends us
        signal.signal(ignored, signal.SIG_IGN)
    os.umask(0o077)
    offer_as_victim()  # before the other: what is protected may not write to its own /proc
    protect_memory()
    with socket.socket(fileno=descriptor) as control:
        bench: Bench | None = receive_orders(control)
        if bench is None:
            return
        module, _, name = bench.core.partition(":")
        nursery = _Nursery(control, bench, getattr(import_module(module), name))
        gc.collect()
        gc.freeze()  # workers share these pages as long as the collector does not touch them
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                control.sendall(NUMBER.pack(READY))
                nursery.answer_until_closed()
        finally:
            nursery.end_all()


class _Nursery:
    def __init__(self, control: socket.socket, bench: Bench, core: Core) -> None:
        self._control = control
        self._bench = bench
        self._core = core
        self._workers: set[int] = set()  # not yet waited for, so that no pid of theirs can be another's

    def answer_until_closed(self) -> None:
        while True:
            request, descriptors, _, _ = socket.recv_fds(self._control, NUMBER.size, 1)
            if not request:
                return
            (number,) = NUMBER.unpack(request)
            answer = self._spawn(descriptors[0]) if number == SPAWN else self._end(number)
            self._control.sendall(NUMBER.pack(answer))

    def end_all(self) -> None:
        for pid in list(self._workers):
            self._end(pid)

    def _spawn(self, descriptor: int) -> int:
        """The pid of a new worker at the other end of `descriptor`, or -errno."""
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as exc:
            return -(exc.errno or 1)
        if pid == 0:
            self._be_worker(descriptor, parent)
        os.close(descriptor)
        self._workers.add(pid)
        return pid

    def _be_worker(self, descriptor: int, parent: int) -> NoReturn:
        status = 1
        try:
            self._control.close()
            die_with(parent)
            sock = socket.socket(fileno=descriptor)  # open until the end: its closing tells of the status to ask for
            work(sock, self._bench, self._core)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _end(self, pid: int) -> int:
        if pid not in self._workers:
            return 0
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        self._workers.discard(pid)
        return status
