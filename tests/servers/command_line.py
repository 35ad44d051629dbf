"""The command line as a process of its own, forked from one that has imported the package already.

A start of Python costs half a second of imports, and the tests give some hundred commands. A forked process has its own
folder, environment, streams and exit status like any other; only what a loader or an interpreter reads at its start
(LD_PRELOAD, PYTHONIOENCODING, a locale) it cannot take up: a test of such things starts a real one.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[2]
LATER = ("cegid_daemon.__main__", "cegid_daemon.console", "cegid_daemon.alerts")  # large, and of few commands
MESSAGE_BYTES = 1 << 17


def run_command(
    *words: str, folder: Path | None = None, environment: Mapping[str, str] = os.environ, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """`cegid-daemon WORDS` in `folder`, to its end."""
    if "LD_PRELOAD" in environment:
        return subprocess.run(
            [sys.executable, "-m", "cegid_daemon", *words], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=timeout,
        )  # fmt: skip
    order = json.dumps([words, str(folder or Path.cwd()), dict(environment)]).encode()
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, ours:
        with theirs:
            socket.send_fds(_forker(), [order], [out.fileno(), err.fileno(), theirs.fileno()])
        ours.settimeout(timeout)
        with ours.makefile() as answers:
            pid = int(answers.readline())
            try:
                code = int(answers.readline())
            except TimeoutError as exc:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(words, timeout) from exc
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read().decode().replace("\r\n", "\n"))
    return subprocess.CompletedProcess(words, code, *said)


@functools.cache
def _forker() -> socket.socket:
    """The line to the process that forks, started once a process of the tests."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(theirs.fileno())],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
        )  # fmt: skip

    def end() -> None:
        ours.close()
        process.wait(30)

    atexit.register(end)
    return ours


# -- the process that forks --------------------------------------------------------------------------------------------


def serve(control: socket.socket) -> None:
    """Forks for each order until the other end is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the attendants
    gc.freeze()
    while True:
        order, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 3)
        if not order:
            return
        if os.fork() == 0:
            control.close()
            attend(order, *descriptors)
        for one in descriptors:
            os.close(one)


def attend(order: bytes, out: int, err: int, reply: int) -> None:
    """Forks once more: the parent tells the pid and the exit status, the child is the command and returns never."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(reply)
        command(order, out, err)
    os.write(reply, b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    os.write(reply, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def command(order: bytes, out: int, err: int) -> NoReturn:
    """What a process started on the command line does; ends as the interpreter does."""
    words, folder, environment = json.loads(order)
    for stream, standard in ((out, 1), (err, 2)):
        os.dup2(stream, standard)
        os.close(stream)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    sys.argv = ["cegid-daemon", *words]
    from cegid_daemon import cli

    cli.main()
    sys.exit()


def preload() -> None:
    """Imports what commands import."""
    import cegid_daemon

    for module in pkgutil.walk_packages(cegid_daemon.__path__, "cegid_daemon."):
        if not module.name.startswith(LATER):
            import_module(module.name)


if __name__ == "__main__":
    preload()
    with socket.socket(fileno=int(sys.argv[1])) as line:
        serve(line)
