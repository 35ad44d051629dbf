"""Delivered exactly once, when folders vanish, names are taken, endpoints change and people decide."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta

import pytest

from cegid_daemon.endpoints.memory import MemoryEndpoint
from cegid_daemon.endpoints.protocol import Abilities
from cegid_daemon.errors import Absent, Barred, Permanent, Refused, Transient, Unsure
from cegid_daemon.model import RetryPolicy
from tests.unit.spine import Failing, Spine, route

Build = Callable[..., Spine]


@pytest.fixture(params=[False, True], ids=["one by one", "together"])
def together(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def failing(spine: Spine) -> Failing:
    endpoint = spine.endpoints["outbox"] = Failing(spine.outbox)
    spine.restart()
    return endpoint


def drop_three(spine: Spine) -> None:
    for number in range(3):
        spine.drop(f"{number}.csv", b"%d" % number)


ALL = {"0.xml": b"0", "1.xml": b"1", "2.xml": b"2"}


def test_a_folder_that_vanishes_between_putting_aside_and_renaming_loses_nothing(spine: Spine) -> None:
    drop_three(spine)
    endpoint = failing(spine)
    endpoint.on["rename"] = lambda *_, **__: spine.outbox.drop_folder("out")
    spine.look()
    endpoint.on.clear()
    spine.outbox.make_folder("out")
    spine.after(minutes=1)
    spine.look()
    assert spine.out() == ALL
    assert spine.states() == ["done"] * 3


def test_a_folder_that_vanishes_with_its_temporaries_while_the_daemon_is_down_makes_them_unsure(spine: Spine) -> None:
    drop_three(spine)
    endpoint = failing(spine)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    endpoint.on["rename"] = die
    with pytest.raises(KeyboardInterrupt):
        spine.look()
    endpoint.on.clear()
    spine.outbox.drop_folder("out")
    spine.restart()
    spine.look()
    assert spine.states() == ["waiting", "rewritten", "rewritten"]
    spine.outbox.make_folder("out")
    for message in (1, 2, 3):
        spine.after(minutes=20)
        spine.look()
        assert spine.states()[message - 1] == "unsure", "nobody can tell, so a person is asked"
        spine.desk().release(message)
    spine.look()
    assert (spine.out(), spine.states()) == (ALL, ["done"] * 3)


def test_a_folder_made_again_while_the_daemon_is_down_makes_what_was_put_aside_in_the_old_one_unsure(
    spine: Spine,
) -> None:
    """Or the bare mount point of a share that is not mounted yet: a temporary missing there was not renamed there."""
    drop_three(spine)
    endpoint = failing(spine)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    endpoint.on["rename"] = die
    with pytest.raises(KeyboardInterrupt):
        spine.look()
    endpoint.on.clear()
    spine.outbox.drop_folder("out")
    spine.outbox.make_folder("out")
    spine.restart()
    for message in (1, 2, 3):
        spine.look()
        assert spine.states()[message - 1] == "unsure"
        spine.desk().release(message)
    spine.look()
    assert (spine.out(), spine.states()) == (ALL, ["done"] * 3)


def test_a_folder_taken_away_right_after_the_rename_took_the_delivery_with_it(spine: Spine) -> None:
    spine.drop("0.csv", b"0")
    endpoint = failing(spine)
    endpoint.after["rename"] = lambda *_, **__: spine.outbox.drop_folder("out")
    spine.look()
    assert spine.states() == ["done"]


def test_a_rename_that_may_have_happened_is_asked_of_the_temporary(spine: Spine) -> None:
    drop_three(spine)
    endpoint = failing(spine)

    def lose_answer(*_: object, **__: object) -> None:
        endpoint.after.clear()
        raise Transient("the answer was lost")

    endpoint.after["rename"] = lose_answer
    spine.look()
    assert spine.out()["0.xml"] == b"0"
    spine.outbox.remove("out", "0.xml")
    spine.after(minutes=1)
    spine.look()
    assert spine.out() == {"1.xml": b"1", "2.xml": b"2"}, "0 is not sent a second time"
    assert spine.states() == ["done"] * 3


def test_a_folder_under_the_final_name_is_waited_out(spine: Spine) -> None:
    spine.outbox.make_folder("out/0.xml")
    spine.drop("0.csv", b"0")
    spine.look()
    assert spine.states() == ["waiting"]
    spine.outbox.drop_folder("out/0.xml")
    spine.after(minutes=1)
    spine.look()
    assert spine.out() == {"0.xml": b"0"}


def test_nothing_goes_before_a_message_that_a_folder_keeps_from_its_name(spine: Spine) -> None:
    spine.outbox.make_folder("out/1.xml")
    drop_three(spine)
    spine.look()
    assert spine.states() == ["done", "waiting", "rewritten"]
    assert {name for name in spine.out() if name.endswith(".xml")} == {"0.xml"}
    spine.outbox.drop_folder("out/1.xml")
    spine.after(minutes=1)
    spine.look()
    assert (spine.out(), spine.states()) == (ALL, ["done"] * 3)


@pytest.mark.parametrize("error", [Transient("busy"), Unsure("the answer was lost")])
def test_a_rename_that_fails_among_others_is_made_up_for_and_none_is_sent_twice_or_after_newer_ones(
    spine: Spine, together: bool, error: Exception
) -> None:
    drop_three(spine)
    endpoint = failing(spine)

    def fail_second(*args: object, **_: object) -> None:
        if args[3] == "1.xml":
            raise error

    endpoint.on["rename"] = fail_second
    passed = spine.look()
    assert spine.states() == (["done", "held", "done"] if together else ["done", "waiting", "rewritten"])
    assert [one.id for one, _ in passed.held.values()] == ([2] if together else [])
    for name in ("0.xml", "2.xml"):
        if name in spine.out():
            spine.outbox.remove("out", name)
    endpoint.on.clear()
    spine.after(minutes=1)
    spine.drop("3.csv", b"3")
    spine.look()
    assert spine.states() == (["done", "held", "done", "done"] if together else ["done"] * 4)
    if together:
        assert "1.xml" not in spine.out(), "it would put older over newer"
        spine.desk().release(2)
        spine.look()
    assert spine.states() == ["done"] * 4
    assert spine.out()["1.xml"] == b"1"
    assert set(spine.lying()) == set()


def test_a_rename_whose_answer_alone_is_lost_has_arrived_where_its_temporary_is_gone(spine_of: Build) -> None:
    spine = spine_of()
    spine.outbox.abilities = Abilities(together=True)
    drop_three(spine)
    endpoint = failing(spine)

    def lose_answer(*args: object, **_: object) -> None:
        if args[3] == "1.xml":
            raise Unsure("the answer was lost")

    endpoint.after["rename"] = lose_answer
    spine.look()
    assert spine.states() == ["done"] * 3


def test_what_a_kill_left_aside_behind_newer_ones_is_held_too(spine_of: Build) -> None:
    spine = spine_of()
    spine.outbox.abilities = Abilities(together=True)
    drop_three(spine)
    endpoint = failing(spine)

    def fail_second(*args: object, **_: object) -> None:
        if args[3] == "1.xml":
            raise Transient("busy")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    endpoint.on["rename"] = fail_second
    endpoint.after["sync"] = lambda *_: killed() if "2.xml" in spine.out() else None
    with pytest.raises(KeyboardInterrupt):
        spine.look()
    endpoint.on.clear()
    endpoint.after.clear()
    spine.restart()
    spine.look()
    assert spine.states() == ["done", "held", "done"]
    assert "1.xml" not in spine.out()


def test_of_two_that_replace_the_same_file_the_later_never_goes_first(spine_of: Build) -> None:
    spine = spine_of(route(source_match=("*.csv", "*.CSV")))
    spine.drop("S.CSV", b"earlier")
    spine.drop("S.csv", b"later")
    endpoint = failing(spine)

    def fail_once(*_: object, **__: object) -> None:
        endpoint.on.clear()
        raise Transient("busy")

    endpoint.on["rename"] = fail_once
    spine.look()
    spine.after(minutes=1)
    spine.look()
    assert (spine.out(), spine.states()) == ({"S.xml": b"later"}, ["done"] * 2)


def test_versions_count_up_within_a_batch_and_beside_what_lies_there(spine_of: Build) -> None:
    spine = spine_of(route(target_exists="version", source_match=("*.csv", "*.CSV")))
    spine.outbox.lay("out", "S.xml", b"not yet collected")
    spine.drop("S.csv", b"one")
    spine.drop("S.CSV", b"two")
    spine.look()
    assert spine.out() == {"S.xml": b"not yet collected", "S.2.xml": b"two", "S.3.xml": b"one"}
    names = spine.sql("SELECT file_name FROM api_integration_log WHERE variant = 'Modified' ORDER BY id")
    assert names == [("S.2.xml",), ("S.3.xml",)]


def test_a_version_taken_at_the_last_moment_gets_the_next_number(spine_of: Build) -> None:
    spine = spine_of(route(target_exists="version"))
    spine.drop("S.csv", b"one")
    endpoint = failing(spine)
    endpoint.on["rename"] = lambda *_, **__: endpoint.on.clear() or spine.outbox.lay("out", "S.xml", b"quicker")
    spine.look()
    assert spine.out() == {"S.xml": b"quicker", "S.2.xml": b"one"}


def test_exists_fail_fails_the_message_and_takes_back_what_was_put_aside(spine_of: Build) -> None:
    spine = spine_of(route(target_exists="fail"))
    spine.outbox.lay("out", "S.xml", b"there")
    spine.drop("R.csv", b"zero")
    spine.drop("S.csv", b"one")
    spine.drop("T.csv", b"two")
    spine.look()
    assert spine.states() == ["done", "failed", "done"]
    assert spine.out() == {"R.xml": b"zero", "S.xml": b"there", "T.xml": b"two"}


def test_what_was_put_aside_is_taken_back_after_the_commit_only(spine: Spine) -> None:
    spine.drop("S.csv", b"one")
    endpoint = failing(spine)

    def refuse(*_: object, **__: object) -> None:
        raise Permanent("no")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    endpoint.on["rename"], endpoint.on["remove"] = refuse, killed
    with pytest.raises(KeyboardInterrupt):
        spine.look()
    assert spine.sql("SELECT state FROM delivery") == [("cancelled",)]
    endpoint.on.clear()
    spine.restart()
    spine.look()
    assert (spine.out(), spine.states()) == ({}, ["failed"]), "the temporary is found and removed"


def test_a_part_already_delivered_is_not_called_cancelled_when_the_message_gives_up(spine_of: Build) -> None:
    spine = spine_of(route(retry=RetryPolicy(give_up=timedelta(0))))
    spine.drop("S.csv", b"PARTS 2")
    endpoint = failing(spine)

    def fail_second(*args: object, **_: object) -> None:
        if args[3] == "S-2.xml":
            raise Transient("busy")

    endpoint.on["rename"] = fail_second
    spine.look()
    spine.after(minutes=1)
    spine.look()
    assert spine.sql("SELECT name, state FROM delivery") == [("S-1.xml", "delivered"), ("S-2.xml", "cancelled")]
    assert spine.states() == ["failed"]
    assert set(spine.out()) == {"S-1.xml"}


def test_a_login_that_is_refused_is_no_message_s_fault_and_nothing_is_lost(spine: Spine) -> None:
    drop_three(spine)
    endpoint = failing(spine)

    def bar(*_: object, **__: object) -> None:
        raise Barred("the server refused the login")

    endpoint.on["put"] = bar
    spine.look()
    assert spine.states() == ["waiting", "rewritten", "rewritten"]
    endpoint.on.clear()
    spine.after(minutes=1)
    spine.look()
    assert (spine.out(), spine.states()) == (ALL, ["done"] * 3)


@pytest.mark.parametrize("happened", [True, False])
def test_a_rename_whose_answer_is_lost_is_looked_into_and_nobody_is_asked(spine: Spine, happened: bool) -> None:
    spine.drop("S.csv", b"x")
    endpoint = failing(spine)

    def lose_the_answer(*args: str, **kwargs: bool) -> None:
        endpoint.on.clear()
        if happened:
            endpoint.rename(*args, **kwargs)  # and the receiver takes it at once
            endpoint.remove("out", "S.xml")
        raise Unsure("the answer was lost")

    endpoint.on["rename"] = lose_the_answer
    spine.look()
    assert spine.states() == ["waiting"]
    spine.after(minutes=1)
    spine.look()
    assert spine.states() == ["done"]
    assert len(spine.out()) == (0 if happened else 1), "not sent again, since the receiver took it"


def test_a_lost_rename_that_comes_late_is_no_reason_to_send_again(spine: Spine) -> None:
    spine.drop("S.csv", b"x")
    endpoint = failing(spine)

    def lose_the_answer(*_: str, **__: bool) -> None:
        endpoint.on["rename"] = comes_late
        raise Unsure("the answer was lost")

    def comes_late(*args: str, **kwargs: bool) -> None:
        endpoint.on.clear()
        endpoint.rename(*args, **kwargs)  # the first one, after we looked
        endpoint.remove("out", "S.xml")
        raise Absent("it is not there any more")

    endpoint.on["rename"] = lose_the_answer
    for _ in range(3):
        spine.look()
        spine.after(minutes=1)
    assert spine.states() == ["done"]
    assert spine.out() == {}


def test_what_was_put_aside_at_a_place_that_is_no_longer_configured_is_unsure(
    spine: Spine,
) -> None:
    spine.drop("S.csv", b"one")
    endpoint = failing(spine)

    def busy(*_: object, **__: object) -> None:
        raise Transient("busy")

    endpoint.on["rename"] = busy
    spine.look()
    spine.outbox = spine.endpoints["outbox"] = MemoryEndpoint("new")
    spine.outbox.make_folder("out")
    spine.restart()
    spine.after(minutes=1)
    spine.look()
    assert spine.states() == ["unsure"]
    spine.drop("T.csv", b"two")
    assert spine.look().delivered == 0, "it blocks those behind it"
    spine.desk().release(1)
    spine.look()
    assert (spine.out(), spine.states()) == ({"S.xml": b"one", "T.xml": b"two"}, ["done", "done"])


def test_trouble_with_syncing_the_target_is_the_targets_not_the_sources(spine: Spine) -> None:
    spine.drop("R.csv", b"BAD")
    spine.drop("S.csv", b"one")
    endpoint = failing(spine)

    def broken(*_: object) -> None:
        raise Transient("the disk")

    endpoint.on["sync"] = broken
    passed = spine.look()
    assert spine.states() == ["failed", "waiting"], "what failed by itself is written down all the same"
    assert list(passed.stopped) == [2]
    endpoint.on.clear()
    spine.after(minutes=1)
    spine.look()
    assert spine.states() == ["failed", "done"]


def test_temporaries_of_discarded_messages_are_cleared_and_others_left_alone(spine: Spine) -> None:
    spine.drop("S.csv", b"one")
    endpoint = failing(spine)

    def busy(*_: object, **__: object) -> None:
        raise Transient("busy")

    endpoint.on["rename"] = busy
    spine.look()
    [temporary] = spine.out()
    spine.outbox.lay("out", ".somebody-1-1.part", b"theirs")
    spine.desk().discard(1, reason="wrong day")
    spine.after(hours=2)
    spine.look()
    assert set(spine.out()) == {".somebody-1-1.part"}
    assert temporary.endswith("-1-1.part")
    assert spine.states() == ["discarded"]
    told = spine.sql("SELECT outcome, error FROM api_integration_log ORDER BY id")
    assert set(told) == {("failed", "discarded by anna: wrong day")}
    assert spine.lying() == {}, "its file is filed away"


def test_what_is_written_in_one_go_is_little_enough_for_the_slowest_line(spine: Spine) -> None:
    beats: list[int] = []
    endpoint = failing(spine)
    endpoint.on["put"] = lambda *args, **_: beats.append(sum(map(len, args[2])))
    groups: list[int] = []
    spine.pipeline._delivering._aside._beat = lambda: groups.append(len(beats))
    for number in range(20):
        spine.drop(f"{number:02}.csv", b"x" * 30_000)
    spine.look()
    assert spine.states() == ["done"] * 20
    between = [after - before for before, after in itertools.pairwise([*groups, len(beats)])]
    assert max(between) * 30_000 <= 256 << 10


# -- the desk ----------------------------------------------------------------------------------------------------------


def test_a_replay_is_a_new_message_behind_what_is_open_and_says_what_it_replays(spine: Spine) -> None:
    spine.drop("S.csv", b"one")
    spine.look()
    spine.outbox.remove("out", "S.xml")
    assert spine.desk().replay(1, reason="lost by the receiver") == 2
    spine.look()
    assert spine.out() == {"S.xml": b"one"}
    assert spine.sql("SELECT replay_of, state FROM message WHERE id = 2") == [(1, "done")]
    assert spine.sql("SELECT who, what, message, reason FROM decision") == [
        ("anna", "replay", 1, "lost by the receiver")
    ]


def test_a_replay_with_nothing_to_send_is_closed_also_after_a_kill(spine: Spine) -> None:
    spine.drop("S.csv", b"NONE")
    spine.look()
    spine.desk().replay(1)
    spine.journal.connection.execute("UPDATE message SET state = 'delivered', made_at = received_at WHERE id = 2")
    spine.restart()
    spine.look()
    assert spine.states() == ["done", "done"]


def test_the_desk_refuses_what_cannot_be_done(spine: Spine) -> None:
    spine.drop("S.csv", b"one")
    spine.look()
    for refused in (spine.desk().release, spine.desk().discard):
        with pytest.raises(Refused, match="is done"):
            refused(1)
    with pytest.raises(Refused, match="no message 9"):
        spine.desk().replay(9)
    spine.outbox.drop_folder("out")
    spine.drop("S.csv", b"two")
    spine.look()
    with pytest.raises(Refused, match="is waiting"):
        spine.desk().replay(2)
