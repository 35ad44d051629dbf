"""Queued messages are found by their keys before they are rewritten, and say what they wait for."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from cegid_daemon.errors import Transient
from cegid_daemon.housekeeping import Housekeeping
from cegid_daemon.journal.packed_keys import closest_key, pack, unpack
from cegid_daemon.journal.queue import Queue
from cegid_daemon.model import Fault, LogPolicy, State, Store
from cegid_daemon.pipeline.early_keys import EarlyKeys
from cegid_daemon.rewrite.recipe import Layout, Recipe, Templates
from tests.unit.spine import Failing, Spine, route

LAYOUT = Layout("orders", "delimited", sku="r.SKU")
RECIPE = Recipe(LAYOUT, Templates("a.xml.j2", {"a.xml.j2": "…"}), target_name="{{ x }}", unique="r.Order")


def csv(order: str, *skus: str) -> bytes:
    return "".join(["Order;SKU\n", *(f"{order};{sku}\n" for sku in skus)]).encode()


@pytest.fixture
def blocked(tmp_path: Path) -> Iterator[Spine]:
    """A route whose first message waits for its target; what comes behind it is claimed and not rewritten."""
    spine = Spine(tmp_path, route())
    endpoint = spine.endpoints["outbox"] = Failing(spine.outbox)
    spine.restart()

    def away(*_: object, **__: object) -> None:
        raise Transient("SFTP cegid.example unreachable")

    endpoint.on["put"] = away
    spine.drop("STOCK_0800.csv", csv("WEB1", "SKU-FIRST"))
    spine.look()
    yield spine
    spine.close()


def turn(spine: Spine, policy: LogPolicy | None = None, recipe: Recipe = RECIPE) -> None:
    policies = {"inventory": policy or LogPolicy()}
    early_keys_of(spine, policies, recipe).turn(spine.now)
    index(spine)


def early_keys_of(spine: Spine, policies: dict[str, LogPolicy] | None = None, recipe: Recipe = RECIPE) -> EarlyKeys:
    return EarlyKeys(
        spine.journal, {"inventory": recipe}, policies or {}, lambda: spine.now, lambda: False, rest=lambda _: None
    )


def index(spine: Spine) -> None:
    Housekeeping(spine.journal, {}, lambda: spine.now, lambda: False).turn()


def found(spine: Spine, text: str) -> list[int]:
    return [hit.message for hit in spine.journal.search.find(text) if hit.how in ("exact", "beginning", "part")]


def test_a_message_behind_one_that_waits_is_found_by_its_keys_and_name(blocked: Spine) -> None:
    blocked.drop("ORDER_2.csv", csv("WEB2002", "SKU-SECOND", "SKU-THIRD"))
    blocked.look()
    assert blocked.states() == ["waiting", "received"]
    turn(blocked)
    assert found(blocked, "SKU-SECOND") == [], "the rewriting of most finds them within a second"
    blocked.after(seconds=2)
    turn(blocked)
    for text in ("SKU-SECOND", "SKU-THIRD", "WEB2002", "ORDER_2.csv"):
        assert found(blocked, text) == [2], text
    blocked.endpoints["outbox"].on.clear()
    blocked.after(minutes=20)
    blocked.look()
    assert blocked.states() == ["done", "done"]
    turn(blocked)
    assert found(blocked, "SKU-SECOND") == [2]


def test_a_message_of_a_disabled_store_is_found_and_says_so(blocked: Spine) -> None:
    blocked.drop("ORDER_2.csv", csv("WEB2", "SKU-SECOND"))
    blocked.look()
    blocked.journal.book.settings.set("main", "enabled", "false", who="anna", origin="cli", now=blocked.now)
    blocked.after(seconds=2)
    turn(blocked)
    assert found(blocked, "SKU-SECOND") == [2]
    message = blocked.journal.ledger.message(2)
    assert message is not None
    enabled = blocked.journal.book.settings.enabled(Store("main"))
    assert Queue(blocked.journal.connection, lambda _: enabled).reason(message) == "waits: store main is disabled"


def test_keys_made_of_a_masked_field_are_not_found(blocked: Spine) -> None:
    blocked.drop("ORDER_2.csv", csv("WEB2", "SKU-SECOND"))
    blocked.look()
    blocked.after(seconds=2)
    turn(blocked, LogPolicy(redact=("SKU",)))
    assert found(blocked, "SKU-SECOND") == []
    assert found(blocked, "ORDER_2.csv") == [2], "its name is no secret"


@pytest.mark.parametrize(
    ("body", "keys"),
    [
        (b"Order;SKU\nWEB2;SKU-SECOND\nWEB2\n", True),  # a line that breaks its rewriting later
        (b"no such columns\n", False),
    ],
    ids=["broken further down", "broken"],
)
def test_what_cannot_be_read_whole_is_found_by_its_name(body: bytes, keys: bool, blocked: Spine) -> None:
    blocked.drop("ORDER_2.csv", body)
    blocked.look()
    blocked.after(seconds=2)
    turn(blocked)
    assert found(blocked, "ORDER_2.csv") == [2]
    assert bool(found(blocked, "SKU-SECOND")) in {keys, False}


def test_each_message_is_read_once_however_many_turns_there_are(blocked: Spine) -> None:
    blocked.drop("ORDER_2.csv", csv("WEB2", "SKU-SECOND"))
    blocked.look()
    policies = {"inventory": LogPolicy()}
    early = early_keys_of(blocked, policies)
    blocked.after(seconds=2)
    reads: list[int] = []
    read = blocked.journal.payloads.read
    blocked.journal.payloads.read = lambda payload: [reads.append(payload), read(payload)][1]  # type: ignore
    early.turn(blocked.now)
    index(blocked)
    once = len(reads)  # for its keys, and for its words
    for _ in range(3):
        blocked.after(seconds=2)
        early.turn(blocked.now)
        index(blocked)
    turn(blocked)
    assert 0 < len(reads) == once


def test_it_says_behind_which_message_it_waits_since_when_and_why(blocked: Spine) -> None:
    blocked.drop("ORDER_2.csv", csv("WEB2", "SKU-SECOND"))
    blocked.look()
    first, second = (blocked.journal.ledger.message(number) for number in (1, 2))
    assert first is not None
    assert second is not None
    queue = Queue(blocked.journal.connection)
    since = "since 2026-11-23 12:00 UTC: SFTP cegid.example unreachable"
    assert queue.reason(second).startswith(f"waits behind message 1 (STOCK_0800.csv), which waits {since}")
    assert queue.reason(first).startswith("waits since 2026-11-23 12:00 UTC: SFTP cegid.example unreachable")
    assert queue.reason(replace(second, state=State.DONE)) == ""
    gone = Queue(blocked.journal.connection, is_configured=lambda _: False)
    for message in (first, second):
        assert gone.reason(message).startswith("route inventory is no longer configured, and nothing tries it:")
    blocked.journal.ledger.stop(1, State.HELD, Fault("", "half of the stock is zero"))
    assert "which is held, for a person to decide, since" in queue.reason(second)


def test_a_burst_and_a_large_file_are_noted_in_a_few_turns(blocked: Spine) -> None:
    for number in range(260):
        blocked.drop(f"ORDER_{number:03}.csv", csv(f"WEB{number:03}", f"SKU{number:03}"))
    blocked.drop("ORDER_1.csv", csv("WEBBIG", *(f"BIG{number}" for number in range(50_000))))
    while len(blocked.states()) < 262:
        blocked.look()
    blocked.after(seconds=2)
    early, turns = early_keys_of(blocked), 0
    while early.turn(blocked.now):
        turns += 1
        if turns == 2:
            assert found(blocked, "SKU259"), "the small ones come before the large one, whatever their order"
    assert turns < 30
    for text in ("WEB000", "SKU131", "WEB259", "WEBBIG", "BIG0", "BIG49999", "ORDER_1.csv", "ORDER_259.csv"):
        assert len(found(blocked, text)) >= 1, text
    big = found(blocked, "BIG49999")
    for _ in range(5):
        index(blocked)
    assert found(blocked, "BIG49999") == big, "a long list stays as it is until its message is rewritten"
    blocked.journal.ledger.stop(big[0], State.HELD, Fault("", "x"))
    assert found(blocked, "BIG31000") == big


def test_none_is_passed_by_because_a_later_one_seems_older(blocked: Spine) -> None:
    """The clock was set back between two claims, or a claim falls into the turn."""
    for number in (2, 3):
        blocked.drop(f"ORDER_{number}.csv", csv(f"WEB200{number}", f"SKU{number}"))
        blocked.look()
        blocked.after(milliseconds=500)
    early, later = early_keys_of(blocked), blocked.now
    early.turn(later - timedelta(milliseconds=700))  # the first is young, the second not there yet by this clock
    assert found(blocked, "WEB2003") == []
    early.turn(later + timedelta(seconds=2))
    assert found(blocked, "WEB2002") == [2]
    assert found(blocked, "WEB2003") == [3]


def test_what_is_rewritten_meanwhile_is_not_noted(blocked: Spine) -> None:
    blocked.drop("ORDER_2.csv", csv("WEB2", "SKU-SECOND"))
    blocked.look()
    blocked.endpoints["outbox"].on.clear()
    blocked.after(minutes=20)
    blocked.look()
    assert blocked.states() == ["done", "done"]
    blocked.journal.search.note_early([(2, pack(["SKU-EARLY"]))])
    assert found(blocked, "SKU-EARLY") == []


def test_every_key_that_waits_to_be_indexed_is_searched(blocked: Spine) -> None:
    blocked.journal.connection.execute("PRAGMA foreign_keys = OFF")
    with blocked.journal.connection.transaction():
        blocked.journal.connection.executemany(
            "INSERT INTO search_due (message, keys) VALUES (?, ?)",
            [(number, pack([f"SKU{number}", "SHARED"])) for number in range(2, 1_502)],
        )
    assert found(blocked, "SKU2") and 2 in found(blocked, "SKU2")
    assert found(blocked, "SKU1501") == [1501]


def test_a_turn_gives_way_and_ends_when_the_daemon_stops(blocked: Spine) -> None:
    blocked.drop("ORDER_1.csv", csv("WEBBIG", *(f"BIG{number}" for number in range(50_000))))
    blocked.look()
    blocked.after(seconds=2)
    rests: list[float] = []
    stops: list[bool] = []
    early = EarlyKeys(
        blocked.journal, {"inventory": RECIPE}, {}, lambda: blocked.now, lambda: bool(stops), rest=rests.append
    )
    while early.turn(blocked.now) and len(rests) < 3:
        pass
    stops.append(True)
    before = len(rests)
    early.turn(blocked.now)
    assert rests
    assert len(rests) == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SKU-1", ("SKU-1", "exact")),
        ("SKU", ("SKU-1", "beginning")),
        ('a"b', ('a"b\\c', "beginning")),
        ("ü-k", ("Ü-Key\n2", "part")),
        ("Ü-Key\n2", ("Ü-Key\n2", "exact")),
        ("-1", None),
        ("KU-1", ("SKU-1", "part")),
        ("nothing", None),
        ('1",', None),
    ],
)
def test_a_list_of_keys_is_searched_as_the_index_is(text: str, expected: tuple[str, str] | None) -> None:
    keys = ["SKU-1", "SKU-12", 'a"b\\c', "Ü-Key\n2", "\udc80"]
    body = pack([*keys, "", "SKU-1"])
    assert unpack(body) == keys
    assert closest_key(body, text) == expected
    assert closest_key(zlib.compress(json.dumps(keys).encode()), "SKU-12") == ("SKU-12", "exact"), "of before"
