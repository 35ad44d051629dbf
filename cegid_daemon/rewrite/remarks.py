"""Remarks: what is odd in a received file but not wrong.

Owns the kinds of remarks, how many of each are counted and which places are kept. Never decides that a file fails:
`remarks = "fail"` of a route does, through `refuse`.
"""

from __future__ import annotations

from collections.abc import Iterable

from cegid_daemon.coverage import Remark, RemarkPlace
from cegid_daemon.errors import BadInput, Place

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
    ABSENT_FIELD: "Compare the names in the layout with those in the file.",
    NO_NUMBER: "Correct it in the source, or use decimal or whole in the template, which refuse it.",
}


class Remarks:
    """The remarks on one file, as they come."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._places: dict[str, list[RemarkPlace]] = {}

    def add(
        self, kind: str, *, line: int = 0, record: int = 0, field: str = "", value: str = "", times: int = 1
    ) -> None:
        """Counts a remark; the first places of its kind are kept."""
        self._counts[kind] = self._counts.get(kind, 0) + times
        places = self._places.setdefault(kind, [])
        if len(places) < MOST_PLACES:
            places.append(RemarkPlace(line, record, field, shortened(value)))

    def merge(self, remarks: Iterable[Remark]) -> None:
        """Adds remarks that were collected elsewhere."""
        for remark in remarks:
            self._counts[remark.kind] = self._counts.get(remark.kind, 0) + remark.count
            places = self._places.setdefault(remark.kind, [])
            places.extend(remark.places[: MOST_PLACES - len(places)])

    def all(self) -> tuple[Remark, ...]:
        """The remarks, one a kind, in the order of the kinds."""
        return tuple(
            Remark(kind, self._counts[kind], tuple(self._places[kind])) for kind in _REMEDIES if kind in self._counts
        )


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
        )


def shortened(text: str, most: int = LONGEST_VALUE) -> str:
    """A text on one line and not too long to be kept as an example."""
    shown = text if len(text) <= most else f"{text[:most]}…"
    return shown.encode("utf-8", "backslashreplace").decode()
