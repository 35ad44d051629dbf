"""The filters a template has besides Jinja's own: widths, decimals, dates, whole numbers, bar codes, flat text, needs.

Owns what each accepts and when it refuses: nothing is cut, rounded or flattened in silence. A refusal is a
`TemplateFault` naming the field; the renderer adds template, line and record. What was cut or flattened is counted
through `reading`, which also says which decimal mark numbers in text bear.
An undefined value is refused by Jinja itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal
from typing import Any

from jinja2.filters import do_float, do_int

from cegid_daemon.errors import ANYTHING, NOTHING, Place, TemplateFault
from cegid_daemon.rewrite.nested import NestedText
from cegid_daemon.rewrite.numbers import BLANKS, plain_text, reader
from cegid_daemon.rewrite.record import AsItCame

_ROUNDINGS = {"floor": ROUND_FLOOR, "ceil": ROUND_CEILING, "round": ROUND_HALF_UP}
_EXACT = Context(prec=10_000)
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?")
_LINE_BREAKS = "\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_UNFLAT = re.compile(f"[\t\0{_LINE_BREAKS}]")
_EAN_LENGTHS = (8, 12, 13, 14)


@dataclass(frozen=True, slots=True)
class _Reading:
    number: Callable[[str], Decimal | None]
    note: Callable[[str], None]
    no_number: Callable[[str, str], None]  # field, text


_UNTOLD = _Reading(reader("."), lambda _: None, lambda _field, _text: None)
_current: ContextVar[_Reading | None] = ContextVar("reading", default=None)


@contextmanager
def reading(
    mark: str, note: Callable[[str], None], no_number: Callable[[str, str], None] = _UNTOLD.no_number
) -> Iterator[None]:
    """While it lasts, numbers in text bear the decimal mark `mark`, and each value changed is told to `note`.

    `no_number` hears of texts that `int` and `float` take for 0.
    """
    token = _current.set(_Reading(reader(mark), note, no_number))
    try:
        yield
    finally:
        _current.reset(token)


def plain(value: Any) -> Any:
    """A value as it is printed: None as nothing, decimals with a point, no exponent, no trailing zeros."""
    if isinstance(value, Decimal):
        return value.text if isinstance(value, AsItCame) else plain_text(value)
    return "" if value is None else value


def fit(value: Any, width: int, cut: bool = False, *, field: str = "") -> str:
    """The text, at most `width` characters: longer is an error, or with `cut` is cut and counted."""
    text = _text(value)
    if len(text) <= width:
        return text
    if not cut:
        raise _fault(
            f"a value of {len(text)} characters does not fit into {width}",
            field,
            why=_shown(text),
            remedy=f"Shorten it in the source, or write fit({width}, cut=true) to have it cut and counted.",
            value=text,
        )
    _note(f"cut to {width}", field)
    return text[:width]


def decimal(value: Any, places: int = 2, mark: str = ".", rounding: str = "", *, field: str = "") -> str:
    """The number with exactly `places` decimals. More of them is an error unless `rounding` says what to do.

    `rounding` is `floor`, `ceil` or `round` (half away from zero). A blank stays blank.
    """
    number = _number(value, field)
    if number is None:
        return ""
    fixed = _rounded(number, places, rounding or "round")
    if not rounding and fixed != number:
        raise _fault(
            f"{plain(number)} has more than {places} decimals",
            field,
            remedy=f"Say what to do: decimal({places}, '{mark}', 'round'), 'floor' or 'ceil'.",
            value=_text(value),
            unquoted=f"a number has more than {places} decimals",
        )
    return f"{fixed if fixed else abs(fixed):f}".replace(".", mark)


def whole(value: Any, rounding: str = "", *, field: str = "") -> int | str:
    """The number without decimals. A fraction is an error unless `rounding` says what to do; a blank stays blank."""
    number = _number(value, field)
    if number is None:
        return ""
    fixed = _rounded(number, 0, rounding or "round")
    if not rounding and fixed != number:
        raise _fault(
            f"{plain(number)} is not whole",
            field,
            remedy="Correct it in the source, or say what to do: whole('floor'), whole('ceil') or whole('round').",
            value=_text(value),
            unquoted="a number is not whole",
        )
    return int(fixed)


def cegid_date(value: Any, layout: str = "%d%m%Y", *, field: str = "") -> str:
    """A date or moment in CEGID's writing (`strftime` codes), by its own clock: an offset is not converted.

    Takes ISO 8601 (`2017-12-16T23:56:48+00:00`, `2017-03-02 08:13:55`, `2017-03-02`) and datetimes; blank and
    `0000-00-00 00:00:00` give blank.
    """
    if isinstance(value, date):
        return value.strftime(layout)
    text = str(_text(value)).strip(BLANKS)
    if not text or text.startswith("0000-00-00"):
        return ""
    try:
        if _MOMENT.fullmatch(text):
            return datetime.fromisoformat(text).strftime(layout)
    except ValueError:
        pass
    raise _fault(
        f"{_shown(text)} is no date",
        field,
        remedy="Dates are written 2017-03-02 or 2017-03-02 08:13:55.",
        value=_text(value),
        unquoted="a value is no date",
    )


def ean(value: Any, *, field: str = "") -> str:
    """A bar code as it came (leading zeros kept), its check digit proved: EAN-8, UPC-A, EAN-13, GTIN-14."""
    text = str(_text(value)).strip(BLANKS)
    if not text:
        return ""
    digits = text.isascii() and text.isdigit() and len(text) in _EAN_LENGTHS
    if not digits or sum(int(one) * (3 if at % 2 else 1) for at, one in enumerate(reversed(text))) % 10:
        why = "its check digit is wrong" if digits else "it has 8, 12, 13 or 14 digits"
        raise _fault(
            f"{_shown(text)} is no EAN", field, why=why, remedy="Correct it in the source.", value=_text(value),
            unquoted="a value is no EAN",
        )  # fmt: skip
    return text


def flat(value: Any, separator: str = ";", *, field: str = "") -> str:
    """The text on one line and in one column: separator, line breaks, tab and NUL become blanks, and it is counted."""
    text = _text(value)
    flattened = _UNFLAT.sub(" ", text)
    if separator:
        flattened = flattened.replace(separator, " ")
    if flattened != text:
        _note("flattened", field)
    return flattened


def needed(value: Any, *, field: str = "") -> Any:
    """The value as it is; a blank one is an error."""
    if not _text(value).strip(BLANKS):
        raise _fault(
            "a value is blank that the receiver needs",
            field,
            remedy="Correct it in the source, or take needed out of the template where it may be blank.",
        ).quoting(NOTHING)
    return value


def to_int(value: Any, default: Any = None, base: int = 10, *, field: str = "") -> Any:
    """Jinja's `int`: a text that is no number is `default`; where none is given it is 0, with a remark."""
    return _or_default(do_int(_readable(value), None, base), value, default, 0, field)  # type: ignore[arg-type]


def to_float(value: Any, default: Any = None, *, field: str = "") -> Any:
    """Jinja's `float`, as `int`."""
    return _or_default(do_float(_readable(value), None), value, default, 0.0, field)  # type: ignore[arg-type]


def _readable(value: Any) -> Any:
    return value.refuse() if value.__class__ is NestedText else value


def _or_default(number: Any, value: Any, default: Any, zero: float, field: str) -> Any:
    if number is not None:
        return number
    if default is None and isinstance(value, str) and value.strip(BLANKS):
        _here().no_number(field, value)
    return zero if default is None else default


FILTERS: dict[str, Callable[..., Any]] = {
    "int": to_int,
    "float": to_float,
    "needed": needed,
    "fit": fit,
    "decimal": decimal,
    "whole": whole,
    "cegid_date": cegid_date,
    "ean": ean,
    "flat": flat,
}


def _text(value: Any) -> str:
    shown = plain(value)
    return shown if isinstance(shown, str) else str(shown)


def _number(value: Any, field: str) -> Decimal | None:
    try:
        if isinstance(value, (Decimal, int, float)) and not isinstance(value, bool):
            return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        return _here().number(_text(value))
    except ValueError as error:
        remedy = "Correct it in the source, or the layout's decimal mark."
        unquoted = "a value is no number"
        raise _fault(str(error), field, remedy=remedy, value=_text(value), unquoted=unquoted) from error


def _rounded(number: Decimal, places: int, rounding: str) -> Decimal:
    if rounding not in _ROUNDINGS:
        known = ", ".join(repr(word) for word in _ROUNDINGS)
        fault = TemplateFault(f"{rounding!r} is no way to round", remedy=f"Use one of {known}.")
        raise fault.quoting(ANYTHING, "there is no such way to round")
    return number.quantize(Decimal(1).scaleb(-places), rounding=_ROUNDINGS[rounding], context=_EXACT)


def _here() -> _Reading:
    return _current.get() or _UNTOLD


def _note(text: str, field: str) -> None:
    _here().note(f"{text}: {field}" if field else text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


def _fault(
    what: str, field: str, *, why: str = "", remedy: str = "", value: str | None = None, unquoted: str = ""
) -> TemplateFault:
    fault = TemplateFault(what, where=Place(field=field), why=why, remedy=remedy).quoting(ANYTHING, unquoted)
    fault.value = value
    return fault
