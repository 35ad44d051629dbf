"""A file that came in whole on our own site is taken at once, and a file vouched for no longer than it is the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cegid_daemon.model import Identity, Listed, SourceSpec
from cegid_daemon.timing import Settling

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
NS = int(NOON.timestamp()) * 10**9


def file(size: int = 10, inode: int = 1, ctime: int = NS) -> Listed:
    return Listed("S.csv", Identity(size, NS, inode, ctime))


def settling(**options: str) -> Settling:
    return Settling(SourceSpec("inbox", settle=timedelta(seconds=5), **options), remote=False)  # type: ignore[arg-type]


def taken(timing: Settling, *listing: Listed, seconds: float = 0) -> list[str]:
    return [one.file.name for one in timing.look(listing, NOON + timedelta(seconds=seconds)).ready]


def test_a_file_somebody_vouches_for_is_taken_at_the_first_look() -> None:
    timing = settling()
    timing.vouch("S.csv", file().identity)
    assert taken(timing, file(ctime=NS + 5)) == ["S.csv"]


def test_a_file_that_grew_since_has_to_settle() -> None:
    timing = settling()
    timing.vouch("S.csv", file().identity)
    assert taken(timing, file(size=11)) == []
    assert taken(timing, file(size=11), seconds=6) == ["S.csv"]


def test_another_file_under_the_same_name_has_to_settle() -> None:
    timing = settling()
    timing.vouch("S.csv", file().identity)
    assert taken(timing, file(inode=2)) == []


def test_a_word_given_between_listing_and_look_is_kept_for_the_next_look() -> None:
    timing = settling()
    taken(timing)
    timing.vouch("S.csv", file().identity)
    assert taken(timing) == []
    assert taken(timing, file()) == ["S.csv"]


def test_a_word_for_a_file_that_has_gone_is_forgotten() -> None:
    timing = settling()
    timing.vouch("S.csv", file().identity)
    assert taken(timing, file()) == ["S.csv"]
    assert taken(timing) == []
    assert taken(timing, file()) == []


def test_a_marker_is_waited_for_all_the_same() -> None:
    timing = settling(marker=".ok")
    timing.vouch("S.csv", file().identity)
    assert taken(timing, file()) == []
