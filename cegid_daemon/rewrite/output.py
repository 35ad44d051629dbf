"""From rewritten text to the bytes that will be delivered: line ends, encoding, byte order mark, check, size and hash.

Owns what `output` in a route means. Nothing is replaced in silence: a character the encoding lacks is an error naming
record and field, or is transliterated and counted where the route says so. Never keeps more than a piece of the text.
"""

from __future__ import annotations

import codecs
import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from anyascii import anyascii

from cegid_daemon.errors import ANYTHING, BadOutput, ConfigurationError, Place
from cegid_daemon.rewrite.checks import check
from cegid_daemon.rewrite.nested import NestedText
from cegid_daemon.rewrite.ports import PartWriter
from cegid_daemon.rewrite.recipe import Output
from cegid_daemon.rewrite.record import Record

_CHUNK = 65_536  # bytes that are gathered before they are checked and written
_FRAGMENTS = 512  # of a template's output that are encoded at once
_BOMS = {"utf-8": codecs.BOM_UTF8, "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
_MARKED = {"utf-16": "utf-16-le", "utf-8-sig": "utf-8"}  # names that mean: with a byte order mark
_LINE_END = re.compile(r"\r\n?|\n")
_NEWLINES = {"lf": "\n", "crlf": "\r\n"}


def codec(output: Output) -> tuple[str, bytes]:
    """Python's name of the output's encoding, and the byte order mark to begin with.

    `utf-16` is little-endian with its mark, `utf-8-sig` UTF-8 with one. Raises `ConfigurationError` for an encoding
    that is not known, or has no byte order mark where one is asked for.
    """
    try:
        name = codecs.lookup(output.encoding).name
        "".encode(name)
    except LookupError as error:
        raise ConfigurationError(f"there is no encoding {output.encoding!r}", where=Place(field="encoding")) from error
    plain = _MARKED.get(name, name)
    if not output.bom and plain == name:
        return name, b""
    if plain not in _BOMS:
        raise ConfigurationError(f"{output.encoding} has no byte order mark", where=Place(field="bom"))
    return plain, _BOMS[plain]


def pieces(fragments: Iterable[str]) -> Iterator[str]:
    """The same text in fewer pieces."""
    source = iter(fragments)
    while gathered := list(islice(source, _FRAGMENTS)):
        yield "".join(gathered)


class Outlet:
    """Writes one part; `size` and `sha256` of the exact bytes are known once it is finished."""

    def __init__(
        self,
        output: Output,
        template: str,
        writer: PartWriter,
        *,
        note: Callable[[str, int], None],
        recent: Callable[[], Iterable[Record]] = tuple,
    ) -> None:
        """`recent` gives the records the text at hand was made from, to name the one that holds a bad character."""
        name, bom = codec(output)
        self._codec = name
        self._template = template
        self._encode = codecs.getincrementalencoder(name)("strict").encode
        self._newline = newline_writer(output.newline)
        self._spell = Speller(name, note) if output.transliterate else None
        self._recent = recent
        self._check = check(output, name, template)
        self._writer = writer
        self._hash = hashlib.sha256()
        self._gathered = bytearray(bom)
        self.size = 0

    @property
    def sha256(self) -> str:
        """SHA-256 of the part's bytes, as hex."""
        return self._hash.hexdigest()

    def write(self, text: str, *, last: bool = False) -> None:
        """Writes the next text; raises `BadOutput` where it is not fit to leave."""
        text = self._newline(text, last)
        try:
            chunk = self._encode(text, last)
        except UnicodeEncodeError as error:
            if self._spell is None:
                raise self._unwritable(text[error.start]) from error
            chunk = self._encode(self._spell(text), last)
        self._gathered += chunk
        if len(self._gathered) >= _CHUNK:
            self._put()

    def finish(self) -> None:
        """No more text comes: the check must pass as a whole."""
        self.write("", last=True)
        self._put()
        self._check.close()

    def _put(self) -> None:
        chunk = bytes(self._gathered)
        self._gathered.clear()
        self._check.feed(chunk)
        self._hash.update(chunk)
        self.size += len(chunk)
        self._writer.write(chunk)

    def _unwritable(self, char: str) -> BadOutput:
        number, field = _holder(char, self._recent())
        shown = f"{char!r} (U+{ord(char):04X})"
        return BadOutput(
            f"the character {shown} cannot be written in {self._codec}",
            where=Place(file=self._template, record=number, field=field),
            remedy="Correct it in the source, or set transliterate = true or another encoding in the route's output.",
        ).quoting(ANYTHING, f"a character cannot be written in {self._codec}")


def newline_writer(newline: str) -> Callable[[str, bool], str]:
    """Gives text the wanted line ends, piece by piece: called with each piece and whether it is the last."""
    wanted = _NEWLINES.get(newline)
    if wanted is None:
        return lambda text, _: text
    held = ""

    def write(text: str, last: bool) -> str:
        nonlocal held
        text = held + text
        held = "" if last or not text.endswith("\r") else "\r"
        if held:
            text = text[:-1]
        if "\r" not in text:
            return text if wanted == "\n" else text.replace("\n", wanted)
        return _LINE_END.sub(wanted, text)

    return write


class Speller:
    """Spells characters that an encoding lacks in ASCII, and counts them; what has no spelling becomes `?`.

    Accents that stand as characters of their own are joined to their letter first, and dropped where that cannot be.
    """

    def __init__(self, codec: str, note: Callable[[str, int], None]) -> None:
        self._codec = codec
        self._note = note
        self._met: set[str] = set()
        self._spelled: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        """The text with every character that the encoding lacks spelled out."""
        text = unicodedata.normalize("NFC", text)
        met = set(text)
        for char in met - self._met:
            self._learn(char)
        lacking = sorted(met & self._spelled.keys())
        for char in lacking:
            self._note("transliterated", text.count(char))
        return text.translate({ord(char): self._spelled[char] for char in lacking})

    def _learn(self, char: str) -> None:
        self._met.add(char)
        try:
            char.encode(self._codec)
        except UnicodeEncodeError:
            silent = unicodedata.combining(char) or unicodedata.category(char) == "Cf"
            self._spelled[char] = anyascii(char) or ("" if silent else "?")


def _holder(char: str, records: Iterable[Record]) -> tuple[int, str]:
    """The record that holds the character, and the field; 0 and blank where none does."""
    for record in records:
        field = _field_with(char, record)
        if field:
            return record.number, field
    return 0, ""


def _field_with(char: str, record: Record) -> str:
    for name, value in record.items():
        if isinstance(value, str) and value.__class__ is not NestedText and char in value:
            return name
    return next((field for one in record.held() if (field := _field_with(char, one))), "")
