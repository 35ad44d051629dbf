"""Files that stay where they are: taken once as they are, and again only when they say something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from cegid_daemon.endpoints.protocol import Abilities
from tests.unit.spine import Spine, route

Build = Callable[..., Spine]


@pytest.fixture(params=[False, True], ids=["local", "remote"])
def spine(spine_of: Build, request: pytest.FixtureRequest) -> Spine:
    built = spine_of(route(source_after="leave"))
    built.inbox.abilities = Abilities(remote=request.param)
    built.restart()
    return built


def bodies(spine: Spine) -> list[bytes]:
    """What was sent, in order."""
    found = spine.sql("SELECT payload FROM part ORDER BY message")
    return [b"".join(spine.journal.payloads.read(payload)) for (payload,) in found]


def test_the_same_bytes_under_another_date_are_not_sent_again(spine: Spine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for _ in range(3):
        spine.drop("S.csv", b"one")
        spine.look()
        spine.look()
    assert (bodies(spine), spine.lying()) == ([b"one"], {"S.csv": b"one"})
    assert len([line for line in caplog.messages if "not sent again" in line]) == 2, "read once for each change"


def test_a_file_that_was_taken_away_and_restored_is_not_sent_again(spine: Spine) -> None:
    spine.drop("S.csv", b"one")
    spine.look()
    spine.inbox.remove("in", "S.csv")
    spine.look()
    spine.restart()
    spine.drop("S.csv", b"one")
    spine.look()
    assert bodies(spine) == [b"one"]


def test_only_the_last_content_counts(spine: Spine) -> None:
    for body in (b"one", b"two", b"one", b"one"):
        spine.drop("S.csv", body)
        spine.look()
    assert bodies(spine) == [b"one", b"two", b"one"]


def test_an_older_content_that_comes_back_with_its_old_date_is_sent(spine: Spine) -> None:
    """A server tells size and time only: the file was taken for one that had been sent."""
    folder = spine.inbox._folder("in")
    spine.drop("S.csv", b"one")
    old = folder["S.csv"]
    spine.look()
    spine.drop("S.csv", b"two")
    spine.look()
    folder["S.csv"] = old
    spine.look()
    assert bodies(spine) == [b"one", b"two", b"one"]


def test_the_same_bytes_under_another_name_are_another_file(spine: Spine) -> None:
    spine.drop("S.csv", b"one")
    spine.drop("T.csv", b"one")
    spine.look()
    assert bodies(spine) == [b"one", b"one"]


def test_a_file_that_failed_is_tried_again_when_its_sender_touches_it_and_not_for_its_rights(spine: Spine) -> None:
    spine.drop("S.csv", b"BAD")
    spine.look()
    file = spine.inbox._folder("in")["S.csv"]
    rights = replace(file.identity, ctime_ns=file.identity.ctime_ns + 1)
    spine.inbox._folder("in")["S.csv"] = replace(file, identity=rights)
    spine.look()
    assert spine.states() == ["failed"]
    spine.drop("S.csv", b"BAD")
    spine.look()
    assert spine.states() == ["failed", "failed"]


def test_if_any_change_counts_the_same_bytes_are_sent_again(spine_of: Build) -> None:
    spine = spine_of(route(source_after="leave", source_leave_changed="any"))
    for _ in range(3):
        spine.drop("S.csv", b"one")
        spine.look()
    assert bodies(spine) == [b"one"] * 3


def test_routes_that_share_a_source_see_a_left_file_once(spine_of: Build) -> None:
    spine = spine_of(route("a", source_after="leave"), route("b", source_after="leave"))
    for _ in range(2):
        spine.drop("S.csv", b"one")
        spine.look()
    assert spine.states() == ["done", "done"]


def test_a_file_that_is_vouched_for_is_no_exception(spine: Spine) -> None:
    for _ in range(2):
        spine.drop("S.csv", b"one")
        listed = spine.inbox.stat("in", "S.csv")
        assert listed is not None
        spine.sources[0].vouch("S.csv", listed.identity)
        spine.look()
    assert bodies(spine) == [b"one"]
