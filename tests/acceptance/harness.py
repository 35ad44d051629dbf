"""A shop in a folder, the real daemon on it, and a sender and a receiver that never rest."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.servers.command_line import run_command

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EFFORT = int(os.environ.get("CEGID_DAEMON_TEST_EFFORT", "1"))  # multiplies random kills and many files

CONFIGURATION = """\
state = "var"
templates = "templates"
[store.main]
[endpoint.inbox]
url = "file:inbox"
[endpoint.outbox]
url = "file:outbox"
[layout.rows]
kind = "delimited"
{layout}
"""
TEMPLATE = "{% for r in records %}{{ r.ID }};{{ r.N }}\n{% endfor %}"


def route_table(
    name: str, *, source: str = "", target: str = "", extra: str = "", folder: str = "in", out: str = "out"
) -> str:
    """The TOML of a route from inbox/`folder` to outbox/`out`; the arguments are added to its tables."""
    return (
        f'[route.{name}]\ntitle = "Rows of {name}"\nstore = "main"\nlayout = "rows"\ntemplate = "rows.txt.j2"\n'
        f'source = {{ endpoint = "inbox", folder = "{folder}", settle = "0s"{source} }}\n'
        f'target = {{ endpoint = "outbox", folder = "{out}"{target or NAMED} }}\n{extra}\n'
    )


OWNER_MARK = ".cegid-daemon.owner"
NAMED = ', name = "{{ source.stem }}.txt"'


class Shop:
    """A folder with a configuration; `run` starts the daemon on it."""

    def __init__(self, folder: Path, *routes: str, layout: str = "", template: str = TEMPLATE) -> None:
        self.folder = folder
        self.configuration = folder / "cegid-daemon.toml"
        self.inbox, self.outbox = folder / "inbox" / "in", folder / "outbox" / "out"
        self.journal = folder / "var" / "journal.sqlite"
        for path in (self.inbox, self.outbox, folder / "templates"):
            path.mkdir(parents=True, exist_ok=True)
        (folder / "templates" / "rows.txt.j2").write_text(template, "utf-8")
        self.configure(*(routes or (route_table("rows"),)), layout=layout)

    def configure(self, *routes: str, layout: str = "") -> None:
        """Writes the configuration anew."""
        self.configuration.write_text(CONFIGURATION.format(layout=layout) + "".join(routes), "utf-8")

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The command line on this shop, to its end."""
        return run_command(*words, "--config", str(self.configuration), folder=self.folder, environment=environment())

    def notices(self) -> dict[str, str]:
        """What the command `status` says a person should know: the texts, by kind and subject."""
        told = json.loads(self.call("status", "--json").stdout)["notices"]
        return {f"{one['kind']} {one['subject']}": one["text"] for one in told}

    def command(self, *words: str) -> list[str]:
        """The words of a command line."""
        return [sys.executable, "-m", "cegid_daemon", *words, "--config", str(self.configuration)]

    @contextmanager
    def run(self, *, prefix: Sequence[str] = (), setup: Callable[[], None] | None = None) -> Iterator[Daemon]:
        """The daemon, ready; drained at the end if it still runs."""
        with Daemon([*prefix, *self.command("run")], self.folder, setup) as daemon:
            daemon.ready()
            yield daemon

    def drop(self, name: str | bytes, body: bytes, folder: Path | None = None) -> Path:
        """Puts a whole file into the inbox as a good sender does: aside, then renamed."""
        folder = folder or self.inbox
        aside = folder / ".aside"
        aside.write_bytes(body)
        path = folder / os.fsdecode(name)
        aside.rename(path)
        return path

    def sql(self, text: str, *params: object) -> list[tuple[Any, ...]]:
        """Reads the journal beside the daemon; nothing before there is one."""
        if not self.journal.exists():
            return []
        with closing(sqlite3.connect(f"file:{self.journal}?mode=ro", uri=True, timeout=10)) as db:
            try:
                return db.execute(text, params).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []
                raise

    def states(self) -> Counter[str]:
        """How many messages are in which state."""
        return Counter(dict(self.sql("SELECT state, count(*) FROM message GROUP BY state")))

    def out(self) -> dict[str, bytes]:
        """What lies in outbox/out, temporaries too."""
        return {path.name: path.read_bytes() for path in self.outbox.iterdir()}

    def lying(self) -> list[str]:
        """The files that lie in the inbox, without the owner's mark."""
        return sorted(path.name for path in self.inbox.iterdir() if path.is_file() and path.name != OWNER_MARK)

    def spool(self) -> list[str]:
        """What lies in the spool."""
        return sorted(path.name for path in (self.folder / "var" / "spool").iterdir())

    def failed(self, name: str) -> str:
        """The error text beside a failed file."""
        return (self.inbox / "failed" / f"{name}.error.txt").read_text("utf-8")

    def check_coverage(self) -> None:
        """Every record of every message is sent, left out or rejected."""
        for (text,) in self.sql("SELECT coverage FROM message WHERE coverage IS NOT NULL"):
            told = json.loads(text)
            assert told["read"] == told["sent"] + sum(told["left_out"].values()) + sum(told["rejected"].values()), told


class Daemon:
    """A process of the daemon."""

    def __init__(self, command: Sequence[str], folder: Path, setup: Callable[[], None] | None = None) -> None:
        self.log = folder / "daemon.log"
        self._begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=setup,  # noqa: PLW1509  # no thread of the tests runs then
            )  # fmt: skip

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()

    def said(self) -> str:
        """What it has said so far."""
        return self.log.read_bytes()[self._begin :].decode("utf-8", "replace")

    def ready(self) -> None:
        """Waits until it is."""
        self.wait_for(lambda: "Ready." in self.said() or self.process.poll() is not None, "ready")
        assert self.process.poll() is None, self.said()

    def wait_for(self, come: Callable[[], object], what: str, seconds: float = 30) -> None:
        """Waits for something to come true."""
        until = time.monotonic() + seconds
        while not come():
            assert time.monotonic() < until, f"not within {seconds} s: {what}\n{self.said()[-3000:]}"
            time.sleep(0.02)

    def send(self, number: int) -> None:
        """Sends a signal."""
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signals it and waits for its end."""
        self.send(number)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def kill(self) -> None:
        """As the kernel does when memory is short."""
        self.stop(signal.SIGKILL)


def opened_by(pid: int) -> dict[int, str]:
    """What a process of the daemon has open, by number."""
    found: dict[int, str] = {}
    try:
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                found[int(path.name)] = str(path.readlink())
    except PermissionError:
        assert os.geteuid() != 0
        pytest.skip("only root may look into the daemon's processes")
    return found


def environment(**more: str) -> dict[str, str]:
    """Of this run, with the package of this checkout."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **more}


def rows(uid: str, count: int = 1) -> bytes:
    """A file of the layout `rows`."""
    return "".join(["ID;N\n", *(f"{uid};{number}\n" for number in range(count))]).encode()


class Receiver:
    """Takes each file away the moment it can be seen."""

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self.bodies: list[bytes] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="receiver")

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self.take()

    def _work(self) -> None:
        while not self._end.wait(0.0005):
            self.take()

    def take(self) -> None:
        """Moves everything out but folders and what has a temporary name."""
        for folder in self._folders:
            for path in folder.iterdir():
                if not path.name.startswith((".", "up_")) and not path.is_dir():
                    away = folder.parent / f".received-{len(self.bodies)}"
                    with suppress(FileNotFoundError):
                        path.rename(away)
                        self.bodies.append(away.read_bytes())
                        away.unlink()

    def lines(self) -> Counter[str]:
        """How often each delivered line came."""
        return Counter(line for body in self.bodies for line in body.decode().splitlines())


class Sender:
    """Drops the next file under the same names as soon as they are free."""

    def __init__(self, shop: Shop, names: Sequence[str], make: Callable[[str], bytes]) -> None:
        self._shop = shop
        self._names = names
        self._make = make
        self.bodies: dict[str, bytes] = {}  # by unique id
        self.limit = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="sender")

    def __enter__(self) -> Sender:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._end.wait(0.001):
            for name in self._names:
                if len(self.bodies) < self.limit and not (self._shop.inbox / name).exists():
                    uid = f"m{len(self.bodies)}"
                    self.bodies[uid] = self._make(uid)
                    self._shop.drop(name, self.bodies[uid])


def expected_lines(bodies: Mapping[str, bytes], routes: int = 1) -> Counter[str]:
    """What must arrive, line for line, of files that are not bad."""
    good = [body for body in bodies.values() if b"bad" not in body]
    return Counter(line for body in good for line in body.decode().splitlines()[1:] * routes)
