"""Pages out of templates: everything shown is escaped, odd characters are made visible, times carry their UTC.

Owns the filters of the templates. Knows no request and no journal.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from cegid_daemon.model import utc_moment, utc_text

HERE = Path(__file__).parent
STATIC = HERE / "static"
_ODD = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_QUOTED = re.compile(r"`([^`<>]+)`")
_UNITS = ("bytes", "kB", "MB", "GB")


def visible(text: object) -> Markup:
    """A text from outside: control, invisible and direction-changing characters are shown by their numbers."""
    pieces, at = [], 0
    raw = "" if text is None else str(text)
    for found in _ODD.finditer(raw):
        pieces += [
            escape(raw[at : found.start()]),
            Markup('<span class="odd">') + _number(found[0]) + Markup("</span>"),
        ]
        at = found.end()
    return Markup("").join([*pieces, escape(raw[at:])])


def prose(text: object) -> Markup:
    """A sentence of ours: what stands between backticks is shown as code."""
    return Markup(_QUOTED.sub(r"<code>\1</code>", str(visible(text))))  # noqa: S704 - `visible` has escaped it


def _number(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def moment(value: datetime | str | None) -> Markup:
    """A time: in UTC as it stands here, in the reader's zone by the shipped script, in UTC on hover."""
    if not value:
        return Markup('<span class="none">–</span>')
    at = value if isinstance(value, datetime) else utc_moment(value)
    return Markup('<time datetime="{}" title="{} UTC">{} UTC</time>').format(
        utc_text(at), f"{at:%Y-%m-%d %H:%M:%S}", f"{at:%Y-%m-%d %H:%M:%S}"
    )


@pass_context
def past_moment(context: Context, value: datetime | str | None) -> Markup:
    """The time of something that happened: what a clock that was ahead wrote down counts as now."""
    now = context.get("now")
    if not value or now is None:
        return moment(value)
    return moment(min(value if isinstance(value, datetime) else utc_moment(value), now))


def hour(at: datetime) -> Markup:
    """The time of day on a plot's axis: in UTC here, in the reader's zone by the shipped script."""
    return Markup('<time class="hour" datetime="{}" title="{} UTC">{}</time>').format(
        utc_text(at), f"{at:%Y-%m-%d %H:%M}", f"{at:%H:%M}"
    )


def amount(count: int) -> str:
    """A number in groups of three: `1 234 567`."""
    return f"{count:,}".replace(",", "\u202f")


def size(count: int) -> str:
    """Bytes in the largest fitting unit."""
    value = float(count)
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            return f"{amount(count)}\u00a0{unit}" if unit == "bytes" else f"{value:.1f}\u00a0{unit}"
        value /= 1000
    raise AssertionError


def took(seconds: float | None) -> str:
    """A stretch of time as people say it."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f}\u00a0ms"
    if seconds < 120:
        return f"{seconds:.1f}\u00a0s"
    return f"{seconds / 60:.0f}\u00a0min" if seconds < 7200 else f"{seconds / 3600:.1f}\u00a0h"


def query(**values: object) -> str:
    """A query string of what is not blank."""
    return urlencode({name: str(value) for name, value in values.items() if value not in (None, "")})


@cache
def static_version() -> str:
    """Changes when a shipped file does, so that browsers may keep them."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def environment() -> Environment:
    """The templates of the pages."""
    found = Environment(
        loader=FileSystemLoader(HERE / "pages"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    found.filters.update(
        visible=visible, prose=prose, moment=past_moment, due=moment, hour=hour, amount=amount, size=size, took=took
    )
    found.globals.update(query=query, static_version=static_version())
    return found


def render(template: str, **names: Any) -> str:
    """A page as text."""
    return environment().get_template(template).render(**names)
