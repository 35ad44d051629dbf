"""A rewriting that does what the received bytes say, so that the workshop can be shown every kind of misery."""

import errno
import hashlib
import os
import signal
import sys
import time
from pathlib import Path

from cegid_daemon.coverage import Coverage
from cegid_daemon.errors import BadInput, ConfigurationError, TemplateFault
from cegid_daemon.rewrite.ports import PartMade, Rewritten


def rewrite(recipe, job, open_source, book, sink, *, scratch):
    """`COMMAND ARGUMENT` in the first line; the whole file is the one part, whatever follows."""
    first = next(iter(open_source()), b"").partition(b"\n")[0].decode()
    command, _, argument = first.partition(" ")
    keys = _COMMANDS.get(command, _echo)(argument, sink)
    digest, size, part = hashlib.sha256(), 0, sink.part(1)
    for chunk in open_source():
        part.write(chunk)
        digest.update(chunk)
        size += len(chunk)
    part.close()
    made = PartMade(1, f"{job.source_name}.xml", 1, size, digest.hexdigest())
    return Rewritten(Coverage(read=1, sent=1), (made,), tuple(keys or ()))


def _echo(argument, sink):
    return ()


def _bad(argument, sink):
    raise BadInput("the file is bad", remedy="Repair it.")


def _misconfigured(argument, sink):
    raise ConfigurationError("the route lacks a template", remedy="Give it one.")


def _bug(argument, sink):
    raise KeyError("bug")


def _loop(argument, sink):
    sink.part(1).write(os.urandom(2_000_000))
    while True:
        pass


def _loop_in_c(argument, sink):
    return [str(10 ** (10**9))]


def _eat(argument, sink):
    eaten = []
    while True:
        eaten.append(bytearray(1_000_000))


def _eat_in_template(argument, sink):
    try:
        _eat(argument, sink)
    except MemoryError as exc:
        raise TemplateFault("the template failed") from exc


def _leave_little(argument, sink):
    """Takes memory and keeps it, as fragmentation does; alone in its worker it fits."""
    _KEPT.append(bytearray(int(argument)))


def _die(argument, sink):
    os.kill(os.getpid(), signal.SIGKILL)


def _die_once(argument, sink):
    if not Path(argument).exists():
        Path(argument).touch()
        os.kill(os.getpid(), signal.SIGKILL)


def _die_times(argument, sink):
    """`N FOLDER`: as a kill from outside, N times."""
    times, folder = argument.split(" ", 1)
    died = len(list(Path(folder).glob("died-*")))
    if died < int(times):
        Path(folder, f"died-{died}").touch()
        os.kill(os.getpid(), signal.SIGKILL)


def _kill_nursery(argument, sink):
    """`N FOLDER`: kills the nursery, and with it this worker, N times."""
    times, folder = argument.split(" ", 1)
    died = len(list(Path(folder).glob("killed-*")))
    if died < int(times):
        Path(folder, f"killed-{died}").touch()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)


def _leave(argument, sink):
    os._exit(3)


def _wait_for(argument, sink):
    Path(f"{argument}.waiting").touch()
    while not Path(argument).exists():
        time.sleep(0.005)


def _full(argument, sink):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _write(argument, sink):
    part = sink.part(1)
    for _ in range(int(argument)):
        part.write(os.urandom(1_000_000))
    part.close()


def _rows(argument, sink):
    for number in range(int(argument)):
        sink.belongs(f"sku {number}", "product é")
        sink.buffer("variation", f"sku {number}", "\udcff2", number)


def _tell(argument, sink):
    """Who rewrites, and what it knows of the world."""
    return [str(os.getpid()), str(os.getppid()), *sorted(os.environ), *sorted(sys.modules)]


_KEPT = []
_COMMANDS = {
    "bad": _bad, "bug": _bug, "misconfigured": _misconfigured,
    "loop": _loop, "loop-in-c": _loop_in_c, "eat": _eat, "eat-in-template": _eat_in_template,
    "keep": _leave_little, "die": _die, "die-once": _die_once, "die-times": _die_times, "kill-nursery": _kill_nursery,
    "leave": _leave, "wait-for": _wait_for, "full": _full,
    "write": _write, "rows": _rows, "tell": _tell,
}  # fmt: skip
