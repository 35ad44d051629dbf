"""Decisions and edits beside a daemon at work: each between any two steps of the pipeline, by another process."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cegid_daemon.desk import Desk
from cegid_daemon.endpoints.protocol import Abilities, Answer
from cegid_daemon.errors import Refused, Transient, Unsure
from cegid_daemon.journal import Journal
from cegid_daemon.journal.connection import Connection
from cegid_daemon.model import LogPolicy, Route, Store
from cegid_daemon.pipeline import Pipeline
from tests.unit.spine import EFFORT, Failing, Spine, fresh_folders, route

CHANGES = ("put", "rename", "remove", "make_folder")
READS = ("sync", "stat", "list", "read")
CALLS = (*CHANGES, *READS)
Act = Callable[["Beside"], None]


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Beside:
    """A daemon in memory whose every commit and call of an endpoint is a step; at one of them somebody else acts.

    The receiver takes all it can see at each step. Where the daemon neither read nor wrote anything since the last step
    (for a kill: wrote), this moment is no step of its own unless CEGID_DAEMON_TEST_EFFORT is 2 or more.
    """

    spine: Spine
    act: Act
    act_at: int = 0
    steps: int = 0
    worked: bool = True  # since the last step
    received: list[bytes] = field(default_factory=list)
    busy: bool = False
    refused: bool = False
    kill_at: int = 0

    def __post_init__(self) -> None:
        self.plain = (self.spine.inbox, self.spine.outbox)
        for name, plain in zip(("inbox", "outbox"), self.plain, strict=True):
            endpoint = self.spine.endpoints[name] = Failing(plain)
            for call in CALLS:
                endpoint.on[call] = self.step
                endpoint.after[call] = self.after_change if call in CHANGES else self.after_read

    def after_change(self, *_: object, **__: object) -> None:
        self.worked = True
        self.step()

    def after_read(self, *_: object, **__: object) -> None:
        self.note_read()
        self.step()

    def note_read(self) -> None:
        self.worked |= not self.kill_at

    def step(self, *_: object, **__: object) -> None:
        if self.busy:
            return
        self.receive()
        if not self.worked and EFFORT < 2:
            return
        self.worked = False
        self.steps += 1
        if self.steps == self.kill_at:
            raise Killed
        if self.steps == self.act_at:
            self.decide()

    def decide(self) -> None:
        self.busy = True
        try:
            self.act(self)
        except Refused:
            self.refused = True
        finally:
            self.busy = False

    def receive(self) -> None:
        outbox = self.plain[1]
        for name, body in outbox.content("out").items():
            if not name.startswith("."):
                self.received.append(body)
                outbox.remove("out", name)

    @contextmanager
    def other(self) -> Iterator[tuple[Journal, Desk]]:
        """Another process with the same journal."""
        spine = self.spine
        with closing(Journal.open(spine.folder / "journal.sqlite", checkpoints=False)) as journal:
            yield journal, Desk(journal, spine.routes, spine.stores, spine.recipes, who="anna", clock=lambda: spine.now)

    def settle(self) -> None:
        """What the daemon does until nothing is left to do."""
        for _ in range(6):
            self.spine.after(minutes=20)
            self.spine.look()
            self.receive()

    def temporaries(self) -> list[str]:
        return list(self.plain[1].content("out"))


@contextmanager
def every_commit_counts(beside: Beside) -> Iterator[None]:
    transaction, execute = Connection.transaction, Connection.execute

    @contextmanager
    def counted(self: Connection) -> Iterator[None]:
        outermost = self._depth == 0
        if outermost:
            beside.step()
        with transaction(self):
            yield
        if outermost:
            beside.after_change()

    def executed(self: Connection, sql: str, params: Any = ()) -> Any:
        if self._depth:
            return execute(self, sql, params)
        beside.step()
        cursor = execute(self, sql, params)
        beside.after_change()
        return cursor

    def reading(read: Any) -> Any:
        def noted(*args: Any) -> Any:
            beside.note_read()
            return read(*args)

        return noted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "transaction", counted)
        patch.setattr(Connection, "execute", executed)
        for name in ("query", "one", "version"):
            patch.setattr(Connection, name, reading(getattr(Connection, name)))
        yield


def at_every_step(
    tmp_path: Path, routes: Sequence[Route], prepare: Callable[[Spine], None], act: Act,
    stores: Sequence[Store] = (Store("main"),), begin: Callable[[Spine], None] = Spine.restart,
    watch: Callable[[Beside], None] = lambda _: None,
) -> Iterator[Beside]:  # fmt: skip
    """A pass for each of its steps, with `act` at that step, settled; ends when a pass has no such step."""
    for at, folder in fresh_folders(tmp_path, routes, stores):
        spine = Spine(folder, *routes, stores=stores)
        prepare(spine)
        beside = Beside(spine, act, act_at=at)
        watch(beside)
        begin(spine)
        with every_commit_counts(beside):
            spine.after(minutes=20)
            spine.look()
        reached = beside.steps >= at
        beside.busy = True
        beside.receive()
        beside.settle()
        yield beside
        spine.close()
        if not reached:
            assert at > 15
            return


BODIES = {"A.csv": b"one", "B.csv": b"two", "C.csv": b"three"}


def failing_at(call: str, error: Exception, *, after: bool = False, bodies: dict[str, bytes] = BODIES) -> Any:
    """Three files, the first of which waits, as far on its way as `call` of the target lets it come."""

    def prepare(spine: Spine) -> None:
        outbox = spine.outbox
        endpoint = spine.endpoints["outbox"] = Failing(outbox)
        spine.restart()

        def fail(*_: object, **__: object) -> None:
            raise error

        (endpoint.after if after else endpoint.on)[call] = fail
        for name, body in bodies.items():
            spine.drop(name, body)
        spine.look()
        assert spine.states()[0] == "waiting"
        spine.endpoints["outbox"] = outbox

    return prepare


PARTED = {"A.csv": b"PARTS 2 one", "B.csv": b"two", "C.csv": b"three"}
WAITING = {
    "not written": failing_at("put", Transient("full")),
    "put aside": failing_at("rename", Transient("busy")),
    "perhaps renamed": failing_at("rename", Unsure("no answer")),
    "renamed, and the answer lost": failing_at("rename", Unsure("no answer"), after=True),
    "two parts, not written": failing_at("put", Transient("full"), bodies=PARTED),
    "two parts, put aside": failing_at("rename", Transient("busy"), bodies=PARTED),
}


def discard(beside: Beside) -> None:
    with beside.other() as (_, desk):
        desk.discard(1, reason="wrong day")


def expect_the_truth(beside: Beside, bodies: dict[str, bytes], when: str) -> None:
    """Of a message that may be discarded: what arrived is told as delivered, what did not as cancelled."""
    counts, (first, *others) = Counter(beside.received), bodies.values()
    assert max(counts.values()) == 1, f"sent twice: {when}"
    assert beside.temporaries() == [], f"leftovers: {when}"
    spine = beside.spine
    for number, body in enumerate(others, 2):
        assert (counts[body], spine.states()[number - 1]) == (1, "done"), f"lost: {when}"
    parts = spine.sql("SELECT state FROM delivery WHERE message = 1 ORDER BY id")
    told = [state for (state,) in parts]
    sent = [first] if not first.startswith(b"PARTS") else [b"%s part %d" % (first, no) for no in (1, 2)]
    assert told == ["delivered" if counts[body] else "cancelled" for body in sent], when
    arrived_whole = all(counts[body] for body in sent)
    assert spine.states()[0] == ("done" if arrived_whole else "discarded"), when
    assert spine.lying() == {}, when


@pytest.mark.parametrize(
    ("case", "together"),
    [*((case, False) for case in WAITING), ("put aside", True), ("two parts, put aside", True)],
)
def test_a_discard_at_any_step_tells_what_arrived_and_stops_what_did_not(
    case: str, together: bool, tmp_path: Path
) -> None:
    bodies = PARTED if "parts" in case else BODIES
    ends: set[str] = set()

    def prepare(spine: Spine) -> None:
        spine.outbox.abilities = Abilities(together=together)
        WAITING[case](spine)

    for beside in at_every_step(tmp_path, [route()], prepare, discard):
        expect_the_truth(beside, bodies, f"{case}, discarded at step {beside.act_at}")
        ends.add(beside.spine.states()[0])
    assert ends == {"done"} if "lost" in case else ends == {"done", "discarded"}


def test_a_discard_at_any_step_of_an_upload_without_temporary_name_tells_what_arrived(tmp_path: Path) -> None:
    routes = [route(target_temporary="none")]
    ends: set[str] = set()
    for beside in at_every_step(tmp_path, routes, WAITING["two parts, not written"], discard):
        expect_the_truth(beside, PARTED, f"discarded at step {beside.act_at}")
        ends.add(beside.spine.states()[0])
    assert ends == {"done", "discarded"}


@pytest.mark.parametrize("case", WAITING)
def test_a_discard_after_a_kill_at_any_step_tells_what_arrived(case: str, tmp_path: Path) -> None:
    bodies = PARTED if "parts" in case else BODIES
    for kill_at, folder in fresh_folders(tmp_path, [route()]):
        spine = Spine(folder, route())
        WAITING[case](spine)
        beside = Beside(spine, discard, kill_at=kill_at)
        spine.restart()
        killed = False
        with every_commit_counts(beside):
            try:
                spine.after(minutes=20)
                spine.look()
            except Killed:
                killed = True
        beside.decide()
        beside.busy = True
        spine.restart()
        beside.settle()
        expect_the_truth(beside, bodies, f"{case}, killed at step {kill_at}, then discarded")
        spine.close()
        if not killed:
            assert kill_at > 15
            return


def test_a_discarded_part_of_a_server_that_is_away_is_taken_back_when_it_answers(tmp_path: Path) -> None:
    spine = Spine(tmp_path, route())
    WAITING["put aside"](spine)
    endpoint = spine.endpoints["outbox"] = Failing(spine.outbox)
    spine.restart()

    def away(*_: object, **__: object) -> None:
        raise Transient("no route to host")

    endpoint.on.update(dict.fromkeys(CALLS, away))
    spine.desk().discard(1)
    assert [error.what for error in spine.look().faults] == ["no route to host"]
    assert spine.sql("SELECT state FROM delivery WHERE message = 1") == [("uploaded",)], "nobody knows yet"
    endpoint.on.clear()
    spine.after(minutes=20)
    assert spine.look().faults == []
    assert spine.sql("SELECT state FROM delivery WHERE message = 1") == [("cancelled",)]
    assert spine.out() == {"B.xml": b"two", "C.xml": b"three"}
    spine.close()


def decide_first(spine: Spine, first: str, second: str) -> None:
    """Two people at once: the second decision begins, and the first one is committed before it takes hold."""
    transaction = Connection.transaction
    begun: list[bool] = []

    @contextmanager
    def late(self: Connection) -> Iterator[None]:
        if not begun:
            begun.append(True)
            getattr(spine.desk(), first)(1)
        with transaction(self):
            yield

    Connection.transaction = late  # type: ignore[method-assign]
    try:
        getattr(spine.desk(), second)(1)
    finally:
        Connection.transaction = transaction  # type: ignore[method-assign]


@pytest.mark.parametrize(("first", "second"), list(itertools.product(("release", "discard"), repeat=2)))
def test_of_two_decisions_at_once_the_first_counts(first: str, second: str, spine: Spine) -> None:
    unsure(spine)
    with pytest.raises(Refused):
        decide_first(spine, first, second)
    assert spine.sql("SELECT what FROM decision") == [(first,)]
    assert spine.states()[0] == ("rewritten" if first == "release" else "discarded")


def unsure(spine: Spine) -> None:
    """Three files, the first of which was put aside in a folder that was made again: it may have arrived."""
    WAITING["put aside"](spine)
    spine.outbox.drop_folder("out")
    spine.outbox.make_folder("out")
    spine.restart()
    spine.after(minutes=20)
    spine.look()
    assert spine.states()[0] == "unsure"


def release(beside: Beside) -> None:
    with beside.other() as (_, desk):
        desk.release(1)


def test_a_release_at_any_step_sends_once(tmp_path: Path) -> None:
    def aside_in_a_folder_made_again(spine: Spine) -> None:
        WAITING["put aside"](spine)
        spine.outbox.drop_folder("out")
        spine.outbox.make_folder("out")

    for beside in at_every_step(tmp_path, [route()], aside_in_a_folder_made_again, release):
        if beside.spine.states()[0] == "unsure":
            assert beside.refused or beside.act_at > beside.steps
            beside.spine.desk().release(1)
            beside.settle()
        assert sorted(beside.received) == sorted(BODIES.values()), f"released at step {beside.act_at}"
        assert beside.spine.states() == ["done"] * 3


def test_what_is_unsure_stays_so_when_it_is_discarded(spine: Spine) -> None:
    unsure(spine)
    spine.desk().discard(1)
    spine.look()
    assert spine.states() == ["discarded", "done", "done"]
    assert spine.sql("SELECT state FROM delivery WHERE message = 1") == [("unsure",)], "it may have arrived"


def drop_all(spine: Spine) -> None:
    for name, body in BODIES.items():
        spine.drop(name, body)


def done_and_three_more(spine: Spine) -> None:
    spine.drop("DONE.csv", b"done")
    spine.look()
    spine.outbox.remove("out", "DONE.xml")
    drop_all(spine)


def replay_done(beside: Beside) -> None:
    with beside.other() as (_, desk):
        desk.replay(1)


def test_a_replay_at_any_step_sends_once_more_and_nothing_else_twice(tmp_path: Path) -> None:
    for beside in at_every_step(tmp_path, [route()], done_and_three_more, replay_done):
        expected = [*BODIES.values(), *([b"done"] if beside.act_at <= beside.steps else [])]
        assert sorted(beside.received) == sorted(expected), f"replayed at step {beside.act_at}"
        assert set(beside.spine.states()) == {"done"}


def log_off(beside: Beside) -> None:
    with beside.other() as (journal, _):
        journal.book.settings.set("main", "log-requests", "false", who="anna", origin="cli", now=beside.spine.now)


def test_log_requests_set_at_any_step_applies_to_a_message_wholly_or_not_at_all(tmp_path: Path) -> None:
    for beside in at_every_step(tmp_path, [route()], drop_all, log_off):
        assert sorted(beside.received) == sorted(BODIES.values())
        found = beside.spine.sql(
            "SELECT m.logged, count(e.id), m.payload IS NOT NULL FROM message m LEFT JOIN log_entry e "
            "ON e.message = m.id GROUP BY m.id"
        )
        assert set(found) <= {(1, 2, 1), (0, 0, 0)}, f"set at step {beside.act_at}"


def disable(beside: Beside) -> None:
    with beside.other() as (journal, _):
        journal.book.settings.set("main", "enabled", "false", who="anna", origin="cli", now=beside.spine.now)


def test_a_store_disabled_at_any_step_loses_and_doubles_nothing(tmp_path: Path) -> None:
    for beside in at_every_step(tmp_path, [route()], drop_all, disable):
        settings = beside.spine.journal.book.settings
        settings.set("main", "enabled", "true", who="anna", origin="cli", now=beside.spine.now)
        beside.settle()
        assert sorted(beside.received) == sorted(BODIES.values()), f"disabled at step {beside.act_at}"
        assert beside.spine.states() == ["done"] * 3


KEYS = ("1", "2", "3")


class Stocked:
    """A workshop that writes the buffers of three keys, as they are at the revision of its order, into two parts."""

    def __init__(self, spine: Spine) -> None:
        self._spine, self._echo = spine, spine.workshop.rewrite

    def __call__(self, orders: Any) -> Any:
        finished = []
        for order in orders:
            found = {
                key: self._spine.journal.connection.one(
                    "SELECT value FROM buffer WHERE key = ? AND revision <= ? ORDER BY revision DESC LIMIT 1",
                    (key, order.revision),
                )
                for key in KEYS
            }
            text = b"PARTS 2 %d %s" % (order.message_id, repr([row and row[0] for row in found.values()]).encode())
            finished += self._echo([replace(order, raw=text)])
        return finished


def import_buffers(beside: Beside) -> None:
    with beside.other() as (journal, _):
        rows = [(number, "main", "variation", key, "7") for number, key in enumerate(KEYS, 2)]
        journal.book.import_rows(rows, who="anna", origin="b.csv", now=beside.spine.now)


def test_buffers_imported_at_any_step_apply_to_a_message_wholly_or_not_at_all(tmp_path: Path) -> None:
    seen: set[str] = set()
    for beside in at_every_step(tmp_path, [route()], drop_all, import_buffers, begin=restart_stocked):
        of_messages: dict[bytes, set[bytes]] = {}
        for body in beside.received:
            of_messages.setdefault(body.split()[2], set()).add(body.partition(b" part ")[0])
        assert len(beside.received) == 6, f"imported at step {beside.act_at}"
        assert all(len(texts) == 1 for texts in of_messages.values())
        told = {text.decode().split(" ", 3)[3] for (text,) in of_messages.values()}
        assert told <= {"[None, None, None]", "['7', '7', '7']"}, f"imported at step {beside.act_at}"
        seen |= told
    assert len(seen) == 2


def restart_stocked(spine: Spine) -> None:
    spine.restart()
    spine.workshop.rewrite = Stocked(spine)  # type: ignore[method-assign]


def prune(beside: Beside) -> None:
    with beside.other() as (journal, _):
        later = beside.spine.now + timedelta(days=1)
        journal.retention.prune(later, {"inventory": LogPolicy(payload_days=0, entry_days=0)})


@pytest.mark.parametrize("logged", [True, False], ids=["logged", "not logged"])
def test_a_prune_at_any_step_takes_nothing_of_what_is_open(logged: bool, tmp_path: Path) -> None:
    stores = (Store("main", log_requests=logged),)
    for beside in at_every_step(tmp_path, [route()], WAITING["two parts, put aside"], prune, stores):
        sent = [b"PARTS 2 one part 1", b"PARTS 2 one part 2", b"two", b"three"]
        assert sorted(beside.received) == sorted(sent), f"pruned at step {beside.act_at}"
        assert beside.spine.states() == ["done"] * 3


def test_a_discard_at_any_step_of_a_store_without_log_tells_the_truth_too(tmp_path: Path) -> None:
    """Its bytes go with the discard, also while they are being written."""
    stores = (Store("main", log_requests=False),)
    for beside in at_every_step(tmp_path, [route()], WAITING["two parts, not written"], discard, stores):
        expect_the_truth(beside, PARTED, f"discarded at step {beside.act_at}")


ENVELOPE = (
    b"<Requests><Request><RequestID>1</RequestID><Stock><Update><VariationReference>9</VariationReference>"
    b"</Update></Stock></Request></Requests>"
)
YES = b"<R><Header><Ack>Success</Ack></Header><Response><RequestID>1</RequestID><Ack>Success</Ack></Response></R>"


class Api:
    """Takes requests; `step` is called before one arrives, and after it did and before the answer is read."""

    where = "https://api"

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.step: Callable[[], None] = lambda: None

    @contextmanager
    def post(self, method: str, body: Iterable[bytes], size: int, request_uid: str) -> Iterator[Answer]:
        self.step()
        self.received.append(b"".join(body))
        self.step()
        yield Answer(200, iter([YES]))


@pytest.mark.parametrize("logged", [True, False], ids=["logged", "not logged"])
def test_a_discard_at_any_step_of_a_post_tells_whether_it_was_sent(logged: bool, tmp_path: Path) -> None:
    api = Api()
    routes = [route(target_endpoint="api", target_method="StockUpdate")]

    def begin(spine: Spine) -> None:
        spine.restart()
        spine.pipeline = Pipeline(
            spine.journal, spine.workshop, spine.endpoints, spine.routes, spine.recipes, lambda: None,  # type: ignore[arg-type]
            apis={"api": api},  # type: ignore[dict-item]
        )  # fmt: skip
        spine.sources = [spine._source(list(spine.routes.values()))]

    def one_waits(spine: Spine) -> None:
        begin(spine)
        api.received.clear()

        def busy() -> None:
            raise Transient("busy")

        api.step = busy
        for name in BODIES:
            spine.drop(name, ENVELOPE.replace(b"9", name.encode()))
        spine.look()
        assert spine.states()[0] == "waiting"
        api.step = step

    current: list[Beside] = []

    def step() -> None:
        current[-1].step()

    ends: set[str] = set()
    stores = (Store("main", log_requests=logged),)
    for beside in at_every_step(tmp_path, routes, one_waits, discard, stores, begin=begin, watch=current.append):
        when = f"discarded at step {beside.act_at}"
        counts = Counter(next(name for name in BODIES if name.encode() in body) for body in api.received)
        assert (counts["B.csv"], counts["C.csv"], max(counts.values())) == (1, 1, 1), when
        ((state,),) = beside.spine.sql("SELECT state FROM delivery WHERE message = 1")
        assert (beside.spine.states()[0], state) == (
            ("done", "delivered") if counts["A.csv"] else ("discarded", "cancelled")
        ), when
        ends.add(beside.spine.states()[0])
    assert ends == {"done", "discarded"}
