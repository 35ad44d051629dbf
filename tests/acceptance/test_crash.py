"""The crash table, with the real process: killed at every step, and at random, while nobody around it ever rests.

For time's sake all cases but the first skip steps here (tests/unit/test_pipeline.py goes through each of them in
memory); CEGID_DAEMON_TEST_EFFORT=2 or more skips none.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.harness import (
    EFFORT,
    HERE,
    NAMED,
    Receiver,
    Sender,
    Shop,
    environment,
    expected_lines,
    route_table,
    rows,
)

MOST_STEPS = 400  # a case ends when a run is not killed any more; this only bounds a case that never does


class Zygote:
    """See zygote.py."""

    def __init__(self, shop: Shop) -> None:
        self._folder = shop.folder
        self._log = (shop.folder / "daemon.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "zygote.py"), str(shop.configuration)], cwd=shop.folder, env=environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
        )  # fmt: skip

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        self._log.close()

    def run(self, kill_at: int, is_idle: Callable[[], bool], kill_after: float = 30) -> bool:
        """Runs the daemon until it is killed (True), or until all is done (False)."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(b"%d\n" % kill_at)
        self._process.stdin.flush()
        pid, until = int(self._process.stdout.readline()), time.monotonic() + kill_after
        while not select.select([self._process.stdout], [], [], 0.01)[0]:
            if is_idle():
                os.kill(pid, signal.SIGTERM)
                break
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
                assert kill_after < 30, "something is never done"
                break
        code = int(self._process.stdout.readline())
        said = (self._folder / "daemon.log").read_text("utf-8", "replace")
        assert "Traceback" not in said, said[-3000:]
        assert code in (0, -signal.SIGKILL, -signal.SIGTERM), code  # TERM: idle before it was ready
        return code == -signal.SIGKILL


def make_rows(uid: str) -> bytes:
    return rows(uid, 2)


def make_rows_with_bad(uid: str) -> bytes:
    return rows(uid, 2) if int(uid[1:]) % 3 else b"ID;N\nbad " + uid.encode() + b"\n"


BATCHED = ', name = "{{ source.stem }}-{{ part }}.txt"'
CASES = {
    "one": ([route_table("a")], ["S.csv"], make_rows),
    "batch of three": ([route_table("a")], ["S1.csv", "S2.csv", "S3.csv"], make_rows),
    "two parts": ([route_table("a", target=BATCHED, extra="output = { batch = 1 }")], ["S.csv"], make_rows),
    "version": ([route_table("a", target=NAMED + ', exists = "version"')], ["S.csv", "T.csv"], make_rows),
    "delete": ([route_table("a", source=', after = "delete"')], ["S.csv"], make_rows),
    "shared source": ([route_table("a"), route_table("b", target=NAMED.replace("}}", "}}-b"))], ["S.csv"],
                      make_rows),
    "bad ones": ([route_table("a")], ["S1.csv", "S2.csv", "S3.csv"], make_rows_with_bad),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.timeout(600)
def test_killed_at_every_step_each_message_arrives_exactly_once(case: str, tmp_path: Path) -> None:
    routes, names, make = CASES[case]
    shop = Shop(tmp_path, *routes)
    zygote = Zygote(shop)
    with Receiver(shop.outbox) as receiver, Sender(shop, names, make) as sender:
        for kill_at in range(1, MOST_STEPS, 1 if case == "one" or EFFORT > 1 else 6):
            sender.limit += len(names)
            killed = zygote.run(kill_at, lambda: is_idle(shop, sender))
            if near_giving_up(shop):
                zygote.run(0, lambda: is_idle(shop, sender))
            if not killed:
                break
        zygote.run(0, lambda: is_idle(shop, sender))
    zygote.close()
    assert kill_at > 20, "the steps were not counted"
    check(shop, sender, receiver, len(routes))


@pytest.mark.timeout(600)
def test_killed_at_random_each_message_arrives_exactly_once(tmp_path: Path) -> None:
    shop = Shop(tmp_path, route_table("a"))
    zygote = Zygote(shop)
    chance = random.Random(20261123)
    with (
        Receiver(shop.outbox) as receiver,
        Sender(shop, [f"S{number}.csv" for number in range(20)], make_rows) as sender,
    ):
        for _ in range(12 * EFFORT):
            sender.limit += 40
            zygote.run(0, lambda: False, kill_after=chance.uniform(0.1, 0.8))
            if near_giving_up(shop):
                zygote.run(0, lambda: is_idle(shop, sender))
        zygote.run(0, lambda: is_idle(shop, sender))
    zygote.close()
    check(shop, sender, receiver, 1)


def is_idle(shop: Shop, sender: Sender) -> bool:
    """Everything dropped is claimed and closed, and nothing lies in the inbox."""
    if len(sender.bodies) < sender.limit or any(path.is_file() for path in shop.inbox.iterdir()):
        return False
    return not shop.sql("SELECT 1 FROM message WHERE closed_at IS NULL LIMIT 1")


def near_giving_up(shop: Shop) -> bool:
    """A message that ended the daemon three times in a row is rightly taken for the cause: let it pass before that."""
    return bool(shop.sql("SELECT 1 FROM message WHERE made_at IS NULL AND closed_at IS NULL AND rewrite_starts >= 2"))


def check(shop: Shop, sender: Sender, receiver: Receiver, routes: int) -> None:
    bodies = sender.bodies
    bad = sum(b"bad" in body for body in bodies.values())
    failed = shop.sql("SELECT file_name, error FROM message WHERE state = 'failed'")
    assert len(failed) == bad * routes, failed
    assert receiver.lines() == expected_lines(bodies, routes)
    assert shop.states().get("done", 0) == (len(bodies) - bad) * routes
    assert sum(shop.states().values()) == len(bodies) * routes, shop.states()
    assert list(shop.outbox.iterdir()) == [], "nothing half-written, no temporary"
    assert shop.spool() == []
    assert [path.name for path in shop.inbox.iterdir() if path.is_file()] == []
    assert shop.sql("SELECT count(*) FROM payload WHERE sealed = 0") == [(0,)]
    unmodified = shop.sql("SELECT count(*) FROM log_entry WHERE variant = 'Unmodified' GROUP BY message")
    assert unmodified == [(1,)] * len(bodies) * routes
    assert set(shop.sql("SELECT count(*) FROM log_entry WHERE variant = 'Modified' GROUP BY part")) == {(1,)}
    delivered = shop.sql("SELECT count(*) FROM api_integration_log WHERE variant = 'Modified' AND outcome = 'ok'")
    assert delivered == shop.sql("SELECT count(*) FROM delivery")
    shop.check_coverage()
