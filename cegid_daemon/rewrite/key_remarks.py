"""Remarks on the keys of a file: what a spreadsheet made of them, and SKUs that come more than once.

Owns what is odd in a key. Works on many keys at once, in bounded memory: the first SKUs are kept as they are, of the
next ones their hashes; those behind are not compared.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from difflib import get_close_matches
from functools import partial

from cegid_daemon.rewrite.expressions import fields_of
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import reaches_inside
from cegid_daemon.rewrite.remarks import (
    ABSENT_FIELD,
    DECIMAL_KEY,
    INVISIBLE_IN_KEY,
    QUOTED_KEY,
    SCIENTIFIC_KEY,
    SKU_TWICE,
    Remarks,
)
from cegid_daemon.rewrite.tally import Tally

MOST_KEPT = 100_000  # keys kept as texts
MOST_HASHED = 2_000_000  # keys behind them of which the hashes are kept, at 16 bytes each
_SAMPLE = 100  # records of a block whose other fields are looked at
_ALIKE = 0.8  # of 1, for names that may be meant to be the same
_PASS = 150_000  # hashes compared at a time

Place = tuple[int, int]
"""Record and line."""

_INCHES = r"(?:[^\"]*[^0-9\"])?[0-9]{1,3}\"\Z"  # `BOX 12"`: one mark, behind a short number
_ODD = (
    (SCIENTIFIC_KEY, re.compile(r"[0-9](?:[.,][0-9]+[eE]\+?|[eE]\+)[0-9]{1,3}")),
    (DECIMAL_KEY, re.compile(r"[0-9]{2,}[.,]0{1,3}")),
    (QUOTED_KEY, re.compile(rf"(?s)[\"'].*|(?!{_INCHES}).*\"")),
    (INVISIBLE_IN_KEY, re.compile("(?s).*[\xa0\xad\u200b-\u200f\u2028-\u202e\u2060\ufeff].*")),
)
_MARKS = ('"', "'", ".", ",", "e+", "E+")  # one of them stands in every odd key of ASCII
_SUSPECT = re.compile("[\"'.,\xa0\xad\u200b-\u200f\u2028-\u202e\u2060\ufeff]|[eE][+]")


class KeyRemarks:
    """The keys of one kind in one file."""

    def __init__(self, layout: Layout, tally: Tally, *, stock: str) -> None:
        once = bool(stock or layout.buffer) and not layout.sum_by and not layout.delta
        self._remarks = tally.remarks
        self._twice = _Twice(tally) if once else None
        self._absent = _Absent(stock, layout, tally.remarks) if layout.kind == "xml" else None

    def see(self, skus: Sequence[str], products: Sequence[str], places: Callable[[], Sequence[Place]]) -> None:
        """Looks at some keys; each stands at a place, which is asked for where it is needed."""
        text = "".join(skus) + "".join(products)
        if not text.isascii() or any(mark in text for mark in _MARKS):
            self._look(skus, products, places())
        if self._twice is not None:
            keys = skus if all(skus) else [sku or product for sku, product in zip(skus, products, strict=True)]
            self._twice.see(keys, places)

    def see_records(self, records: Sequence[Collection[str]]) -> None:
        """Looks at the names of the fields of some records."""
        if self._absent is not None:
            self._absent.see(records)

    def _look(self, skus: Sequence[str], products: Sequence[str], places: Sequence[Place]) -> None:
        for sku, product, (record, line) in zip(skus, products, places, strict=True):
            for name, key in (("sku", sku), ("product", product)):
                for kind, pattern in _ODD if _SUSPECT.search(key) else ():
                    if pattern.fullmatch(key):
                        self._remarks.add(kind, line=line, record=record, field=name, value=key)

    def finish(self) -> None:
        """The file is at its end."""
        if self._twice is not None:
            self._twice.finish()
        if self._absent is not None:
            self._absent.finish()


class _Absent:
    """Finds fields of the stock that no record has, while the records have one of nearly the same name.

    A field alone that no record has is an optional one.
    """

    def __init__(self, stock: str, layout: Layout, remarks: Remarks) -> None:
        self._remarks = remarks
        self._read = _always_read(stock, layout)
        self._absent = sorted(self._read)
        self._there: set[str] = set()

    def see(self, records: Sequence[Collection[str]]) -> None:
        if self._absent:
            self._there.update(*records[:_SAMPLE])
            self._absent = [name for name in self._absent if not any(name in record for record in records)]

    def finish(self) -> None:
        others = {_letters(name): name for name in sorted(self._there - self._read)}
        for name in self._absent:
            plain = _letters(name)
            alike = [other for other in others if not _names_more(plain, other)]
            for near in get_close_matches(plain, alike, 1, _ALIKE):
                self._remarks.add(ABSENT_FIELD, field=name, value=others[near])


def _names_more(one: str, other: str) -> bool:
    """Whether a name has a word more than the other: `Reserved` and `ReservedAt` are not meant to be the same."""
    return abs(len(one) - len(other)) > 1 and (one.startswith(other) or other.startswith(one))


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()


def _always_read(stock: str, layout: Layout) -> set[str]:
    """The fields a stock is computed from; none where the expression says what an absent one means."""
    if not stock or "default" in stock or "defined" in stock:
        return set()
    return {name for name in fields_of(stock, layout) if not reaches_inside(name) and name != "parent"}


class _Twice:
    """Finds keys that come more than once."""

    def __init__(self, tally: Tally) -> None:
        self._remarks = tally.remarks
        self._kept: set[str] = set()
        self._hashes, self._records, self._lines = array("q"), array("I"), array("I")

    def see(self, keys: Sequence[str], places: Callable[[], Sequence[Place]]) -> None:
        fresh = set(keys)
        if len(fresh) == len(keys) and "" not in fresh and self._kept.isdisjoint(fresh):
            self._keep(keys, places)
            return
        for key, place in zip(keys, places(), strict=True):
            if key in self._kept:
                record, line = place
                self._remarks.add(SKU_TWICE, line=line, record=record, field="sku", value=key)
            elif key:
                self._keep((key,), partial(tuple, (place,)))

    def _keep(self, keys: Sequence[str], places: Callable[[], Sequence[Place]]) -> None:
        if len(self._kept) < MOST_KEPT:
            self._kept.update(keys)
            return
        if len(self._hashes) >= MOST_HASHED:
            return
        self._hashes.extend(map(hash, keys))
        for record, line in places():
            self._records.append(record)
            self._lines.append(line)

    def finish(self) -> None:
        for wanted in self._repeated():
            met: set[int] = set()
            for at, key in enumerate(self._hashes):
                if key in wanted:
                    if key in met:
                        self._remarks.add(SKU_TWICE, line=self._lines[at], record=self._records[at], field="sku")
                    met.add(key)

    def _repeated(self) -> Iterator[set[int]]:
        passes = max(1, len(self._hashes) // _PASS)
        for number in range(passes):
            some = [one for one in self._hashes if one % passes == number] if passes > 1 else self._hashes
            if len(set(some)) < len(some):
                yield {key for key, times in Counter(some).items() if times > 1}
