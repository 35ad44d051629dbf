"""Points in time as an operator types them: `2026-11-23`, `2026-11-23T07:42:00+01:00`, `90m` ago, `7d` ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

_AGO = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Moment(click.ParamType[datetime]):
    """A time; UTC unless it says otherwise. `90m`, `24h` and `7d` are that long ago."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The aware moment that was typed."""
        from cegid_daemon.bootstrap import utc_now

        if isinstance(value, datetime):
            return value
        try:
            return moment(str(value), utc_now())
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time: write 2026-11-23, 2026-11-23T07:42 (UTC), or 90m, 24h, 7d", param, ctx)


def moment(text: str, now: datetime) -> datetime:
    """The moment a text names. Raises ValueError, OverflowError."""
    if ago := _AGO.fullmatch(text.strip()):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    found = datetime.fromisoformat(text.strip())
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
