"""How much of a received file may belong together: columns of a row, rows or elements of a record, attributes.

Owns the bounds, each far above what a till system writes, and the fault of going over one. They keep time in proportion
to a file's size and memory in proportion to one record; a line's length is bounded in `text`.
"""

from __future__ import annotations

from cegid_daemon.errors import NOTHING, BadInput, Place

MOST_ATTRIBUTES = 500  # of one element: reading them takes time by the square of their number
MOST_COLUMNS = 10_000  # that a title row may name
MOST_ELEMENTS = 1_000_000  # inside one record
MOST_NAMES = 65_536  # of elements; those of all files are remembered, by the parser too
MOST_ROWS = 100_000  # of one record in a file of several record types
LONGEST_RECORD = 32 * 1024 * 1024  # bytes of XML

REMEDY = "Ask the sender what this file is: no more than that is read as one"


def exceeded(what: str, most: int, unit: str, *, line: int = 0, remedy: str = REMEDY) -> BadInput:
    """The fault of a file that goes over a bound."""
    return BadInput(what, where=Place(line=line), why=f"over {most:,} {unit}", remedy=remedy).quoting(NOTHING)
