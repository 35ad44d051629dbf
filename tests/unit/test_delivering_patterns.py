"""Temporary names of every pattern: receivers that take files at once, answers that are lost, and what is left over."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cegid_daemon.errors import Interrupted, Permanent, Taken, Transient, Unsure
from tests.unit.spine import Failing, Spine, route

Build = Callable[..., Spine]

STAGED = [".{id}.part", "up_{id}", "{id}.tmp", "tmp/{id}", "{name}.{id}", "deep/er/.{id}-{name}"]


def failing(spine: Spine) -> Failing:
    endpoint = spine.endpoints["outbox"] = Failing(spine.outbox)
    spine.restart()
    return endpoint


def die(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def taken_by_hook(spine: Spine, mailbox: list[bytes], *, told: bool) -> Failing:
    """A receiver that takes every upload at once; `told`: the upload itself finds that out, as it does over FTP."""
    endpoint = failing(spine)

    def take(folder: str, name: str, _chunks: object) -> None:
        mailbox.append(spine.outbox.content(folder)[name])
        spine.outbox.remove(folder, name)
        if told:
            raise Taken("the file is not there any more", why="MLST shows none")

    endpoint.after["put"] = take
    return endpoint


@pytest.mark.parametrize("pattern", STAGED)
@pytest.mark.parametrize("told", [True, False], ids=["over FTP", "found by the rename"])
def test_an_upload_taken_at_once_is_unsure_and_never_sent_again(spine_of: Build, pattern: str, told: bool) -> None:
    spine = spine_of(route(target_temporary=pattern))
    mailbox: list[bytes] = []
    taken_by_hook(spine, mailbox, told=told)
    spine.drop("S.csv", b"one")
    spine.drop("T.csv", b"two")
    for _ in range(5):
        spine.look(patient=False)
        spine.after(hours=1)
        spine.restart()
    copies = mailbox.count(b"one")
    assert (copies, spine.states()[0]) == (1, "unsure")
    [(error,)] = spine.sql("SELECT error FROM message WHERE id = 1")
    for words in ("was taken before it could be renamed", "none", "check", "release", "discard"):
        assert words in error
    spine.desk().discard(1)
    for _ in range(3):
        spine.look(patient=False)
    assert (spine.states(), mailbox.count(b"two")) == (["discarded", "unsure"], 1)


@pytest.mark.parametrize("told", [True, False])
def test_a_receiver_that_takes_at_once_gets_each_file_once_without_temporary_names(spine_of: Build, told: bool) -> None:
    spine = spine_of(route(target_temporary="none"))
    mailbox: list[bytes] = []
    taken_by_hook(spine, mailbox, told=told)
    for number in range(3):
        spine.drop(f"{number}.csv", b"%d" % number)
    spine.drop("P.csv", b"PARTS 2")
    spine.look()
    assert mailbox == [b"0", b"1", b"2", b"PARTS 2 part 1", b"PARTS 2 part 2"]
    assert spine.states() == ["done"] * 4


@pytest.mark.parametrize("error", [Unsure("the answer was lost"), Interrupted("the line broke")])
def test_a_direct_upload_whose_answer_is_lost_is_unsure_and_release_sends_it_again(
    spine_of: Build, error: Exception
) -> None:
    spine = spine_of(route(target_temporary="none"))
    endpoint = failing(spine)

    def lose(*_: object) -> None:
        raise error

    endpoint.after["put"] = lose
    spine.drop("S.csv", b"one")
    spine.drop("T.csv", b"two")
    spine.look()
    endpoint.after.clear()
    spine.outbox.remove("out", "S.xml")
    spine.after(hours=1)
    spine.look()
    assert (spine.states(), spine.out()) == (["unsure", "rewritten"], {})
    spine.desk().release(1)
    spine.look()
    assert (spine.states(), spine.out()) == (["done", "done"], {"S.xml": b"one", "T.xml": b"two"})


def test_a_direct_upload_that_was_refused_is_tried_again_by_itself_under_the_same_name(spine_of: Build) -> None:
    spine = spine_of(route(target_temporary="none", target_exists="version"))
    endpoint = failing(spine)

    def half(folder: str, name: str, _chunks: object) -> None:
        spine.outbox.lay(folder, name, b"o")  # what was half written stays there
        raise Transient("the disk is full")

    endpoint.on["put"] = half
    spine.outbox.lay("out", "S.xml", b"not yet collected")
    spine.drop("S.csv", b"one")
    spine.look()
    assert spine.states() == ["waiting"]
    endpoint.on.clear()
    spine.restart()
    spine.after(hours=1)
    spine.look()
    assert spine.out() == {"S.xml": b"not yet collected", "S.2.xml": b"one"}
    assert spine.states() == ["done"]


def test_exists_fail_holds_for_direct_uploads_too(spine_of: Build) -> None:
    spine = spine_of(route(target_temporary="none", target_exists="fail"))
    spine.outbox.lay("out", "S.xml", b"there")
    spine.drop("S.csv", b"one")
    spine.drop("T.csv", b"two")
    spine.look()
    assert (spine.states(), spine.out()) == (["failed", "done"], {"S.xml": b"there", "T.xml": b"two"})
    assert spine.sql("SELECT state FROM delivery WHERE message = 1") == [("cancelled",)]


def test_a_kill_before_and_after_a_direct_upload(spine_of: Build) -> None:
    spine = spine_of(route(target_temporary="none"))
    endpoint = failing(spine)
    for step in ("on", "after"):
        getattr(endpoint, step)["put"] = die
        spine.drop("S.csv", step.encode())
        with pytest.raises(KeyboardInterrupt):
            spine.look()
        getattr(endpoint, step).clear()
        spine.restart()
        spine.look()
        assert spine.states()[-1] == "unsure"
        if step == "on":
            spine.desk().release(1)
            spine.look()
        else:
            spine.desk().discard(2)
    assert spine.states() == ["done", "discarded"]
    assert spine.out() == {"S.xml": b"after"}


# -- the answer to an upload is lost -----------------------------------------------------------------------------------


def lose_the_answer(spine: Spine, *, gone: bool) -> None:
    endpoint = failing(spine)

    def lose(folder: str, name: str, _chunks: object) -> None:
        if gone:
            spine.outbox.remove(folder, name)
        endpoint.after.clear()
        raise Unsure("cannot write the file: the answer was lost")

    endpoint.after["put"] = lose


def test_an_upload_whose_answer_is_lost_is_written_again_if_it_is_still_there(spine: Spine) -> None:
    lose_the_answer(spine, gone=False)
    spine.drop("S.csv", b"one")
    spine.look()
    assert spine.states() == ["waiting"]
    spine.restart()
    spine.after(minutes=1)
    spine.look()
    assert (spine.states(), spine.out()) == (["done"], {"S.xml": b"one"})


def test_an_upload_whose_answer_is_lost_and_that_is_gone_is_unsure(spine: Spine) -> None:
    lose_the_answer(spine, gone=True)
    spine.drop("S.csv", b"one")
    for _ in range(3):
        spine.look()
        spine.after(minutes=1)
    assert (spine.states(), spine.out()) == (["unsure"], {})
    spine.desk().release(1)
    spine.look()
    assert (spine.states(), spine.out()) == (["done"], {"S.xml": b"one"})


def test_a_server_that_has_shown_to_leave_temporary_files_alone_gets_it_again_by_itself(spine: Spine) -> None:
    """It deletes what broke off: were it one that takes uploads at once, no rename there had ever worked."""
    spine.drop("R.csv", b"first")
    spine.look()
    lose_the_answer(spine, gone=True)
    spine.drop("S.csv", b"one")
    spine.look()
    spine.after(minutes=1)
    spine.look()
    assert (spine.states(), spine.out()) == (["done", "done"], {"R.xml": b"first", "S.xml": b"one"})


# -- the folder of temporary names -------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "together"])
def test_the_folder_of_temporary_names_is_made_and_is_empty_afterwards(spine_of: Build) -> None:
    spine = spine_of(route(target_temporary="tmp/{id}", source_match=("*.csv", "*.CSV"), target_exists="version"))
    for number, name in enumerate(("R.csv", "S.CSV", "S.csv")):
        spine.drop(name, b"%d" % number)
    spine.look()
    assert spine.out() == {"R.xml": b"0", "S.xml": b"1", "S.2.xml": b"2"}
    assert spine.out("out/tmp") == {}
    assert spine.states() == ["done"] * 3
    spine.outbox.drop_folder("out/tmp")
    spine.drop("T.csv", b"3")
    spine.look()
    spine.after(minutes=1)
    spine.look()
    assert spine.out()["T.xml"] == b"3"


def test_a_folder_of_temporary_names_that_cannot_be_made_is_told_and_waited_for(spine_of: Build) -> None:
    spine = spine_of(route(target_temporary="tmp/{id}"))
    endpoint = failing(spine)

    def refuse(*_: object) -> None:
        raise Permanent("cannot make the folder", why="550 Permission denied.")

    endpoint.on["make_folder"] = refuse
    spine.drop("S.csv", b"one")
    spine.look()
    [(error,)] = spine.sql("SELECT error FROM message")
    assert spine.states() == ["waiting"]
    assert "the folder out/tmp of memory:outbox is not there and cannot be made" in error
    assert "550 Permission denied" in error
    spine.outbox.make_folder("out/tmp")
    spine.after(minutes=1)
    spine.look()
    assert spine.out() == {"S.xml": b"one"}


def test_temporaries_that_went_with_their_folder_make_what_was_put_aside_unsure(spine_of: Build) -> None:
    spine = spine_of(route(target_temporary="tmp/{id}"))
    endpoint = failing(spine)
    endpoint.on["rename"] = die
    spine.drop("S.csv", b"one")
    with pytest.raises(KeyboardInterrupt):
        spine.look()
    endpoint.on.clear()
    spine.outbox.drop_folder("out/tmp")
    spine.restart()
    for _ in range(3):
        spine.look()
        spine.after(minutes=20)
        spine.drop("T.csv", b"two")
    assert spine.states()[0] in ("waiting", "unsure")
    assert "S.xml" not in spine.out()
    spine.outbox.make_folder("out/tmp")
    spine.look()
    assert spine.states()[0] == "unsure"
    spine.desk().release(1)
    spine.look()
    assert spine.out()["S.xml"] == b"one"


# -- leftovers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", STAGED)
@pytest.mark.parametrize("after", [".{id}.part", "none", "new/{id}"])
def test_what_a_pattern_left_is_cleared_also_after_it_was_changed_and_nothing_else(
    spine_of: Build, before: str, after: str
) -> None:
    spine = spine_of(route(target_temporary=before))
    endpoint = failing(spine)

    def busy(*_: object, **__: object) -> None:
        raise Transient("busy")

    endpoint.on["rename"] = busy
    spine.drop("S.csv", b"one")
    spine.look()
    [(temporary,)] = spine.sql("SELECT temporary FROM delivery")
    folder, _, name = f"out/{temporary}".rpartition("/")
    left = f"{name}.kept" if not before.endswith("{name}") else f"x{name}"
    stranger = name.replace("-1-1", "-99-1")  # of a journal that knows more than this one: a restored backup
    for other in (left, stranger):
        spine.outbox.lay(folder, other, b"theirs")
    spine.desk().discard(1)
    spine.routes["inventory"] = route(target_temporary=after)
    endpoint.on.clear()
    spine.restart()
    spine.after(hours=2)
    spine.look()
    assert set(spine.out(folder)) == {left, stranger}
    rows = spine.sql("SELECT pattern FROM temporary_pattern")
    assert rows == ([(before,)] if before == after else []), "a pattern is forgotten when nothing of it can be left"


def test_what_is_open_is_not_cleared_whatever_the_pattern_is_now(spine_of: Build) -> None:
    spine = spine_of(route(target_temporary="up_{id}"))
    endpoint = failing(spine)
    endpoint.on["rename"] = die
    spine.drop("S.csv", b"one")
    with pytest.raises(KeyboardInterrupt):
        spine.look()
    spine.routes["inventory"] = route(target_temporary="tmp/{id}")
    spine.restart()
    spine.pipeline.clear_target(spine.routes["inventory"])
    assert len(spine.out()) == 1, "it is finished under the name it was put aside with"
    endpoint.on.clear()
    spine.look()
    assert (spine.out(), spine.states()) == ({"S.xml": b"one"}, ["done"])
