"""Remarks: what is odd in a received file but not wrong.

Owns the kinds of remarks, how many of each are counted and which places are kept. Never decides that a file fails:
`remarks = "fail"` of a route does, through `refuse`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from cegid_daemon.coverage import Remark, RemarkPlace
from cegid_daemon.errors import FIELD_VALUE, BadInput, Place

REPEATED_ELEMENT = "a repeated XML element was read once"
REPEATED_TITLES = "the title row stands in the data again"
SCIENTIFIC_KEY = "a key in scientific notation"
DECIMAL_KEY = "a key that ends as a decimal number does"
QUOTED_KEY = "quotation marks kept in a key"
INVISIBLE_IN_KEY = "an invisible character in a key"
MIXED_ENCODING = "UTF-8 and other bytes are mixed: all of it was read as cp1252"
SKU_TWICE = "a SKU stands in the file more than once"
SKIPPED_RECORD = "a skipped line looks like a record"
ABSENT_FIELD = "a field of the stock stands in no record and counted 0"
NO_NUMBER = "a text that is no number counted 0 in the template"

MOST_PLACES = 5  # of each kind
LONGEST_VALUE = 80  # characters

_REMEDIES = {
    REPEATED_ELEMENT: "Read all of them with each('PATH') in layout or template, or have the sender write one.",
    REPEATED_TITLES: "Have the sender write the title row once: files may have been put together.",
    SCIENTIFIC_KEY: "A spreadsheet has changed the key: have the sender export the column as text.",
    DECIMAL_KEY: "A spreadsheet or program took the key for a number: have the sender export the column as text.",
    QUOTED_KEY: "Set quote in the layout, or have the sender leave them out.",
    INVISIBLE_IN_KEY: "No other system will find this key: have the sender correct it.",
    MIXED_ENCODING: "Have the sender write the whole file in UTF-8, or name the encoding in the layout.",
    SKU_TWICE: 'Only one value of a SKU can be right: set sum_by = "sku" in the layout, or have the sender correct it.',
    SKIPPED_RECORD: "Set lead, header, columns or proof of the layout as the file really is.",
    ABSENT_FIELD: "The records have a field of nearly that name: correct the name in the layout, or the file.",
    NO_NUMBER: "Correct it in the source, or use decimal or whole in the template, which refuse it.",
}


_Group = tuple[str, str]
"""A kind of remark, and which of them."""


class Remarks:
    """The remarks on one file, as they come."""

    def __init__(self, fields: frozenset[str] | None = None) -> None:
        """`fields`: those that layout and templates read; None: it is not known."""
        self._fields = fields
        self._counts: dict[_Group, int] = {}
        self._places: dict[_Group, list[RemarkPlace]] = {}
        self._withdrawn: set[_Group] = set()

    def is_read(self, field: str) -> bool:
        """Whether layout or template reads the field, as far as is known."""
        return self._fields is None or field in self._fields

    def add(
        self, kind: str, *, line: int = 0, record: int = 0, field: str = "", value: str = "", group: str = ""
    ) -> None:
        """Counts a remark; the first places of its kind are kept. What is in one group can be withdrawn together."""
        key = (kind, group)
        self._counts[key] = self._counts.get(key, 0) + 1
        places = self._places.setdefault(key, [])
        if len(places) < MOST_PLACES:
            places.append(RemarkPlace(line, record, field, shortened(value)))

    def merge(self, remarks: Iterable[Remark]) -> None:
        """Adds remarks that were collected elsewhere."""
        for remark in remarks:
            key = (remark.kind, "")
            self._counts[key] = self._counts.get(key, 0) + remark.count
            places = self._places.setdefault(key, [])
            places.extend(remark.places[: MOST_PLACES - len(places)])

    def all(self) -> tuple[Remark, ...]:
        """The remarks, one a kind, in the order of the kinds."""
        counts: Counter[str] = Counter()
        places: dict[str, list[RemarkPlace]] = {}
        for kind, group in self._counts.keys() - self._withdrawn:
            counts[kind] += self._counts[kind, group]
            places.setdefault(kind, []).extend(self._places[kind, group])
        return tuple(
            Remark(kind, counts[kind], tuple(sorted(places[kind], key=_in_file)[:MOST_PLACES]))
            for kind in _REMEDIES
            if kind in counts
        )

    def withdraw(self, kind: str, group: str) -> None:
        """Takes back the remarks of a group, those still to come too."""
        self._withdrawn.add((kind, group))


def _in_file(place: RemarkPlace) -> tuple[int, int]:
    return place.record, place.line


def refuse(remarks: Iterable[Remark]) -> None:
    """Raises the first remark as a fault of the file (`remarks = "fail"`)."""
    for remark in remarks:
        place = remark.places[0] if remark.places else RemarkPlace()
        found = f"{place.value!r}; " if place.value else ""
        raise BadInput(
            remark.kind,
            where=Place(line=place.line, record=place.record, field=place.field),
            why=f'{found}counted {remark.count} in this file, and the route has remarks = "fail"',
            remedy=_REMEDIES[remark.kind],
        ).quoting(FIELD_VALUE)


def shortened(text: str, most: int = LONGEST_VALUE) -> str:
    """A text on one line and not too long to be kept as an example."""
    shown = text if len(text) <= most else f"{text[:most]}…"
    return shown.encode("utf-8", "backslashreplace").decode()
