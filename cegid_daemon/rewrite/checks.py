"""What is checked before anything leaves: well-formed XML, an XML schema, or rows of equal columns.

Owns the checks, each a stream of the very bytes that will be delivered, in bounded memory; the first fault is a
`BadOutput` with template, line and column. Never changes a byte, and never reads a file or an address: a schema must
stand for itself (no include or import), and a document type declaration is refused.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache
from typing import Any, NoReturn, Protocol

from lxml import etree

from cegid_daemon.errors import NOTHING, BadOutput, ConfigurationError, Place
from cegid_daemon.rewrite.recipe import Output

_REMEDY = "Correct the template (or the value it prints), then replay the message."
_SAFE = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": False}
_SCHEMA_STEP = 512  # bytes fed at once under a schema, whose faults come without a line
_DECLARED = re.compile(r"<\?xml[^>]*?\sencoding\s*=\s*[\"']([^\"']*)[\"']")
_FREE_OF_DECLARATION = ("utf-8", "ascii", "utf-16-le", "utf-16-be")


class Check(Protocol):
    """Sees the bytes of one part in order; raises `BadOutput` at the latest when closed."""

    def feed(self, chunk: bytes) -> None:
        """Looks at the next bytes."""

    def close(self) -> None:
        """Says that no more come."""


def check(output: Output, codec: str, template: str) -> Check:
    """The check `output` asks for, on bytes in `codec` (Python's name) that `template` made."""
    if output.check == "xml":
        return XmlCheck(codec, template)
    if output.check == "xsd":
        return XmlCheck(codec, template, schema=xml_schema(output.schema, output.schema_name))
    if output.check == "columns":
        return ColumnsCheck(codec, template, output.separator)
    return NoCheck()


class NoCheck:
    """Lets everything pass."""

    def feed(self, chunk: bytes) -> None:
        """Nothing to look at."""

    def close(self) -> None:
        """Nothing to say."""


class XmlCheck:
    """Well-formed, prefixes and encoding declared as they are used, and valid under `schema` if given."""

    def __init__(self, codec: str, template: str, schema: Any = None) -> None:
        self._codec = codec
        self._template = template
        self._step = _SCHEMA_STEP if schema is not None else 0
        self._start = b""
        self._line = 1
        self._parser = etree.XMLParser(target=_Doctype(self._refuse), schema=schema, **_SAFE)

    def feed(self, chunk: bytes) -> None:
        """Parses the next bytes."""
        if len(self._start) < 512:
            self._start += chunk[:512]
        step = self._step or len(chunk) or 1
        for at in range(0, len(chunk), step):
            piece = chunk[at : at + step]
            self._parse(piece)
            if self._step:
                self._line += piece.count(b"\n")

    def close(self) -> None:
        """The document must be complete."""
        if not self._start.strip():
            self._refuse("the output is empty, which is no XML")
        self._compare_encodings()
        try:
            self._parser.close()
        except etree.XMLSyntaxError as error:
            self._malformed(error)
        self._look_for_faults()

    def _parse(self, piece: bytes) -> None:
        try:
            self._parser.feed(piece)
        except etree.XMLSyntaxError as error:
            self._malformed(error)
        self._look_for_faults()

    def _malformed(self, error: Any) -> NoReturn:
        self._compare_encodings()
        line, column = error.position
        self._refuse("the output is not well-formed XML", line, column, why=str(error.msg), cause=error)

    def _look_for_faults(self) -> None:
        """Undeclared prefixes and faults under the schema do not stop the parser; they stand in its log."""
        for entry in self._parser.feed_error_log:
            if entry.level >= etree.ErrorLevels.ERROR:
                under_schema = entry.domain == etree.ErrorDomains.SCHEMASV
                what = (
                    "the output is not valid under its schema" if under_schema else "the output is not well-formed XML"
                )
                self._refuse(what, entry.line or self._line, entry.column, why=entry.message)

    def _compare_encodings(self) -> None:
        declared = _DECLARED.match(self._start.decode(self._codec, "ignore").lstrip("\ufeff"))
        if declared is None:
            if self._codec not in _FREE_OF_DECLARATION:
                self._refuse(f"the XML declares no encoding, but is written in {self._codec}", 1)
            return
        if not _same_encoding(declared[1], self._codec):
            self._refuse(f"the XML declares {declared[1]}, but is written in {self._codec}", 1)

    def _refuse(self, what: str, line: int = 0, column: int = 0, *, why: str = "", cause: Any = None) -> NoReturn:
        where = Place(file=self._template, line=line, column=column)
        raise BadOutput(what, where=where, why=why, remedy=_REMEDY) from cause


class ColumnsCheck:
    """Every row has as many separators as the first. Empty output passes."""

    def __init__(self, codec: str, template: str, separator: str) -> None:
        self._decode = codecs.getincrementaldecoder(codec)("strict")
        self._template = template
        self._separator = separator
        self._rest = ""
        self._line = 0
        self._expected = -1

    def feed(self, chunk: bytes) -> None:
        """Counts in the rows that are complete."""
        text = self._rest + self._decode.decode(chunk)
        held = "\r" if text.endswith("\r") else ""
        rows = text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._rest = rows.pop() + held
        for row in rows:
            self._count(row)

    def close(self) -> None:
        """Counts in a last row without a line end."""
        rest = self._rest.removesuffix("\r")
        if self._rest:
            self._count(rest)

    def _count(self, row: str) -> None:
        self._line += 1
        found = row.count(self._separator)
        if self._expected < 0:
            self._expected = found
        elif found != self._expected:
            raise BadOutput(
                f"row {self._line} of the output has {found} separators, the first row {self._expected}",
                where=Place(file=self._template, line=self._line),
                why=f"a value may hold the separator {self._separator!r} or a line break",
                remedy=f"Print such values through flat('{self._separator}'), then replay the message.",
            ).quoting(NOTHING)


class _Doctype:
    """The parser's target: builds nothing, and refuses a document type declaration."""

    def __init__(self, refuse: Any) -> None:
        self._refuse = refuse

    def doctype(self, *_: Any) -> None:
        self._refuse("the output holds a document type declaration")

    def close(self) -> None:
        pass


@lru_cache(maxsize=16)
def xml_schema(text: str, name: str) -> Any:
    """The schema of this text, ready to check with; one that cannot be used is a `ConfigurationError`."""
    try:
        root = etree.fromstring(text.encode(), etree.XMLParser(encoding="utf-8", **_SAFE))
        elsewhere = next((one.get("schemaLocation") for one in root.iterfind("{*}*[@schemaLocation]")), "")
        schema = None if elsewhere else etree.XMLSchema(root)
    except (etree.XMLSyntaxError, etree.XMLSchemaParseError) as error:
        raise ConfigurationError(f"the schema {name} cannot be used", why=str(error)) from error
    if elsewhere:
        raise ConfigurationError(
            f"the schema {name} cannot be used",
            why=f"it stands on another file, {elsewhere}",
            remedy="Put all of it into one file, without include or import of another.",
        )
    return schema


def _same_encoding(declared: str, codec: str) -> bool:
    try:
        name = codecs.lookup(declared).name
    except LookupError:
        return False
    return name == codec or (name == "utf-16" and codec.startswith("utf-16-"))
