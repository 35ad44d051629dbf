"""One owner of each source folder: who may take files, who may not, and what a person is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from spine import Failing, Spine

from cegid_daemon.endpoints.folder import FolderEndpoint
from cegid_daemon.endpoints.memory import MemoryEndpoint
from cegid_daemon.endpoints.owner_mark import OwnerMark
from cegid_daemon.endpoints.protocol import Abilities
from cegid_daemon.errors import EndpointError, Permanent, Transient
from cegid_daemon.journal import Journal
from cegid_daemon.masks import OWNER_MARK, Masks
from cegid_daemon.ownership import Identification, MarkedSource, OldMarks, folder_claims, look_into
from cegid_daemon.ownership.owners import read_owners
from cegid_daemon.scanner import Source

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ALL = Masks()
STOCK, PRICES = Masks(("STOCK*.csv",)), Masks(("PRICE*.csv",))


def me(instance: str = "aaaa", **more: Any) -> Identification:
    return Identification(**{"instance": instance, "state": f"/var/{instance}", "host": "shop", "machine": "m", **more})


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    (tmp_path / "state").mkdir()
    with closing(Journal.open(tmp_path / "state" / "journal.sqlite")) as journal:
        yield journal


@pytest.fixture
def inbox(tmp_path: Path) -> FolderEndpoint:
    (tmp_path / "inbox" / "in").mkdir(parents=True)
    return FolderEndpoint(str(tmp_path / "inbox"))


class Taker:
    """A daemon that looks at one folder, for sources with these masks."""

    def __init__(self, endpoint: Any, who: Identification, journal: Journal, *masks: Masks) -> None:
        self.endpoint = endpoint
        self.masks = masks or (ALL,)
        sources = [MarkedSource(f"r{no}", endpoint, "in", one) for no, one in enumerate(self.masks)]
        (self.claim,) = folder_claims(sources, who, journal).values()

    def look(self, masks: Masks | None = None, now: datetime = NOW) -> EndpointError | None:
        return self.claim.refusal(masks or self.masks[0], self.endpoint.list("in"), "stock", now)


def owners(inbox: Any) -> list[str]:
    body = OwnerMark(inbox, "in").read()
    return [one.owner for one in read_owners(body)] if body else []


def test_the_first_daemon_marks_the_folder_and_a_second_is_refused_in_clear_words(
    inbox: FolderEndpoint, journal: Journal
) -> None:
    assert Taker(inbox, me("aaaa"), journal).look() is None
    assert owners(inbox) == ["aaaa"]
    refusal = Taker(inbox, me("bbbb"), journal).look()
    assert str(refusal) == (
        f"the folder belongs to another cegid-daemon, and nothing is taken from it (route stock, file "
        f"'{inbox.root}/in'): its mark .cegid-daemon.owner names instance aaaa with the state folder /var/aaaa on host "
        "shop, which takes * since 2026-11-23T12:00:00.000000Z. Stop that one or this, or give both masks that cannot "
        "overlap. If that one is no more: cegid-daemon claim-folder stock"
    )
    assert owners(inbox) == ["aaaa"]
    assert [(one.kind, one.subject) for one in journal.notices.active()] == [
        ("folder owned", f"file:{inbox.root}/in (*)")
    ]


def test_daemons_whose_masks_cannot_overlap_share_a_folder(inbox: FolderEndpoint, journal: Journal) -> None:
    assert Taker(inbox, me("aaaa"), journal, STOCK).look() is None
    assert Taker(inbox, me("bbbb"), journal, PRICES).look() is None
    assert Taker(inbox, me("cccc"), journal, Masks(("*.csv",), ("STOCK*", "PRICE*"))).look() is None
    assert owners(inbox) == ["aaaa", "bbbb", "cccc"]


def test_of_two_sources_in_a_folder_only_the_one_that_overlaps_is_refused(
    inbox: FolderEndpoint, journal: Journal
) -> None:
    Taker(inbox, me("aaaa"), journal, STOCK).look()
    other = Taker(inbox, me("bbbb"), journal, PRICES, Masks(("*5.csv",)))
    assert other.look(PRICES) is None
    assert other.look(Masks(("*5.csv",))) is not None
    assert json.loads((Path(inbox.root) / "in" / OWNER_MARK).read_text())["owners"][1]["sources"] == [
        {"match": ["PRICE*.csv"], "ignore": []}
    ]


def test_a_look_at_a_folder_whose_mark_is_as_it_was_asks_for_nothing(inbox: FolderEndpoint, journal: Journal) -> None:
    asked: list[str] = []
    counting = Failing(inbox)
    for name in ("read", "stat", "swap"):
        counting.on[name] = lambda *_args, name=name: asked.append(name)
    taker = Taker(counting, me(), journal)
    taker.look()
    asked.clear()
    assert [taker.look() for _ in range(3)] == [None, None, None]
    assert asked == []


def test_an_idle_folder_that_bears_a_mark_asks_the_journal_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Spine(tmp_path)) as spine:
        marked = MarkedSource("inventory", spine.inbox, "in", ALL)
        (claim,) = folder_claims([marked], me(), spine.journal).values()
        source = Source(
            tuple(spine.routes.values()), spine.stores, spine.inbox, spine.journal, spine.pipeline, spine.troubles,
            lambda: spine.now, lambda: False, claim,
        )  # fmt: skip
        for _ in range(4):
            source.look()
        asked: list[str] = []
        connection = spine.journal.connection
        query = connection.query
        monkeypatch.setattr(connection, "query", lambda sql, *more: asked.append(sql) or query(sql, *more))
        source.look()
        assert asked == []
        assert set(spine.lying()) == {OWNER_MARK}


def test_a_mark_that_was_removed_is_made_again(inbox: FolderEndpoint, journal: Journal) -> None:
    taker = Taker(inbox, me(), journal)
    taker.look()
    inbox.remove("in", OWNER_MARK)
    assert taker.look() is not None  # somebody may be removing the whole folder
    assert owners(inbox) == []
    assert taker.look(now=NOW + timedelta(seconds=3)) is None
    assert owners(inbox) == ["aaaa"]


def test_claiming_takes_the_folder_over_and_the_other_one_stops(inbox: FolderEndpoint, journal: Journal) -> None:
    first, second = Taker(inbox, me("aaaa"), journal), Taker(inbox, me("bbbb"), journal)
    first.look()
    assert second.look() is not None
    assert [one.owner for one in second.claim.take(NOW)] == ["aaaa"]
    assert second.look() is None
    assert journal.notices.active() == []
    assert "bbbb" in str(first.look())


def test_claiming_leaves_those_alone_whose_names_are_others(inbox: FolderEndpoint, journal: Journal) -> None:
    Taker(inbox, me("aaaa"), journal, STOCK).look()
    Taker(inbox, me("bbbb"), journal, PRICES).look()
    assert [one.owner for one in Taker(inbox, me("cccc"), journal, Masks(("STOCK1.csv",))).claim.take(NOW)] == ["aaaa"]
    assert owners(inbox) == ["bbbb", "cccc"]


def test_masks_that_change_change_the_mark(inbox: FolderEndpoint, journal: Journal) -> None:
    Taker(inbox, me("aaaa"), journal).look()
    other = Taker(inbox, me("bbbb"), journal, PRICES)
    assert other.look() is not None
    assert Taker(inbox, me("aaaa"), journal, STOCK).look() is None
    assert other.look() is None


# -- those who go on ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "later",
    [
        me(state="/elsewhere/var"),  # a moved state folder
        me(host="new", machine="n", state="/srv/var"),  # a restored machine
        me("bbbb", state="/var/aaaa"),  # a journal begun anew in the same state folder
    ],
)
def test_the_owner_goes_on_wherever_it_has_moved(
    inbox: FolderEndpoint, journal: Journal, later: Identification
) -> None:
    Taker(inbox, me(), journal).look()
    assert Taker(inbox, later, journal).look() is None
    (owner,) = read_owners((Path(inbox.root) / "in" / OWNER_MARK).read_bytes())
    assert (owner.owner, owner.state, owner.host) == (later.instance, later.state, later.host)


def test_a_state_folder_of_the_same_name_on_another_host_is_another_daemon(
    inbox: FolderEndpoint, journal: Journal
) -> None:
    Taker(inbox, me(), journal).look()
    assert Taker(inbox, me("bbbb", state="/var/aaaa", host="other"), journal).look() is not None


def copied(inbox: FolderEndpoint) -> FolderEndpoint:
    there = Path(f"{inbox.root}-copy")
    (there / "in").mkdir(parents=True)
    (there / "in" / OWNER_MARK).write_bytes((Path(inbox.root) / "in" / OWNER_MARK).read_bytes())
    return FolderEndpoint(str(there))


def test_a_mark_that_was_copied_with_its_folder_binds_nobody(inbox: FolderEndpoint, journal: Journal) -> None:
    Taker(inbox, me("aaaa"), journal).look()
    copy = copied(inbox)
    assert Taker(copy, me("bbbb"), journal).look() is None
    assert (owners(inbox), owners(copy)) == (["aaaa"], ["bbbb"])


def test_the_same_folder_by_another_path_is_no_copy(inbox: FolderEndpoint, journal: Journal) -> None:
    Taker(inbox, me("aaaa"), journal).look()
    Path(f"{inbox.root}-link").symlink_to(inbox.root)
    assert Taker(FolderEndpoint(f"{inbox.root}-link"), me("bbbb"), journal).look() is not None


def test_a_copied_state_folder_at_work_beside_its_original_is_refused(inbox: FolderEndpoint, journal: Journal) -> None:
    Taker(inbox, me(), journal).look()
    copy = me(state="/copy", is_held=lambda state: state == "/var/aaaa")
    refusal = Taker(inbox, copy, journal).look()
    assert "another process works with a copy of our state folder" in str(refusal)
    assert Taker(inbox, replace(copy, is_held=lambda _: False), journal).look() is None
    assert Taker(copied(inbox), me(), journal).look() is None  # a whole installation that was copied, in its own folder


# -- what must not stop work -------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_marked_is_worked_with_and_told(inbox: FolderEndpoint, journal: Journal) -> None:
    def full(*_: Any) -> None:
        raise Transient("no space left on device")

    endpoint = Failing(inbox)
    endpoint.on["swap"] = full
    taker = Taker(endpoint, me(), journal)
    assert taker.look() is None
    (notice,) = journal.notices.active()
    assert notice.kind == "folder not marked"
    assert "a second daemon on this folder would not be noticed" in notice.text
    del endpoint.on["swap"]
    assert taker.look(now=NOW + timedelta(seconds=5)) is None
    assert owners(inbox) == []
    assert taker.look(now=NOW + timedelta(minutes=2)) is None
    assert owners(inbox) == ["aaaa"]
    assert journal.notices.active() == []


def test_a_mark_that_nobody_can_read_is_told_and_can_be_claimed(inbox: FolderEndpoint, journal: Journal) -> None:
    (Path(inbox.root) / "in" / OWNER_MARK).write_text("what is this")
    taker = Taker(inbox, me(), journal)
    refusal = taker.look()
    assert isinstance(refusal, Permanent)
    assert "claim-folder stock" in refusal.remedy
    assert taker.claim.take(NOW) == []
    assert taker.look() is None


def test_a_mark_that_a_crash_left_blank_is_taken_after_a_while(inbox: FolderEndpoint, journal: Journal) -> None:
    (Path(inbox.root) / "in" / OWNER_MARK).touch()
    taker = Taker(inbox, me(), journal)
    assert taker.look() is not None
    assert taker.look(now=NOW + timedelta(seconds=20)) is None
    assert owners(inbox) == ["aaaa"]


@pytest.mark.parametrize("local", [True, False])
def test_a_mark_is_changed_only_if_it_is_what_was_read(inbox: FolderEndpoint, local: bool) -> None:
    endpoint: Any = inbox if local else MemoryEndpoint("inbox")
    endpoint.make_folder("in")
    assert endpoint.swap("in", OWNER_MARK, None, b"one")
    assert not endpoint.swap("in", OWNER_MARK, None, b"two")
    assert not endpoint.swap("in", OWNER_MARK, b"other", b"two")
    assert endpoint.swap("in", OWNER_MARK, b"one", b"two")
    assert endpoint.swap("in", OWNER_MARK, b"two", None)
    assert endpoint.list("in") == []


# -- no longer ours ----------------------------------------------------------------------------------------------------


def test_the_mark_goes_when_no_source_uses_the_folder(inbox: FolderEndpoint, journal: Journal) -> None:
    who = me(journal.ledger.instance())
    first = Taker(inbox, who, journal, STOCK)
    first.look()
    Taker(inbox, me("bbbb"), journal, PRICES).look()
    OldMarks(journal, {"inbox": inbox}, {first.claim.address: first.claim}).remove()
    assert len(owners(inbox)) == 2
    OldMarks(journal, {}, {}).remove()
    assert owners(inbox) == ["bbbb"]
    assert journal.places.marks() == []


def test_what_was_told_of_folders_that_are_no_longer_configured_is_cleared(
    inbox: FolderEndpoint, journal: Journal
) -> None:
    Taker(inbox, me("aaaa"), journal).look()
    Taker(inbox, me("bbbb"), journal).look()
    assert len(journal.notices.active()) == 1
    OldMarks(journal, {"inbox": inbox}, {}).remove()
    assert journal.notices.active() == []


def test_the_last_owner_takes_the_file_away(inbox: FolderEndpoint, journal: Journal) -> None:
    Taker(inbox, me(journal.ledger.instance()), journal).look()
    OldMarks(journal, {}, {}).remove()
    assert inbox.stat("in", OWNER_MARK) is None


def test_check_says_what_would_be_refused_and_changes_nothing(inbox: FolderEndpoint, journal: Journal) -> None:
    Taker(inbox, me("aaaa"), journal).look()
    source = MarkedSource("stock", inbox, "in", STOCK)
    assert look_into([source], me("aaaa"), NOW) == []
    (told,) = look_into([source], me(""), NOW)
    assert "names instance aaaa" in told
    assert owners(inbox) == ["aaaa"]


# -- on a server -------------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> MemoryEndpoint:
    endpoint = MemoryEndpoint("server")
    endpoint.abilities = Abilities(remote=True)
    endpoint.make_folder("in")
    return endpoint


def test_on_a_server_the_mark_is_a_folder(server: MemoryEndpoint, journal: Journal) -> None:
    who = me(journal.ledger.instance())
    first, second = Taker(server, who, journal, STOCK), Taker(server, me("bbbb"), journal)
    assert first.look() is None
    assert first.look() is None
    assert set(server.content(f"in/{OWNER_MARK}")) == {"owner.json"}
    assert second.look() is not None
    second.claim.take(NOW)
    assert second.look() is None
    assert first.look() is not None
    first.claim.take(NOW)
    OldMarks(journal, {"server": server}, {}).remove()
    assert server.list("in") == []


def test_a_server_that_does_not_answer_is_no_verdict(server: MemoryEndpoint, journal: Journal) -> None:
    endpoint = Failing(server)
    endpoint.on["read"] = lambda *_: (_ for _ in ()).throw(Transient("the line is cut"))
    with pytest.raises(Transient, match="the line is cut"):
        Taker(endpoint, me(), journal).look()


def test_a_folder_that_a_crash_left_without_its_file_is_taken_after_a_while(
    server: MemoryEndpoint, journal: Journal
) -> None:
    server.make_folder(f"in/{OWNER_MARK}")
    taker = Taker(server, me(), journal)
    assert taker.look() is not None
    assert taker.look(now=NOW + timedelta(seconds=20)) is None
    assert owners(server) == ["aaaa"]


@pytest.mark.parametrize("name", [OWNER_MARK, f"{OWNER_MARK}.1a2b"])
def test_a_mark_is_never_a_source_file(name: str) -> None:
    assert not Masks((".*", "*")).takes(name)
