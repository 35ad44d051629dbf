"""The crash table, with the real process: killed at every step, and at random, while nobody around it ever rests.

For time's sake all cases but the first skip steps here (tests/unit/test_pipeline.py goes through each of them in
memory); CEGID_DAEMON_TEST_EFFORT=2 or more skips none.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.acceptance.harness import EFFORT, NAMED, Receiver, Sender, Shop, route_table, rows
from tests.acceptance.killing import Zygote, check, is_idle

MOST_STEPS = 400  # a case ends when a run is not killed any more; this only bounds a case that never does


def make_rows(uid: str) -> bytes:
    return rows(uid, 2)


def make_rows_with_bad(uid: str) -> bytes:
    return rows(uid, 2) if int(uid[1:]) % 3 else b"ID;N\nbad " + uid.encode() + b"\n"


RETRY = 'retry = { first = "20ms", longest = "100ms" }\n'  # the pauses after kills in a row
BATCHED = ', name = "{{ source.stem }}-{{ part }}.txt"'
CASES = {
    "one": ([route_table("a")], ["S.csv"], make_rows),
    "batch of three": ([route_table("a")], ["S1.csv", "S2.csv", "S3.csv"], make_rows),
    "two parts": ([route_table("a", target=BATCHED, extra="output = { batch = 1 }")], ["S.csv"], make_rows),
    "version": ([route_table("a", target=NAMED + ', exists = "version"')], ["S.csv", "T.csv"], make_rows),
    "names without a dot": ([route_table("a", target=NAMED + ', temporary = "up_{id}"')], ["S.csv", "T.csv"],
                            make_rows),
    "folder of temporaries": ([route_table("a", target=NAMED + ', temporary = "tmp/{id}"')], ["S.csv", "T.csv"],
                              make_rows),
    "delete": ([route_table("a", source=', after = "delete"')], ["S.csv"], make_rows),
    "shared source": ([route_table("a"), route_table("b", target=NAMED.replace("}}", "}}-b"))], ["S.csv"],
                      make_rows),
    "bad ones": ([route_table("a")], ["S1.csv", "S2.csv", "S3.csv"], make_rows_with_bad),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.timeout(600)
def test_killed_at_every_step_each_message_arrives_exactly_once(case: str, tmp_path: Path) -> None:
    routes, names, make = CASES[case]
    shop = Shop(tmp_path, *(route + RETRY for route in routes))
    zygote = Zygote(shop)
    with Receiver(shop.outbox) as receiver, Sender(shop, names, make) as sender:
        for kill_at in range(1, MOST_STEPS, 1 if case == "one" or EFFORT > 1 else 6):
            sender.limit += len(names)
            killed = zygote.run(kill_at, lambda: is_idle(shop, sender))
            if not killed:
                break
        zygote.run(0, lambda: is_idle(shop, sender))
    zygote.close()
    assert kill_at > 20, "the steps were not counted"
    check(shop, sender, receiver, len(routes))


@pytest.mark.timeout(600)
def test_killed_at_random_each_message_arrives_exactly_once(tmp_path: Path) -> None:
    shop = Shop(tmp_path, route_table("a", target=', name = "{{ source.stem }}-{{ message.id }}.txt"', extra=RETRY))
    zygote = Zygote(shop)
    chance = random.Random(20261123)
    with (
        Receiver(shop.outbox) as receiver,
        Sender(shop, [f"S{number}.csv" for number in range(20)], make_rows) as sender,
    ):
        for _ in range(12 * EFFORT):
            sender.limit += 40
            zygote.run(0, lambda: False, kill_after=chance.uniform(0.1, 0.8))
        zygote.run(0, lambda: is_idle(shop, sender))
    zygote.close()
    check(shop, sender, receiver, 1)


SLOW = (  # about a second a file
    "{% for r in records %}{% for _ in range(90000) %}{% for _ in range(60) %}{% endfor %}{% endfor %}"
    "{{ r.ID }};{{ r.N }}\n{% endfor %}"
)


@pytest.mark.timeout(600)
def test_killed_again_and_again_in_the_same_rewriting_no_file_fails(tmp_path: Path) -> None:
    """A kill comes as soon as the rewriting has begun: the same file is met time after time, and is not to blame."""
    shop = Shop(tmp_path, route_table("a", extra=RETRY), template=SLOW)
    zygote = Zygote(shop)
    chance = random.Random(20261127)

    def starts() -> int:
        return sum(row[0] for row in shop.sql("SELECT rewrite_starts FROM message"))

    with Receiver(shop.outbox) as receiver, Sender(shop, ["S1.csv", "S2.csv"], lambda uid: rows(uid, 1)) as sender:
        sender.limit = 4
        for _ in range(8 * EFFORT):
            before, delay = starts(), chance.uniform(0, 0.3)
            zygote.run(0, lambda: False, kill_when=lambda: starts() > before and not time.sleep(delay))  # noqa: B023
        most = max(row[0] for row in shop.sql("SELECT rewrite_starts FROM message"))
        zygote.run(0, lambda: is_idle(shop, sender))
    zygote.close()
    assert most > 3, "three starts were the limit once"
    check(shop, sender, receiver, 1)
