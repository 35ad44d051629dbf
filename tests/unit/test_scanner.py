"""One pass over a source: what is taken, what is not, and what an operator hears of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, nullcontext
from datetime import timedelta

import pytest

from cegid_daemon.desk import Desk
from cegid_daemon.endpoints.protocol import Abilities
from cegid_daemon.errors import Absent, JournalUnavailable, Refused, SourceChanged, Transient
from cegid_daemon.journal import Journal
from cegid_daemon.once import once
from cegid_daemon.scanner import Source
from tests.unit.spine import Failing, Spine, route

Build = Callable[..., Spine]


def failing(spine: Spine) -> Failing:
    endpoint = spine.endpoints["inbox"] = Failing(spine.inbox)
    spine.restart()
    return endpoint


def test_sources_that_share_a_folder_have_names_of_their_own_and_take_their_own_files(spine_of: Build) -> None:
    spine = spine_of(
        route("stock", source_match=("STOCK*",)), route("art", source_match=("ART*",), target_folder="art")
    )
    assert len({source.name for source in spine.sources}) == 2
    spine.drop("STOCK1.csv", b"s")
    spine.drop("ART1.csv", b"a")
    outcome = once(spine.sources, clock=lambda: spine.now, wait=lambda _: True)
    assert (outcome.claimed, outcome.delivered, outcome.well) == (2, 2, True)
    assert (spine.out(), spine.out("art")) == ({"STOCK1.xml": b"s"}, {"ART1.xml": b"a"})


def test_a_source_files_away_only_what_its_own_routes_took(spine_of: Build) -> None:
    spine = spine_of(
        route("stock", source_match=("STOCK*",)), route("art", source_match=("ART*",), target_folder="art")
    )
    spine.inbox.lay("in", "processed", b"in the way")
    spine.drop("STOCK1.csv", b"s")
    spine.look()
    spine.inbox.remove("in", "processed")
    spine.after(minutes=1)
    spine.sources[1].look()
    assert spine.states() == ["delivered"]
    spine.sources[0].look()
    assert spine.states() == ["done"]


def test_a_file_that_cannot_be_read_is_told_once_and_is_forgotten_when_it_is_gone(
    spine: Spine, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = failing(spine)

    def refuse(_: str, name: str) -> None:
        if name == "b.csv":
            raise Transient("permission denied")

    endpoint.on["read"] = refuse
    spine.drop("a.csv", b"one")
    spine.drop("b.csv", b"two")
    for _ in range(5):
        assert len(spine.look().faults) == 1
        spine.after(seconds=2)
    assert spine.out() == {"a.xml": b"one"}
    assert len([line for line in caplog.messages if "permission denied" in line]) == 1
    spine.inbox.remove("in", "b.csv")
    spine.look()
    assert spine.troubles.current() == {}


def test_a_file_that_changes_while_it_is_read_is_looked_at_again(spine: Spine) -> None:
    endpoint = failing(spine)

    def change(*_: object) -> None:
        endpoint.on.clear()
        raise SourceChanged("changed")

    endpoint.on["read"] = change
    spine.drop("a.csv", b"one")
    assert spine.look().settling == 1
    assert spine.look().delivered == 1


def test_a_source_that_cannot_be_listed_is_tried_with_growing_pauses_and_says_when_it_heals(
    spine: Spine, caplog: pytest.LogCaptureFixture
) -> None:
    spine.inbox.drop_folder("in")
    pauses = []
    for _ in range(4):
        passed = spine.look()
        pauses.append((passed.next_look - spine.now).total_seconds())
        spine.now = passed.next_look
    assert pauses == [5, 10, 20, 40]
    assert len([line for line in caplog.messages if "is not there" in line]) == 1
    spine.inbox.make_folder("in")
    spine.look()
    assert "recovered after 4 failed tries" in caplog.text


def test_a_journal_that_cannot_be_written_is_waited_for(spine: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
    spine.drop("a.csv", b"x" * 3_000_000)

    def full(*_: object, **__: object) -> None:
        raise JournalUnavailable("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(spine.journal.claims.__class__, "claim", full)
        assert [str(fault) for fault in spine.look().faults] == ["disk full"]
    assert spine.sql("SELECT count(*) FROM payload") == [(0,)], "nothing staged is left"
    spine.look()
    assert spine.states() == ["done"]


def test_a_file_larger_than_the_route_takes_is_refused_without_being_read(spine_of: Build) -> None:
    spine = spine_of(route(source_max_size=10))
    spine.drop("a.csv", b"x" * 11)
    spine.drop("b.csv", b"x" * 10)
    passed = spine.look()
    assert [str(error.what) for _, error in passed.failed] == ["the file has 11 bytes; the route takes at most 10"]
    assert spine.states() == ["failed", "done"]
    text = spine.filed("failed")["a.csv.error.txt"].decode()
    assert "11 bytes\n" in text
    assert "replay" not in text, "there is nothing to replay"
    assert spine.sql("SELECT size, sha256 FROM api_integration_log WHERE message_id = 1") == [(11, "")]
    with pytest.raises(Refused, match="no longer kept"):
        spine.desk().replay(1)


def test_a_file_that_is_too_large_still_fails_when_a_kill_came_between(
    spine_of: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken for an empty file, and so for done."""
    spine = spine_of(route(source_max_size=10))
    spine.drop("a.csv", b"x" * 11)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(spine.pipeline, "prepare", killed)
        with pytest.raises(KeyboardInterrupt):
            spine.look()
    spine.restart()
    spine.look()
    assert spine.states() == ["failed"]
    assert "a.csv" in spine.filed("failed")


def test_many_files_go_in_batches_in_order_and_a_stop_ends_between_two(spine: Spine) -> None:
    names = [f"{number:03}.csv" for number in range(150)]
    for name in names:
        spine.drop(name, name.encode())
    renamed: list[str] = []
    endpoint = spine.endpoints["outbox"] = Failing(spine.outbox)
    endpoint.on["rename"] = lambda *args, **_: renamed.append(args[3])
    spine.restart()
    endpoint.after["rename"] = lambda *_, **__: setattr(spine, "stopping", True)
    spine.look()
    assert 64 <= len(renamed) < 150
    spine.stopping = False
    endpoint.after.clear()
    spine.look()
    assert renamed == [name.replace(".csv", ".xml") for name in names]
    assert spine.states() == ["done"] * 150


def test_once_waits_for_what_settles_and_tries_what_waits(spine_of: Build) -> None:
    spine = spine_of(route(source_settle=timedelta(seconds=3)))
    spine.inbox.abilities = Abilities(remote=True)  # or the times of the endpoint in memory would be long ago
    spine.restart()
    spine.drop("a.csv", b"one")
    outcome, waited = spine.once()
    assert (outcome.delivered, waited) == (1, timedelta(seconds=3))
    spine.outbox.drop_folder("out")
    spine.drop("b.csv", b"two")
    outcome, _ = spine.once()
    assert not outcome.well
    assert [fault.split(":")[0] for fault in outcome.faults] == ["message 2 waits"]
    spine.outbox.make_folder("out")
    assert spine.once()[0].delivered == 1


def test_of_a_batch_read_together_each_file_answers_for_itself_up_to_one_that_cannot_be_read(spine: Spine) -> None:
    spine.inbox.abilities = Abilities(remote=True)
    endpoint = failing(spine)
    faults = {"b.csv": SourceChanged("changed"), "c.csv": Absent("gone"), "e.csv": Transient("permission denied")}

    def refuse(_: str, name: str) -> None:
        if name in faults:
            raise faults[name]

    for name in ("a.csv", "b.csv", "c.csv", "d.csv", "e.csv", "f.csv"):
        spine.drop(name, name.encode())
    endpoint.on["read"] = refuse
    passed = spine.look()
    assert [error.what for error in passed.faults] == ["permission denied"]
    assert (passed.claimed, passed.settling) == (2, 2)
    assert spine.out() == {"a.xml": b"a.csv", "d.xml": b"d.csv"}


def test_a_file_of_a_batch_that_changed_since_it_was_listed_is_not_taken(spine: Spine) -> None:
    spine.inbox.abilities = Abilities(remote=True)
    endpoint = failing(spine)
    for name in ("a.csv", "b.csv"):
        spine.drop(name, b"old")
    endpoint.after["list"] = lambda *_: spine.drop("b.csv", b"newer")
    assert spine.look().claimed == 1
    assert spine.out() == {"a.xml": b"old"}


def test_an_idle_source_asks_the_journal_one_question_until_something_is_written(
    spine: Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    spine.drop("a.csv", b"one")
    for _ in range(3):  # the second and the third see what the one before wrote
        spine.look()
    connection, asked = spine.journal.connection, list[str]()
    query = connection.query
    monkeypatch.setattr(connection, "query", lambda sql, params=(): asked.append(sql) or query(sql, params))
    spine.look()
    assert asked == []
    spine.drop("b.csv", b"two")
    spine.look()
    assert spine.states() == ["done", "done"]


@pytest.mark.parametrize("beside", [False, True])
def test_what_an_operator_asks_for_is_found_by_an_idle_source(spine: Spine, beside: bool) -> None:
    spine.drop("a.csv", b"one")
    spine.look()
    spine.after(minutes=2)
    spine.look()
    with closing(Journal.open(spine.folder / "journal.sqlite")) if beside else nullcontext(spine.journal) as journal:
        desk = Desk(journal, spine.routes, spine.stores, spine.recipes, who="anna", clock=lambda: spine.now)
        desk.replay(1)
    spine.look()
    assert spine.states() == ["done", "done"]


def test_a_store_that_is_disabled_and_enabled_again_is_noticed_by_an_idle_source(spine: Spine) -> None:
    spine.look()
    settings = spine.journal.book.settings
    for value, expected in [("false", []), ("true", ["done"])]:
        settings.set("main", "enabled", value, who="anna", origin="test", now=spine.now)
        spine.drop("a.csv", b"one")
        spine.look()
        assert spine.states() == expected


@pytest.mark.parametrize("state", ["waiting", "held", "unsure"])
def test_an_open_message_of_a_disabled_store_is_a_fault_of_once(spine: Spine, state: str) -> None:
    spine.outbox.drop_folder("out")
    spine.drop("a.csv", b"a")
    spine.look()
    spine.journal.connection.execute("UPDATE message SET state = ?", (state,))
    spine.journal.book.settings.set("main", "enabled", "false", who="anna", origin="test", now=spine.now)
    spine.outbox.make_folder("out")
    [line] = once(spine.sources, clock=lambda: spine.now, wait=lambda _: True).faults
    assert line.startswith(f"message 1 {'waits' if state == 'waiting' else f'is {state}'}: a.csv: ")
    if state == "waiting":
        assert "the store main is disabled" in line
        assert "settings set --store main enabled true" in line
    assert spine.states() == [state]
    assert spine.out() == {}


def test_files_of_a_disabled_store_are_no_fault(spine: Spine) -> None:
    spine.journal.book.settings.set("main", "enabled", "false", who="anna", origin="test", now=spine.now)
    spine.drop("a.csv", b"a")
    assert once(spine.sources, clock=lambda: spine.now, wait=lambda _: True).well
    assert spine.states() == []


def test_entries_that_are_no_files_are_told_once_by_a_process_and_again_when_they_come_again(
    spine: Spine, caplog: pytest.LogCaptureFixture
) -> None:
    told: dict[str, set[str]] = {}

    def look() -> int:
        """As after a reload: a new source of the same process."""
        caplog.clear()
        spine.sources[0] = Source(
            list(spine.routes.values()), spine.stores, spine.endpoints["inbox"], spine.journal, spine.pipeline,
            spine.troubles, lambda: spine.now, lambda: False, told=told,
        )  # fmt: skip
        spine.look()
        return caplog.text.count("not a regular file")

    spine.inbox.make_folder("in/one")
    spine.inbox.make_folder("in/two")
    assert [look() for _ in range(3)] == [2, 0, 0]
    spine.inbox.make_folder("in/three")
    assert [look() for _ in range(2)] == [1, 0]
    spine.inbox.remove_folder("in/one")
    assert look() == 0
    spine.inbox.make_folder("in/one")
    assert look() == 1
