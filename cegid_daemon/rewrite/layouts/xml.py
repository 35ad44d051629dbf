"""XML: one record per element, read with lxml as a stream.

Owns what a record element gives: child elements as fields by local name (the first of repeated ones, with a remark),
attributes as `r['@id']`, inner records through `each`, `r['Country/ISO']` for the first text a path reaches. A field
that holds elements is no text (`NestedText`), unless the layout takes all the text inside (`text = "all"`). Refuses any
DTD, deep nesting and huge texts at once; never resolves an entity, never loads anything. Finished elements are let go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from operator import methodcaller
from typing import Any

from lxml import etree

from cegid_daemon.errors import NOTHING, BadInput, ConfigurationError
from cegid_daemon.rewrite.expressions import compile_number
from cegid_daemon.rewrite.layouts import bounds
from cegid_daemon.rewrite.layouts.malformed import broken
from cegid_daemon.rewrite.layouts.text import Source
from cegid_daemon.rewrite.nested import NestedText
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import Record, reaches_inside
from cegid_daemon.rewrite.remarks import REPEATED_ELEMENT, Remarks, shortened
from cegid_daemon.rewrite.tally import Tally
from cegid_daemon.rewrite.words import text as as_text

STEP = 64 * 1024  # bytes fed at a time; what is finished is let go between two steps

SAFE: dict[str, Any] = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "huge_tree": False,
    "remove_comments": True,
    "remove_pis": True,
}
_PATH_STEP = re.compile(r"(?:\{[^}]*\})?[^/{}]+")


class ElementRecord(Record):
    """A record that is an XML element; what is inside it is read when it is asked for."""

    element: Any
    remarks: Remarks | None = None  # where repeated elements are remarked on
    repeats = False  # whether two of its child elements have the same name

    @staticmethod
    def text_of(element: Any, record: int = 0) -> str:
        """What an element says as a field."""
        if len(element):
            return NestedText(_NAMES[element.tag], element.sourceline or 0, record)
        return (element.text or "").strip()

    def __missing__(self, name: str) -> str:
        """A field by a path (`Country/ISO`, `Price/@currency`) or by its full name (`{uri}Code`, `@{uri}id`)."""
        if not reaches_inside(name):
            raise KeyError(name)
        path, at, attribute = ("", "@", name[1:]) if name.startswith("@") else name.partition("/@")
        matching = _found(self.element, path)
        found = next(matching, None)
        if found is None:
            raise KeyError(name)
        if not at:
            self._remark_others(name, matching)
            return self.text_of(found, self._of_file().number)
        return str(found.attrib[attribute]) if attribute.startswith("{") else _attributes(found)["@" + attribute]

    def _of_file(self) -> Record:
        record: Record = self
        while record.parent is not None:
            record = record.parent
        return record

    def _remark_others(self, path: str, others: Iterable[Any]) -> None:
        """Remarks, once a record and path, on elements behind the first: their texts are not read."""
        told = self.__dict__.setdefault("_told", set())
        if path not in told:
            told.add(path)
            for other in others:
                self._remark(path, other)

    def _remark(self, field: str, element: Any) -> None:
        text = (element.text or "").strip()
        if text and not len(element) and self.remarks is not None:
            number, line = self._of_file().number, element.sourceline or 0
            group = _within(element)
            self.remarks.add(REPEATED_ELEMENT, line=line, record=number, field=field, value=text, group=group)

    def remark_repeated(self) -> None:
        """Remarks on child elements that bear the name of an earlier one, where that one is read as a field."""
        seen: set[str] = set()
        for child in self.element:
            name = _NAMES[child.tag]
            if name in seen and self.remarks is not None and self.remarks.is_read(name):
                self._remark(name, child)
            seen.add(name)

    def each(self, path: str) -> Sequence[Record]:
        """The records of the elements under a path from here, in document order; each knows its `parent`."""
        inner = self._inner
        if inner is None or path not in inner:
            found = list(_found(self.element, path))
            if len(found) > 1 and self.remarks is not None:
                self.remarks.withdraw(REPEATED_ELEMENT, _within(found[0]))  # all of them are read
            self.hold(path, [self._child(element) for element in found])
        return (self._inner or {})[path]

    def _child(self, element: Any) -> Record:
        record = of_element(element, type(self), self._of_file().number)
        record.parent, record.remarks = self, self.remarks
        if self.remarks is not None and record.repeats:
            record.remark_repeated()
        return record


class WholeTextRecord(ElementRecord):
    """A record whose fields are all the text inside their elements."""

    @staticmethod
    def text_of(element: Any, record: int = 0) -> str:  # noqa: ARG004
        """All the text inside an element."""
        return ("".join(element.itertext()) if len(element) else element.text or "").strip()


class _Names(dict[str, str]):
    """Local names by full names; filled as they come, and bounded: they outlive the file."""

    met = 0  # names that were new, ever

    def __missing__(self, name: str) -> str:
        self.met += 1
        if len(self) >= bounds.MOST_NAMES:
            self.clear()
        self[name] = local = name.rpartition("}")[2]
        return local


_NAMES = _Names()


def of_element(element: Any, kind: type[ElementRecord] = ElementRecord, number: int = 0) -> ElementRecord:
    """The record of one element, in the record of this number. Its line is that of the element's start tag."""
    names, text_of, children = _NAMES, kind.text_of, element[:]
    if any(map(len, children)):
        record = kind({names[child.tag]: text_of(child, number) for child in children})
    else:  # nearly always, and quicker
        record = kind({names[child.tag]: (child.text or "").strip() for child in children})
    if len(record) != len(children):
        record.repeats = True
        for child in reversed(children):
            record[names[child.tag]] = text_of(child, number)
    if element.keys():
        record.update(_attributes(element))
    record.element = element
    record.line = element.sourceline or 0
    return record


def _attributes(element: Any) -> dict[str, str]:
    """By local names; of two of the same, the one without a namespace."""
    if len(element.keys()) > bounds.MOST_ATTRIBUTES:
        what, line = f"the element <{shortened(element.tag)}> has too many attributes", element.sourceline or 0
        raise bounds.exceeded(what, bounds.MOST_ATTRIBUTES, "attributes", line=line)
    found = element.items()
    if any("{" in name for name, _ in found):
        found = sorted(found, key=lambda one: not one[0].startswith("{"))
    return {"@" + _NAMES[name]: value for name, value in found}


def _within(element: Any) -> str:
    """An element's name with that of the element it stands in."""
    parent = element.getparent()
    return f"{'' if parent is None else parent.tag}/{element.tag}"


@lru_cache(maxsize=1024)
def _steps(path: str) -> tuple[str, ...]:
    """lxml's names for the steps of a path; a bare name means it in any namespace or none."""
    steps = _PATH_STEP.findall(path)
    return tuple(step if step.startswith("{") else "{*}" + step for step in steps)


def _found(element: Any, path: str) -> Iterator[Any]:
    found: Iterable[Any] = (element,)
    for step in _steps(path):
        found = chain.from_iterable(map(methodcaller("iterchildren", step), found))
    return iter(found)


def read(layout: Layout, source: Source, tally: Tally) -> Iterator[Record]:
    """The records of an XML document; no bytes at all are no records."""
    root = root_name(source, layout)
    if root is None:
        return
    if layout.root and not same_name(root, layout.root):
        other = BadInput(f"the root is <{shortened(root)}>", why=f"<{layout.root}> was expected", remedy=_CHECK_FILE)
        raise other.quoting(NOTHING)
    yield from _Reading(layout, root).records(source(), tally)


class _Matching(dict[str, bool]):
    """Whether a full name is the one that a step of a path means; remembered by name."""

    def __init__(self, step: str) -> None:
        super().__init__()
        self._step = step

    def __missing__(self, tag: str) -> bool:
        self[tag] = answer = _matches(tag, self._step)
        return answer


class RecordPath:
    """Which elements of a document are records."""

    def __init__(self, layout: Layout) -> None:
        self._steps = _steps(layout.record)
        self._named = _Matching(self._steps[-1])
        self._from_root = layout.record.startswith("/")
        self._absolute = len(self._steps) > 1 or self._from_root

    @property
    def name(self) -> str:
        """The records' name, as lxml's filters take it."""
        return self._steps[-1]

    def leads_to(self, element: Any) -> bool:
        """Whether the element is a record."""
        return self._named[element.tag] and (not self._absolute or self._on_path(element))

    def _on_path(self, element: Any) -> bool:
        """Whether the element lies where the path says: from the root on, which it may name or leave out."""
        at = element
        for step in reversed(self._steps):
            if at is None or not _matches(at.tag, step):
                return False
            at = at.getparent()
        return at is None or (at.getparent() is None and not self._from_root)


class _Reading:
    """One pass over a document: feeds the parser, gives out records, lets finished elements go."""

    def __init__(self, layout: Layout, root: str) -> None:
        self._layout = layout
        self._path = RecordPath(layout)
        self._kind = WholeTextRecord if layout.text == "all" else ElementRecord
        events = ("start", "end")
        self._parser = etree.XMLPullParser(events, tag=(self._path.name, root), encoding=_declared(layout), **SAFE)
        self._root: Any = None
        self._size = self._tags = 0  # of the record that is open, in bytes
        self._met = _NAMES.met

    def records(self, chunks: Iterable[bytes], tally: Tally) -> Iterator[Record]:
        try:
            for chunk in sized(chunks):
                self._parser.feed(chunk)
                self._refuse_faults()
                finished = tally.read
                yield from self._finished(tally)
                left = self._let_go()
                self._bound(chunk, left if tally.read == finished else None)
            self._parser.close()
            yield from self._finished(tally)
        except etree.XMLSyntaxError as error:
            raise broken(self._parser, error) from error
        conclude(self._layout, self._root, tally)

    def _refuse_faults(self) -> None:
        """An entity that is not known does not stop the parser: it starts anew behind it, and forgets."""
        if any(entry.level >= etree.ErrorLevels.FATAL for entry in self._parser.feed_error_log):
            raise broken(self._parser)

    def _finished(self, tally: Tally) -> Iterator[Record]:
        is_record = self._path.leads_to
        for event, element in self._parser.read_events():
            if event == "start":
                self._root = element if self._root is None else self._root
            elif is_record(element):
                tally.read += 1
                record = of_element(element, self._kind, tally.read)
                record.number, record.remarks = tally.read, tally.remarks
                if record.repeats:
                    record.remark_repeated()
                yield record

    def _bound(self, chunk: bytes, record: Any) -> None:
        """Counts what an open record holds by now, and refuses one that never ends, or names without end."""
        if _NAMES.met - self._met > bounds.MOST_NAMES:
            raise bounds.exceeded("the XML has too many names of elements", bounds.MOST_NAMES, "of them")
        if record is None:
            self._size = self._tags = 0
            return
        self._size += len(chunk)
        self._tags += chunk.count(b"<")  # an element has one or two
        if self._tags > 2 * bounds.MOST_ELEMENTS or self._size > bounds.LONGEST_RECORD:
            most, unit = bounds.MOST_ELEMENTS, f"elements or {bounds.LONGEST_RECORD // 1024**2} MiB"
            raise bounds.exceeded("a record of the XML is too large", most, unit, line=record.sourceline or 0)

    def _let_go(self) -> Any:
        """Drops every finished element but the last of each level, and gives the record that is left alone."""
        at = self._root
        while at is not None and len(at) and not self._path.leads_to(at):
            last = at[-1]
            if len(at) > 1:
                del at[:-1]
            at.text = None
            at = last
        return at if at is not None and self._path.leads_to(at) else None


def conclude(layout: Layout, root: Any, tally: Tally) -> None:
    """What can be said of a document only at its end: it holds records, and as many as it declares."""
    if not tally.read and not layout.root and len(root):
        raise BadInput(
            f"the document holds no <{layout.record}>",
            why=f"its root <{shortened(root.tag)}> has other children",
            remedy=f"{_CHECK_FILE}; with `root` in the layout a document without records is nothing to send",
        ).quoting(NOTHING)
    if layout.proof and layout.proof.count:
        declared = compile_number(layout.proof.count, layout)(Record(_attributes(root)))
        if declared != tally.read:
            why = f"it declares {as_text(declared) or 'no number of'} records and holds {tally.read}"
            raise BadInput("the file is not whole", why=why, remedy="Have the sender send the file again")


_CHECK_FILE = "Check that the right file was sent to this route, and the layout"


def _declared(layout: Layout) -> str | None:
    return None if layout.encoding == "auto" else layout.encoding


def sized(chunks: Iterable[bytes], most: int = STEP) -> Iterator[bytes]:
    """The same bytes in chunks of so many, the last one of what is left; no parser sees many small ones."""
    pieces, size = list[bytes](), 0
    for chunk in chunks:
        pieces.append(chunk)
        size += len(chunk)
        if size >= most:
            whole, end = b"".join(pieces), size - size % most
            yield from (whole[start : start + most] for start in range(0, end, most))
            pieces, size = [whole[end:]], size - end
    if size:
        yield b"".join(pieces)


def _matches(tag: str, step: str) -> bool:
    return tag == step or (step.startswith("{*}") and tag.rpartition("}")[2] == step[3:])


def same_name(tag: str, name: str) -> bool:
    """Whether an element's full name is the one that a layout names."""
    return _matches(tag, _steps(name)[0])


class _Prolog:
    """Reads until the root's start tag; a document type declaration is refused where it begins."""

    root: str | None = None

    def start(self, tag: str, _attributes: object) -> None:
        if self.root is None:
            self.root = tag

    def doctype(self, *_names: str | None) -> None:
        raise BadInput(
            "the document has a DTD",
            why="a document type declaration can load files and explode in memory, so none is accepted",
            remedy="Have the sender leave the DOCTYPE out",
        ).quoting(NOTHING)

    def close(self) -> str | None:
        return self.root


def root_name(source: Source, layout: Layout) -> str | None:
    """The full name of the root element; None: there are no bytes but blanks. Raises `BadInput` for a DTD."""
    prolog = _Prolog()
    try:
        parser = etree.XMLParser(target=prolog, encoding=_declared(layout), **SAFE)
    except LookupError as error:
        raise ConfigurationError(f"the encoding {layout.encoding!r} is not known", why=str(error)) from error
    filled, line = False, 1
    chunk = b""
    try:
        for chunk in sized(source()):
            filled = filled or bool(chunk.strip())
            if filled:
                parser.feed(chunk)
            if prolog.root is not None:
                return prolog.root
            line += chunk.count(b"\n")
        return parser.close() if filled else None
    except BadInput as error:
        raise error.at(line=line + _lines_ahead_of_dtd(chunk)) from None
    except etree.XMLSyntaxError as error:
        if prolog.root is not None:
            return prolog.root  # the reading itself will find it again
        raise broken(parser, error) from error


def _lines_ahead_of_dtd(chunk: bytes) -> int:
    """Line ends between the start of the chunk and the declaration in it, in any encoding with ASCII letters."""
    letters = chunk.replace(b"\0", b"")
    return letters.count(b"\n", 0, max(0, letters.find(b"<!DOCTYPE")))
