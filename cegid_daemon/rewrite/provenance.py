"""Which records a template prints: a value knows the record it was taken from, wherever the template keeps it.

A value that a template reads to print it at once marks its record there and then. A value that it keeps (in a variable,
a list, a block, a macro) is a text or number that bears its origin, and marks when it is printed at last. Owns what
becomes of origins when values are joined, computed and changed. Numbers of several records computed into one are a
total: a record that is printed in no other way is told apart from those that are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from typing import Any

from markupsafe import Markup

from cegid_daemon.rewrite.nested import NestedText
from cegid_daemon.rewrite.record import AsItCame, PlainDecimal, RawFields, Record

IN_TOTAL, PRINTED = 1, 2  # how a record is in the output
FRESH, PASSED = False, None  # `Record.printed` of one that the template is at, or has read past, and has not printed

_MORE = 4096  # records that room is made for at a time
_DEEPEST = 5  # containers in containers that are looked into


class Joined:
    """The origins of a value made of several."""

    __slots__ = ("level", "parts", "total")

    def __init__(self, parts: tuple[Origin, ...], *, total: bool = False) -> None:
        self.parts, self.total = parts, total
        self.level = 0  # how it was marked already


Origin = int | Joined
"""The number of a record, or of several."""


class Printed:
    """The records of one message that are in the output."""

    def __init__(self, told: Callable[[int], None] | None = None) -> None:
        """`told` hears the number of each record whose value is printed, each time."""
        self.levels = bytearray()  # by the number of the record
        self._told = told
        self.count = self.in_total = 0

    def level(self, number: int) -> int:
        """How a record is in the output; 0: it is not."""
        return self.levels[number] if number < len(self.levels) else 0

    def mark(self, origin: Origin, level: int = PRINTED) -> None:
        """A value of this origin is in the output."""
        if isinstance(origin, int):
            return self._set(origin, level)
        waiting: list[tuple[Origin, int]] = [(origin, level)]
        while waiting:
            one, how = waiting.pop()
            if isinstance(one, int):
                self._set(one, how)
            elif one.level < how:
                one.level = how
                waiting += [(part, IN_TOTAL if one.total else how) for part in one.parts]
                if how == PRINTED or one.total:
                    one.parts = ()
        return None

    def pass_by(self, record: Record) -> None:
        """The template goes on to the next record; what is printed of this one from now on is marked by its number."""
        if record.printed:
            number = record.number
            if number >= len(self.levels) or self.levels[number] != PRINTED:
                self._set(number, PRINTED)
        else:
            record.printed = PASSED

    def _set(self, number: int, level: int) -> None:
        levels = self.levels
        if number >= len(levels):
            levels.extend(bytes(number + _MORE - len(levels)))
        before = levels[number]
        if before < level:
            levels[number] = level
            if level == PRINTED:
                self.count += 1
                self.in_total -= before == IN_TOTAL
            else:
                self.in_total += 1
        if self._told is not None and level == PRINTED:
            self._told(number)


_current: ContextVar[Printed | None] = ContextVar("printed", default=None)


@contextmanager
def counting(printed: Printed) -> Iterator[None]:
    """While it lasts, what a template prints is counted here."""
    token = _current.set(printed)
    try:
        yield
    finally:
        _current.reset(token)


def root_of(record: Record) -> Record:
    """The record of the file that a record stands in."""
    while record.parent is not None:
        record = record.parent
    return record


def mark(record: Record) -> bool:
    """A value of this record is printed; true, so that it can stand in a condition."""
    if record.printed is FRESH and record.parent is None:
        record.printed = True  # counted by `pass_by`
    elif (printed := _current.get()) is not None:
        printed.mark(root_of(record).number)
    return True


# -- values that bear an origin ---------------------------------------------------------------------------------------


class KeptText(str):
    """A text of a record."""

    __slots__ = ("_origin",)
    _origin: Origin

    def __getitem__(self, at: Any) -> KeptText:
        return _text(super().__getitem__(at), self._origin)

    def __iter__(self) -> Iterator[str]:
        return (_text(char, self._origin) for char in super().__iter__())


class KeptMarkup(Markup):
    """A text of a record that is escaped; what its own methods make of it is to be kept anew."""

    _origin: Origin | None = None


class KeptInt(int):
    """A whole number of a record."""

    _origin: Origin


class KeptFloat(float):
    """A binary fraction made of a value of a record."""

    _origin: Origin


class KeptDecimal(Decimal):
    """An exact number made of values of a record."""

    _origin: Origin


class KeptPlain(PlainDecimal):
    """A stock with a fraction."""

    _origin: Origin


class KeptAsItCame(AsItCame):
    """A stock that prints as the file has it."""

    _origin: Origin


def _text(text: str, origin: Origin) -> KeptText:
    made = KeptText(text)
    made._origin = origin
    return made


_KINDS: Mapping[type, Callable[[Any], Any]] = {
    str: KeptText,
    Markup: KeptMarkup,
    int: KeptInt,
    float: KeptFloat,
    Decimal: KeptDecimal,
    PlainDecimal: KeptPlain,
    AsItCame: lambda value: KeptAsItCame(value.number, value.text),
}
_KEPT = frozenset({KeptText, KeptMarkup, KeptInt, KeptFloat, KeptDecimal, KeptPlain, KeptAsItCame})


def keep(value: Any, origin: Origin | None) -> Any:
    """The value, bearing its origin; what cannot bear one (yes, no, nothing) is only an answer."""
    kind = _KINDS.get(value.__class__)
    if kind is None or origin is None:
        if value.__class__ is NestedText:
            value.refuse()
        if value.__class__ is KeptMarkup and value._origin is None:
            value._origin = origin
        return value
    made = kind(value)
    made._origin = origin
    return made


_BARE = frozenset({*_KINDS, bool, type(None)})
"""What comes from nowhere: nearly all that a template works with."""
_COLLECTIONS = (list, tuple, Set)


def keep_field(record: Record, name: Any) -> Any:
    """A field of a record, to be kept."""
    return keep(record[name], (record if record.parent is None else root_of(record)).number)


def origin_of(value: Any, depth: int = 0) -> Origin | None:
    """Where a value comes from, or all that is in it."""
    if value.__class__ in _KEPT:
        found: Origin | None = value._origin  # type: ignore[attr-defined]  # they all have one
        return found
    if isinstance(value, Record):
        return root_of(value).number
    if isinstance(value, RawFields):
        return root_of(value._record).number
    if depth < _DEEPEST and value.__class__ not in _BARE:
        if isinstance(value, Mapping):
            return origin_of_all((*value.keys(), *value.values()), depth + 1)
        if isinstance(value, _COLLECTIONS):
            return origin_of_all(value, depth + 1)
    return None


def origin_of_all(values: Iterable[Any], depth: int = 0, *, total: bool = False) -> Origin | None:
    """Where several values come from together."""
    distinct: dict[Origin, None] = {}
    for value in values:
        if value.__class__ not in _BARE and (found := origin_of(value, depth)) is not None:
            distinct[found] = None
    if len(distinct) <= 1:
        return next(iter(distinct), None)
    return Joined(tuple(distinct), total=total)


def carry(value: Any, origin: Origin | None, depth: int = 0) -> Any:
    """A result, bearing the origin of what it was made of, as far as it bears none."""
    if origin is None:
        return value
    if isinstance(value, tuple) and type(value) is tuple and depth < _DEEPEST:
        return tuple(carry(one, origin, depth + 1) for one in value)
    if isinstance(value, list) and depth < _DEEPEST:
        return [carry(one, origin, depth + 1) for one in value]
    if isinstance(value, dict) and not isinstance(value, Record) and depth < _DEEPEST:
        return {key: carry(one, origin, depth + 1) for key, one in value.items()}
    return keep(value, origin)


def shown(value: Any) -> Any:
    """The value, which is printed now: marks where it comes from."""
    if value.__class__ in _BARE:
        return value
    if (printed := _current.get()) is not None and (origin := origin_of(value)) is not None:
        printed.mark(origin)
    return value


class Buffer(list[str]):
    """The text of a block or macro while it is made, with the origins of all that went into it."""

    __slots__ = ("_origins",)

    def __init__(self) -> None:
        super().__init__()
        self._origins: dict[Origin, None] = {}

    def note(self, record: Record) -> bool:
        """A value of this record goes into the text; true, so that it can stand in a condition."""
        self._origins[(record if record.parent is None else root_of(record)).number] = None
        record.noted = self
        return True

    def take(self, value: Any) -> Any:
        """The value, which goes into the text now."""
        if (origin := origin_of(value)) is not None:
            self._origins[origin] = None
        return value

    def text(self) -> str:
        """All of it."""
        origins = tuple(self._origins)
        return keep("".join(self), (origins[0] if len(origins) == 1 else Joined(origins)) if origins else None)  # type: ignore[no-any-return]


def joined(texts: Iterable[str]) -> str:
    """Texts in a row, bearing the origins of all."""
    return texts.text() if isinstance(texts, Buffer) else "".join(texts)
