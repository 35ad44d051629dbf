"""An installation of its own in a temporary folder, and the real command working on it.

Owns folders, configuration and processes of a benchmark; measures nothing itself. Everything is gone afterwards.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_COMMAND = (sys.executable, "-m", "cegid_daemon")
_HEAD = """
state = "var"
[console]
listen = ""
[store.main]
{store_buffer}
[endpoint.inbox]
url = "file:inbox"
[endpoint.outbox]
url = "file:outbox"
"""
_ROUTE = """
[route.{name}]
title = "Inventory Import"
store = "main"
source = {{ endpoint = "inbox", folder = "{name}", match = "*.{suffix}", settle = "0s" }}
layout = "{layout}"
template = "aurora/inventory-import.xml.j2"
target = {{ endpoint = "outbox", folder = "{name}", name = "{{{{ source.stem }}}}.xml" }}
"""


class Installation:
    """A configuration of stock routes, its folders, and the command."""

    def __init__(self, root: Path, layout: str, routes: Sequence[str], store_buffer: int | None) -> None:
        self.root = root
        suffix = "xml" if layout.endswith("xml") else "csv"
        first = "" if store_buffer is None else f"stock_buffer = {store_buffer}"
        texts = [_ROUTE.format(name=name, suffix=suffix, layout=layout) for name in routes]
        (root / "cegid-daemon.toml").write_text(_HEAD.format(store_buffer=first) + "".join(texts))
        self.inbox, self.outbox = root / "inbox" / routes[0], root / "outbox" / routes[0]
        for folder in (self.inbox, self.outbox):
            folder.mkdir(parents=True)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """The command, started; what it says goes to a file."""
        with (self.root / "said.txt").open("ab") as said:
            return subprocess.Popen([*_COMMAND, *words], cwd=self.root, stdout=said, stderr=said)

    def call(self, *words: str) -> None:
        """The command, run to its end; raises if it fails."""
        process = self.start(*words)
        self.expect(process.wait() == 0, f"cegid-daemon {' '.join(words)}")

    def expect(self, held: bool, what: str) -> None:
        """Ends the benchmark with what the command said, unless `held`."""
        if not held:
            raise RuntimeError(f"{what} failed:\n{(self.root / 'said.txt').read_text()[-2000:]}")

    @contextmanager
    def running(self) -> Iterator[int]:
        """The daemon, from the moment it is ready; gives its process id, and stops it at the end."""
        process = self.start("run")
        try:
            self.wait(lambda: "Ready." in (self.root / "said.txt").read_text(), 30)
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)

    def wait(self, done: Callable[[], bool], seconds: float, every: float = 0.05) -> None:
        """Waits until `done()`; raises when it takes longer than `seconds`."""
        end = time.monotonic() + seconds
        while not done():
            self.expect(time.monotonic() < end, "waiting")
            time.sleep(every)


@contextmanager
def installed(
    layout: str = "cegid-stock-xml", *, routes: Sequence[str] = ("stock",), store_buffer: int | None = None
) -> Iterator[Installation]:
    """A fresh installation; `TMPDIR` says on which disk."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        yield Installation(Path(folder), layout, routes, store_buffer)


def count(folder: Path) -> int:
    """How many files lie in a folder, without its sub-folders and what is hidden: owner's mark, temporary names."""
    with os.scandir(folder) as entries:
        return sum(entry.is_file() and not entry.name.startswith(".") for entry in entries)
