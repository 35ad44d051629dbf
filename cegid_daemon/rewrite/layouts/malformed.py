"""What the XML parser found wrong, in words for the operator.

Owns the remedy for each kind of fault: an encoding that is not the declared one, a bound of ours, anything else.
"""

from __future__ import annotations

import re
from typing import Any

from lxml import etree

from cegid_daemon.errors import BadInput, Place

_HINT_OF_LIBXML = re.compile(r", (?:use|try) XML_PARSE_HUGE.*")
_TYPES = etree.ErrorTypes
_ENCODING = {
    _TYPES.ERR_INVALID_ENCODING,
    _TYPES.ERR_UNSUPPORTED_ENCODING,
    _TYPES.ERR_UNKNOWN_ENCODING,
    _TYPES.ERR_XMLDECL_NOT_FINISHED,  # what a declaration of UTF-16 over other bytes comes to
}
_BOUND = {_TYPES.ERR_RESOURCE_LIMIT, _TYPES.ERR_NAME_TOO_LONG}


def broken(parser: Any, error: etree.XMLSyntaxError | None = None) -> BadInput:
    """What the parser found first in this file; an error's own log is that of the whole process."""
    entries = list(parser.feed_error_log)
    found = [(entry.line, entry.column, entry.message) for entry in entries[:1]]
    if not found and error is not None:
        found = [(*error.position, error.msg)]
    line, column, why = found[0] if found else (0, 0, None)
    return BadInput(
        "the XML cannot be read",
        where=Place(line=line or 0, column=max(column or 0, 0)),
        why=_HINT_OF_LIBXML.sub("", (why or "it is not well-formed").strip()),
        remedy=_remedy({entry.type for entry in entries}),
    )


def _remedy(types: set[int]) -> str:
    if types & _ENCODING:
        return "Have the sender write the file in the encoding it declares; without a declaration that is UTF-8"
    if types & _BOUND:
        return "Ask the sender what this file is: nothing is read that is nested or long without end"
    return "Have the sender correct the file, or send it again where it was cut off"
