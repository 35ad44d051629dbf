"""The spine of the daemon in memory: real journal and pipeline, an endpoint in memory, a workshop that only echoes."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cegid_daemon.clock import BootClock, SteadyClock
from cegid_daemon.coverage import Coverage, Remark, RemarkPlace
from cegid_daemon.desk import Desk
from cegid_daemon.endpoints.memory import MemoryEndpoint
from cegid_daemon.errors import BadInput, Place
from cegid_daemon.journal import Journal
from cegid_daemon.journal.frames import compress_frames
from cegid_daemon.model import Direction, Route, SourceSpec, Store, TargetSpec
from cegid_daemon.once import Outcome, once
from cegid_daemon.pipeline import Pipeline
from cegid_daemon.rewrite.ports import PartMade, Rewritten
from cegid_daemon.rewrite.recipe import Layout, Recipe, Templates
from cegid_daemon.scanner import Passed, Source
from cegid_daemon.trouble import Troubles
from cegid_daemon.workshop import Finished, Order
from cegid_daemon.workshop.orders import PartFrames, Rows

EFFORT = int(os.environ.get("CEGID_DAEMON_TEST_EFFORT", "1"))
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ODD = Remark("an odd key", 3, (RemarkPlace(2, 1, "sku", "1E+12"), RemarkPlace(4, 3, "MAIL", "a@b")))
RECIPE = Recipe(Layout("y2-stock-csv", "delimited"), Templates("a.xml.j2", {"a.xml.j2": "…"}), target_name="{{ x }}")


class Echo:
    """A workshop: `BAD…` breaks its layout, `NONE…` gives nothing to send, `PARTS 3 …` three parts, else one part.

    `ODD…` has a remark.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.seen: list[int] = []

    def await_ready(self) -> None:
        """It always is."""

    def rewrite(self, orders: Sequence[Order]) -> list[Finished | BadInput]:
        return [self._one(order) for order in orders]

    def _one(self, order: Order) -> Finished | BadInput:
        self.seen.append(order.message_id)
        raw = order.raw if order.raw is not None else b"".join(self._journal.payloads.read(order.payload))
        if raw.startswith(b"BAD"):
            return BadInput("line 2 is broken", where=Place(line=2), remedy="Repair line 2.")
        count = int(raw.split()[1]) if raw.startswith(b"PARTS") else 0 if raw.startswith(b"NONE") else 1
        stem = order.job.source_name.rpartition(".")[0] or order.job.source_name
        parts = [
            self._part(no, f"{stem}.xml" if count == 1 else f"{stem}-{no}.xml", raw, count)
            for no in range(1, count + 1)
        ]
        made, frames = tuple(one for one, _ in parts), tuple(one for _, one in parts)
        rewritten = Rewritten(
            Coverage(
                read=count or 1, sent=count, left_out={} if count else {"blank": 1},
                remarks=(ODD,) if raw.startswith(b"ODD") else (),
            ),
            made, ("K",),
        )  # fmt: skip
        return Finished(rewritten, frames, Rows(()), Rows(()))

    @staticmethod
    def _part(no: int, name: str, raw: bytes, count: int) -> tuple[PartMade, PartFrames]:
        body = raw if count == 1 else b"%s part %d" % (raw, no)
        made = PartMade(no, name, 1, len(body), hashlib.sha256(body).hexdigest())
        return made, PartFrames(no, tuple(compress_frames([body])))


def route(name: str = "inventory", *, title: str = "Inventory Import", **changes: Any) -> Route:
    """A route from `in/NAME` to `out/NAME`; `source_…` and `target_…` change the two ends."""
    source = {key.removeprefix("source_"): changes.pop(key) for key in list(changes) if key.startswith("source_")}
    target = {key.removeprefix("target_"): changes.pop(key) for key in list(changes) if key.startswith("target_")}
    return Route(
        name, title, Direction.IMPORT, changes.pop("store", "main"),
        SourceSpec(**{"endpoint": "inbox", "folder": "in", "settle": timedelta(0), **source}),
        "y2-stock-csv", "a.xml.j2", TargetSpec(**{"endpoint": "outbox", "folder": "out", **target}), **changes,
    )  # fmt: skip


class Spine:
    """One daemon's worth of objects over a journal in `folder`; `restart` is what a new process would be."""

    def __init__(self, folder: Path, *routes: Route, stores: Sequence[Store] = (Store("main"),)) -> None:
        self.folder = folder
        self.now = NOON
        self.inbox: Any = MemoryEndpoint("inbox")
        self.outbox: Any = MemoryEndpoint("outbox")
        self.endpoints: dict[str, Any] = {"inbox": self.inbox, "outbox": self.outbox}
        self.routes = {one.name: one for one in (routes or (route(),))}
        self.stores = {store.name: store for store in stores}
        self.stopping = False
        self.boot_clock: BootClock | None = None  # None: the wall clock never jumps
        for one in self.routes.values():
            self.inbox.make_folder(one.source.folder)
            if one.target:
                self.outbox.make_folder(one.target.folder)
        self.start()

    def start(self) -> None:
        self.journal = Journal.open(self.folder / "journal.sqlite")
        self.journal.connection.execute("PRAGMA synchronous = OFF")  # no test here pulls the plug
        self.journal.book.settings.first_values(self.stores.values(), now=self.now)
        self.journal.payloads.drop_unsealed()
        self.workshop = Echo(self.journal)
        self.recipes = dict.fromkeys(self.routes, RECIPE)
        self.pipeline = Pipeline(
            self.journal,
            self.workshop,
            self.endpoints,
            self.routes,
            self.recipes,
            lambda: None,  # type: ignore[arg-type]
            clock=SteadyClock(self.boot_clock),
        )
        self.troubles = Troubles()
        groups: dict[SourceSpec, list[Route]] = {}
        for one in self.routes.values():
            groups.setdefault(one.source, []).append(one)
        self.sources = [self._source(group) for group in groups.values()]

    def _source(self, routes: Sequence[Route]) -> Source:
        return Source(
            routes, self.stores, self.endpoints[routes[0].source.endpoint], self.journal, self.pipeline, self.troubles,
            lambda: self.now, lambda: self.stopping, boot_clock=self.boot_clock,
        )  # fmt: skip

    def close(self) -> None:
        self.journal.close()

    def restart(self) -> None:
        self.close()
        self.start()

    def after(self, **passed: float) -> None:
        self.now += timedelta(**passed)

    def look(self, *, patient: bool = True) -> Passed:
        passes = [source.look(patient=patient) for source in self.sources]
        return passes[0]

    def once(self) -> tuple[Outcome, timedelta]:
        """What the command `once` comes to, and how long it waited."""
        start = self.now

        def wait(seconds: float) -> bool:
            self.after(seconds=seconds)
            return False

        return once(self.sources, clock=lambda: self.now, wait=wait), self.now - start

    def drop(self, name: str, body: bytes, folder: str = "in") -> None:
        self.inbox.lay(folder, name, body)

    def out(self, folder: str = "out") -> dict[str, bytes]:
        return dict(self.outbox.content(folder))

    def lying(self, folder: str = "in") -> dict[str, bytes]:
        return dict(self.inbox.content(folder))

    def filed(self, kind: str = "processed/2026-11-23") -> dict[str, bytes]:
        return dict(self.inbox.content(f"in/{kind}"))

    def states(self) -> list[str]:
        return [row[0] for row in self.sql("SELECT state FROM message ORDER BY id")]

    def sql(self, text: str, *params: object) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.journal.connection.query(text, params)]

    def desk(self, places: Collection[str] | None = None) -> Desk:
        return Desk(
            self.journal, self.routes, self.stores, self.recipes, who="anna", clock=lambda: self.now, places=places
        )


def fresh_folders(
    tmp_path: Path, routes: Sequence[Route], stores: Sequence[Store] = (Store("main"),)
) -> Iterator[tuple[int, Path]]:
    """Numbered folders without end, each with a new journal and gone when the next one comes."""
    start = tmp_path / "start"
    start.mkdir()
    Spine(start, *routes, stores=stores).close()
    for number in itertools.count(1):
        folder = tmp_path / str(number)
        shutil.copytree(start, folder)
        yield number, folder
        shutil.rmtree(folder)


class Failing:
    """An endpoint whose calls can be made to fail or to be interfered with: `on[NAME]` runs before each call."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint
        self.on: dict[str, Callable[..., None]] = {}
        self.after: dict[str, Callable[..., None]] = {}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._endpoint, name)
        if name not in self.on and name not in self.after:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            if name in self.on:
                self.on[name](*args, **kwargs)
            result = found(*args, **kwargs)
            if name in self.after:
                self.after[name](*args, **kwargs)
            return result

        return call
