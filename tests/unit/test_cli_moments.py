"""Times as operators type them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cegid_daemon.cli.moments import moment

NOW = datetime(2026, 11, 23, 7, 42, tzinfo=UTC)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-23T07:42", datetime(2026, 11, 23, 7, 42, tzinfo=UTC)),
        ("2026-11-23 07:42:30", datetime(2026, 11, 23, 7, 42, 30, tzinfo=UTC)),
        ("2026-11-23T07:42:00.123456Z", datetime(2026, 11, 23, 7, 42, 0, 123456, tzinfo=UTC)),
        ("2026-11-23T07:42:00+01:00", datetime(2026, 11, 23, 6, 42, tzinfo=UTC)),
        ("90m", datetime(2026, 11, 23, 6, 12, tzinfo=UTC)),
        ("24h", datetime(2026, 11, 22, 7, 42, tzinfo=UTC)),
        (" 7d ", datetime(2026, 11, 16, 7, 42, tzinfo=UTC)),
    ],
)
def test_a_time_without_a_zone_is_utc_and_a_duration_is_that_long_ago(typed: str, meant: datetime) -> None:
    assert moment(typed, NOW) == meant


@pytest.mark.parametrize("typed", ["", "yesterday", "-3d", "1w", "2026-13-01", "٣d"])
def test_what_is_no_time_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        moment(typed, NOW)


def test_more_days_than_there_ever_were_are_refused() -> None:
    with pytest.raises(OverflowError):
        moment("999999d", NOW)
