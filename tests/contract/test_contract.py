"""What endpoints/protocol.py promises, sentence by sentence, for every adapter."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cegid_daemon.endpoints.folder import CHUNK
from cegid_daemon.endpoints.many import SMALL, Move, Small, put_many, read_many, remove_many, rename_many, stat_many
from cegid_daemon.endpoints.protocol import Marking
from cegid_daemon.errors import Absent, EndpointError, Exists, SourceChanged
from tests.contract.worlds import World

NAMES_OUT_OF_THE_FOLDER = ["", ".", "..", "a/b", "/etc/passwd", "../x", "a\0b"]
FOLDERS_OUT_OF_THE_ROOT = ["/etc", "..", "in/..", "in/./x", "../in"]
ODD_NAMES = [
    "new\nline.csv",
    "bytes-\udce9\udcff.csv",
    "two words.csv",
    "quote'\".csv",
    "-leading-dash",
    "ünï €.csv",
    "semi;colon",
    "per%20cent",
    "x" * 255,
]


def read_all(world: World, folder: str, name: str) -> bytes:
    with world.endpoint.read(folder, name) as reading:
        return b"".join(reading)


def names(world: World, folder: str) -> set[str]:
    return {entry.name for entry in world.endpoint.list(folder)}


# list


def test_an_empty_folder_lists_nothing(world: World) -> None:
    assert world.endpoint.list("in") == []


def test_a_listing_has_each_file_with_its_size(world: World) -> None:
    world.lay("in", "a.csv", b"12345")
    world.lay("in", "b.csv", b"")
    sizes = {entry.name: (entry.identity.size, entry.regular) for entry in world.endpoint.list("in")}
    assert sizes == {"a.csv": (5, True), "b.csv": (0, True)}


def test_the_root_is_the_blank_folder(world: World) -> None:
    world.lay("", "at-root.csv", b"x")
    listed = {entry.name: entry.regular for entry in world.endpoint.list("")}
    assert listed == {"at-root.csv": True, "in": False}


def test_a_sub_folder_is_listed_as_not_regular_and_not_entered(world: World) -> None:
    world.lay("in/deeper", "inside.csv", b"x")
    assert [(entry.name, entry.regular) for entry in world.endpoint.list("in")] == [("deeper", False)]
    assert names(world, "in/deeper") == {"inside.csv"}


def test_a_symlink_is_listed_as_not_regular(world: World) -> None:
    if not world.shows_links:
        pytest.skip("this server shows a symlink as the file it leads to")
    world.lay_odd("in", "odd")
    assert [(entry.name, entry.regular) for entry in world.endpoint.list("in")] == [("odd", False)]


def test_listing_a_folder_that_is_not_there_is_absent(world: World) -> None:
    with pytest.raises(Absent):
        world.endpoint.list("nowhere")


def test_listing_a_folder_that_went_away_is_absent(world: World) -> None:
    world.lay("gone", "a.csv", b"x")
    assert names(world, "gone") == {"a.csv"}
    world.drop_folder("gone")
    with pytest.raises(Absent):
        world.endpoint.list("gone")


def test_a_folder_made_again_is_told_from_the_one_before(world: World) -> None:
    """By every endpoint that says it can; those on this machine can."""
    endpoint = world.endpoint
    if not isinstance(endpoint, Marking):
        assert endpoint.abilities.remote
        return
    marks = set()
    for _ in range(20):  # a file system may give the number of the last folder to the next one
        endpoint.make_folder("out")
        marks.add(endpoint.mark("out"))
        world.lay("out", "a.csv", b"x")
        assert endpoint.mark("out") in marks
        world.drop_folder("out")
    assert len(marks) == 20
    with pytest.raises(Absent):
        endpoint.mark("out")


def test_a_file_at_rest_keeps_its_identity(world: World) -> None:
    world.lay("in", "a.csv", b"x")
    assert world.endpoint.list("in") == world.endpoint.list("in")


def test_a_grown_file_has_another_identity(world: World) -> None:
    world.lay("in", "a.csv", b"x")
    before = world.endpoint.list("in")[0].identity
    world.lay("in", "a.csv", b"xy")
    assert not world.endpoint.list("in")[0].identity.same_file(before)


# stat


def test_stat_says_what_the_listing_says(world: World) -> None:
    world.lay("in", "a.csv", b"12345")
    assert world.endpoint.stat("in", "a.csv") == world.endpoint.list("in")[0]


@pytest.mark.parametrize("name", ["link", "folder"])
def test_stat_of_an_odd_thing_is_not_regular(world: World, name: str) -> None:
    if name == "link" and not world.shows_links:
        pytest.skip("this server shows a symlink as the file it leads to")
    world.lay_odd("in", "link")
    world.endpoint.make_folder("in/folder")
    entry = world.endpoint.stat("in", name)
    assert entry is not None
    assert not entry.regular


def test_stat_of_a_name_that_is_not_there_is_none(world: World) -> None:
    assert world.endpoint.stat("in", "a.csv") is None


def test_stat_in_a_folder_that_is_not_there_is_absent(world: World) -> None:
    with pytest.raises(Absent):
        world.endpoint.stat("nowhere", "a.csv")


# read


def test_reading_gives_the_bytes_as_they_are(world: World) -> None:
    body = bytes(range(256)) + b"\r\n\n\r\x1a\xff"
    world.lay("in", "a.bin", body)
    assert read_all(world, "in", "a.bin") == body


def test_reading_an_empty_file_gives_no_chunk(world: World) -> None:
    world.lay("in", "empty.csv", b"")
    with world.endpoint.read("in", "empty.csv") as reading:
        assert list(reading) == []


def test_a_large_file_comes_in_chunks_of_at_most_a_mebibyte(world: World) -> None:
    body = bytes(range(251)) * (CHUNK * 3 // 251)
    world.lay("in", "large.bin", body)
    with world.endpoint.read("in", "large.bin") as reading:
        chunks = list(reading)
    assert b"".join(chunks) == body
    assert all(0 < len(chunk) <= CHUNK for chunk in chunks)


def test_an_open_file_has_the_identity_it_was_listed_with(world: World) -> None:
    world.lay("in", "a.csv", b"x")
    with world.endpoint.read("in", "a.csv") as reading:
        assert reading.identity.same_file(world.endpoint.list("in")[0].identity)
        assert list(reading) == [b"x"]


def test_reading_what_is_not_there_is_absent(world: World) -> None:
    with pytest.raises(Absent):
        read_all(world, "in", "a.csv")
    with pytest.raises(Absent):
        read_all(world, "nowhere", "a.csv")


def test_a_symlink_is_never_followed(world: World) -> None:
    if not world.shows_links:
        pytest.skip("this server shows a symlink as the file it leads to")
    world.lay_odd("in", "odd")
    with pytest.raises(SourceChanged):
        read_all(world, "in", "odd")


def test_a_folder_is_never_read(world: World) -> None:
    world.endpoint.make_folder("in/folder")
    with pytest.raises(SourceChanged):
        read_all(world, "in", "folder")


def test_a_file_that_grows_while_it_is_read_has_changed(world: World) -> None:
    body = b"x" * (3 * CHUNK)
    world.lay("in", "growing.csv", body)
    with world.endpoint.read("in", "growing.csv") as reading:
        chunks = iter(reading)
        next(chunks)
        world.lay("in", "growing.csv", body + b"more")
        with pytest.raises(SourceChanged):
            list(chunks)


def test_a_file_that_shrinks_while_it_is_read_has_changed(world: World) -> None:
    world.lay("in", "shrinking.csv", b"x" * (3 * CHUNK))
    with world.endpoint.read("in", "shrinking.csv") as reading:
        chunks = iter(reading)
        next(chunks)
        world.lay("in", "shrinking.csv", b"short")
        with pytest.raises(SourceChanged):
            list(chunks)


def test_a_reading_given_up_half_way_leaves_the_endpoint_usable(world: World) -> None:
    world.lay("in", "a.csv", b"x" * (3 * CHUNK))
    with world.endpoint.read("in", "a.csv") as reading:
        next(iter(reading))
    assert len(read_all(world, "in", "a.csv")) == 3 * CHUNK


@pytest.mark.parametrize("start", [0, 1, CHUNK, 2 * CHUNK + 5])
def test_a_download_can_begin_in_the_middle(world: World, start: int) -> None:
    body = bytes(range(256)) * (2 * CHUNK // 256) + b"12345"
    world.lay("in", "large.bin", body)
    with world.endpoint.read("in", "large.bin", start) as reading:
        assert reading.identity.size == len(body)
        assert b"".join(reading) == body[start:]


# many files


def test_many_files_are_read_each_for_itself_in_the_order_asked(world: World) -> None:
    bodies = {f"{number:03}.csv": bytes([number]) * number for number in range(150)}
    bodies["070.csv"] = b"x" * (CHUNK + 1)
    for name, body in bodies.items():
        world.lay("in", name, body)
    listed = sorted(world.endpoint.list("in"), key=lambda entry: entry.name)
    missing = replace(listed[0], name="missing.csv")
    fetched = list(read_many(world.endpoint, "in", [*listed, missing]))
    assert [one.name for one in fetched] == [*sorted(bodies), "missing.csv"]
    assert {one.name: one.body for one in fetched[:-1]} == bodies
    assert isinstance(fetched[-1].fault, Absent)
    for one, entry in zip(fetched, listed, strict=False):
        assert one.identity is not None
        assert one.identity.same_file(entry.identity)


def test_many_files_read_from_a_folder_that_is_gone_are_absent(world: World) -> None:
    world.lay("gone", "a.csv", b"x")
    listed = world.endpoint.list("gone")
    world.drop_folder("gone")
    assert [type(one.fault) for one in read_many(world.endpoint, "gone", listed)] == [Absent]


def test_many_files_are_written_each_for_itself_over_what_lies_there(world: World) -> None:
    bodies = {f"{number:03}.csv": bytes([number]) * number for number in range(150)}
    bodies["070.csv"] = b"x" * (SMALL - 1)
    world.lay("in", "010.csv", b"half of an earlier try")
    world.endpoint.make_folder("in/020.csv")
    outcomes = put_many(world.endpoint, "in", [Small(name, body) for name, body in bodies.items()])
    failed = dict(zip(bodies, outcomes, strict=True))
    assert isinstance(failed.pop("020.csv"), EndpointError)
    assert set(failed.values()) == {None}
    assert world.content("in") == {name: bodies[name] for name in failed}


def test_many_files_written_to_a_folder_that_is_gone_are_absent(world: World) -> None:
    outcomes = put_many(world.endpoint, "gone", [Small("a.csv", b"x"), Small("b.csv", b"y")])
    assert [type(one) for one in outcomes] == [Absent, Absent]


@pytest.mark.parametrize("replacing", [True, False])
def test_many_files_are_renamed_each_for_itself(world: World, replacing: bool) -> None:
    world.endpoint.make_folder("done")
    for number in range(100):
        world.lay("in", f"{number}.csv", b"new")
    world.lay("done", "taken.csv", b"old")
    moves = [Move(f"{number}.csv", f"{number}.2.csv") for number in range(1, 100)]
    outcomes = rename_many(
        world.endpoint, "in", "done", [Move("missing", "b"), Move("0.csv", "taken.csv"), *moves], replace=replacing
    )
    replaced = replacing and world.endpoint.abilities.replaces
    assert [type(outcome) for outcome in outcomes[:2]] == [Absent, type(None) if replaced else Exists]
    assert outcomes[2:] == [None] * 99
    assert len(world.content("done")) == 100
    assert world.content("in") == ({} if replaced else {"0.csv": b"new"})


def test_many_files_are_looked_at_each_for_itself_in_the_order_asked(world: World) -> None:
    names = [f"{number}.csv" for number in range(70)]
    for name in names:
        world.lay("in", name, name.encode())
    looked = stat_many(world.endpoint, "in", ["missing", *names])
    assert looked == [None, *(world.endpoint.stat("in", name) for name in names)]


def test_many_files_looked_at_in_a_folder_that_is_gone_are_absent(world: World) -> None:
    assert [type(one) for one in stat_many(world.endpoint, "gone", ["a", "b"])] == [Absent, Absent]


def test_many_files_are_removed_each_for_itself(world: World) -> None:
    names = [f"{number}.csv" for number in range(70)]
    for name in [*names, "kept.csv"]:
        world.lay("in", name, b"x")
    outcomes = remove_many(world.endpoint, "in", ["missing", *names])
    assert [type(one) for one in outcomes] == [Absent, *[type(None)] * 70]
    assert world.content("in") == {"kept.csv": b"x"}


# put


def test_what_is_put_is_there_with_its_size(world: World) -> None:
    identity = world.endpoint.put("in", "a.csv", [b"one", b"", b"two"])
    assert identity.size == 6
    assert world.content("in") == {"a.csv": b"onetwo"}
    assert world.endpoint.stat("in", "a.csv") is not None


def test_nothing_at_all_is_put_as_an_empty_file(world: World) -> None:
    assert world.endpoint.put("in", "empty", []).size == 0
    assert world.content("in") == {"empty": b""}


def test_a_large_file_is_put_whole(world: World) -> None:
    chunks = [bytes([number]) * CHUNK for number in range(5)]
    assert world.endpoint.put("in", "large", iter(chunks)).size == 5 * CHUNK
    assert world.content("in")["large"] == b"".join(chunks)


def test_put_replaces_what_is_there(world: World) -> None:
    world.lay("in", "a.csv", b"a much longer text than the new one")
    world.endpoint.put("in", "a.csv", [b"new"])
    assert world.content("in") == {"a.csv": b"new"}


def test_putting_into_a_folder_that_is_not_there_is_absent(world: World) -> None:
    with pytest.raises(Absent):
        world.endpoint.put("nowhere", "a.csv", [b"x"])


def test_an_error_of_the_caller_s_chunks_passes_as_it_is(world: World) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise OSError("the caller's own disk")

    with pytest.raises(OSError, match="the caller's own disk"):
        world.endpoint.put("in", "a.tmp", chunks())
    world.endpoint.put("in", "a.tmp", [b"whole"])
    assert world.content("in") == {"a.tmp": b"whole"}


# rename


def test_rename_moves_within_a_folder(world: World) -> None:
    world.lay("in", "a.tmp", b"x")
    world.endpoint.rename("in", "a.tmp", "in", "a.csv", replace=False)
    assert world.content("in") == {"a.csv": b"x"}


def test_rename_moves_between_folders(world: World) -> None:
    world.lay("in", "a.csv", b"x")
    world.endpoint.make_folder("in/processed/2026-11-23")
    world.endpoint.rename("in", "a.csv", "in/processed/2026-11-23", "a.2.csv", replace=False)
    assert world.content("in/processed/2026-11-23") == {"a.2.csv": b"x"}
    assert "a.csv" not in names(world, "in")


def test_rename_keeps_what_the_endpoint_knows_of_the_file(world: World) -> None:
    world.lay("in", "a.csv", b"x")
    before = world.endpoint.stat("in", "a.csv")
    world.endpoint.rename("in", "a.csv", "in", "b.csv", replace=False)
    after = world.endpoint.stat("in", "b.csv")
    assert before is not None
    assert after is not None
    assert after.identity.same_file(before.identity)


def test_rename_over_a_taken_name_replaces_it_where_that_was_asked(world: World) -> None:
    world.lay("in", "a.tmp", b"new")
    world.lay("in", "a.csv", b"old")
    if world.endpoint.abilities.replaces:
        world.endpoint.rename("in", "a.tmp", "in", "a.csv", replace=True)
        assert world.content("in") == {"a.csv": b"new"}
    else:
        with pytest.raises(Exists):
            world.endpoint.rename("in", "a.tmp", "in", "a.csv", replace=True)
        assert world.content("in") == {"a.tmp": b"new", "a.csv": b"old"}


def test_rename_never_replaces_where_that_was_not_asked(world: World) -> None:
    world.lay("in", "a.tmp", b"new")
    world.lay("in", "a.csv", b"old")
    with pytest.raises(Exists):
        world.endpoint.rename("in", "a.tmp", "in", "a.csv", replace=False)
    assert world.content("in") == {"a.tmp": b"new", "a.csv": b"old"}


@pytest.mark.parametrize("replace", [True, False])
def test_rename_onto_a_folder_finds_the_name_taken(world: World, replace: bool) -> None:
    world.lay("in", "a.tmp", b"new")
    world.endpoint.make_folder("in/taken")
    with pytest.raises(Exists):
        world.endpoint.rename("in", "a.tmp", "in", "taken", replace=replace)
    assert world.content("in") == {"a.tmp": b"new"}


@pytest.mark.parametrize("replace", [True, False])
def test_rename_of_what_is_not_there_is_absent(world: World, replace: bool) -> None:
    with pytest.raises(Absent):
        world.endpoint.rename("in", "a.tmp", "in", "a.csv", replace=replace)


@pytest.mark.parametrize("replace", [True, False])
def test_rename_of_what_is_not_there_leaves_what_has_the_new_name(world: World, replace: bool) -> None:
    world.lay("in", "a.csv", b"old")
    with pytest.raises((Absent, Exists) if not replace else Absent):
        world.endpoint.rename("in", "a.tmp", "in", "a.csv", replace=replace)
    assert world.content("in") == {"a.csv": b"old"}


def test_rename_does_not_make_the_folder(world: World) -> None:
    world.lay("in", "a.csv", b"x")
    with pytest.raises(Absent):
        world.endpoint.rename("in", "a.csv", "nowhere", "a.csv", replace=False)
    assert world.content("in") == {"a.csv": b"x"}


def test_a_replaced_name_is_never_absent(world: World) -> None:
    if not world.endpoint.abilities.replaces:
        pytest.skip("this endpoint says that it cannot replace")
    world.lay("in", "final", b"0")
    seen: set[bool] = set()
    done = threading.Event()

    def receiver() -> None:
        while not done.is_set():
            seen.add(world.there("in", "final"))

    watcher = threading.Thread(target=receiver)
    watcher.start()
    for number in range(50):
        world.lay("in", "temporary", str(number).encode())
        world.endpoint.rename("in", "temporary", "in", "final", replace=True)
    done.set()
    watcher.join()
    assert seen == {True}


# remove, make_folder, sync, close


def test_remove_takes_the_file_away(world: World) -> None:
    world.lay("in", "a.csv", b"x")
    world.endpoint.remove("in", "a.csv")
    assert world.content("in") == {}


def test_removing_what_is_not_there_is_absent(world: World) -> None:
    with pytest.raises(Absent):
        world.endpoint.remove("in", "a.csv")
    with pytest.raises(Absent):
        world.endpoint.remove("nowhere", "a.csv")


def test_of_several_that_make_a_new_folder_one_does(world: World) -> None:
    world.endpoint.make_new_folder("in/mark")
    with pytest.raises(Exists):
        world.endpoint.make_new_folder("in/mark")
    assert names(world, "in") == {"mark"}


def test_an_empty_folder_is_removed_and_one_with_files_is_not(world: World) -> None:
    world.endpoint.make_new_folder("in/mark")
    world.lay("in/mark", "owner.json", b"{}")
    with pytest.raises(EndpointError):
        world.endpoint.remove_folder("in/mark")
    world.endpoint.remove("in/mark", "owner.json")
    world.endpoint.remove_folder("in/mark")
    assert names(world, "in") == set()


def test_a_folder_is_not_removed_as_a_file(world: World) -> None:
    world.lay("in/deeper", "inside.csv", b"x")
    with pytest.raises(EndpointError):
        world.endpoint.remove("in", "deeper")
    assert world.content("in/deeper") == {"inside.csv": b"x"}


def test_make_folder_makes_the_parents_too_and_again_is_no_error(world: World) -> None:
    world.endpoint.make_folder("one/two/three")
    world.endpoint.make_folder("one/two/three")
    world.endpoint.make_folder("")
    assert world.endpoint.list("one/two/three") == []


def test_make_folder_over_a_file_is_an_error(world: World) -> None:
    world.lay("in", "taken", b"x")
    with pytest.raises(EndpointError):
        world.endpoint.make_folder("in/taken/below")
    assert world.content("in") == {"taken": b"x"}


def test_sync_is_accepted(world: World) -> None:
    world.endpoint.sync("in")
    world.endpoint.sync("")


def test_an_endpoint_may_be_used_again_after_it_was_closed(world: World) -> None:
    world.lay("in", "a.csv", b"x")
    assert read_all(world, "in", "a.csv") == b"x"
    world.endpoint.close()
    world.endpoint.close()
    assert read_all(world, "in", "a.csv") == b"x"


# names, threads, words


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_travel_whole(world: World, name: str) -> None:
    if any(sign in name for sign in world.unsayable):
        pytest.skip("this protocol or server cannot say such names")
    world.lay("in", name, b"x")
    assert names(world, "in") == {name}
    assert read_all(world, "in", name) == b"x"
    world.endpoint.rename("in", name, "in", "plain", replace=False)
    world.endpoint.put("in", name, [b"y"])
    assert world.content("in") == {"plain": b"x", name: b"y"}
    world.endpoint.remove("in", name)
    assert names(world, "in") == {"plain"}


@pytest.mark.parametrize("name", NAMES_OUT_OF_THE_FOLDER)
def test_a_name_that_is_no_single_path_part_is_refused(world: World, name: str) -> None:
    calls = [
        lambda: world.endpoint.stat("in", name),
        lambda: read_all(world, "in", name),
        lambda: world.endpoint.put("in", name, [b"x"]),
        lambda: world.endpoint.rename("in", name, "in", "b", replace=True),
        lambda: world.endpoint.rename("in", "a", "in", name, replace=True),
        lambda: world.endpoint.remove("in", name),
    ]
    world.lay("in", "a", b"x")
    for call in calls:
        with pytest.raises(ValueError, match="not a file name"):
            call()
    assert world.content("in") == {"a": b"x"}


@pytest.mark.parametrize("folder", FOLDERS_OUT_OF_THE_ROOT)
def test_a_folder_that_could_leave_the_root_is_refused(world: World, folder: str) -> None:
    calls = [
        lambda: world.endpoint.list(folder),
        lambda: world.endpoint.stat(folder, "a"),
        lambda: read_all(world, folder, "a"),
        lambda: world.endpoint.put(folder, "a", [b"x"]),
        lambda: world.endpoint.rename(folder, "a", "in", "b", replace=True),
        lambda: world.endpoint.rename("in", "a", folder, "b", replace=True),
        lambda: world.endpoint.remove(folder, "a"),
        lambda: world.endpoint.make_folder(folder),
        lambda: world.endpoint.sync(folder),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="not a folder"):
            call()


def test_two_threads_may_use_one_endpoint(world: World) -> None:
    failures: list[BaseException] = []

    def carry(mark: str) -> None:
        try:
            for number in range(10):
                name = f"{mark}{number}"
                world.endpoint.put("in", name, [mark.encode() * 1000])
                assert read_all(world, "in", name) == mark.encode() * 1000
                assert name in names(world, "in")
                world.endpoint.remove("in", name)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=carry, args=(mark,)) for mark in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert world.content("in") == {}


def test_errors_say_what_and_where(world: World) -> None:
    with pytest.raises(Absent) as raised:
        read_all(world, "in", "missing.csv")
    assert raised.value.what
    assert "missing.csv" in raised.value.where.file


def test_where_names_the_place_and_stays_the_same(world: World) -> None:
    assert world.endpoint.where == world.endpoint.where
    assert ":" in world.endpoint.where
