"""A target whose folder, endpoint or kind of temporary names was changed while messages wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cegid_daemon.endpoints.memory import MemoryEndpoint
from cegid_daemon.endpoints.protocol import Abilities, Answer
from cegid_daemon.errors import Transient
from cegid_daemon.pipeline import Pipeline
from tests.unit.spine import Failing, Spine, route

Build = Callable[..., Spine]


def waiting(spine: Spine, step: str, body: bytes = b"one") -> None:
    """One message that waits before (`put`) or after (`rename`) its upload."""
    endpoint = spine.endpoints["outbox"] = Failing(spine.outbox)
    spine.restart()

    def busy(*_: object, **__: object) -> None:
        raise Transient("busy")

    endpoint.on[step] = busy
    spine.drop("S.csv", body)
    spine.look()
    assert spine.states() == ["waiting"]
    spine.endpoints["outbox"] = spine.outbox


def changed(spine: Spine, **changes: Any) -> None:
    """The next start finds another target."""
    spine.routes["inventory"] = route(**changes)
    spine.restart()
    spine.after(hours=1)
    spine.look()


def test_what_is_not_uploaded_goes_to_the_folder_of_now(spine: Spine) -> None:
    waiting(spine, "put")
    spine.outbox.make_folder("new")
    changed(spine, target_folder="new")
    assert (spine.out("new"), spine.out(), spine.states()) == ({"S.xml": b"one"}, {}, ["done"])


def test_what_is_not_uploaded_goes_to_the_endpoint_of_now_and_the_log_says_so(spine: Spine) -> None:
    waiting(spine, "put")
    other = spine.endpoints["other"] = MemoryEndpoint("other")
    other.make_folder("out")
    del spine.endpoints["outbox"]
    changed(spine, target_endpoint="other")
    assert (other.content("out"), spine.states()) == ({"S.xml": b"one"}, ["done"])
    [(endpoint, place)] = spine.sql("SELECT endpoint, place FROM delivery")
    assert (endpoint, place) == ("other", "memory:other")
    log = spine.sql("SELECT endpoint, name, outcome FROM api_integration_log WHERE variant = 'Modified'")
    assert log == [("other", "Folder Delivery: Inventory Import", "ok")]


def test_what_is_not_uploaded_goes_to_the_url_of_now_under_the_same_name(spine: Spine) -> None:
    waiting(spine, "put")
    spine.endpoints["outbox"] = MemoryEndpoint("new")
    spine.endpoints["outbox"].make_folder("out")
    changed(spine)
    assert (spine.endpoints["outbox"].content("out"), spine.states()) == ({"S.xml": b"one"}, ["done"])


def test_what_is_uploaded_is_finished_in_the_old_folder(spine: Spine) -> None:
    waiting(spine, "rename")
    spine.outbox.make_folder("new")
    changed(spine, target_folder="new")
    assert (spine.out(), spine.out("new"), spine.states()) == ({"S.xml": b"one"}, {}, ["done"])


def test_what_is_uploaded_is_finished_at_the_old_place_whatever_its_endpoint_is_called(spine: Spine) -> None:
    waiting(spine, "rename")
    spine.endpoints |= {"former": spine.outbox, "outbox": MemoryEndpoint("new")}
    spine.endpoints["outbox"].make_folder("out")
    changed(spine)
    assert (spine.out(), spine.states()) == ({"S.xml": b"one"}, ["done"])
    spine.drop("T.csv", b"two")
    spine.look()
    assert spine.endpoints["outbox"].content("out") == {"T.xml": b"two"}


def test_of_two_parts_each_follows_the_rule_for_itself(spine: Spine) -> None:
    waiting(spine, "rename", b"PARTS 2")
    spine.journal.connection.execute("UPDATE delivery SET state = 'due' WHERE name = 'S-2.xml'")
    spine.outbox.make_folder("new")
    changed(spine, target_folder="new")
    assert (set(spine.out("new")), spine.states()) == ({"S-2.xml"}, ["done"])
    assert "S-1.xml" in spine.out()


@pytest.mark.parametrize("pattern", ["up_{id}", "tmp/{id}", "none"])
def test_what_is_not_uploaded_gets_the_temporary_name_of_now(spine: Spine, pattern: str) -> None:
    waiting(spine, "put")
    endpoint = spine.endpoints["outbox"] = Failing(spine.outbox)
    names: list[str] = []
    endpoint.on["put"] = lambda folder, name, _chunks: names.append(f"{folder}/{name}")
    changed(spine, target_temporary=pattern)
    instance = spine.journal.ledger.instance()
    wanted = "S.xml" if pattern == "none" else pattern.replace("{id}", f"{instance}-1-1")
    assert (names, spine.out(), spine.states()) == ([f"out/{wanted}"], {"S.xml": b"one"}, ["done"])


@pytest.mark.parametrize("pattern", ["up_{id}", "tmp/{id}", "none"])
def test_what_is_uploaded_is_renamed_from_the_temporary_name_it_has(spine: Spine, pattern: str) -> None:
    waiting(spine, "rename")
    changed(spine, target_temporary=pattern)
    assert (spine.out(), spine.states()) == ({"S.xml": b"one"}, ["done"])


def test_from_no_temporary_names_to_some(spine_of: Build) -> None:
    spine = spine_of(route(target_temporary="none"))
    waiting(spine, "put")
    changed(spine)
    assert (spine.out(), spine.states()) == ({"S.xml": b"one"}, ["done"])


# -- APIs --------------------------------------------------------------------------------------------------------------


class Api:
    """Refuses to be reached until it is told otherwise."""

    abilities = Abilities(posts=True)

    def __init__(self, where: str) -> None:
        self.where = where
        self.reachable = False
        self.received: list[bytes] = []

    @contextmanager
    def post(self, method: str, body: Iterable[bytes], size: int, request_uid: str) -> Iterator[Answer]:
        if not self.reachable:
            raise Transient("busy")
        self.received.append(b"".join(body))
        yield Answer(200, iter([b"<Envelope><Response><ID>1</ID><Ack>Success</Ack></Response></Envelope>"]))


def carried(spine: Spine, apis: dict[str, Any], **changes: Any) -> None:
    """A start with these APIs and this target, and one look."""
    spine.routes["inventory"] = route(**changes)
    spine.restart()
    spine.pipeline = Pipeline(
        spine.journal,
        spine.workshop,
        spine.endpoints,
        spine.routes,
        spine.recipes,
        lambda: None,
        apis=apis,  # type: ignore[arg-type]
    )
    spine.sources = [spine._source(list(spine.routes.values()))]
    spine.after(hours=1)
    spine.look()


def test_a_request_that_was_not_sent_goes_to_the_api_of_now(spine: Spine) -> None:
    old, new = Api("https://old.example/1"), Api("https://new.example/1")
    spine.drop("S.csv", b"one")
    carried(spine, {"old": old}, target_endpoint="old", target_method="StockUpdate")
    assert spine.states() == ["waiting"]
    new.reachable = True
    carried(spine, {"new": new}, target_endpoint="new", target_method="StockUpdate")
    assert (old.received, new.received) == ([], [b"one"])
    assert spine.sql("SELECT endpoint, place FROM delivery") == [("new", "https://new.example/1")]


@pytest.mark.parametrize("was_file", [True, False])
def test_a_file_is_not_posted_and_a_request_not_laid_as_a_file(spine: Spine, was_file: bool) -> None:
    api = Api("https://api.example/1")
    as_file, as_request = {}, {"target_endpoint": "api", "target_method": "StockUpdate"}
    before, now = (as_file, as_request) if was_file else (as_request, as_file)
    spine.drop("S.csv", b"one")
    spine.outbox.drop_folder("out")
    carried(spine, {"api": api}, **before)
    assert spine.states() == ["waiting"]
    spine.outbox.make_folder("out")
    api.reachable = True
    carried(spine, {"api": api}, **now)
    assert (spine.states(), spine.out(), api.received) == (["waiting"], {}, [])
    [(error,)] = spine.sql("SELECT error FROM message")
    assert "which makes it anew for the target of now" in error
