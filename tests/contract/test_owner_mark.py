"""The owner's mark of a folder, on every kind of endpoint."""

from __future__ import annotations

import threading
from contextlib import suppress

from cegid_daemon.endpoints.owner_mark import OwnerMark
from cegid_daemon.errors import EndpointError
from tests.contract.worlds import World


def test_a_mark_is_made_once_read_changed_and_taken_away(world: World) -> None:
    mark = OwnerMark(world.endpoint, "in")
    assert mark.read() is None
    assert mark.swap(None, b"one")
    assert not mark.swap(None, b"two")
    assert mark.read() == b"one"
    assert not mark.swap(b"another", b"two")
    assert mark.swap(b"one", b"two")
    assert mark.read() == b"two"
    assert mark.swap(b"two", None)
    assert mark.read() is None
    assert world.endpoint.list("in") == []


def test_of_many_that_mark_a_folder_at_once_one_does(world: World) -> None:
    marks = [OwnerMark(world.endpoint, "in") for _ in range(4)]
    done: list[bool] = []

    def make(no: int) -> None:
        with suppress(EndpointError):  # one that comes while the mark is half made is not told that it is its own
            done.append(marks[no].swap(None, b"%d" % no))

    threads = [threading.Thread(target=make, args=(no,)) for no in range(len(marks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done.count(True) == 1
    assert (marks[0].read() or b"").isdigit()
