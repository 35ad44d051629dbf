"""The real daemon, started again and again to be killed, and what must hold afterwards however often it was."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from tests.acceptance.harness import HERE, Receiver, Sender, Shop, environment, expected_lines


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

    def run(
        self, kill_at: int, is_idle: Callable[[], bool], kill_after: float = 30,
        kill_when: Callable[[], bool] = lambda: False,
    ) -> bool:  # fmt: skip
        """Runs the daemon until it is killed (True), or until all is done (False)."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(b"%d\n" % kill_at)
        self._process.stdin.flush()
        pid, until = int(self._process.stdout.readline()), time.monotonic() + kill_after
        while not select.select([self._process.stdout], [], [], 0.01)[0]:
            if is_idle():
                os.kill(pid, signal.SIGTERM)
                break
            if kill_when():
                os.kill(pid, signal.SIGKILL)
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


def is_idle(shop: Shop, sender: Sender) -> bool:
    """Everything dropped is claimed and closed, and nothing lies in the inbox."""
    if len(sender.bodies) < sender.limit or shop.lying():
        return False
    return not shop.sql("SELECT 1 FROM message WHERE closed_at IS NULL LIMIT 1")


def check(shop: Shop, sender: Sender, receiver: Receiver, routes: int) -> None:
    bodies = sender.bodies
    bad = sum(b"bad" in body for body in bodies.values())
    failed = shop.sql("SELECT file_name, error FROM message WHERE state = 'failed'")
    assert len(failed) == bad * routes, failed
    got, want = receiver.lines(), expected_lines(bodies, routes)
    assert got == want, (got - want, want - got)
    assert shop.states().get("done", 0) == (len(bodies) - bad) * routes
    assert sum(shop.states().values()) == len(bodies) * routes, shop.states()
    left = [path for path in shop.outbox.rglob("*") if not path.is_dir()]
    assert left == [], "nothing half-written, no temporary"
    assert shop.spool() == []
    assert shop.lying() == []
    assert shop.sql("SELECT count(*) FROM payload WHERE sealed = 0") == [(0,)]
    unmodified = shop.sql("SELECT count(*) FROM log_entry WHERE variant = 'Unmodified' GROUP BY message")
    assert unmodified == [(1,)] * len(bodies) * routes
    assert set(shop.sql("SELECT count(*) FROM log_entry WHERE variant = 'Modified' GROUP BY part")) == {(1,)}
    delivered = shop.sql("SELECT count(*) FROM api_integration_log WHERE variant = 'Modified' AND outcome = 'ok'")
    assert delivered == shop.sql("SELECT count(*) FROM delivery")
    shop.check_coverage()
