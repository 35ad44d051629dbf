"""Aurora's envelopes: what was asked, and what was answered to each request of it.

Owns the reading of both as streams, the tie between a `Response` and the key of its `Request`, and the judgement:
accepted, refused with a reason, or deferred. A word that is not known to mean yes counts as no. Pure: bytes in, values
out; the same guarded XML reader as for files.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lxml import etree

from cegid_daemon.errors import BadInput
from cegid_daemon.rewrite import layouts
from cegid_daemon.rewrite.layouts.xml import root_name
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.tally import Tally

Opener = Callable[[], Iterable[bytes]]

UNANSWERED = "not answered"
_YES = frozenset({"success", "successful", "succeeded", "ok", "accepted", "complete", "completed", "true", "1", "yes"})
_LATER = frozenset({"deferred", "queued", "pending", "processing", "accepted for processing"})
_KEYS = ("VariationReference", "OrderID", "ProductReference", "VariationEAN", "ProductEAN", "CustomerID")
_REASONS = frozenset({"error", "errors", "errormessage", "errortext", "errordescription", "message", "reason"})
_LONGEST_REASON = 300
_WRITTEN = re.compile(rf"RequestID (?P<id>.*?)(?:, (?P<name>{'|'.join(_KEYS)}) (?P<key>.*?))?: (?P<reason>.*)", re.S)


@dataclass(frozen=True, slots=True)
class Key:
    """What a request is about: `VariationReference` and its text. Blank: it names nothing we know."""

    name: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was refused."""

    request_id: str
    key: Key
    reason: str

    def __str__(self) -> str:
        about = f", {self.key.name} {self.key.value}" if self.key.name else ""
        return f"RequestID {self.request_id}{about}: {self.reason}"

    @classmethod
    def read(cls, text: str) -> Refusal | None:
        """The refusal that was written down as this text; None: it is none. A key ends at the first `: `."""
        found = _WRITTEN.fullmatch(text)
        return cls(found["id"], Key(found["name"] or "", found["key"] or ""), found["reason"]) if found else None


@dataclass(slots=True)
class Verdict:
    """What an answer says of an envelope."""

    requests: int = 0
    accepted: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    reports: dict[str, None] = field(default_factory=dict)  # what to ask for later, in order
    deferred: int = 0
    refused_whole: str = ""  # why the envelope as a whole was refused

    @property
    def reasons(self) -> Mapping[str, int]:
        """How often each reason was given."""
        return Counter(refusal.reason for refusal in self.refusals)

    @property
    def says_no(self) -> bool:
        """Whether it refuses anything, in words that may repeat what was sent."""
        return bool(self.refusals or self.refused_whole)

    def mask(self, mask: Callable[[str], str]) -> None:
        """Takes out of its words what may not be shown."""
        self.refused_whole = mask(self.refused_whole)
        self.refusals = [
            Refusal(mask(one.request_id), Key(one.key.name, mask(one.key.value)), mask(one.reason))
            for one in self.refusals
        ]

    @property
    def is_final(self) -> bool:
        """Whether it says something, and defers nothing."""
        return not self.deferred and bool(self.accepted or self.refusals)

    @property
    def nothing_accepted(self) -> bool:
        """Whether the API wants nothing of it."""
        return bool(self.refused_whole) or (bool(self.refusals) and not self.accepted and not self.deferred)


@dataclass(frozen=True, slots=True)
class Summary:
    """The header of an answer; blank where it has none."""

    ack: str = ""
    succeeded: str = ""
    errors: str = ""
    reason: str = ""

    @property
    def says_yes(self) -> bool:
        """Whether it says so, and counts no error."""
        return _means(self.ack, _YES) and self.errors in ("", "0")


def requests_of(source: Opener) -> Iterator[tuple[str, Key]]:
    """The id and the key of each `Request` of an envelope, in order. Raises BadInput if it is no XML."""
    for record in _records("Request", source):
        element: Any = record.element  # type: ignore[attr-defined]
        yield _first(element, "RequestID") or str(record.number), _key(element)


def method_of(source: Opener) -> str:
    """The method of an envelope's first request, both words joined (`OrderGet`); blank if there is none."""
    for record in _records("Request", source):
        element: Any = record.element  # type: ignore[attr-defined]
        for controller in element.iterchildren("{*}*"):
            for method in controller.iterchildren("{*}*"):
                return f"{_local(controller)}{_local(method)}"
    return ""


def summary_of(source: Opener) -> Summary:
    """What the header of an answer says."""
    for record in _records("Header", source):
        element: Any = record.element  # type: ignore[attr-defined]
        ack, succeeded, errors = (_first(element, name) for name in ("Ack", "RequestsSucceeded", "RequestErrors"))
        return Summary(ack, succeeded, errors, _reason(element))
    return Summary()


def refusal_of(source: Opener) -> str:
    """Why an answer that should hold what was asked for is a refusal; blank: it is none."""
    summary = summary_of(source)
    if summary.ack and not _means(summary.ack, _YES):
        return summary.reason or f"Ack {summary.ack!r}"
    for record in _records("Response", source):
        element: Any = record.element  # type: ignore[attr-defined]
        ack = "".join(child.text or "" for child in element.iterchildren("{*}Ack"))
        if ack.strip() and not _means(ack, _YES):
            return _reason(element) or f"Ack {ack!r}"
    return ""


def records_in(layout: Layout, source: Opener) -> Iterator[Record]:
    """The records of an answer; none is no fault."""
    root = root_name(source, layout) if layout.kind == "xml" and not layout.root else None
    yield from layouts.read(replace(layout, root=root) if root else layout, source, Tally())


class Tying:
    """Reads an answer once: gives it out again with the key of each request, and judges it on the way.

    A report (`late`) speaks of the requests it names; of the others the first answer spoke.
    """

    def __init__(
        self, sent: Opener, answer: Opener, *, late: bool = False, beat: Callable[[], None] = lambda: None
    ) -> None:
        """Reads what was sent. `beat` is called for each response: there may be very many."""
        self._beat = beat
        self._answer = answer
        self._late = late
        self._summary = summary_of(answer)
        self._open = dict(requests_of(sent))
        self.verdict = Verdict(requests=len(self._open))

    def pieces(self) -> Iterator[bytes]:
        """`<Responses>` with each `Response`, and `Key` in it; the verdict is complete when it has passed."""
        yield b"<Responses>"
        for record in _records("Response", self._answer):
            self._beat()
            element: Any = record.element  # type: ignore[attr-defined]
            request_id = _first(element, "RequestID") or str(record.number)
            key = self._open.pop(request_id, None)
            self._judge(element, request_id, key or Key(), answers_a_request=key is not None)
            yield _with_key(element, key or Key())
        self._conclude()
        yield b"</Responses>"

    def _judge(self, element: Any, request_id: str, key: Key, *, answers_a_request: bool) -> None:
        ack = _first(element, "Ack")
        reason = _reason(element)
        if _means(ack, _LATER):
            self.verdict.deferred += 1
            self.verdict.reports[_first(element, "ReportID")] = None
        elif not _means(ack, _YES):
            self.verdict.refusals.append(Refusal(request_id, key, reason or (f"Ack {ack!r}" if ack else "no Ack")))
        elif answers_a_request:
            self.verdict.accepted += 1

    def _conclude(self) -> None:
        """What was not answered by itself stands or falls with the envelope."""
        verdict, summary = self.verdict, self._summary
        answered = verdict.accepted or verdict.refusals or verdict.deferred
        if self._late:
            return
        if not answered and summary == Summary():
            raise BadInput("it is no answer of the API", why="it has neither a Header nor a Response")
        if not answered and not summary.says_yes:
            verdict.refused_whole = summary.reason or (f"Ack {summary.ack!r}" if summary.ack else "it holds no Ack")
        elif summary.says_yes and summary.succeeded in ("", str(verdict.requests)):
            verdict.accepted += len(self._open)
        else:
            verdict.refusals += [Refusal(request_id, key, UNANSWERED) for request_id, key in self._open.items()]


def _records(name: str, source: Opener) -> Iterator[Record]:
    """The elements of a name at any depth; none is no fault."""
    root = root_name(source, Layout("", "xml"))
    if root is None:
        raise BadInput("there is no XML in it", remedy="Look at the stored bytes")
    yield from layouts.read(Layout("envelope", "xml", record=name, root=root), source, Tally())


def _local(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _first(element: Any, name: str) -> str:
    """The first text under a name, at any depth."""
    for found in element.iter("{*}" + name):
        if text := (found.text or "").strip():
            return text
    return ""


def _key(request: Any) -> Key:
    """What the request itself is about; what stands deeper in it (variations of a product) is not meant."""
    own = [child for controller in request.iterchildren("{*}*") for method in controller for child in method]
    texts = {_local(child): (child.text or "").strip() for child in reversed(own)}
    return next((Key(name, texts[name]) for name in _KEYS if texts.get(name)), Key())


def _reason(element: Any) -> str:
    said: dict[str, None] = {}
    for one in element.iter("{*}*"):
        if _local(one).lower() in _REASONS and (text := " ".join((one.text or "").split())):
            said[text] = None
    return "; ".join(said)[:_LONGEST_REASON]


def _means(ack: str, words: frozenset[str]) -> bool:
    return ack.strip().lower() in words


def _with_key(element: Any, key: Key) -> bytes:
    if key.name:
        etree.SubElement(element, "Key").text = key.value
        etree.SubElement(element, "KeyName").text = key.name
    text: bytes = etree.tostring(element, with_tail=False)
    return text
