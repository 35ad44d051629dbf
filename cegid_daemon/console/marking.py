"""A record beside what was made of it, as a person reads it: each value with the cause it has its form by. Pure.

Owns the marks of the output, the words for a cause (buffer and level, template, left out, rejected), and the masking of
what a route does not show.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape, unescape
from typing import Any

from markupsafe import escape as escape_as_templates_do

from cegid_daemon.pipeline.verdicts import Refusal
from cegid_daemon.rewrite.masking.fields import Fields, starred
from cegid_daemon.rewrite.masking.values import SHORTEST
from cegid_daemon.rewrite.recipe import Recipe

_MARKUP = re.compile(r"(<[^>]*>)")
_CELLS = re.compile(r"([;|\t\r\n]+)")
_READS = re.compile(r"\br\.([^\W\d]\w*)|\br\['([^']+)'\]")


@dataclass(frozen=True, slots=True)
class Mark:
    """A stretch of output. `kind`: markup | same | buffer | template."""

    text: str
    kind: str
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """A stock value and what became of it."""

    sku: str
    product: str
    before: str
    after: str
    cause: str
    changed: bool


@dataclass(frozen=True, slots=True)
class Value:
    """A field as it came. `told`: whether it stands in the output, or the stock was read from it."""

    name: str
    text: str
    told: bool


@dataclass(frozen=True, slots=True)
class Group:
    """The fields of one element, without the blank ones; `path` is blank for the record itself."""

    path: str
    values: Sequence[Value]


@dataclass(frozen=True, slots=True)
class PairRow:
    """One record on both sides."""

    number: int
    line: int
    key: str
    groups: Sequence[Group]
    blank: int  # fields that are
    changes: Sequence[Change]
    left_out: str
    rejected: str  # the receiver's reason
    marks: Sequence[Mark]


def row_of(record: Mapping[str, Any], recipe: Recipe, refusals: Sequence[Refusal] = ()) -> PairRow:
    """A record of the account that the rewriting gave."""
    changes = changes_of(record)
    words = {value.strip() for value in record["fields"].values() if value.strip()}
    marks = list(marks_of(record["piece"], words, changes, recipe.templates.main if recipe.templates else ""))
    shown = {unescape(mark.text.strip()) for mark in marks if mark.kind == "same"}
    reads = {name for found in _READS.findall(stock_of(recipe)) for name in found}
    filled = [(name, text) for name, text in record["fields"].items() if text.strip()]
    return PairRow(
        record["number"], record["line"], record["key"], _groups(filled, shown, reads),
        len(record["fields"]) - len(filled), changes, record["left_out"], rejected(record, refusals), marks,
    )  # fmt: skip


def stock_of(recipe: Recipe) -> str:
    """How the stock is read from the fields; blank where the layout has none."""
    layout = recipe.layout
    return layout.stock or next((one.stock for one in layout.stocks), "")


def _groups(filled: Sequence[tuple[str, str]], shown: Collection[str], reads: Collection[str]) -> list[Group]:
    groups: dict[str, list[Value]] = {"": []}
    for path, text in filled:
        above, _, name = path.rpartition("/")
        groups.setdefault(above, []).append(Value(name, text, text.strip() in shown or name in reads))
    return [Group(path, values) for path, values in groups.items() if values]


def changes_of(record: Mapping[str, Any]) -> list[Change]:
    """The stock values of a record."""
    return [_change(value) for value in record["values"]]


def _change(value: Mapping[str, str]) -> Change:
    before, after, level = value["raw_stock"], value["stock"], value["buffer_level"]
    if level in ("", "None"):
        cause = "blank stock stays blank" if before == "" else "no buffer: passes as it is"
    else:
        cause = f"{level} buffer {value['buffer']}"
    return Change(value["sku"], value["product"], before, after, cause, before != after)


def rejected(record: Mapping[str, Any], refusals: Sequence[Refusal]) -> str:
    """Why the receiver refused what was made of a record; blank: it is not known to have."""
    keys = {record["key"]} | {value[name] for value in record["values"] for name in ("sku", "product")}
    return next((one.reason for one in refusals if _is_meant(one, record["piece"], keys)), "")


def _is_meant(refusal: Refusal, piece: str, keys: Collection[str]) -> bool:
    """By its key, as the numbers of requests begin anew with each part; by its number too where the output has one."""
    numbered = "<RequestID>" in piece
    if numbered and f"<RequestID>{escape(refusal.request_id)}</RequestID>" not in piece:
        return False
    return refusal.key.value in keys if refusal.key.name else numbered


def marks_of(piece: str, words: Collection[str], changes: Sequence[Change], template: str) -> Iterator[Mark]:
    """The output in stretches, each with its cause."""
    buffered = {change.after: f"{change.before or 'blank'} − {change.cause}" for change in changes if change.changed}
    kept = (
        {change.after for change in changes if not change.changed}
        | {change.sku for change in changes}
        | {change.product for change in changes}
    )
    if not piece:
        return
    splitter = _MARKUP if "<" in piece else _CELLS
    for number, text in enumerate(splitter.split(piece)):
        word = unescape(text.strip())
        if number % 2 or not word:
            yield Mark(text, "markup")
        elif word in buffered:
            yield Mark(text, "buffer", buffered[word])
        elif word in words or word in kept:
            yield Mark(text, "same")
        elif template:
            yield Mark(text, "template", f"by template {template}")
        else:
            yield Mark(text, "same")


def masked(record: Mapping[str, Any], hidden_fields: Fields) -> Mapping[str, Any]:
    """The record without what its route masks, on both sides; the stored copy is masked once the message is closed."""
    fields = record["fields"]
    known = {*record.get("hidden", ()), *(value for name, value in fields.items() if hidden_fields.masks(name))}
    hidden = {value.strip() for value in known if value.strip()}
    if not hidden:
        return record
    return {
        **record,
        "fields": {name: _starred(value, name, hidden, hidden_fields) for name, value in fields.items()},
        "piece": _masked_piece(record["piece"], hidden),
        "key": starred(record["key"]) if record["key"].strip() in hidden else record["key"],
        "values": [
            {name: starred(text) if text.strip() in hidden else text for name, text in one.items()}
            for one in record["values"]
        ],
        "hidden": (),
    }


def _starred(value: str, path: str, hidden: Collection[str], hidden_fields: Fields) -> str:
    return starred(value) if hidden_fields.masks(path) or value.strip() in hidden else value


def _masked_piece(piece: str, hidden: Collection[str]) -> str:
    """The output without the values: long ones wherever they stand, any where it is a whole text or cell."""
    forms = {form for value in hidden for form in (value, value.upper(), value.lower())}
    for form in sorted(forms, key=len, reverse=True):
        if len(form) >= SHORTEST:
            for text in {form, escape(form), str(escape_as_templates_do(form))}:
                piece = piece.replace(text, starred(text))
    splitter = _MARKUP if "<" in piece else _CELLS
    return "".join(
        starred(text) if number % 2 == 0 and unescape(text.strip()) in forms else text
        for number, text in enumerate(splitter.split(piece))
    )


def is_found(record: Mapping[str, Any], key: str) -> bool:
    """Whether a masked record still bears a key: who may not see a value cannot find it."""
    shown = [*record["fields"].values(), record["key"], *(text for one in record["values"] for text in one.values())]
    return key in (text.strip() for text in shown)
