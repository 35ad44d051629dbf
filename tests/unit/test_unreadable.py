"""A file that cannot be read holds up those behind it, and is held for a person once they went out before it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from cegid_daemon.cli.running import TOLD_BY_OUTCOME
from cegid_daemon.endpoints.protocol import Abilities
from cegid_daemon.errors import EndpointError, JournalUnavailable, Permanent, Transient
from cegid_daemon.journal.overview import Overview
from cegid_daemon.model import RetryPolicy, WaitReason
from cegid_daemon.once import once
from tests.unit.spine import Failing, Spine, route

Build = Callable[..., Spine]

DENIED = Transient("cannot read the file", why="Permission denied", remedy="Give the right.")
CUT = Transient("cannot read the file", why="the server ended the connection").by_place()


class Broken:
    """Makes the reads of some files of the inbox fail."""

    def __init__(self, spine: Spine, *, remote: bool = False) -> None:
        self.errors: dict[str, EndpointError] = {}
        self.read: list[str] = []
        self._spine = spine
        self._spine.inbox.abilities = Abilities(remote=remote)
        self.endpoint = spine.endpoints["inbox"] = Failing(spine.inbox)
        self.endpoint.on["read"] = self._refuse
        spine.restart()

    def _refuse(self, _folder: str, name: str, _start: int = 0) -> None:
        self.read.append(name)
        if name in self.errors:
            raise self.errors[name]

    def touch(self, name: str) -> None:
        """As chmod does: its ctime changes, and it has to settle again."""
        self._spine.inbox.rename("in", name, "in", "aside", replace=False)
        self._spine.inbox.rename("in", "aside", "in", name, replace=False)


def drop(spine: Spine, *names: str) -> None:
    for name in names:
        spine.drop(f"{name}.csv", name.encode())


@pytest.fixture(params=[False, True], ids=["near", "remote"])
def broken(request: pytest.FixtureRequest, spine: Spine) -> Broken:
    return Broken(spine, remote=request.param)


def test_those_behind_a_file_that_cannot_be_read_wait_and_all_go_in_order(spine: Spine, broken: Broken) -> None:
    drop(spine, "a", "b", "c", "d")
    broken.errors["b.csv"] = DENIED
    sent: list[str] = []
    spine.endpoints["outbox"] = outbox = Failing(spine.outbox)
    outbox.after["rename"] = lambda *args, **_: sent.append(args[3])
    spine.restart()
    for _ in range(4):
        assert len(spine.look().faults) == 1
        spine.after(minutes=1)
    assert sent == ["a.xml"]
    broken.errors.clear()
    assert spine.look().faults == []
    assert sent == ["a.xml", "b.xml", "c.xml", "d.xml"]
    assert spine.journal.waiting_files.all() == []
    assert spine.journal.notices.active() == []


@pytest.mark.parametrize("error", [DENIED, CUT])
def test_a_moment_s_failure_in_a_folder_of_many_batches_changes_no_order(
    spine: Spine, broken: Broken, error: Transient
) -> None:
    names = [f"{number:03}" for number in range(200)]
    drop(spine, *names)
    sent: list[str] = []
    spine.endpoints["outbox"] = outbox = Failing(spine.outbox)
    outbox.after["rename"] = lambda *args, **_: sent.append(args[3])
    spine.restart()
    broken.errors["100.csv"] = error
    spine.look()
    assert sent == [f"{name}.xml" for name in names[:100]]
    assert not any(name > "127.csv" for name in broken.read), "batches behind it are not even read"
    broken.errors.clear()
    spine.look()
    assert sent == [f"{name}.xml" for name in names]


def test_a_file_that_has_to_settle_again_still_holds_up_the_others(spine_of: Build) -> None:
    """It got its rights back: for a second it is not whole, and those behind it went ahead."""
    spine = spine_of(route(source_settle=timedelta(seconds=3)))
    broken = Broken(spine, remote=True)
    drop(spine, "a", "b")
    broken.errors["a.csv"] = DENIED
    spine.look()
    spine.after(seconds=5)
    spine.look()
    broken.errors.clear()
    broken.touch("a.csv")
    assert spine.look().settling == 1
    assert spine.states() == []
    spine.after(seconds=5)
    spine.look()
    assert [row[0] for row in spine.sql("SELECT file_name FROM message ORDER BY id")] == ["a.csv", "b.csv"]
    assert spine.states() == ["done", "done"]


@pytest.mark.parametrize("restarted", [False, True])
def test_after_its_time_it_is_passed_and_held_when_it_is_read(
    spine: Spine, broken: Broken, restarted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    drop(spine, "a", "b")
    broken.errors["a.csv"] = DENIED
    spine.look()
    (notice,) = spine.journal.notices.active()
    assert notice.subject.endswith("in/a.csv")
    assert "Permission denied" in notice.text
    assert "wait for it until 2026-11-23 12:15:00 UTC" in notice.text
    spine.after(minutes=16)
    if restarted:
        spine.restart()
    assert spine.look().delivered == 1
    assert "files behind it go on" in spine.journal.notices.active()[0].text
    assert "files behind it go on" in caplog.text
    if restarted:
        spine.restart()
    broken.errors.clear()
    passed = spine.look()
    ((_, error),) = passed.held.values()
    assert "unreadable" in error.what
    assert "message 2 is held for a person: the file was unreadable when it came" in caplog.text
    assert "1 newer message(s) of inventory went out before" in error.why
    assert spine.out() == {"b.xml": b"b"}
    assert sorted(spine.states()) == ["done", "held"]
    assert spine.journal.waiting_files.all() == []
    assert spine.journal.notices.active() == []
    drop(spine, "c")
    assert spine.look().delivered == 1, "it holds up nobody"
    held = next(message for message, _ in passed.held.values())
    assert Overview(spine.journal.connection).sent_since(held) == 2
    spine.desk().release(held.id)
    spine.look()
    assert spine.states() == ["done", "done", "done"]
    assert "a.csv went out after 1 newer message(s) of route inventory" in caplog.text


def test_one_that_nothing_overtook_goes_out_by_itself_however_late(spine: Spine, broken: Broken) -> None:
    drop(spine, "b", "c")
    broken.errors |= {"b.csv": DENIED, "c.csv": DENIED}
    spine.look()
    spine.after(minutes=20)
    spine.look()
    drop(spine, "a")
    assert spine.look().delivered == 1, "what comes before it in the order of the source overtakes nobody"
    broken.errors.clear()
    assert spine.look().delivered == 2
    assert spine.states() == ["done"] * 3


def test_one_overtaken_by_a_message_that_still_waits_is_held_too(spine: Spine, broken: Broken) -> None:
    drop(spine, "a", "b")
    broken.errors["a.csv"] = DENIED
    spine.look()
    spine.after(minutes=20)
    spine.outbox.drop_folder("out")
    spine.look()
    broken.errors.clear()
    spine.look()
    assert [tuple(row) for row in spine.sql("SELECT file_name, state FROM message ORDER BY id")] == [
        ("b.csv", "waiting"), ("a.csv", "held"),
    ]  # fmt: skip


def test_a_failing_line_holds_up_the_files_as_long_as_it_lasts_but_not_in_silence(spine: Spine, broken: Broken) -> None:
    drop(spine, "a", "b")
    broken.errors["a.csv"] = CUT
    spine.look()
    (waiting,) = spine.journal.waiting_files.all()
    assert (waiting.name, waiting.reason) == ("a.csv", WaitReason.UNREADABLE)
    assert spine.journal.notices.active() == [], "a line that is cut for a moment is nothing to write home about"
    spine.after(hours=2)
    spine.look()
    assert spine.states() == []
    assert "the server ended the connection" in spine.journal.notices.active()[0].text
    spine.after(hours=23)
    assert spine.look().delivered == 1, "after `retry.give_up`, as with a message that cannot be delivered"


@pytest.mark.parametrize("error", [Permanent("no such command"), Transient("input/output error")])
def test_one_file_that_can_never_be_read_blocks_no_route_for_ever(
    spine: Spine, broken: Broken, error: EndpointError
) -> None:
    drop(spine, "a", "b")
    broken.errors["a.csv"] = error
    spine.look()
    spine.after(minutes=15)
    passed = spine.look()
    assert (passed.delivered, [fault.what for fault in passed.faults]) == (1, [error.what])
    assert "The files behind it go on" in passed.faults[0].remedy


def test_many_unreadable_files_share_one_time_of_waiting(spine: Spine, broken: Broken) -> None:
    drop(spine, *"abcdefgh")
    broken.errors |= {f"{name}.csv": DENIED for name in "abcdefg"}
    spine.look()
    spine.after(minutes=16)
    spine.look()
    assert spine.out() == {"h.xml": b"h"}


def test_the_next_file_under_its_name_is_not_late(spine: Spine) -> None:
    broken = Broken(spine, remote=True)
    drop(spine, "a", "b")
    broken.errors["a.csv"] = DENIED
    spine.look()
    spine.after(minutes=20)
    spine.look()
    spine.inbox.remove("in", "a.csv")
    spine.drop("a.csv", b"another file")
    broken.errors.clear()
    spine.look()
    assert spine.out()["a.xml"] == b"another file"


def test_how_long_is_for_the_route_to_say_and_the_longest_counts(spine_of: Build) -> None:
    spine = spine_of(
        route("one", retry=RetryPolicy(unreadable=timedelta(0))),
        route("two", retry=RetryPolicy(unreadable=timedelta(minutes=2)), target_folder="two"),
    )
    broken = Broken(spine)
    drop(spine, "a", "b")
    broken.errors["a.csv"] = DENIED
    spine.look()
    assert spine.states() == []
    spine.after(minutes=2)
    spine.look()
    assert spine.states() == ["done", "done"]


def test_a_journal_that_fails_at_the_claim_forgets_no_lateness(
    spine: Spine, broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(spine, "a", "b")
    broken.errors["a.csv"] = DENIED
    spine.look()
    spine.after(minutes=20)
    spine.look()
    broken.errors.clear()
    with monkeypatch.context() as patched:

        def full(*_: object) -> None:
            raise JournalUnavailable("disk full")

        patched.setattr(spine.journal.claims.__class__, "claim", full)
        spine.look()
    assert spine.states() == ["done"]
    spine.look()
    assert sorted(spine.states()) == ["done", "held"]


def test_a_clock_that_was_set_back_does_not_block_for_years(spine: Spine, broken: Broken) -> None:
    drop(spine, "a", "b")
    broken.errors["a.csv"] = DENIED
    spine.look()
    spine.after(days=-700)
    spine.restart()
    spine.look()
    assert spine.states() == ["done"]


def test_once_names_it_and_what_is_held(spine: Spine, broken: Broken, caplog: pytest.LogCaptureFixture) -> None:
    drop(spine, "a", "b")
    broken.errors["a.csv"] = DENIED
    told = once(spine.sources, clock=lambda: spine.now, wait=lambda _: True).faults
    assert len(told) == 1
    assert "Permission denied" in told[0]
    assert "The files behind it wait for it until" in told[0], "else nobody knows why b was not taken"
    spine.after(minutes=20)
    spine.look()
    broken.errors.clear()
    told = once(spine.sources, clock=lambda: spine.now, wait=lambda _: True).faults
    assert [fault.split(":")[0] for fault in told] == ["message 2 is held"]
    warned = {record.name for record in caplog.records if record.levelname == "WARNING"}
    assert warned <= set(TOLD_BY_OUTCOME), "what once prints is one line a fault"
