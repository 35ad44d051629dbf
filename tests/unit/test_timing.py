"""When a file counts as whole: every rule with `now` handed in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cegid_daemon.model import Identity, Listed, SourceSpec, WaitReason
from cegid_daemon.timing import Look, Settling

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def ns(moment: datetime) -> int:
    return int(moment.timestamp()) * 10**9


def file(name: str = "a.csv", size: int = 10, touched: datetime = NOON, changed: datetime | None = None) -> Listed:
    return Listed(name, Identity(size, ns(touched), inode=1, ctime_ns=ns(changed or touched)))


def source(settle: float = 2, **options: object) -> SourceSpec:
    return SourceSpec("inbox", settle=timedelta(seconds=settle), **options)  # type: ignore[arg-type]


def settling(settle: float = 2, *, remote: bool = False, **options: object) -> Settling:
    return Settling(source(settle, **options), remote=remote)


def names(look: Look) -> list[str]:
    return [ready.file.name for ready in look.ready]


def test_an_empty_folder_needs_no_second_look() -> None:
    assert settling().look([], NOON) == Look()


def test_a_new_file_waits_for_the_quiet_time_and_says_when() -> None:
    look = settling().look([file()], NOON)
    assert (names(look), look.settling, look.look_again) == ([], 1, at(2))


def test_a_file_unchanged_for_the_quiet_time_is_whole() -> None:
    rule = settling()
    rule.look([file()], NOON)
    assert names(rule.look([file()], at(1.9))) == []
    look = rule.look([file()], at(2))
    assert (names(look), look.settling, look.look_again) == (["a.csv"], 0, None)


@pytest.mark.parametrize("changed", [file(size=11), file(touched=at(1)), file(changed=at(1))])
def test_any_change_begins_the_quiet_time_anew(changed: Listed) -> None:
    rule = settling()
    rule.look([file()], NOON)
    look = rule.look([changed], at(1))
    assert look.look_again == at(3)
    assert names(rule.look([changed], at(2))) == []
    assert names(rule.look([changed], at(3))) == ["a.csv"]


def test_the_next_look_is_due_when_the_first_of_several_can_be_whole() -> None:
    rule = settling()
    rule.look([file("a")], NOON)
    assert rule.look([file("a"), file("b")], at(1)).look_again == at(2)
    look = rule.look([file("a"), file("b")], at(2))
    assert (names(look), look.settling, look.look_again) == (["a"], 1, at(3))


def test_a_file_that_came_again_under_its_name_settles_anew() -> None:
    rule = settling()
    rule.look([file()], NOON)
    rule.look([], at(5))
    assert names(rule.look([file()], at(6))) == []


def test_no_quiet_time_means_at_once() -> None:
    assert names(settling(0).look([file()], NOON)) == ["a.csv"]
    assert names(settling(0, remote=True).look([file()], NOON)) == ["a.csv"]


def test_a_local_file_untouched_for_long_goes_at_once() -> None:
    assert names(settling().look([file(touched=at(-60))], NOON)) == ["a.csv"]
    assert names(settling().look([file(touched=at(-59))], NOON)) == []


def test_long_is_never_shorter_than_the_quiet_time() -> None:
    assert names(settling(300).look([file(touched=at(-299))], NOON)) == []
    assert names(settling(300).look([file(touched=at(-300))], NOON)) == ["a.csv"]


def test_a_modification_time_set_back_does_not_make_a_file_old() -> None:
    assert names(settling().look([file(touched=at(-9999), changed=NOON)], NOON)) == []


def test_a_remote_file_s_times_prove_nothing() -> None:
    rule = settling(remote=True)
    assert names(rule.look([file(touched=at(-9999))], NOON)) == []
    assert names(rule.look([file(touched=at(-9999))], at(2))) == ["a.csv"]


def test_a_clock_set_back_does_not_hold_a_file_for_hours() -> None:
    rule = settling()
    rule.look([file()], at(7200))
    assert rule.look([file()], NOON).look_again == at(2)
    assert names(rule.look([file()], at(2))) == ["a.csv"]


def test_a_file_is_whole_when_its_marker_lies_beside_it() -> None:
    rule = settling(marker=".ok")
    look = rule.look([file("a.csv"), file("b.csv"), file("b.csv.ok", size=0)], NOON)
    assert [(ready.file.name, ready.marker and ready.marker.name) for ready in look.ready] == [("b.csv", "b.csv.ok")]
    assert (look.settling, look.look_again) == (1, None)


def test_a_marker_is_no_file_to_take_even_without_its_file() -> None:
    look = settling(marker=".ok").look([file("a.csv.ok")], NOON)
    assert (look.ready, look.settling) == ((), 0)


def test_a_marker_must_be_a_file() -> None:
    marker = Listed("a.csv.ok", Identity(0), regular=False)
    assert names(settling(marker=".ok").look([file(), marker], NOON)) == []


def test_only_names_that_fit_the_masks_are_looked_at() -> None:
    rule = settling(0, match=("*.csv",), ignore=("old*",))
    assert names(rule.look([file("a.csv"), file("a.txt"), file("old.csv"), file(".a.csv")], NOON)) == ["a.csv"]


def test_files_come_by_name_or_oldest_first() -> None:
    files = [file("b", touched=at(-1)), file("c", touched=at(-3)), file("a", touched=NOON), file("d", touched=at(-3))]
    assert names(settling(0).look(files, NOON)) == ["a", "b", "c", "d"]
    assert names(settling(0, order="oldest").look(files, NOON)) == ["c", "d", "b", "a"]


def test_odd_things_are_told_once_each_time_they_come() -> None:
    rule = settling()
    pipe = Listed("pipe", Identity(0), regular=False)
    assert rule.look([pipe], NOON).odd == (pipe,)
    assert rule.look([pipe], at(1)) == Look()
    rule.look([], at(2))
    assert rule.look([pipe], at(3)).odd == (pipe,)


def test_our_own_sub_folders_and_odd_things_outside_the_masks_are_not_told() -> None:
    folders = [Listed(name, Identity(0), regular=False) for name in ("processed", "failed", "x.txt")]
    assert settling(match=("*.csv", "[pf]*")).look(folders, NOON).odd == ()
    own = [Listed("taken", Identity(0), regular=False)]
    assert settling(archive="taken/by-us").look(own, NOON).odd == ()


@pytest.mark.parametrize("remote", [False, True])
def test_a_file_without_bytes_has_a_quiet_time_of_its_own(remote: bool) -> None:
    rule = settling(2, remote=remote, settle_empty=timedelta(minutes=10))
    empty = file(size=0)
    assert (rule.look([empty], NOON).settling, rule.look([empty], NOON).waiting) == (1, ())
    look = rule.look([empty], at(2))
    assert (names(look), look.settling, look.look_again) == ([], 0, at(600))
    assert [(one.file, one.reason, one.since) for one in look.waiting] == [(empty, WaitReason.EMPTY, NOON)]
    assert names(rule.look([empty], at(599))) == []
    assert names(rule.look([empty], at(600))) == ["a.csv"]


def test_an_empty_file_that_is_filled_settles_as_any_other() -> None:
    rule = settling(2)
    for second in range(5):
        rule.look([file(size=0)], at(second))
    look = rule.look([file(size=8, touched=at(5))], at(5))
    assert (names(look), look.settling, look.waiting) == ([], 1, ())
    assert names(rule.look([file(size=8, touched=at(5))], at(7))) == ["a.csv"]


def test_what_an_earlier_process_saw_counts_if_it_is_the_same_file() -> None:
    rule = settling(2, remote=True)
    rule.recall({"a.csv": (file(size=0).identity, at(-600)), "b.csv": (file(size=0).identity, at(-600))})
    look = rule.look([file("a.csv", size=0), file("b.csv", size=0, touched=at(-1))], NOON)
    assert (names(look), look.settling) == (["a.csv"], 1)


def test_whether_a_quiet_file_is_open_is_asked_until_it_is_not_and_again_when_it_changes() -> None:
    rule, asked = settling(0), list[str]()
    answers = [True, False, False]

    def is_open(name: str) -> bool:
        asked.append(name)
        return answers.pop(0)

    ready = [names(rule.look([file()], at(second), is_open=is_open)) for second in range(4)]
    assert (ready, len(asked)) == ([[], ["a.csv"], ["a.csv"], ["a.csv"]], 2)
    rule.look([file(size=11)], at(5), is_open=is_open)
    assert len(asked) == 3
