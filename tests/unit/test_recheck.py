"""Files that change after they were taken: noticed where they lie, sent whole or held, and never in silence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from cegid_daemon.endpoints.memory import _File
from cegid_daemon.endpoints.protocol import Abilities
from cegid_daemon.errors import JournalUnavailable
from cegid_daemon.model import Direction, Route
from tests.unit.spine import Spine, route

Build = Callable[..., Spine]
DAY = "in/processed/2026-11-23"


def export(name: str = "orders", **changes: object) -> Route:
    return replace(route(name, **changes), direction=Direction.EXPORT)


def write_on(spine: Spine, folder: str, name: str, body: bytes) -> None:
    """What a sender does that still holds the file open: the same file, other bytes, a later time."""
    files = spine.inbox._folder(folder)
    tick = next(spine.inbox._ticks)
    identity = replace(files[name].identity, size=len(body), mtime_ns=tick, ctime_ns=tick)
    files[name] = _File(body, identity)


@pytest.fixture
def taken(spine: Spine) -> Spine:
    """A spine that has taken a file and filed it away, where it may yet change."""
    spine.drop("S.csv", b"1")
    spine.look()
    return spine


@pytest.fixture
def deleting(spine_of: Build, monkeypatch: pytest.MonkeyPatch) -> Spine:
    """A spine that is to delete the file it has taken, where nobody can tell whether it is still being written."""
    spine = spine_of(route(source_after="delete"))
    monkeypatch.setattr(spine.inbox, "has_writer", lambda *_: None)
    spine.drop("S.csv", b"1")
    spine.look()
    return spine


def settle(spine: Spine, looks: int = 4) -> None:
    for _ in range(looks):
        spine.look()
        spine.after(seconds=2)


def bodies(spine: Spine) -> list[bytes]:
    """What was sent, in order."""
    found = spine.sql("SELECT p.payload FROM part p JOIN delivery d ON d.part = p.id WHERE d.state = 'delivered' "
                      "ORDER BY p.message")  # fmt: skip
    return [b"".join(spine.journal.payloads.read(payload)) for (payload,) in found]


def watched(spine: Spine) -> int:
    return int(spine.sql("SELECT count(*) FROM source WHERE recheck_until IS NOT NULL")[0][0])


@pytest.mark.parametrize("seconds", [1, 9, 29, 60])
def test_a_file_that_grows_in_the_archive_is_sent_whole(
    spine: Spine, seconds: int, caplog: pytest.LogCaptureFixture
) -> None:
    spine.drop("S.csv", b"row 1")
    spine.look()
    spine.after(seconds=seconds)
    write_on(spine, DAY, "S.csv", b"row 1, row 2")
    settle(spine, 40)
    assert (bodies(spine), spine.states()) == ([b"row 1", b"row 1, row 2"], ["done", "done"])
    assert spine.filed() == {"S.csv": b"row 1, row 2"}
    assert len([line for line in caplog.messages if "changed after message 1 was made of it" in line]) == 1
    assert "5 bytes then, 12 now" in spine.sql("SELECT detail FROM attempt WHERE message = 2 AND step = 'take'")[0][0]


def test_a_file_that_grows_again_and_again_is_sent_each_time_it_comes_to_rest(spine: Spine) -> None:
    spine.drop("S.csv", b"1")
    settle(spine)
    for body in (b"12", b"123"):
        write_on(spine, DAY, "S.csv", body)
        settle(spine, 15)
    assert bodies(spine) == [b"1", b"12", b"123"]
    spine.after(minutes=2)
    spine.look()
    assert watched(spine) == 0


def test_a_change_is_taken_when_it_is_quiet_and_its_writer_has_closed_it(taken: Spine) -> None:
    taken.inbox.being_written.add("S.csv")
    write_on(taken, DAY, "S.csv", b"12")
    settle(taken, 10)
    write_on(taken, DAY, "S.csv", b"123")
    settle(taken, 40)
    assert bodies(taken) == [b"1"]
    taken.inbox.being_written.clear()
    settle(taken, 40)
    assert bodies(taken) == [b"1", b"123"]


def test_a_restart_goes_on_with_it(taken: Spine) -> None:
    taken.close()
    write_on(taken, DAY, "S.csv", b"12")
    taken.after(hours=5)
    taken.start()
    settle(taken)
    assert bodies(taken) == [b"1", b"12"]


def test_a_file_is_no_longer_looked_at_after_a_minute_and_a_bit(taken: Spine) -> None:
    assert watched(taken) == 1
    taken.after(seconds=60)
    taken.look()
    assert watched(taken) == 1
    taken.after(seconds=11)
    taken.look()
    assert watched(taken) == 0


def test_a_date_alone_is_no_change(taken: Spine) -> None:
    write_on(taken, DAY, "S.csv", b"1")
    settle(taken, 40)
    assert (bodies(taken), watched(taken)) == ([b"1"], 0)


def test_a_file_that_is_taken_away_from_the_archive_is_no_change(taken: Spine) -> None:
    taken.inbox.remove(DAY, "S.csv")
    taken.after(seconds=3)
    passed = taken.look()
    assert (passed.faults, taken.states(), watched(taken)) == ([], ["done"], 0)


def test_half_a_file_that_failed_and_is_finished_among_the_failed_is_sent(spine: Spine) -> None:
    spine.drop("S.csv", b"BAD half")
    spine.look()
    assert spine.states() == ["failed"]
    write_on(spine, "in/failed", "S.csv", b"whole")
    settle(spine)
    assert (bodies(spine), spine.states()) == ([b"whole"], ["failed", "done"])


def test_the_next_file_may_lie_under_the_name_meanwhile(taken: Spine) -> None:
    taken.outbox.drop_folder("out")
    taken.drop("S.csv", b"next")
    taken.look()
    write_on(taken, DAY, "S.csv", b"12")
    settle(taken)
    taken.outbox.make_folder("out")
    settle(taken, 20)
    assert (bodies(taken), taken.states()) == ([b"1", b"next"], ["done", "done", "held"]), "it comes late"


def test_a_change_that_newer_files_overtook_is_held(spine: Spine) -> None:
    spine.drop("S1.csv", b"1")
    spine.look()
    write_on(spine, DAY, "S1.csv", b"12")
    spine.drop("S2.csv", b"newer")
    spine.look()
    settle(spine)
    assert (bodies(spine), spine.states()) == ([b"1", b"newer"], ["done", "done", "held"])


def test_an_export_that_could_go_out_twice_is_held_however_often_it_grows(spine_of: Build) -> None:
    spine = spine_of(export())
    spine.drop("O.csv", b"order 1")
    settle(spine)
    for body in (b"order 1, order 2", b"order 1, order 2, order 3"):
        write_on(spine, DAY, "O.csv", body)
        settle(spine, 15)
    assert (bodies(spine), spine.states()) == ([b"order 1"], ["done", "held", "held"])
    assert "its orders may have gone out with message" in spine.sql("SELECT error FROM message WHERE id = 3")[0][0]
    spine.drop("P.csv", b"order 4")
    settle(spine)
    assert bodies(spine) == [b"order 1", b"order 4"], "those behind go on"
    spine.desk().release(3)
    settle(spine)
    assert bodies(spine)[1] == b"order 1, order 2, order 3"


def test_an_export_with_unique_records_is_sent(spine_of: Build) -> None:
    spine = spine_of(export(source_unique="r.OrderID"))
    spine.drop("O.csv", b"order 1")
    settle(spine)
    write_on(spine, DAY, "O.csv", b"order 1, order 2")
    settle(spine, 40)
    assert spine.states() == ["done", "done"]


def test_an_export_of_which_nothing_went_out_is_sent(spine_of: Build) -> None:
    spine = spine_of(export())
    spine.drop("O.csv", b"BAD half an order")
    settle(spine)
    write_on(spine, "in/failed", "O.csv", b"order 1")
    settle(spine, 40)
    assert bodies(spine) == [b"order 1"]


@pytest.mark.parametrize("make", [route, export])
def test_a_file_that_grows_before_it_is_filed_away_is_taken_again_from_where_it_lies(
    spine_of: Build, make: Callable[..., Route]
) -> None:
    spine = spine_of(make(source_match=("*.csv",)))
    spine.inbox.lay("in", "processed", b"in the way")
    spine.drop("S.csv", b"1")
    spine.look()
    write_on(spine, "in", "S.csv", b"12")
    spine.inbox.remove("in", "processed")
    settle(spine, 8)
    sent = [b"1", b"12"] if make is route else [b"1"]
    assert (bodies(spine), spine.lying()) == (sent, {})
    assert spine.states() == ["done", "done" if make is route else "held"]


@pytest.mark.parametrize(
    "body", [b"<o>1</o><o>2</o></all>", b"<o>1</o></all>", b"<all/>"], ids=["more", "touched", "less"]
)
def test_an_export_written_to_before_it_is_filed_away_is_held_whatever_it_begins_with(
    spine_of: Build, body: bytes
) -> None:
    spine = spine_of(export(source_match=("*.csv",)))
    spine.inbox.lay("in", "processed", b"in the way")
    spine.drop("S.csv", b"<o>1</o></all>")
    spine.look()
    write_on(spine, "in", "S.csv", body)
    spine.inbox.remove("in", "processed")
    settle(spine, 8)
    assert (bodies(spine), spine.states()) == ([b"<o>1</o></all>"], ["done", "held"])
    assert "its orders may have gone out with message 1" in spine.sql("SELECT error FROM message WHERE id = 2")[0][0]


def test_a_file_number_that_comes_again_later_is_no_change(spine_of: Build) -> None:
    spine = spine_of(export(source_match=("*.csv",)))
    spine.inbox.lay("in", "processed", b"in the way")
    spine.drop("S.csv", b"order 1")
    spine.look()
    number = spine.inbox._folder("in")["S.csv"].identity.inode
    for body in (b"2", b"3"):  # the first takes the place of `order 1`, the second comes when that is filed away
        spine.drop("S.csv", body)
        if body == b"3":
            file = spine.inbox._folder("in")["S.csv"]
            spine.inbox._folder("in")["S.csv"] = _File(file.body, replace(file.identity, inode=number))
        spine.inbox._folder("in").pop("processed", None)
        settle(spine, 8)
    assert (bodies(spine), set(spine.states())) == ([b"order 1", b"2", b"3"], {"done"})


def test_the_next_export_under_the_name_is_no_growth(spine_of: Build) -> None:
    spine = spine_of(export(source_match=("*.csv",)))
    spine.inbox.lay("in", "processed", b"in the way")
    spine.drop("S.csv", b"order 1")
    spine.look()
    spine.drop("S.csv", b"order 2, order 3")
    spine.inbox.remove("in", "processed")
    settle(spine, 8)
    assert bodies(spine) == [b"order 1", b"order 2, order 3"]


def test_a_left_export_that_grows_is_held(spine_of: Build) -> None:
    spine = spine_of(export(source_after="leave"))
    for body in (b"1", b"12", b"123", b"9"):
        spine.drop("S.csv", body)
        settle(spine)
    assert (bodies(spine), spine.states()) == ([b"1", b"9"], ["done", "held", "held", "done"])


def test_a_file_to_be_deleted_is_kept_for_a_minute_where_nobody_can_tell_who_writes(
    deleting: Spine,
) -> None:
    spine = deleting
    (name,) = spine.lying()
    assert (spine.states(), name.endswith(".gone")) == (["done"], True)
    spine.after(seconds=71)
    spine.look()
    assert (spine.lying(), watched(spine)) == ({}, 0)


def test_a_file_to_be_deleted_is_kept_until_it_is_closed(spine_of: Build) -> None:
    spine = spine_of(route(source_after="delete", source_settle_open=False))
    spine.drop("S.csv", b"1")
    endpoint = spine.inbox
    endpoint.has_writer = lambda *_: True
    spine.look()
    spine.after(minutes=5)
    spine.look()
    assert len(spine.lying()) == 1
    endpoint.has_writer = lambda *_: False
    spine.after(minutes=1)
    spine.look()
    assert spine.lying() == {}


def test_a_file_on_a_server_is_deleted_at_once(spine_of: Build) -> None:
    spine = spine_of(route(source_after="delete"))
    spine.inbox.abilities = Abilities(remote=True)
    spine.inbox.has_writer = lambda *_: None
    spine.restart()
    spine.drop("S.csv", b"1")
    spine.look()
    assert (spine.lying(), watched(spine)) == ({}, 0)


def test_a_file_to_be_deleted_that_grows_is_sent_whole_and_then_deleted(
    deleting: Spine,
) -> None:
    spine = deleting
    (name,) = spine.lying()
    write_on(spine, "in", name, b"12")
    settle(spine, 4)
    assert bodies(spine) == [b"1", b"12"]
    settle(spine, 40)
    assert (spine.lying(), watched(spine), spine.states()) == ({}, 0, ["done", "done"])


def test_once_sees_a_change_at_once_and_waits_until_it_is_quiet(spine_of: Build) -> None:
    spine = spine_of(route(source_settle=timedelta(seconds=3)))
    spine.drop("S.csv", b"1")
    spine.after(minutes=1)
    spine.once()
    write_on(spine, DAY, "S.csv", b"12")
    outcome, _ = spine.once()
    assert (outcome.well, bodies(spine)) == (True, [b"1", b"12"])


def test_remote_files_are_looked_at_twice(spine: Spine) -> None:
    spine.inbox.abilities = Abilities(remote=True)
    spine.restart()
    asked: list[str] = []
    spine.drop("S.csv", b"1")
    spine.look()
    stat = spine.inbox.stat
    spine.inbox.stat = lambda folder, name: asked.append(name) or stat(folder, name)
    for _ in range(40):
        spine.after(seconds=5)
        spine.look()
    assert asked == ["S.csv", "S.csv"]


def test_routes_that_share_a_source_each_get_the_change(spine_of: Build) -> None:
    spine = spine_of(route("a"), route("b"))
    spine.drop("S.csv", b"1")
    settle(spine)
    write_on(spine, DAY, "S.csv", b"12")
    settle(spine, 10)
    assert sorted(bodies(spine)) == [b"1", b"1", b"12", b"12"]


def test_a_change_of_a_file_whose_routes_are_gone_is_reported(taken: Spine, caplog: pytest.LogCaptureFixture) -> None:
    taken.sql("UPDATE message SET route = 'gone'")
    write_on(taken, DAY, "S.csv", b"12")
    settle(taken)
    assert "S.csv changed after it was taken, and its routes are gone" in caplog.text
    assert [notice.kind for notice in taken.journal.notices.active()] == ["changed file"]


def test_a_file_that_is_still_open_is_looked_at_until_it_is_closed(taken: Spine) -> None:
    taken.inbox.being_written.add("S.csv")
    taken.after(minutes=10)
    taken.look()
    assert watched(taken) == 1
    write_on(taken, DAY, "S.csv", b"12")
    taken.inbox.being_written.clear()
    settle(taken, 40)
    assert bodies(taken) == [b"1", b"12"]


def test_a_clock_that_was_ahead_does_not_put_it_off(spine: Spine) -> None:
    spine.after(days=900)
    spine.drop("S.csv", b"1")
    spine.look()
    spine.after(days=-900)
    write_on(spine, "in/processed/2029-05-11", "S.csv", b"12")
    settle(spine)
    assert bodies(spine) == [b"1", b"12"]


def test_a_check_that_cannot_be_written_down_is_made_again(taken: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
    write_on(taken, DAY, "S.csv", b"12")

    def full(*_: object) -> None:
        raise JournalUnavailable("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(taken.journal.claims.__class__, "claim", full)
        settle(taken)
    settle(taken)
    assert bodies(taken) == [b"1", b"12"]
    assert taken.sql("SELECT count(*) FROM payload WHERE sealed = 0") == [(0,)]
