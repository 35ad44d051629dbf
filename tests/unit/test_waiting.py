"""Files that come empty and are filled later: what waits, what goes on, and what is held because it comes late."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from cegid_daemon.endpoints.protocol import Abilities
from cegid_daemon.model import Identity, State, WaitReason
from cegid_daemon.waiting import forget_elsewhere
from tests.unit.spine import Spine, route

Build = Callable[..., Spine]


@pytest.fixture
def spine(spine_of: Build) -> Spine:
    """Its files settle at once, but for empty ones; their times say nothing, as those of remote places."""
    built = spine_of(route())
    built.inbox.abilities = Abilities(remote=True)
    built.restart()
    return built


def waiting(spine: Spine) -> dict[str, WaitReason]:
    return {file.name: file.reason for file in spine.journal.waiting_files.all()}


def test_an_empty_file_waits_and_is_taken_when_it_is_filled(spine: Spine) -> None:
    spine.drop("STOCK.csv", b"")
    passed = spine.look()
    assert (passed.claimed, passed.settling, waiting(spine)) == (0, 0, {"STOCK.csv": WaitReason.EMPTY})
    assert ["empty" in str(fault) for fault in passed.faults] == [True]
    spine.after(seconds=4)
    spine.drop("STOCK.csv", b"rows")
    assert spine.look().delivered == 1
    assert (spine.out(), waiting(spine)) == ({"STOCK.xml": b"rows"}, {})


def test_a_file_that_stays_empty_is_taken_as_one(spine: Spine) -> None:
    spine.drop("STOCK.csv", b"")
    spine.look()
    spine.after(minutes=9, seconds=59)
    assert spine.look().claimed == 0
    spine.after(seconds=1)
    assert spine.look().claimed == 1
    assert waiting(spine) == {}


def test_how_long_a_file_was_empty_survives_a_restart(spine: Spine) -> None:
    spine.drop("STOCK.csv", b"")
    spine.look()
    spine.after(minutes=9)
    spine.restart()
    assert spine.look().claimed == 0
    spine.after(minutes=1)
    spine.restart()
    assert spine.look().claimed == 1


def test_an_empty_file_is_logged_once(spine: Spine, caplog: pytest.LogCaptureFixture) -> None:
    spine.drop("STOCK.csv", b"")
    for _ in range(3):
        spine.look()
        spine.after(seconds=30)
    assert len([line for line in caplog.messages if "STOCK.csv: empty" in line]) == 1


def test_an_empty_file_that_is_taken_away_waits_no_longer(spine: Spine) -> None:
    spine.drop("STOCK.csv", b"")
    spine.look()
    spine.inbox.remove("in", "STOCK.csv")
    assert (spine.look().faults, waiting(spine)) == ([], {})


def test_files_behind_an_empty_one_go_on_and_it_is_held_when_it_is_filled(spine: Spine) -> None:
    spine.drop("STOCK1.csv", b"")
    spine.drop("STOCK2.csv", b"newer")
    assert spine.look().delivered == 1
    spine.drop("STOCK1.csv", b"older")
    passed = spine.look()
    assert (passed.delivered, spine.states(), waiting(spine)) == (0, ["done", "held"], {})
    ((message, error),) = passed.held.values()
    assert message.file_name == "STOCK1.csv"
    assert "newer files have gone out since" in str(error)
    spine.drop("STOCK3.csv", b"third")
    assert spine.look().delivered == 1, "it blocks nobody"
    spine.desk().release(message.id)
    spine.look()
    assert spine.out()["STOCK1.xml"] == b"older"


def test_what_did_not_go_out_did_not_overtake(spine: Spine) -> None:
    spine.drop("STOCK1.csv", b"")
    spine.drop("STOCK2.csv", b"BAD")
    spine.drop("STOCK3.csv", b"NONE")
    spine.look()
    spine.drop("STOCK1.csv", b"rows")
    assert spine.look().delivered == 1


def test_that_a_file_came_before_others_survives_a_restart(spine: Spine) -> None:
    spine.drop("STOCK1.csv", b"")
    spine.drop("STOCK2.csv", b"newer")
    spine.look()
    spine.restart()
    spine.drop("STOCK1.csv", b"older")
    spine.look()
    assert spine.states() == ["done", "held"]


def test_an_empty_file_with_its_marker_or_vouched_for_is_whole(spine_of: Build) -> None:
    spine = spine_of(route("marked", source_marker=".ok"), route("site", source_folder="site"))
    spine.inbox.abilities = Abilities(remote=True)
    spine.restart()
    spine.drop("A.csv", b"")
    spine.drop("A.csv.ok", b"")
    spine.drop("B.csv", b"", "site")
    vouched = spine.inbox.stat("site", "B.csv")
    assert vouched is not None
    spine.sources[1].vouch("B.csv", vouched.identity)
    assert [source.look().claimed for source in spine.sources] == [1, 1]


def test_a_file_that_stayed_empty_while_newer_ones_went_out_is_not_held(spine: Spine) -> None:
    spine.drop("STOCK1.csv", b"")
    spine.drop("STOCK2.csv", b"newer")
    spine.look()
    spine.after(minutes=10)
    assert spine.look().claimed == 1
    assert spine.states() == ["done", "done"]


def test_that_a_late_file_is_held_stands_in_the_log(spine: Spine, caplog: pytest.LogCaptureFixture) -> None:
    spine.drop("STOCK1.csv", b"")
    spine.drop("STOCK2.csv", b"newer")
    spine.look()
    spine.drop("STOCK1.csv", b"older")
    spine.look()
    told = [record.getMessage() for record in caplog.records if "is held for a person" in record.getMessage()]
    assert [("message 2" in one, "STOCK1.csv" in one, "release" in one) for one in told] == [(True, True, True)]


def test_routes_that_share_a_source_are_all_held(spine_of: Build) -> None:
    spine = spine_of(route("a"), route("b"))
    spine.drop("STOCK1.csv", b"")
    spine.inbox.abilities = Abilities(remote=True)
    spine.restart()
    spine.drop("STOCK2.csv", b"newer")
    spine.look()
    spine.drop("STOCK1.csv", b"older")
    spine.look()
    assert spine.states() == ["done", "done", "held", "held"]


def test_a_source_beside_in_the_same_folder_keeps_its_waiting_files(spine_of: Build) -> None:
    spine = spine_of(route("stock", source_match=("STOCK*",)), route("art", source_match=("ART*",)))
    spine.inbox.abilities = Abilities(remote=True)
    spine.restart()
    spine.drop("STOCK.csv", b"")
    spine.drop("ART.csv", b"")
    spine.look()
    assert set(waiting(spine)) == {"STOCK.csv", "ART.csv"}
    spine.inbox.remove("in", "ART.csv")
    spine.look()
    assert set(waiting(spine)) == {"STOCK.csv"}


def test_once_reports_an_empty_file_and_does_not_wait_for_it(spine_of: Build) -> None:
    spine = spine_of(route(source_settle=timedelta(seconds=1)))
    spine.inbox.abilities = Abilities(remote=True)
    spine.restart()
    spine.drop("STOCK1.csv", b"")
    spine.drop("STOCK2.csv", b"rows")
    outcome, waited = spine.once()
    assert (outcome.delivered, waited, outcome.well) == (1, timedelta(seconds=1), False)
    assert ["STOCK1.csv" in fault and "empty" in fault for fault in outcome.faults] == [True]


def test_a_claim_that_is_rolled_back_forgets_nothing(spine: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
    spine.drop("STOCK1.csv", b"")
    spine.drop("STOCK2.csv", b"newer")
    spine.look()
    spine.drop("STOCK1.csv", b"older")

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(spine.pipeline.rewriting, "began", broken)
        patched.setattr(spine.journal.claims.__class__, "claim", broken)
        with pytest.raises(KeyboardInterrupt):
            spine.look()
    assert waiting(spine) == {"STOCK1.csv": WaitReason.EMPTY}
    spine.look()
    assert spine.journal.ledger.held_aside(["inventory"])[0].state is State.HELD


def test_files_of_folders_that_nothing_is_taken_from_any_more_are_forgotten(spine: Spine) -> None:
    spine.drop("STOCK.csv", b"")
    spine.look()
    gone = spine.journal.waiting_files.see("file:/x", "old", "A.csv", Identity(0), WaitReason.OPEN, "", spine.now)
    spine.journal.notices.report("open file", "file:/x/old/A.csv", "open", spine.now)
    forget_elsewhere(spine.journal, {(spine.inbox.where, "in")})
    assert (gone.name, set(waiting(spine)), spine.journal.notices.active()) == ("A.csv", {"STOCK.csv"}, [])


def test_many_files_that_come_empty_and_go_again_are_written_down_in_a_few_transactions(spine: Spine) -> None:
    names = [f"S{number:03}.csv" for number in range(300)]
    for name in names:
        spine.drop(name, b"")
    statements: list[str] = []
    spine.journal.connection._raw.set_trace_callback(statements.append)
    spine.look()
    assert len(waiting(spine)) == 300
    for name in names:
        spine.inbox.remove("in", name)
    spine.look()
    assert waiting(spine) == {}
    assert sum(one.startswith("COMMIT") for one in statements) < 20
    whole_folder = [one for one in statements if "FROM waiting_file WHERE" in one and "name =" not in one]
    assert len(whole_folder) < 5  # each of them reads as many rows as files wait
