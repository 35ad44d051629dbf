"""What `/health/ready` says, and how often it asks the journal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import cast

from cegid_daemon.console.ground import Ground
from cegid_daemon.console.machines import Readiness
from cegid_daemon.errors import JournalUnavailable


class Shop:
    """A daemon whose journal can be locked away."""

    def __init__(self) -> None:
        self.asked, self.broken, self.well, self.now = 0, False, True, 100.0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.asked += 1
        if self.broken:
            raise JournalUnavailable("locked")
        yield

    @property
    def ground(self) -> Ground:
        journal = SimpleNamespace(connection=SimpleNamespace(transaction=self.transaction))
        return cast(Ground, SimpleNamespace(journal=journal, well=lambda: self.well))


def test_the_journal_is_asked_once_a_second_however_many_probes_come():
    shop = Shop()
    readiness = Readiness(lambda: shop.now)
    for _ in range(100):
        assert readiness.answer(shop.ground).status_code == 200
    assert shop.asked == 1
    shop.broken = True
    shop.now += 1
    assert readiness.answer(shop.ground).status_code == 503
    shop.broken = False
    shop.now += 1
    assert readiness.answer(shop.ground).status_code == 200
    assert shop.asked == 3


def test_a_stuck_daemon_is_not_ready_whatever_its_journal_says():
    shop = Shop()
    readiness = Readiness(lambda: shop.now)
    assert readiness.answer(shop.ground).status_code == 200
    shop.well = False
    assert readiness.answer(shop.ground).body == b"stuck\n"
