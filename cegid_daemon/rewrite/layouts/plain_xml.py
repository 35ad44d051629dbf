"""XML that is no more than a table: read by pattern, as fast as rows of text; anything else is left to `xml`.

Owns what a *plain* document is: UTF-8, each child of the root a record, each child of a record a text, and no attribute
(but the root's), prefix, comment, entity or section among them. The first record with a new field is read as a tree,
and the pattern must find the same in it; whatever matches behind it is well-formed by that. Never reports a fault:
where a document is more than plain, or broken, `xml` reads it again and says what there is to say.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterable, Iterator
from itertools import accumulate, islice
from typing import Any

from lxml import etree

from cegid_daemon.rewrite.layouts import xml
from cegid_daemon.rewrite.layouts.text import Source
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.sheet import Sheet, merged, sheets
from cegid_daemon.rewrite.tally import Tally

STEP = 128 * 1024  # bytes read at a time
LONGEST = 1024 * 1024  # characters in which the head, and each record, must end
MOST_FIELDS = 256
_MOST_LEARNT = 2_048  # fields of all patterns that are made of one document: each takes time to compile

_UTF8 = ("auto", "utf-8", "utf8")
_BLANKS = r"[ \t\n]*+"
_HEAD = re.compile(
    rf"""(?:<\?xml[ \t\n](?:[^<>]{{0,99}}?[ \t\n]encoding{_BLANKS}={_BLANKS}["'](?P<encoding>[^"'<>]*)["'])?
         [^<>]{{0,99}}\?>)?
         (?:[ \t\n]|<!--(?:[^-]|-[^-])*+-->)*+
         <(?P<root>[\w.-]+)(?:[ \t\n][^<>]*)?(?<!/)>{_BLANKS}""",
    re.VERBOSE,
)
_TAG = re.compile(r"<([\w.-]+)>")
_EMPTY = re.compile(r"<([\w.-]+)[ \t\n]*/>")
_MORE = re.compile("[&\0-\x08\x0b-\x1f\ufffe\uffff]")  # an entity, or what no XML may hold
_NOTHING = re.compile(r"(?!)")


class _NotPlain(Exception):
    """The document is more than plain, or broken."""


def read(layout: Layout, source: Source, tally: Tally) -> Iterator[Sheet]:
    """The records that `xml.read` gives, by column: their fields, and nothing else of an element."""
    try:
        yield from _Reading(layout, source, tally).sheets()
    except _NotPlain:
        met, tally.read = tally.read, 0
        yield from sheets(islice(xml.read(layout, source, tally), met, None))


class _Reading:
    """One pass over a document. Any method raises `_NotPlain` where it is not."""

    def __init__(self, layout: Layout, source: Source, tally: Tally) -> None:
        self._layout, self._tally = layout, tally
        self._path = xml.RecordPath(layout)
        self._pieces = _decoded(source(), layout)
        self._text, self._line = "", 1  # what is at hand and not yet read
        self._head = self._root = ""
        self._names: tuple[str, ...] = ()
        self._pattern = _NOTHING
        self._learnt = 0

    def sheets(self) -> Iterator[Sheet]:
        """The records between the root's tags."""
        root = self._begin()
        while not self._text.startswith(f"</{self._root}>"):
            sheet = self._matching()
            if len(sheet):
                yield sheet
            elif not self._learn():
                self._read_on()
                self._go_on(0)
        self._end()
        xml.conclude(self._layout, root, self._tally)

    def _matching(self) -> Sheet:
        """The records at hand, as far as they match the pattern."""
        parts = self._pattern.split(self._text)
        width = 2 + len(self._names)
        count = next((at for at, between in enumerate(parts[::width]) if between), len(parts) // width)
        wholes = parts[1 : count * width : width]
        columns = [[text and text.strip() for text in parts[at : count * width : width]] for at in range(2, width)]
        *lines, self._line = accumulate((whole.count("\n") for whole in wholes), initial=self._line)
        numbers = range(self._tally.read + 1, self._tally.read + 1 + count)
        self._tally.read += count
        self._go_on(sum(map(len, wholes)))
        return Sheet(self._names, columns, numbers, lines)

    def _begin(self) -> Any:
        """Passes what stands before the first record; gives the root element."""
        while not (found := _HEAD.match(self._text)):
            self._read_on()
        if (found["encoding"] or "utf-8").lower() not in _UTF8:
            raise _NotPlain
        self._head, self._root = found[0], found["root"]
        root = self._tree("")
        if self._layout.root and not xml.same_name(root.tag, self._layout.root):
            raise _NotPlain
        self._line += self._head.count("\n")
        self._go_on(found.end())
        return root

    def _end(self) -> None:
        """Nothing but blanks may follow the root."""
        self._go_on(len(self._root) + len("</>"))
        if self._text or any(piece.strip(" \t\n") for piece in self._pieces):
            raise _NotPlain

    def _read_on(self) -> None:
        piece = next(self._pieces, None)
        if piece is None or len(self._text) > LONGEST - STEP // 2:
            raise _NotPlain
        self._text += piece
        if "/>" in self._text:
            self._text = _EMPTY.sub(r"<\1></\1>", self._text)

    def _go_on(self, read: int) -> None:
        """Lets go what is read, and the blanks behind it."""
        rest = self._text[read:]
        self._text = rest.lstrip(" \t\n")
        self._line += rest.count("\n", 0, len(rest) - len(self._text))

    def _learn(self) -> bool:
        """Takes the record at hand into the pattern; false: there is not all of it yet."""
        tag = _TAG.match(self._text)
        end = self._text.find(f"</{tag[1]}>") if tag else -1
        if tag is None or end < 0:
            return False
        sample = self._text[: end + len(tag[1]) + len("</>")]
        record = self._only_record(sample)
        names = merged(self._names, _fields(record))
        self._learnt += len(names or ()) + 1
        if names is None or len(names) > MOST_FIELDS or self._learnt > _MOST_LEARNT:
            raise _NotPlain
        inside = "".join(f"(?:<{name}>([^<>]*+)</{name}>{_BLANKS})?+" for name in map(re.escape, names))
        self._names = names
        self._pattern = re.compile(f"(<{tag[1]}>{_BLANKS}{inside}</{tag[1]}>{_BLANKS})")
        if not self._pattern.fullmatch(sample):
            raise _NotPlain
        return True

    def _only_record(self, sample: str) -> Any:
        root = self._tree(sample)
        found = [element for element in root.iter() if self._path.leads_to(element)]
        if len(found) != 1 or found[0].getparent() is not root:
            raise _NotPlain
        return found[0]

    def _tree(self, inside: str) -> Any:
        """The root of the document, as if nothing else stood in it."""
        try:
            return etree.fromstring(f"{self._head}{inside}</{self._root}>".encode(), etree.XMLParser(**xml.SAFE))
        except etree.XMLSyntaxError as error:
            raise _NotPlain from error


def _fields(record: Any) -> tuple[str, ...]:
    names = tuple(etree.QName(field).localname for field in record)
    if len(set(names)) < len(names) or any(len(one) or one.attrib or one.prefix for one in record):
        raise _NotPlain
    return names


def _decoded(chunks: Iterable[bytes], layout: Layout) -> Iterator[str]:
    """The document as text, with line ends as XML wants them read."""
    if layout.encoding not in _UTF8:
        raise _NotPlain
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")(), translate=True)
    try:
        for chunk in xml.sized(chunks, STEP):
            yield _unsuspected(decoder.decode(chunk), decoder)
        yield _unsuspected(decoder.decode(b"", final=True), decoder)
    except UnicodeDecodeError as error:
        raise _NotPlain from error


def _unsuspected(text: str, decoder: io.IncrementalNewlineDecoder) -> str:
    """The text, if no line ends in a CR alone, which an XML parser does not count, and there is nothing odd in it."""
    ends = decoder.newlines
    if "\r" in ((ends,) if isinstance(ends, str) else ends or ()) or _MORE.search(text):
        raise _NotPlain
    return text
