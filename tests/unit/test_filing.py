"""Filing the original away: what happens when names, files and folders are not what they were a moment before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cegid_daemon.endpoints.memory import MemoryEndpoint
from cegid_daemon.endpoints.wrapping import Wrapped
from cegid_daemon.errors import Transient
from cegid_daemon.model import Identity
from tests.unit.spine import Failing, Spine, route

DAY = "in/processed/2026-11-23"
Build = Callable[..., Spine]


def once_before(spine: Spine, call: str, what: Callable[[], object]) -> None:
    """Interferes with the inbox right before its next `call`."""
    endpoint = spine.endpoints["inbox"] = Failing(spine.inbox)

    def interfere(*_: object, **__: object) -> None:
        del endpoint.on[call]
        what()

    endpoint.on[call] = interfere
    spine.restart()


def test_the_next_file_under_the_same_name_is_not_swallowed_by_the_rename(spine: Spine) -> None:
    spine.drop("S.csv", b"one")
    once_before(spine, "rename", lambda: spine.drop("S.csv", b"two"))
    spine.look()
    assert spine.lying() == {"S.csv": b"two"}, "the new one went back"
    spine.look()
    assert spine.states() == ["done", "done"]
    assert spine.out() == {"S.xml": b"two"}


def test_a_swallowed_file_whose_name_is_taken_again_is_claimed_from_where_it_lies(spine: Spine) -> None:
    spine.drop("S.csv", b"one")
    endpoint = spine.endpoints["inbox"] = Failing(spine.inbox)
    turns = [b"two", b"three"]
    endpoint.on["rename"] = lambda *_, **__: turns and spine.drop("S.csv", turns.pop(0))
    bodies: list[bytes] = []
    outbox = spine.endpoints["outbox"] = Failing(spine.outbox)
    outbox.after["rename"] = lambda *args, **_: bodies.append(spine.out()[args[3]])
    spine.restart()
    for _ in range(4):
        spine.look()
    assert bodies == [b"one", b"two", b"three"]
    assert (spine.lying(), spine.states()) == ({}, ["done"] * 3)
    assert spine.sql("SELECT file_name, count(*) FROM message GROUP BY file_name") == [("S.csv", 3)]
    assert sorted(body for body in spine.filed().values()) == [b"three", b"two"]


class Coarse(MemoryEndpoint):
    """Tells files apart by size and by the second, as FTP and SFTP servers do, in a very long second."""

    def _keep(self, folder: str, name: str, body: bytes, *, regular: bool) -> Identity:
        super()._keep(folder, name, body, regular=regular)
        file = self._folder(folder)[name]
        self._folder(folder)[name] = replace(file, identity=Identity(len(body), mtime_ns=1))
        return Identity(len(body), mtime_ns=1)

    def rename(self, folder: str, name: str, to_folder: str, to_name: str, *, replace: bool) -> None:
        body = self.content(folder)[name]
        super().rename(folder, name, to_folder, to_name, replace=replace)
        self._keep(to_folder, to_name, body, regular=True)


@pytest.mark.parametrize("after", ["archive", "delete"])
def test_the_next_file_of_the_same_size_and_second_is_not_taken_for_one_that_is_filed(
    spine_of: Build, after: str
) -> None:
    spine = spine_of(route(source_after=after))
    inbox = Coarse("inbox")
    inbox.make_folder("in")
    spine.inbox = inbox
    endpoint = spine.endpoints["inbox"] = Failing(inbox)

    def lose_the_answer(*_: object, **__: object) -> None:
        endpoint.after.clear()
        spine.drop("S.csv", b"two")
        raise Transient("the answer was lost")

    endpoint.after["remove" if after == "delete" else "rename"] = lose_the_answer
    bodies: list[bytes] = []
    outbox = spine.endpoints["outbox"] = Failing(spine.outbox)
    outbox.after["rename"] = lambda *args, **_: bodies.append(spine.out()[args[3]])
    spine.restart()
    spine.drop("S.csv", b"one")
    for _ in range(6):
        spine.look()
        spine.after(minutes=1)
    assert bodies == [b"one", b"two"]
    assert spine.states() == ["done", "done"]
    assert spine.lying() == {}


def test_a_replaced_source_is_left_for_the_next_look(spine: Spine) -> None:
    spine.drop("S.csv", b"one")
    endpoint = spine.endpoints["outbox"] = Failing(spine.outbox)
    endpoint.after["rename"] = lambda *_, **__: spine.drop("S.csv", b"two")
    spine.restart()
    spine.look()
    endpoint.after.clear()
    assert (spine.lying(), spine.states()) == ({"S.csv": b"two"}, ["done"])
    assert spine.sql("SELECT state FROM source") == [("gone",)]
    spine.look()
    assert spine.states() == ["done", "done"]


def test_two_files_of_a_batch_never_get_the_same_name_in_the_archive(spine: Spine) -> None:
    spine.inbox.lay(DAY, "S.csv", b"old")
    spine.drop("S.csv", b"one")
    spine.drop("S.2.csv", b"two")
    spine.look()
    assert (spine.lying(), spine.states()) == ({}, ["done", "done"])
    assert sorted(spine.filed().values()) == [b"old", b"one", b"two"]
    assert spine.look().claimed == 0


def test_sources_that_share_an_archive_do_not_mistake_each_others_files_for_swallowed_ones(spine_of: Build) -> None:
    shared = {"source_archive": "/archive"}
    spine = spine_of(route("a", source_folder="a", **shared), route("b", source_folder="b", **shared))
    for turn in range(3):
        spine.drop("S.csv", b"a%d" % turn, "a")
        spine.drop("S.csv", b"b%d" % turn, "b")
        spine.look()
    assert sorted(spine.lying("archive").values()) == [b"a0", b"a1", b"a2", b"b0", b"b1", b"b2"]
    assert (spine.lying("a"), spine.lying("b"), spine.states()) == ({}, {}, ["done"] * 6)


def test_a_name_taken_by_somebody_between_choice_and_rename_is_not_touched(spine: Spine) -> None:
    spine.drop("S.csv", b"one")
    once_before(spine, "make_folder", lambda: spine.inbox.lay(DAY, "S.csv", b"foreign"))
    assert spine.look().faults
    spine.after(minutes=1)
    assert spine.look().faults == []
    assert spine.filed() == {"S.csv": b"foreign", "S.2.csv": b"one"}
    assert (spine.lying(), spine.states()) == ({}, ["done"])


def test_a_source_folder_that_is_gone_for_a_while_says_nothing_about_its_files(spine: Spine) -> None:
    spine.drop("S.csv", b"one")
    kept = dict(spine.inbox._folders)
    once_before(spine, "make_folder", lambda: spine.inbox.drop_folder("in"))
    endpoint = spine.endpoints["inbox"]
    endpoint.on["rename"] = lambda *_, **__: None
    assert spine.look().faults
    spine.inbox.drop_folder("in")
    spine.after(minutes=1)
    assert spine.look().faults
    assert spine.states() == ["delivered"]
    assert spine.sql("SELECT state FROM source") == [("filing",)]
    spine.inbox._folders.update({path: files for path, files in kept.items() if path == ("in",)})
    spine.after(minutes=5)
    spine.look()
    assert (spine.states(), spine.filed(), len(spine.workshop.seen)) == (["done"], {"S.csv": b"one"}, 1)


def touch(spine: Spine, folder: str, name: str) -> None:
    """What chmod or chown do: the time of change alone is new."""
    files = spine.inbox._folders[tuple(folder.split("/"))]
    was = files[name]
    files[name] = replace(was, identity=replace(was.identity, ctime_ns=was.identity.ctime_ns + 1_000))


def test_a_file_whose_rights_were_changed_is_still_ours(spine: Spine) -> None:
    spine.drop("S.csv", b"one")
    endpoint = spine.endpoints["outbox"] = Failing(spine.outbox)
    endpoint.after["rename"] = lambda *_, **__: touch(spine, "in", "S.csv")
    spine.restart()
    spine.look()
    assert (spine.states(), spine.filed()) == (["done"], {"S.csv": b"one"})


def test_a_file_changed_without_a_trace_but_the_time_of_change_is_the_next_one(spine: Spine) -> None:
    spine.drop("S.csv", b"one")
    endpoint = spine.endpoints["outbox"] = Failing(spine.outbox)

    def rewrite(*_: object, **__: object) -> None:
        files = spine.inbox._folders[("in",)]
        files["S.csv"] = replace(files["S.csv"], body=b"two")
        touch(spine, "in", "S.csv")

    endpoint.after["rename"] = rewrite
    spine.restart()
    spine.look()
    endpoint.after.clear()
    spine.look()
    assert (spine.states(), spine.out()) == (["done", "done"], {"S.xml": b"two"})
    assert list(spine.filed().values()) == [b"two"]


def test_a_left_file_is_taken_once_whatever_its_rights_and_again_when_it_is_new(spine_of: Build) -> None:
    spine = spine_of(route(source_after="leave", source_leave_changed="any"))
    spine.drop("S.csv", b"one")
    for _ in range(3):
        spine.look()
        touch(spine, "in", "S.csv")
    assert (spine.states(), spine.lying()) == (["done"], {"S.csv": b"one"})
    spine.drop("S.csv", b"one")
    spine.look()
    assert spine.states() == ["done", "done"]


def test_after_delete_nothing_stays_and_a_failed_file_is_kept(spine_of: Build) -> None:
    spine = spine_of(route(source_after="delete"))
    spine.drop("S.csv", b"one")
    spine.drop("T.csv", b"BAD")
    spine.look()
    assert spine.lying() == {}
    assert set(spine.filed("failed")) == {"T.csv", "T.csv.error.txt"}


def test_the_marker_goes_with_its_file(spine_of: Build) -> None:
    spine = spine_of(route(source_marker=".ok"))
    spine.drop("S.csv", b"one")
    spine.drop("S.csv.ok", b"")
    spine.look()
    assert (spine.states(), spine.lying(), spine.filed()) == (["done"], {}, {"S.csv": b"one"})


def test_an_endpoint_that_bears_another_name_today_is_known_by_its_place(spine: Spine) -> None:
    spine.inbox.lay("in", "processed", b"in the way")
    spine.drop("S.csv", b"one")
    spine.routes["inventory"] = route(source_endpoint="renamed", source_match=("*.csv",))
    spine.endpoints["renamed"] = spine.endpoints["inbox"]
    spine.restart()
    spine.look()
    del spine.endpoints["inbox"]
    spine.inbox.remove("in", "processed")
    spine.restart()
    spine.look()
    assert spine.states() == ["done"]


def test_a_file_is_filed_although_its_route_now_takes_from_another_folder(spine_of: Build) -> None:
    spine = spine_of(route(source_match=("*.csv",)))
    spine.inbox.lay("in", "processed", b"in the way")
    spine.drop("S.csv", b"one")
    spine.look()
    spine.inbox.remove("in", "processed")
    spine.inbox.make_folder("elsewhere")
    spine.routes["inventory"] = route(source_folder="elsewhere")
    spine.restart()
    spine.look()
    assert (spine.states(), spine.filed()) == (["done"], {"S.csv": b"one"})


def test_a_failed_message_of_which_parts_had_left_says_so(spine_of: Build) -> None:
    spine = spine_of(route(target_exists="fail"))
    spine.drop("S.csv", b"PARTS 2")
    endpoint = spine.endpoints["outbox"] = Failing(spine.outbox)
    endpoint.after["put"] = lambda *args: args[1].endswith("-2.part") and spine.outbox.lay("out", "S-2.xml", b"there")
    spine.restart()
    spine.look()
    text = spine.filed("failed")["S.csv.error.txt"].decode()
    assert "Left before: S-1.xml" in text
    assert "Nothing of it left" not in text
    assert spine.sql("SELECT name, state FROM delivery") == [("S-1.xml", "delivered"), ("S-2.xml", "cancelled")]
    assert set(spine.out()) == {"S-1.xml", "S-2.xml"}, "no temporary is left"


def test_what_filing_remembers_stays_bounded(spine: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cegid_daemon.pipeline.destinations._REMEMBERED", 10)
    for number in range(40):
        spine.drop(f"S{number}.csv", b"x")
    spine.look()
    assert len(spine.pipeline._filing._destinations._last_number) <= 10


class Counting(Wrapped):
    """Counts the calls that a place far away would make wait for."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.calls: Counter[str] = Counter()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if callable(found) and not name.startswith("_") and name not in ("sync", "has_writer"):
            self.calls[name] += 1
        return found


def calls_of_filing(spine: Spine, count: int) -> dict[str, int]:
    """The calls to the inbox when so many files, each with its marker, are filed away."""
    endpoint = spine.endpoints["inbox"] = Counting(spine.inbox)
    spine.restart()
    for number in range(count):
        spine.drop(f"S{number}.csv", b"x")
        spine.drop(f"S{number}.csv.ok", b"")
    held: list[int] = []
    filing = spine.pipeline._filing
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filing, "file", lambda sources, _: held.extend(sources) or [])
        spine.look()
    endpoint.calls.clear()
    assert filing.file(held, spine.now) == []
    assert (len(held), spine.lying(), set(spine.states())) == (count, {}, {"done"})
    return dict(endpoint.calls)


@pytest.mark.parametrize("after", ["archive", "delete"])
def test_filing_a_batch_away_takes_as_many_calls_as_filing_one(spine_of: Build, after: str) -> None:
    one, many = (calls_of_filing(spine_of(route(source_after=after, source_marker=".ok")), count) for count in (1, 40))
    assert one == many


def test_a_file_of_a_batch_that_cannot_be_renamed_is_its_own_failure(spine: Spine) -> None:
    endpoint = spine.endpoints["inbox"] = Failing(spine.inbox)

    def refuse(_: str, name: str, *__: object, **___: object) -> None:
        if name == "b.csv":
            raise Transient("locked")

    endpoint.on["rename"] = refuse
    spine.restart()
    for name in ("a.csv", "b.csv", "c.csv"):
        spine.drop(name, name.encode())
    assert [error.what for error in spine.look().faults] == ["locked"]
    assert (spine.lying(), set(spine.filed())) == ({"b.csv": b"b.csv"}, {"a.csv", "c.csv"})
    endpoint.on.clear()
    spine.after(minutes=1)
    assert spine.look().faults == []
    assert (spine.states(), set(spine.filed())) == (["done"] * 3, {"a.csv", "b.csv", "c.csv"})


def test_a_file_of_a_batch_replaced_right_before_all_are_renamed_goes_back(spine: Spine) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        spine.drop(name, b"one")
    once_before(spine, "make_folder", lambda: spine.drop("b.csv", b"two"))
    spine.look()
    assert (spine.lying(), set(spine.filed())) == ({"b.csv": b"two"}, {"a.csv", "c.csv"})
    spine.look()
    assert spine.states() == ["done"] * 4
    assert spine.out()["b.xml"] == b"two"
