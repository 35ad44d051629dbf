"""The mark of another daemon in a folder of a server that this one does not mark: told once, never taken as a file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from spine import NOON, Spine, route

from cegid_daemon.endpoints.memory import MemoryEndpoint
from cegid_daemon.endpoints.protocol import Abilities
from cegid_daemon.masks import OWNER_MARK, Masks
from cegid_daemon.once import once
from cegid_daemon.ownership import ForeignMark, Identification
from cegid_daemon.ownership.owners import write_owners
from cegid_daemon.scanner import Source

OTHER = Identification("other", "/other/var", "elsewhere", "machine")
US = Identification("us", "/our/var", "here", "ours")


class Shop(Spine):
    """Takes files from a server that bears a mark of another daemon."""

    def _source(self, routes):  # type: ignore[no-untyped-def]
        spec = routes[0].source
        claim = ForeignMark(
            self.endpoints["inbox"],
            spec.folder,
            Masks(spec.match, spec.ignore),
            routes[0].name,
            US,
            self.journal.notices,
        )
        return Source(
            routes, self.stores, self.endpoints["inbox"], self.journal, self.pipeline, self.troubles,
            lambda: self.now, lambda: self.stopping, claim,
        )  # fmt: skip

    def mark(self, *match: str) -> None:
        self.inbox.make_folder(f"in/{OWNER_MARK}")
        owner = OTHER.owner("server/in", [Masks(match)], NOON)
        self.inbox.lay(f"in/{OWNER_MARK}", "owner.json", write_owners([owner]))

    def look_often(self, times: int = 3) -> list[str]:
        told: list[str] = []
        for _ in range(times):
            self.after(minutes=1)
            told += [str(error) for error in self.look().faults]
        return told


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path, route("stock", source_match=("*",)))
    shop.inbox.abilities = Abilities(remote=True)
    shop.restart()
    yield shop
    shop.close()


def test_it_is_told_with_the_remedy_and_files_are_taken_all_the_same(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.mark("*.csv")
    shop.drop("a.csv", b"a")
    told = shop.look_often(4)
    assert len(told) == 4
    assert "names instance other" in told[0]
    assert "owner_mark = true in the source and run: cegid-daemon claim-folder stock" in told[0]
    [notice] = shop.journal.notices.active()
    assert (notice.kind, notice.subject, notice.times) == ("folder owned", "memory:inbox/in (*)", 1)
    assert caplog.text.count("names instance other") == 1
    assert shop.states() == ["done"]
    assert set(shop.inbox.content(f"in/{OWNER_MARK}")) == {"owner.json"}
    outcome = once(shop.sources, clock=lambda: shop.now, wait=lambda _: True)
    assert len(outcome.faults) == 1


def test_it_is_over_when_the_mark_goes(shop: Shop) -> None:
    shop.mark("*.csv")
    shop.look_often()
    shop.inbox.remove(f"in/{OWNER_MARK}", "owner.json")
    shop.inbox.remove_folder(f"in/{OWNER_MARK}")
    assert shop.look_often() == []
    assert shop.journal.notices.active() == []


def test_masks_that_cannot_overlap_and_our_own_mark_are_nothing_to_tell(tmp_path: Path, shop: Shop) -> None:
    shop.routes = {"stock": route("stock", source_match=("*.csv",))}
    shop.restart()
    shop.mark("*.xml")
    assert shop.look_often() == []
    shop.inbox.lay(f"in/{OWNER_MARK}", "owner.json", write_owners([US.owner("x", [Masks(("*",))], NOON)]))
    assert shop.look_often() == []


def test_a_mark_that_cannot_be_read_is_told(shop: Shop) -> None:
    shop.inbox.make_folder(f"in/{OWNER_MARK}")
    shop.inbox.lay(f"in/{OWNER_MARK}", "owner.json", b"what is this")
    assert "cannot be read" in shop.look_often()[0]


def test_a_server_that_lists_no_dot_names_is_asked_now_and_then(tmp_path: Path, shop: Shop) -> None:
    server = MemoryEndpoint("server")
    server.abilities = Abilities(remote=True)
    server.make_folder("in")
    mark = ForeignMark(server, "in", Masks(("*",)), "stock", US, shop.journal.notices)
    assert mark.examine([], NOON) is None
    server.make_folder(f"in/{OWNER_MARK}")
    server.lay(f"in/{OWNER_MARK}", "owner.json", write_owners([OTHER.owner("x", [Masks(("*",))], NOON)]))
    assert mark.examine([], NOON + timedelta(minutes=1)) is None
    assert mark.examine([], NOON + timedelta(minutes=6)) is not None
    assert mark.examine([], NOON - timedelta(days=1)) is not None
