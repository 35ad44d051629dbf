"""Aurora's envelopes: what was asked, and what was answered to each request of it.

Owns the reading of both as streams, the tie between a `Response` and the key of its `Request`, and the judgement:
accepted, refused with a reason, or deferred. A word that is not known to mean yes counts as no. Pure: bytes in, values
out; the same guarded XML reader as for files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from lxml import etree

from cegid_daemon.errors import BadInput
from cegid_daemon.pipeline.verdicts import KEYS, Key, Refusal, Verdict
from cegid_daemon.rewrite import layouts
from cegid_daemon.rewrite.layouts.xml import root_name
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.tally import Tally

Opener = Callable[[], Iterable[bytes]]

UNANSWERED = "not answered"
_STRAY = "no request of ours has this id"
_NO_FAULT = frozenset({"0", "false", "no", "none"})  # what may stand in an element of faults when there is none
_YES = frozenset({"success", "successful", "succeeded", "ok", "accepted", "complete", "completed", "true", "1", "yes"})
_LATER = frozenset({"deferred", "queued", "pending", "processing", "accepted for processing"})
_FAULTS = frozenset({"error", "errors", "errormessage", "errortext", "errordescription"})
_REASONS = _FAULTS | {"message", "reason"}
_LONGEST_REASON = 300
_WORST = (_DEFERRED, _ACCEPTED, _REFUSED) = ("deferred", "accepted", "refused")  # the worse, the later


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

    def contradicts(self, accepted: int) -> bool:
        """Whether it speaks of refusals although each response says yes."""
        fewer = self.succeeded.isdecimal() and int(self.succeeded) < accepted
        says_no = bool(self.ack) and not _means(self.ack, _YES | _LATER)
        return says_no or fewer or self.errors not in ("", "0")

    def __str__(self) -> str:
        counted = bool(self.succeeded + self.errors)
        counts = f", {self.succeeded or '?'} succeeded, {self.errors or '?'} errors" if counted else ""
        return f"Ack {self.ack!r}{counts}" + (f": {self.reason}" if self.reason else "")


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

    A report (`late`) speaks of the requests it names, and `known` are those that an earlier answer refused; of the
    others the first answer spoke. Of several responses to one request the worst counts.
    """

    def __init__(
        self, sent: Opener, answer: Opener, *, late: bool = False, known: Collection[str] = (),
        beat: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """Reads what was sent. `beat` is called for each response: there may be very many."""
        self._beat = beat
        self._answer = answer
        self._late = late
        self._known = known
        self._summary = summary_of(answer)
        self._open: defaultdict[str, list[Key]] = defaultdict(list)  # an id may come again: the first one is the last
        self._closed: dict[str, tuple[Key, str]] = {}  # key and word of the last response to each id
        self.verdict = Verdict()
        for request_id, key in requests_of(sent):
            self._open[request_id].append(key)
            self.verdict.sent += 1
        for keys in self._open.values():
            keys.reverse()
        self._strays: set[str] = set()

    def pieces(self) -> Iterator[bytes]:
        """`<Responses>` with each `Response`, and `Key` in it; the verdict is complete when it has passed."""
        yield b"<Responses>"
        for record in _records("Response", self._answer):
            self._beat()
            element: Any = record.element  # type: ignore[attr-defined]
            request_id = _own(element, "RequestID") or str(record.number)
            yield _with_key(element, self._tied(element, request_id))
        self._conclude()
        yield b"</Responses>"

    def _tied(self, element: Any, request_id: str) -> Key:
        """The key of the request that a response is to. What it says is noted."""
        word, reason = _judgement(element)
        waiting = self._open.get(request_id)
        if not waiting and request_id in self._closed:
            key, before = self._closed[request_id]
            if _WORST.index(word) <= _WORST.index(before):
                return key
            self._take_back(before)
        elif waiting:
            key = waiting.pop()
        else:
            if word == _REFUSED:
                self._stray(request_id, f"{reason} ({_STRAY})")
            return Key()
        self._closed[request_id] = key, word
        self._note(element, word, Refusal(request_id, key, reason))
        return key

    def _take_back(self, word: str) -> None:
        self.verdict.accepted -= word == _ACCEPTED
        self.verdict.deferred -= word == _DEFERRED

    def _note(self, element: Any, word: str, refusal: Refusal) -> None:
        if word == _DEFERRED:
            self.verdict.deferred += 1
            self.verdict.reports[_first(element, "ReportID")] = None
        elif word == _ACCEPTED or refusal.request_id in self._known:  # a refusal counts once
            self.verdict.accepted += 1
        else:
            self.verdict.refusals.append(refusal)

    def _stray(self, request_id: str, reason: str) -> None:
        if request_id not in self._strays:
            self._strays.add(request_id)
            self.verdict.strays.append(Refusal(request_id, Key(), reason))

    def _conclude(self) -> None:
        """What was not answered by itself stands or falls with the envelope."""
        verdict, summary = self.verdict, self._summary
        answered = verdict.accepted or verdict.refused or verdict.deferred
        if self._late:
            return
        if not answered and summary == Summary():
            raise BadInput("it is no answer of the API", why="it has neither a Header nor a Response")
        unanswered = [(request_id, key) for request_id, keys in self._open.items() for key in keys]
        if not answered and not summary.says_yes:
            verdict.refused_whole = summary.reason or (f"Ack {summary.ack!r}" if summary.ack else "it holds no Ack")
        elif summary.says_yes and summary.succeeded in ("", str(verdict.sent)):
            verdict.accepted += len(unanswered)
        else:
            verdict.refusals += [Refusal(request_id, key, UNANSWERED) for request_id, key in unanswered]
        if not verdict.refused and not verdict.deferred and summary.contradicts(verdict.accepted):
            self._stray("none", f"the header says {summary}, and names no request")


def _judgement(element: Any) -> tuple[str, str]:
    """What a response says, and why. An ack within it that is no, or a fault beside a yes, makes it one that is not."""
    own = _own(element, "Ack")
    inner = [text for found in element.iter("{*}Ack") if (text := (found.text or "").strip())]
    reason = _reason(element)
    if not _means(own, _YES | _LATER):
        return _REFUSED, reason or (f"Ack {own!r}" if own else "no Ack")
    if wrong := [ack for ack in inner if not _means(ack, _YES | _LATER)]:
        return _REFUSED, reason or f"Ack {own!r}, with Ack {wrong[0]!r} in it"
    if fault := _fault(element):
        return _REFUSED, f"{fault} (with Ack {own!r})"
    return (_DEFERRED if _means(own, _LATER) else _ACCEPTED), ""


def _records(name: str, source: Opener) -> Iterator[Record]:
    """The elements of a name at any depth; none is no fault."""
    root = root_name(source, Layout("", "xml"))
    if root is None:
        raise BadInput("there is no XML in it")
    yield from layouts.read(Layout("envelope", "xml", record=name, root=root), source, Tally())


def _local(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _first(element: Any, name: str) -> str:
    """The first text under a name, at any depth."""
    for found in element.iter("{*}" + name):
        if text := (found.text or "").strip():
            return text
    return ""


def _own(element: Any, name: str) -> str:
    """The text under a name that is a child; without one, the first at any depth."""
    for found in element.iterchildren("{*}" + name):
        if text := (found.text or "").strip():
            return text
    return _first(element, name)


def _key(request: Any) -> Key:
    """What the request itself is about; what stands deeper in it (variations of a product) is not meant."""
    own = [child for controller in request.iterchildren("{*}*") for method in controller for child in method]
    texts = {_local(child): (child.text or "").strip() for child in reversed(own)}
    return next((Key(name, texts[name]) for name in KEYS if texts.get(name)), Key())


def _reason(element: Any) -> str:
    said: dict[str, None] = {}
    for one in element.iter("{*}*"):
        if _local(one).lower() in _REASONS and (text := " ".join((one.text or "").split())):
            said[text] = None
    return "; ".join(said)[:_LONGEST_REASON]


def _fault(element: Any) -> str:
    """What stands in the elements of faults."""
    said: dict[str, None] = {}
    for one in element.iter("{*}*"):
        if _local(one).lower() in _FAULTS and (text := " ".join("".join(one.itertext()).split())):
            said[text] = None
    return "; ".join(text for text in said if text.lower() not in _NO_FAULT)[:_LONGEST_REASON]


def _means(ack: str, words: frozenset[str]) -> bool:
    return ack.strip().lower() in words


def _with_key(element: Any, key: Key) -> bytes:
    if key.name:
        etree.SubElement(element, "Key").text = key.value
        etree.SubElement(element, "KeyName").text = key.name
    text: bytes = etree.tostring(element, with_tail=False)
    return text
