"""FTP servers with other habits: pyftpdlib whose LIST, NLST, renames and passive modes are as a test wants them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers.ftp import FTPHandler, in_process
from tests.servers.places import Place

Line = Callable[[Path], bytes]


def unix(path: Path) -> bytes:
    """The usual line."""
    kind, status = ("d" if path.is_dir() else "-"), path.stat()
    name = bytes(path.name, "utf-8")
    return b"%srw-r--r--    1 0        0        %8d Nov 18 10:26 %s" % (kind.encode(), status.st_size, name)


def as_printed(text: bytes) -> Line:
    """A line in which `309` stands for the size and `STOCK.csv` for the name of a file; folders the usual way."""

    def line(path: Path) -> bytes:
        if path.is_dir():
            return unix(path)
        size = b"%d" % path.stat().st_size
        return text.replace(b"309", size.rjust(3)).replace(b"STOCK.csv", bytes(path.name, "utf-8"))

    return line


@dataclass
class Habit:
    """How the server behaves, and what it was asked."""

    line: Line = unix
    extra: bytes = b""  # further lines of every listing
    refuse: Mapping[str, str] = field(default_factory=dict)  # command -> reply
    empty: str = ""  # the reply to LIST of an empty folder
    renames_onto: str = ""  # the reply to a rename onto a taken name
    has_mlsd: bool = False
    asked: Counter[str] = field(default_factory=Counter)


@contextmanager
def habitual(folder: Path, habit: Habit, **settings: Any) -> Iterator[Place]:
    """A server in this process that does so."""

    def pre_process(handler: Any, line: str, command: str, argument: str) -> None:
        habit.asked[command] += 1
        if command in habit.refuse:
            handler.respond(habit.refuse[command])
            return
        FTPHandler.pre_process_command(handler, line, command, argument)

    def ftp_list(handler: Any, path: str) -> None:
        if not Path(path).exists():
            handler.respond("550 No such file or directory.")
            return
        here = sorted(Path(path).iterdir()) if Path(path).is_dir() else [Path(path)]
        if habit.empty and not here:
            handler.respond(habit.empty)
            return
        body = b"".join(habit.line(one) + b"\r\n" for one in here)
        handler.push_dtp_data(body + habit.extra, isproducer=False, cmd="LIST")

    def ftp_rnto(handler: Any, path: str) -> Any:
        if habit.renames_onto and Path(path).exists():
            handler._rnfr = None
            handler.respond(habit.renames_onto)
            return None
        return FTPHandler.ftp_RNTO(handler, path)

    commands = {
        name: how for name, how in FTPHandler.proto_cmds.items() if habit.has_mlsd or name not in {"MLSD", "MLST"}
    }
    with in_process(
        folder, pre_process_command=pre_process, ftp_LIST=ftp_list, ftp_RNTO=ftp_rnto, proto_cmds=commands, **settings
    ) as place:
        yield place
