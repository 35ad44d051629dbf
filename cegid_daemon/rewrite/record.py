"""The record: what expressions and templates see as `r`.

Owns the shape every layout reads into: fields as text items, the names computed from them set over fields of the same
name, and the way to inner records. Never reads a file and never decides a number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Context, Decimal
from typing import Any

from cegid_daemon.rewrite.numbers import plain_text, whole

COMPUTED = ("sku", "product", "stock", "raw_stock", "buffer", "buffer_level")
ATTRIBUTES = frozenset({"each", "line", "number", "parent", "raw"})

Number = int | Decimal | str
"""A stock as a template sees it: `int`, `PlainDecimal` where it has a fraction, `""` where it is blank."""


class Record(dict[str, Any]):
    """One record of a file: its fields by name, as text.

    `sku product stock raw_stock buffer buffer_level` are items too, where the layout names them. In templates an item
    wins over an attribute of the same name; beside items only the names in `ATTRIBUTES` mean anything.
    """

    number: int = 0  # from 1 in the file; 0 for inner records
    line: int = 0  # from 1; 0 = unknown
    parent: Record | None = None  # the record an inner record stands in
    printed: bool | None = False  # whether a template printed one of its values; None: not while it was at it
    noted: object = None  # the text in the making that one of them went into last
    _hidden: dict[str, str] | None = None  # fields that a computed name was set over
    _set: frozenset[str] = frozenset()  # the computed names that were set
    _inner: dict[str, Sequence[Record]] | None = None

    def each(self, path: str) -> Sequence[Record]:
        """The inner records under `path`: `Variations/Variation` in XML, a record type (`CCL`) in `records`."""
        inner = self._inner
        return inner.get(path, ()) if inner else ()

    @property
    def raw(self) -> Mapping[str, str]:
        """The fields as they came, without the computed names."""
        return RawFields(self)

    def compute(self, computed: dict[str, Any], names: frozenset[str]) -> None:
        """Sets computed names (`names` are all of them) over the fields; what they hide stays reachable in `raw`."""
        if not names.isdisjoint(self):
            hidden = {name: self[name] for name in names - self._set if name in self}
            self._hidden = {**(self._hidden or {}), **hidden}
        self._set = self._set | names if self._set else names
        self.update(computed)

    def has_computed(self, names: frozenset[str]) -> None:
        """Says that these names were computed, and hide no field."""
        self._set = names

    def hold(self, path: str, inner: Sequence[Record]) -> None:
        """From now on `each(path)` gives `inner`."""
        if self._inner is None:
            self._inner = {}
        self._inner[path] = inner

    def held(self) -> Iterator[Record]:
        """The inner records that were read so far, whatever their path."""
        for inner in (self._inner or {}).values():
            yield from inner


def reaches_inside(name: str) -> bool:
    """Whether a name means more than one of the record's own fields: a path, or a full name with its namespace."""
    return "/" in name or name.startswith(("{", "@{"))


class RawFields(Mapping[str, str]):
    """A record's fields as they came from the file."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def __getitem__(self, name: str) -> str:
        record = self._record
        if record._hidden is not None and name in record._hidden:
            return record._hidden[name]
        if name in record._set:
            raise KeyError(name)
        value: str = record[name]
        return value

    def __iter__(self) -> Iterator[str]:
        hidden = self._record._hidden or {}
        return (name for name in self._record if name in hidden or name not in self._record._set)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))


class PlainDecimal(Decimal):
    """A decimal that prints plainly: a point, no exponent, no trailing zeros."""

    def __str__(self) -> str:
        return plain_text(self)

    def __format__(self, how: str, _: Context | None = None, /) -> str:
        return super().__format__(how) if how else str(self)


class AsItCame(Decimal):
    """A stock that prints as the file has it (`1,000`) and counts as the number it is."""

    number: Number
    text: str

    def __new__(cls, number: Number, text: str) -> AsItCame:
        made = super().__new__(cls, number)
        made.number, made.text = number, text
        return made

    def __str__(self) -> str:
        return self.text

    def __format__(self, how: str, _: Context | None = None, /) -> str:
        return super().__format__(how) if how else self.text


def as_it_came(number: Number, text: str) -> Number:
    """The number, printing as the text it was read from; blank stays blank."""
    return number if number == "" or str(number) == text else AsItCame(number, text)


def plain(value: Decimal | None) -> Number:
    """The number as templates see it; see `Number`."""
    if value is None:
        return ""
    return int(value) if whole(value) else PlainDecimal(value)
