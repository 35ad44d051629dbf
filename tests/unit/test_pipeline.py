"""From claim to done: what happens to messages, alone and in batches, and through a kill at every single step."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cegid_daemon.coverage import Coverage
from cegid_daemon.errors import Transient
from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.overview import Overview
from cegid_daemon.model import LogPolicy, RetryPolicy, Route
from cegid_daemon.workshop import Order
from tests.unit.spine import EFFORT, NOON, ODD, Failing, Spine, fresh_folders, route


def test_a_file_is_delivered_recorded_as_a_pair_filed_and_done(spine: Spine) -> None:
    spine.drop("S1.csv", b"one")
    passed = spine.look()
    assert (passed.claimed, passed.delivered, passed.faults, passed.failed) == (1, 1, [], [])
    assert (spine.out(), spine.lying(), spine.filed()) == ({"S1.xml": b"one"}, {}, {"S1.csv": b"one"})
    assert spine.states() == ["done"]
    log = spine.sql("SELECT variant, kind, name, outcome, file_name FROM api_integration_log ORDER BY id")
    assert log == [
        ("Unmodified", "Request", "Inventory Import", "ok", "S1.csv"),
        ("Modified", "Request", "Folder Delivery: Inventory Import", "ok", "S1.xml"),
    ]


def test_a_bad_file_goes_to_failed_with_its_reason_and_the_others_go_on(spine: Spine) -> None:
    for name, body in (("a.csv", b"one"), ("b.csv", b"BAD"), ("c.csv", b"two")):
        spine.drop(name, body)
    passed = spine.look()
    assert [message.file_name for message, _ in passed.failed] == ["b.csv"]
    assert spine.out() == {"a.xml": b"one", "c.xml": b"two"}
    failed = spine.filed("failed")
    assert failed["b.csv"] == b"BAD"
    text = failed["b.csv.error.txt"].decode()
    for part in ("b.csv was not delivered", "line 2 is broken", "Repair line 2.", "replay 2", "Route:       inventory"):
        assert part in text
    assert spine.states() == ["done", "failed", "done"]


def test_nothing_to_send_is_recorded_and_done(spine: Spine) -> None:
    spine.drop("a.csv", b"NONE")
    spine.look()
    assert (spine.out(), spine.states(), spine.filed()) == ({}, ["done"], {"a.csv": b"NONE"})


def test_remarks_are_kept_counted_and_told_in_one_line(spine: Spine, caplog: pytest.LogCaptureFixture) -> None:
    spine.drop("a.csv", b"ODD")
    spine.drop("b.csv", b"plain")
    spine.look()
    assert spine.states() == ["done", "done"]
    assert spine.sql("SELECT remarks FROM message ORDER BY id") == [(3,), (0,)]
    told = [record.message for record in caplog.records if "remarks" in record.message]
    assert told == [
        "route inventory: message 1 (a.csv) was rewritten with remarks: "
        "an odd key: 3 (first: line 2, record 1, sku: 1E+12)"
    ]
    coverage = Coverage.from_json(spine.journal.log.message(1)["coverage"])
    assert coverage.remarks == (ODD,)
    overview = Overview(spine.journal.connection)
    assert [(one.id, one.count) for one in overview.remarked(NOON - timedelta(days=1), 5)] == [(1, 3)]
    assert overview.remarked(NOON + timedelta(days=1), 5) == []
    assert overview.remarks() == {"inventory": 3}


def test_the_examples_of_remarks_are_masked_and_gone_with_log_requests_off(spine_of: Any) -> None:
    masked = spine_of(route(log=LogPolicy(redact=("MAIL",))))
    masked.drop("a.csv", b"ODD")
    masked.look()
    values = [place["value"] for place in masked.journal.log.message(1)["coverage"]["remarks"][0]["places"]]
    assert values == ["1E+12", "***"]


def test_a_file_dropped_again_is_a_new_message_also_after_a_failure(spine: Spine) -> None:
    for body in (b"BAD", b"one", b"one"):
        spine.drop("S.csv", body)
        spine.look()
    assert spine.states() == ["failed", "done", "done"]
    assert set(spine.filed()) == {"S.csv", "S.2.csv"}


def test_a_source_shared_by_two_routes_is_taken_once_and_filed_when_both_are_done(spine_of: Any) -> None:
    spine = spine_of(route("a", target_folder="a"), route("b", target_folder="b"))
    spine.outbox.drop_folder("b")
    spine.drop("S.csv", b"one")
    spine.look()
    assert (spine.out("a"), spine.lying()) == ({"S.xml": b"one"}, {"S.csv": b"one"})
    assert spine.states() == ["delivered", "waiting"]
    spine.outbox.make_folder("b")
    spine.after(seconds=6)
    spine.look()
    assert spine.out("b") == {"S.xml": b"one"}
    assert (spine.lying(), spine.filed(), spine.states()) == ({}, {"S.csv": b"one"}, ["done", "done"])


def test_a_shared_file_that_fails_on_one_route_is_filed_to_failed_although_the_other_delivered(spine_of: Any) -> None:
    spine = spine_of(route("a", target_folder="a"), route("b", target_folder="b", target_exists="fail"))
    spine.outbox.lay("b", "S.xml", b"in the way")
    spine.drop("S.csv", b"one")
    spine.look()
    assert spine.states() == ["done", "failed"]
    assert "b" in spine.filed("failed")["S.csv.error.txt"].decode()


def test_log_requests_off_leaves_no_entries_and_no_payloads(spine: Spine) -> None:
    spine.journal.book.settings.set("main", "log-requests", "false", who="anna", origin="test", now=spine.now)
    spine.drop("S.csv", b"one" * 1000)
    spine.look()
    assert spine.states() == ["done"]
    for table in ("log_entry", "payload", "payload_chunk", "search_due"):
        assert spine.sql(f"SELECT count(*) FROM {table}") == [(0,)], table
    spine.drop("S.csv", b"BAD")
    spine.look()
    assert spine.sql("SELECT count(*) FROM log_entry") == [(0,)]


def test_the_files_of_a_disabled_store_stay_where_they_are(spine: Spine) -> None:
    spine.journal.book.settings.set("main", "enabled", "false", who="anna", origin="test", now=spine.now)
    spine.drop("S.csv", b"one")
    assert spine.look().claimed == 0
    assert spine.lying() == {"S.csv": b"one"}
    spine.journal.book.settings.set("main", "enabled", "true", who="anna", origin="test", now=spine.now)
    assert spine.look().delivered == 1


def test_a_message_that_waits_blocks_those_behind_it_and_all_arrive_in_order(spine: Spine) -> None:
    spine.outbox.drop_folder("out")
    for number in range(3):
        spine.drop(f"{number}.csv", b"%d" % number)
    passed = spine.look()
    assert (list(passed.stopped), passed.delivered) == ([1], 0)
    spine.drop("3.csv", b"3")
    spine.look()
    spine.outbox.make_folder("out")
    order: list[str] = []
    spine.outbox = spine.endpoints["outbox"] = Failing(spine.outbox)
    spine.outbox.on["rename"] = lambda *args, **kwargs: order.append(args[3])
    spine.restart()
    spine.after(seconds=30)
    spine.look()
    assert order == ["0.xml", "1.xml", "2.xml", "3.xml"]
    assert spine.states() == ["done"] * 4


def test_waiting_grows_and_ends_with_give_up(spine_of: Any) -> None:
    retry = RetryPolicy(timedelta(seconds=5), timedelta(seconds=20), timedelta(minutes=1))
    spine = spine_of(route(retry=retry))
    spine.outbox.drop_folder("out")
    spine.drop("a.csv", b"one")
    pauses = []
    while spine.states() != ["failed"]:
        spine.look()
        [(text,)] = spine.sql("SELECT next_try_at FROM message")
        if spine.states() == ["waiting"]:
            pauses.append(round((_moment(text) - spine.now).total_seconds()))
            spine.now = _moment(text)
    assert pauses == [5, 10, 20, 20, 20]
    assert "a.csv.error.txt" in spine.filed("failed")
    [(error,)] = spine.sql("SELECT error FROM message")
    assert "given up: remove the cause, then run `cegid-daemon replay 1`" in error
    assert "by itself" not in error, "nothing goes on by itself any more"


def test_an_earlier_try_is_not_made_before_its_time_unless_asked_for(spine: Spine) -> None:
    spine.outbox.drop_folder("out")
    spine.drop("a.csv", b"one")
    spine.look()
    spine.outbox.make_folder("out")
    assert spine.look().delivered == 0
    assert spine.look(patient=False).delivered == 1


def test_a_delivered_message_whose_file_cannot_be_filed_is_not_sent_again_and_filed_later(spine_of: Any) -> None:
    spine = spine_of(route(source_match=("*.csv",)))
    spine.inbox.lay("in", "processed", b"in the way")
    spine.drop("a.csv", b"one")
    assert spine.look().faults
    assert (spine.states(), spine.out()) == (["delivered"], {"a.xml": b"one"})
    spine.outbox.remove("out", "a.xml")
    spine.drop("b.csv", b"two")
    spine.after(minutes=1)
    assert spine.look().delivered == 1, "a file that cannot be filed blocks nobody"
    spine.inbox.remove("in", "processed")
    spine.restart()
    spine.after(minutes=1)
    assert spine.look().faults == []
    assert (spine.states(), spine.out(), spine.lying()) == (["done", "done"], {"b.xml": b"two"}, {})


def test_trouble_with_filing_is_told_once_a_pass_and_not_called_healed_by_another_file(
    spine_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    spine = spine_of(route(source_match=("*.csv",)))
    spine.inbox.lay("in", "processed", b"in the way")
    for number in range(5):
        spine.drop(f"a{number}.csv", b"%d" % number)
    spine.look()
    for minute in range(5):
        spine.after(minutes=minute)
        spine.drop(f"b{minute}.csv", b"NONE")
        spine.look()
    assert "recovered" not in caplog.text
    assert len([line for line in caplog.messages if "filing away" in line]) <= 3


def test_what_the_journal_keeps_in_memory_stays_bounded_over_many_messages(spine: Spine) -> None:
    for number in range(300):
        spine.drop(f"S{number}.csv", b"%d" % number)
    assert spine.look().delivered == 300
    assert spine.pipeline.rewriting._started == set()
    assert spine.troubles.current() == {}


# -- a kill at every step ----------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


def test_a_file_that_ends_the_daemon_fails_and_those_beside_it_do_not(spine: Spine) -> None:
    for name in ("S1", "KILLER", "S3", "S4"):
        spine.drop(f"{name}.csv", name.encode())
    kills = 0
    while "failed" not in spine.states():
        echo = spine.workshop.rewrite

        def rewrite(orders: Sequence[Order], echo: Any = echo) -> Any:
            if any(order.job.source_name == "KILLER.csv" for order in orders):
                raise Killed
            return echo(orders)

        spine.workshop.rewrite = rewrite  # type: ignore[method-assign]
        try:
            spine.look()
        except Killed:
            kills += 1
            spine.restart()
        spine.after(minutes=2)
        assert kills < 20
    assert kills == 10
    assert sorted(spine.states()) == ["done", "done", "done", "failed"]
    assert spine.out() == {"S1.xml": b"S1", "S3.xml": b"S3", "S4.xml": b"S4"}
    assert "again and again" in spine.filed("failed")["KILLER.csv.error.txt"].decode()


def test_stops_and_full_disks_are_no_kills_however_often_they_come(spine: Spine) -> None:
    spine.drop("S.csv", b"one")

    def fail(_orders: Sequence[Order]) -> Any:
        raise Transient("the workshop is closed")

    for _ in range(5):
        spine.workshop.rewrite = fail  # type: ignore[method-assign]
        spine.look()
        assert spine.states() == ["received"]
        spine.restart()
    spine.look()
    assert (spine.states(), spine.out()) == (["done"], {"S.xml": b"one"})


def test_records_delivered_once_are_rewritten_one_message_after_the_other(spine_of: Any) -> None:
    """What was claimed while the route waited too: rewritten together, two messages would both send the record."""
    spine = spine_of(route(source_unique="r.Order"))
    spine.outbox.drop_folder("out")
    spine.drop("A.csv", b"a")
    spine.look()
    for name in ("B", "C"):
        spine.drop(f"{name}.csv", name.encode())
    spine.look()
    assert spine.states() == ["waiting", "received", "received"]
    spine.outbox.make_folder("out")
    together: list[int] = []
    echo = spine.workshop.rewrite
    spine.workshop.rewrite = lambda orders: [together.append(len(orders)), echo(orders)][1]  # type: ignore[method-assign]
    spine.look(patient=False)
    assert (together, spine.states()) == ([1, 1], ["done"] * 3)


class World:
    """A sender and a receiver that act whenever the daemon does anything, and a kill at the n-th thing it does.

    A kill before anything has changed since the last one would find the same: it is tried only with
    CEGID_DAEMON_TEST_EFFORT=2.
    """

    def __init__(self, spine: Spine, bodies: list[bytes], name: str, per_drop: int, *, hurry: bool) -> None:
        self.spine = spine
        self.plain = (spine.inbox, spine.outbox)
        self.waiting = [bodies[at : at + per_drop] for at in range(0, len(bodies), per_drop)]
        self.name = name
        self.hurry = hurry  # the sender replaces what is claimed instead of waiting until it is filed away
        self.received: list[bytes] = []
        self.steps = 0
        self.kill_at = 0
        self.busy = False
        self.changed = True  # since the last step
        spine.endpoints["inbox"], spine.endpoints["outbox"] = Failing(spine.inbox), Failing(spine.outbox)
        for endpoint in spine.endpoints.values():
            for call in ("sync", "stat", "list", "read"):
                endpoint.on[call] = endpoint.after[call] = self.step
            for call in ("put", "rename", "remove", "make_folder"):
                endpoint.on[call], endpoint.after[call] = self.step, self.after_change

    def after_change(self, *_: object, **__: object) -> None:
        self.changed = True
        self.step()

    def step(self, *_: object, **__: object) -> None:
        if self.busy:
            return
        self.busy = True
        self.receive()
        self.send()
        self.busy = False
        if not self.changed and EFFORT < 2:
            return
        self.changed = False
        self.steps += 1
        if self.steps == self.kill_at:
            raise Killed

    def receive(self) -> None:
        """Takes away all it can see, at once."""
        _, outbox = self.plain
        for name, body in outbox.content("out").items():
            if name.endswith(".xml"):
                self.received.append(body)
                outbox.remove("out", name)

    def hasty(self, lying: list[bytes]) -> bool:
        """Whether all that lies there is claimed, so that replacing it loses nothing."""
        claimed = {sha256 for (sha256,) in self.spine.sql("SELECT sha256 FROM message")}
        return {hashlib.sha256(body).hexdigest() for body in lying} <= claimed

    def send(self) -> None:
        """The next files under the same names, as soon as they are free."""
        inbox, _ = self.plain
        lying = [body for name, body in inbox.content("in").items() if name.startswith(self.name)]
        if self.waiting and (self.hasty(lying) if self.hurry else not lying):
            for number, body in enumerate(self.waiting.pop(0)):
                inbox.lay("in", f"{self.name}{number}.csv", body)

    def run(self) -> None:
        """What a new process does until nothing is left to do."""
        self.spine.restart()
        while self.waiting or self.open():
            self.spine.after(minutes=20)
            for source in self.spine.sources:
                source.look()
            self.decide()

    def decide(self) -> None:
        """What a person does with what is unsure: looks whether the receiver has it."""
        for message, sha256 in self.spine.sql("SELECT id, sha256 FROM message WHERE state = 'unsure'"):
            arrived = sha256 in {hashlib.sha256(body).hexdigest() for body in self.received}
            (self.spine.desk().discard if arrived else self.spine.desk().release)(message)

    def open(self) -> bool:
        inbox, _ = self.plain
        lying = any(name.startswith(self.name) for name in inbox.content("in"))
        return lying or bool(self.spine.sql("SELECT 1 FROM message WHERE closed_at IS NULL"))


@contextmanager
def commits_are_steps(world: World) -> Iterator[None]:
    """Every outermost transaction counts: a kill before it begins, and one after it is committed."""
    transaction, execute = Connection.transaction, Connection.execute

    @contextmanager
    def counted(self: Connection) -> Iterator[None]:
        outermost = self._depth == 0
        if outermost:
            world.step()
        with transaction(self):
            yield
        if outermost:
            world.after_change()

    def executed(self: Connection, sql: str, params: Any = ()) -> Any:
        cursor = execute(self, sql, params)
        if self._depth == 0:
            world.after_change()
        return cursor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "transaction", counted)
        patch.setattr(Connection, "execute", executed)
        yield


BODIES = [b"one", b"two", b"three", b"four"]
PARTED = [b"PARTS 2 one", b"PARTS 2 two"]
WITH_BAD = [b"one", b"BAD two", b"three", b"BAD four", b"NONE"]
CASES: dict[str, tuple[tuple[Route, ...], list[bytes], int]] = {
    "one after the other": ((route(),), BODIES, 1),
    "a batch": ((route(),), BODIES + BODIES[:2], 3),
    "two parts each": ((route(),), PARTED, 1),
    "a batch of two parts each": ((route(),), PARTED, 2),
    "version": ((route(target_exists="version"),), BODIES, 2),
    "delete": ((route(source_after="delete"),), BODIES, 1),
    "shared source": ((route("a"), route("b")), BODIES[:2], 2),
    "bad ones among them": ((route(),), WITH_BAD, 3),
    "own archive": ((route(source_archive="done"),), BODIES, 2),
    "temporary names without a dot": ((route(target_temporary="up_{id}"),), BODIES, 2),
    "temporary names with the final one": ((route(target_temporary="{name}.{id}"),), PARTED, 1),
    "temporary names in a folder": ((route(target_temporary="tmp/{id}", target_exists="version"),), BODIES, 2),
    "no temporary names": ((route(target_temporary="none"),), BODIES, 2),
    "no temporary names, version": ((route(target_temporary="none", target_exists="version"),), BODIES, 1),
}


def expected(routes: tuple[Route, ...], bodies: list[bytes]) -> Counter[bytes]:
    one_route: list[bytes] = []
    for body in bodies:
        if body.startswith(b"PARTS 2"):
            one_route += [b"%s part %d" % (body, no) for no in (1, 2)]
        elif not body.startswith((b"BAD", b"NONE")):
            one_route.append(body)
    return Counter(one_route * len(routes))


@pytest.mark.parametrize("hurry", [False, True], ids=["patient", "hasty"])
@pytest.mark.parametrize("case", CASES)
def test_a_kill_at_any_step_loses_nothing_and_sends_nothing_twice(case: str, hurry: bool, tmp_path: Path) -> None:
    routes, bodies, per_drop = CASES[case]
    for kill_at, folder in fresh_folders(tmp_path, routes):
        spine = Spine(folder, *routes)
        world = World(spine, bodies, "S", per_drop, hurry=hurry)
        world.kill_at = kill_at
        killed = False
        with commits_are_steps(world):
            try:
                world.run()
            except Killed:
                killed = True
                world.run()
            world.busy = True
            world.receive()
            check(world, routes, bodies, f"{case}, killed at step {kill_at}")
        spine.close()
        if not killed:
            assert kill_at > 20
            return


def check(world: World, routes: tuple[Route, ...], bodies: list[bytes], when: str) -> None:
    assert Counter(world.received) == expected(routes, bodies), when
    spine, (inbox, outbox) = world.spine, world.plain
    assert outbox.content("out") == {}, f"leftovers: {when}"
    assert ("out", "tmp") not in outbox._folders or outbox.content("out/tmp") == {}, f"leftovers: {when}"
    assert [name for name in inbox.content("in") if name.startswith(("S", "."))] == [], when
    direct = routes[0].target is not None and routes[0].target.temporary == "none"
    assert set(spine.states()) <= {"done", "failed", *(["discarded"] if direct else [])}, when
    assert len(spine.states()) == len(bodies) * len(routes), when
    assert spine.sql("SELECT count(*) FROM payload WHERE sealed = 0") == [(0,)], when
    pairs = spine.sql("SELECT count(*) FROM log_entry WHERE variant = 'Unmodified' GROUP BY message")
    assert pairs == [(1,)] * len(spine.states()), when
    modified = spine.sql("SELECT count(*) FROM log_entry WHERE variant = 'Modified' GROUP BY part")
    assert set(modified) == {(1,)}, when
    assert sum(count for (count,) in modified) == sum(expected(routes, bodies).values()), when
    if routes[0].source.after == "archive" and not world.hurry:
        kept = [body for path in inbox._folders for body in inbox.content("/".join(path)).values()]
        texts = [body for body in kept if b"was not delivered" in body]
        assert Counter(kept) - Counter(texts) == Counter(bodies), when


def _moment(text: str) -> Any:
    from cegid_daemon.model import utc_moment

    return utc_moment(text)
