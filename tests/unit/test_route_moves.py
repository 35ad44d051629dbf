"""Routes that are renamed, replaced or removed, and sources that move, while messages are open."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from spine import Failing, Spine, route

from cegid_daemon.endpoints.memory import MemoryEndpoint
from cegid_daemon.errors import Refused, Transient
from cegid_daemon.leftovers import Leftovers
from cegid_daemon.model import LogPolicy, Route, Store


class Moving(Spine):
    """A daemon whose configuration changes."""

    down = False

    def start(self) -> None:
        super().start()
        folders = {(source.endpoint.where, source.spec.folder) for source in self.sources}
        self.leftovers = Leftovers(
            self.journal, self.pipeline, self.routes, folders, lambda: self.now,
            sources=[source.name for source in self.sources],
            places={endpoint.where for endpoint in self.endpoints.values()},
        )  # fmt: skip

    def configure(self, *routes: Route) -> None:
        self.routes = {one.name: one for one in routes}
        for one in routes:
            self.endpoints[one.source.endpoint].make_folder(one.source.folder)
        self.restart()

    def fail(self, *_: Any, **__: Any) -> None:
        if self.down:
            raise Transient("the server is down")

    def left(self) -> list[str]:
        return self.leftovers.look(self.now)

    def notices(self) -> list[tuple[str, str]]:
        return [(notice.kind, notice.subject) for notice in self.journal.notices.active()]


@pytest.fixture
def spine(tmp_path: Path) -> Iterator[Moving]:
    spine = Moving(tmp_path, route("stock"))
    outbox = Failing(spine.outbox)
    outbox.on["put"] = spine.fail
    spine.endpoints["outbox"] = outbox
    spine.restart()
    yield spine
    spine.close()


def waiting(spine: Moving, *names: str) -> None:
    """Messages of route stock that wait for the target."""
    spine.down = True
    for name in names:
        spine.drop(name, name.encode())
    spine.look(patient=False)
    spine.down = False


RENAMED = route("levels", moved_from=("stock",))


def test_a_route_that_moved_takes_over_what_is_open_with_its_file(spine: Moving) -> None:
    waiting(spine, "a.csv", "b.csv")
    spine.configure(RENAMED)
    spine.look(patient=False)
    assert spine.states() == ["done", "done"]
    assert spine.out() == {"a.xml": b"a.csv", "b.xml": b"b.csv"}
    assert set(spine.filed()) == {"a.csv", "b.csv"}
    assert spine.sql("SELECT route, seq FROM message ORDER BY id") == [("levels", 1), ("levels", 2)]
    assert spine.left() == []


def test_taking_over_is_done_once_and_is_harmless_when_repeated(spine: Moving, caplog: Any) -> None:
    waiting(spine, "a.csv")
    spine.configure(RENAMED)
    for _ in range(3):
        spine.look(patient=False)
        spine.restart()
    assert spine.states() == ["done"]
    assert [one.message for one in caplog.records if "takes over" in one.message] == [
        "Route levels takes over 1 open message(s) of stock."
    ]
    assert spine.sql("SELECT count(*) FROM attempt WHERE detail LIKE 'taken over%'") == [(1,)]


def test_what_the_new_route_went_out_before_is_held_and_sent_only_when_released(spine: Moving) -> None:
    waiting(spine, "a.csv", "b.csv")
    spine.configure(route("levels"))  # renamed, and what is open was not thought of
    spine.drop("a.csv", b"newer")
    spine.look()
    spine.configure(RENAMED)
    spine.drop("c.csv", b"c")
    spine.look()
    assert spine.states() == ["held", "held", "done", "done"]
    assert spine.out() == {"a.xml": b"newer", "c.xml": b"c"}
    spine.restart()
    spine.look()
    spine.desk().release(2)
    spine.look()
    assert spine.states() == ["held", "done", "done", "done"]
    assert set(spine.filed()) == {"a.csv", "b.csv", "c.csv"}


def test_a_replay_that_waits_is_taken_over_and_goes_out_as_it_was_asked_for(spine: Moving) -> None:
    spine.drop("a.csv", b"a")
    spine.look()
    spine.down = True
    spine.desk().replay(1)
    spine.look(patient=False)
    spine.down = False
    spine.configure(route("levels"))
    spine.drop("b.csv", b"b")
    spine.look()
    spine.configure(RENAMED)
    spine.look(patient=False)
    assert spine.states() == ["done", "done", "done"]


def test_several_routes_move_into_one_and_the_order_of_arrival_is_kept(tmp_path: Path) -> None:
    one, other = route("one", source_folder="in1"), route("other", source_folder="in2")
    spine = Moving(tmp_path, one, other)
    try:
        spine.endpoints["outbox"] = outbox = Failing(spine.outbox)
        outbox.on["put"] = spine.fail
        spine.restart()
        spine.down = True
        for number in range(4):
            spine.drop(f"{number}.csv", b"%d" % number, f"in{number % 2 + 1}")
            spine.look(patient=False)
        spine.configure(route("both", source_folder="in1", moved_from=("one", "other")))
        spine.down = False
        spine.look(patient=False)
        assert spine.sql("SELECT id, seq, state FROM message ORDER BY id") == [
            (number, number, "done") for number in range(1, 5)
        ]
    finally:
        spine.close()


def test_how_old_messages_are_is_known_after_they_are_numbered_anew(spine: Moving) -> None:
    for name in ("a.csv", "b.csv"):
        spine.drop(name, name.encode())
        spine.look()
    spine.desk().replay(1)
    spine.look()
    assert spine.sql("SELECT seq, age FROM message ORDER BY id") == [(1, None), (2, None), (3, 1)]
    spine.configure(route("levels"))
    spine.drop("c.csv", b"c")
    spine.look()
    spine.configure(route("third", source_folder="new", moved_from=("levels", "stock")))
    spine.look()
    assert spine.sql("SELECT seq, age FROM message ORDER BY id") == [(1, None), (2, None), (3, 1), (4, None)]
    assert {name for (name,) in spine.sql("SELECT DISTINCT route FROM message")} == {"third"}
    assert spine.sql("SELECT DISTINCT route FROM temporary_pattern") == [("third",)]


def test_a_chain_of_renames_works(spine: Moving) -> None:
    waiting(spine, "a.csv")
    spine.down = True
    spine.configure(RENAMED)
    spine.look(patient=False)
    spine.configure(route("third", moved_from=("levels",)))
    spine.down = False
    spine.look(patient=False)
    assert spine.states() == ["done"]
    assert spine.journal.moves.old_names(spine.routes) == {"stock": "third", "levels": "third"}


def test_a_chain_that_was_never_applied_in_between_needs_both_names(spine: Moving) -> None:
    waiting(spine, "a.csv")
    spine.configure(route("third", moved_from=("stock", "levels")))
    spine.look(patient=False)
    assert spine.states() == ["done"]


def own(spine: Moving, message: int) -> None:
    found = spine.journal.ledger.message(message)
    assert found is not None
    spine.journal.outgoing.own(found, ["K"])


def test_keys_that_were_exported_go_with_the_route(spine: Moving) -> None:
    waiting(spine, "a.csv")
    own(spine, 1)
    spine.configure(RENAMED)
    spine.look(patient=False)
    assert spine.sql("SELECT route, key, message FROM exported") == [("levels", "K", 1)]


def test_a_key_that_both_routes_have_stays_with_what_was_delivered(spine: Moving) -> None:
    spine.drop("a.csv", b"a")
    spine.look()
    own(spine, 1)
    spine.configure(route("levels"))
    spine.drop("b.csv", b"b")
    spine.look()
    own(spine, 2)
    spine.journal.connection.execute("UPDATE message SET state = 'discarded' WHERE id = 2")
    spine.configure(RENAMED)
    spine.look()
    assert spine.sql("SELECT route, message FROM exported") == [("levels", 1)]


def test_fields_to_mask_are_those_of_the_route_that_takes_over(spine: Moving) -> None:
    waiting(spine, "a.csv")
    spine.configure(replace(RENAMED, log=LogPolicy(redact=("EMAIL",))))
    spine.look(patient=False)
    assert spine.sql("SELECT redact FROM message") == [('["EMAIL"]',)]


def kill(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_is_not_rewritten_yet_goes_to_the_store_of_today(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spine = Moving(tmp_path, route("stock"), stores=(Store("main"), Store("north")))
    try:
        spine.drop("a.csv", b"a")
        with monkeypatch.context() as killed:
            killed.setattr(spine.pipeline, "prepare", kill)
            with pytest.raises(KeyboardInterrupt):
                spine.look()
        assert spine.sql("SELECT store, made_at FROM message") == [("main", None)]
        spine.configure(route("stock", store="north"))
        spine.look(patient=False)
        assert spine.sql("SELECT store, state FROM message") == [("north", "done")]
    finally:
        spine.close()


# -- gone --------------------------------------------------------------------------------------------------------------

OTHER = route("levels")


def test_a_gone_route_is_told_with_its_messages_its_files_and_the_remedy(spine: Moving, caplog: Any) -> None:
    waiting(spine, "a.csv", "b.csv")
    spine.configure(OTHER)
    (told,) = spine.left()
    assert told == (
        "route 'stock' is no longer configured, but 2 messages of it are open (1, 2), made of memory:inbox/in/a.csv, "
        'memory:inbox/in/b.csv. Write moved_from = "stock" in the route that is to carry them, or close them: '
        "cegid-daemon discard 1 2"
    )
    assert spine.notices() == [("route gone", "stock")]
    assert told in caplog.messages
    spine.configure(RENAMED)
    assert spine.left() == []
    assert spine.notices() == []


def test_a_new_file_under_the_name_is_taken(spine: Moving) -> None:
    waiting(spine, "a.csv")
    spine.configure(OTHER)
    spine.look()
    assert len(spine.states()) == 1  # the same file is the affair of the gone route, and told
    spine.drop("a.csv", b"newer")
    spine.look()
    assert spine.sql("SELECT route, state FROM message ORDER BY id") == [("stock", "waiting"), ("levels", "done")]
    assert spine.out() == {"a.xml": b"newer"}
    spine.configure(RENAMED)  # older than what went out, and held for a person
    spine.look(patient=False)
    assert spine.states() == ["held", "done"]
    spine.desk().release(1)  # from its stored bytes
    spine.look(patient=False)
    assert spine.states() == ["done", "done"]


def test_a_new_file_is_taken_where_the_old_one_was_shared_with_a_route_that_is_gone(tmp_path: Path) -> None:
    spine = Moving(tmp_path, route("stock"), route("levels", target_folder="other"))
    try:
        outbox = Failing(spine.outbox)
        outbox.on["put"] = lambda folder, *_: spine.fail() if folder == "out" else None
        spine.endpoints["outbox"] = outbox
        spine.restart()
        waiting(spine, "a.csv")
        assert sorted(spine.states()) == ["delivered", "waiting"]
        spine.configure(route("levels", target_folder="other"))
        spine.look()
        spine.drop("a.csv", b"newer")
        spine.look()
        assert spine.out("other") == {"a.xml": b"newer"}
        spine.look()
        assert sorted(spine.states()) == ["done", "done", "waiting"]
    finally:
        spine.close()


def test_discard_frees_the_name_and_archives_the_file(spine: Moving) -> None:
    waiting(spine, "a.csv", "b.csv")
    spine.configure(OTHER)
    spine.look()
    spine.desk().discard(1)
    spine.desk().discard(2)
    assert spine.notices() == []
    assert spine.left() == []
    assert spine.states() == ["discarded", "discarded"]
    assert spine.lying() == {}
    assert set(spine.filed()) == {"a.csv", "b.csv"}
    spine.drop("a.csv", b"next")
    spine.look()
    assert spine.out() == {"a.xml": b"next"}


@pytest.mark.parametrize("arrived", [False, True])
def test_what_was_put_aside_is_taken_back_or_told_as_arrived_where_the_route_is_gone(
    spine: Moving, arrived: bool
) -> None:
    outbox = spine.endpoints["outbox"]
    assert isinstance(outbox, Failing)
    (outbox.after if arrived else outbox.on)["rename"] = spine.fail  # the answer is lost, or it never came
    waiting(spine)
    spine.drop("a.csv", b"a")
    spine.down = True
    del outbox.on["put"]
    spine.look(patient=False)
    spine.down = False
    assert spine.sql("SELECT state FROM delivery") == [("uploaded",)]
    assert ("a.xml" in spine.out()) is arrived
    spine.configure(OTHER)
    spine.desk().discard(1)
    assert spine.left() == []
    assert spine.left() == []
    assert spine.sql("SELECT state FROM delivery") == [("delivered" if arrived else "cancelled",)]
    assert spine.states() == ["done" if arrived else "discarded"]
    assert [entry.name for entry in outbox.list("out")] == (["a.xml"] if arrived else [])
    assert set(spine.filed()) == {"a.csv"}


def test_a_message_of_a_gone_route_that_was_never_tried_is_discarded_too(spine: Moving) -> None:
    waiting(spine, "a.csv")
    spine.journal.connection.execute("UPDATE message SET state = 'rewritten'")
    with pytest.raises(Refused, match="message 1 is rewritten"):
        spine.desk().discard(1)
    spine.configure(OTHER)
    spine.desk().discard(1)
    assert spine.states() == ["discarded"]


def test_files_of_a_gone_route_are_left_where_its_successor_leaves_them(spine: Moving) -> None:
    waiting(spine, "a.csv")
    spine.configure(route("levels", source_after="leave"))
    spine.desk().discard(1)
    spine.left()
    assert set(spine.lying()) == {"a.csv"}
    spine.look()
    assert spine.states() == ["discarded"]  # it is known by its identity


def test_replay_goes_to_the_route_that_names_it_and_is_refused_without_one(spine: Moving) -> None:
    spine.drop("a.csv", b"a")
    spine.look()
    spine.configure(OTHER)
    with pytest.raises(Refused) as refused:
        spine.desk().replay(1)
    assert 'Write moved_from = "stock" in the route that is to carry it' in refused.value.remedy
    spine.configure(RENAMED)
    spine.desk().replay(1)
    spine.look()
    assert spine.sql("SELECT route, state FROM message ORDER BY id") == [("levels", "done"), ("levels", "done")]


def test_release_of_a_message_that_nothing_would_carry_is_refused(spine: Moving) -> None:
    waiting(spine, "a.csv")
    spine.journal.connection.execute("UPDATE message SET state = 'held'")
    spine.configure(OTHER)
    with pytest.raises(Refused, match="no longer configured") as refused:
        spine.desk().release(1)
    assert "discard 1" in refused.value.remedy


def test_a_delivered_file_of_a_gone_route_is_filed_away(spine: Moving) -> None:
    inbox = Failing(spine.inbox)
    inbox.on["rename"] = lambda *_args, **_more: (_ for _ in ()).throw(Transient("read-only"))
    spine.endpoints["inbox"] = inbox
    spine.restart()
    spine.drop("a.csv", b"a")
    spine.look()
    assert spine.states() == ["delivered"]
    del inbox.on["rename"]
    spine.configure(OTHER)
    spine.left()
    assert spine.states() == ["done"]
    assert set(spine.filed()) == {"a.csv"}


# -- a source that moves -----------------------------------------------------------------------------------------------


def test_a_file_is_archived_where_it_was_taken_after_its_source_moved(spine: Moving, caplog: Any) -> None:
    waiting(spine, "a.csv")
    spine.configure(route("stock", source_folder="new"))
    spine.look(patient=False)
    assert spine.states() == ["done"]
    assert set(spine.filed()) == {"a.csv"}
    assert spine.lying() == {}
    assert not [one for one in caplog.messages if "recovered" in one and "filing" in one]


def test_a_message_discarded_long_after_its_source_moved_has_its_file_archived(spine: Moving) -> None:
    waiting(spine, "a.csv")
    spine.down = True
    spine.configure(route("stock", source_folder="new"))
    spine.look(patient=False)
    spine.look(patient=False)
    spine.desk().discard(1)
    spine.look()
    assert set(spine.filed()) == {"a.csv"}


def test_what_is_to_be_deleted_is_deleted_where_the_source_was_before(spine: Moving) -> None:
    spine.configure(route("stock", source_after="delete"))
    waiting(spine, "a.csv")
    spine.configure(route("stock", source_folder="new", source_after="delete"))
    spine.look(patient=False)
    assert spine.states() == ["done"]
    for _ in range(5):
        spine.left()
        spine.after(minutes=2)
    assert spine.inbox.list("in") == []


def test_a_source_that_is_no_more_leaves_no_notice_behind(spine: Moving) -> None:
    waiting(spine, "a.csv")
    moved_away(spine)
    spine.look(patient=False)
    assert ("not filed away", "memory:elsewhere/in") in spine.notices()
    spine.configure(route("stock", source_folder="new"))
    spine.left()
    assert spine.notices() == []


def moved_away(spine: Moving) -> None:
    """The source endpoint leads to another place now."""
    spine.endpoints["inbox"] = MemoryEndpoint("elsewhere")
    spine.configure(route("stock"))


def test_a_file_that_no_endpoint_leads_to_is_told_and_never_recovered_or_done(spine: Moving, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    waiting(spine, "a.csv")
    moved_away(spine)
    for _ in range(5):
        passed = spine.look(patient=False)
        assert [str(error) for error in passed.faults] == [str(passed.faults[0])]
        assert "memory:inbox is no longer configured" in str(passed.faults[0])
        spine.after(hours=1)
        spine.look()
    assert spine.states() == ["delivered"]
    assert not [one for one in caplog.messages if "recovered" in one and "filing" in one]
    assert ("not filed away", "memory:elsewhere/in") in spine.notices()


def test_a_file_is_filed_away_once_an_endpoint_leads_to_it_again(spine: Moving) -> None:
    waiting(spine, "a.csv")
    moved_away(spine)
    spine.look(patient=False)
    spine.endpoints["old"] = spine.inbox
    spine.restart()
    spine.look()
    assert spine.states() == ["done"]
    assert set(spine.filed()) == {"a.csv"}
    assert spine.notices() == []


def test_discard_ends_a_delivered_message_whose_file_no_endpoint_leads_to(spine: Moving) -> None:
    waiting(spine, "a.csv")
    moved_away(spine)
    spine.look(patient=False)
    with pytest.raises(Refused, match="is delivered"):
        spine.desk({"memory:inbox"}).discard(1)
    spine.desk({"memory:elsewhere"}).discard(1)
    assert spine.states() == ["done"]
    spine.look(patient=False)
    assert spine.notices() == []


def test_a_name_that_waits_on_a_route_that_moved_on_is_free_for_the_next(spine: Moving) -> None:
    waiting(spine, "a.csv")
    spine.down = True
    spine.configure(route("stock", source_folder="new"), route("other"))
    spine.look(patient=False)
    spine.down = False
    spine.drop("a.csv", b"for the other")
    spine.after(seconds=1)
    for source in spine.sources[1:]:
        source.look()
    assert spine.out() == {"a.xml": b"for the other"}


def test_the_same_folder_spelled_another_way_is_the_same_folder(tmp_path: Path) -> None:
    spine = Moving(tmp_path, route("stock", source_after="leave"), route("orders", source_folder="deep/two"))
    try:
        spine.endpoints["outbox"] = outbox = Failing(spine.outbox)
        outbox.on["put"] = spine.fail
        spine.restart()
        spine.drop("left.csv", b"left")
        spine.look()
        spine.down = True
        spine.drop("a.csv", b"a", "deep/two")
        spine.look(patient=False)
        spine.down = False
        deep = MemoryEndpoint("inbox/deep")
        deep.make_folder("two")
        deep.lay("two", "a.csv", b"a")
        known = spine.inbox.stat("deep/two", "a.csv").identity
        deep.stat("two", "a.csv")
        spine.endpoints["deep"] = deep
        spine.configure(
            route("stock", source_after="leave"), route("orders", source_endpoint="deep", source_folder="two")
        )
        assert spine.journal.sources.rehome("memory:inbox/deep", "two") == 1
        (file,) = spine.journal.sources.lying("memory:inbox/deep", "two").values()
        assert (file.name, file.identity, file.filed_folder) == ("a.csv", known, "")
    finally:
        spine.close()


def test_files_that_waited_in_a_folder_nobody_takes_from_any_more_are_forgotten(spine: Moving) -> None:
    spine.drop("a.csv", b"a")
    identity = spine.inbox.list("in")[0].identity
    spine.journal.waiting_files.see("memory:inbox", "old", "x.csv", identity, "empty", "", spine.now)  # type: ignore[arg-type]
    spine.journal.waiting_files.see("memory:inbox", "in", "y.csv", identity, "empty", "", spine.now)  # type: ignore[arg-type]
    spine.left()
    assert [file.name for file in spine.journal.waiting_files.all()] == ["y.csv"]


def test_the_task_rests_where_nothing_is_left_and_looks_often_where_something_is(spine: Moving) -> None:
    assert spine.leftovers.run() > spine.now + timedelta(minutes=1)
    waiting(spine, "a.csv")
    spine.configure(OTHER)
    assert spine.leftovers.run() < spine.now + timedelta(minutes=1)
    spine.desk().discard(1)
    spine.after(seconds=5)
    spine.leftovers.run()
    assert set(spine.filed()) == {"a.csv"}
