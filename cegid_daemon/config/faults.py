"""Faults of the configuration: how they are raised, collected, placed and worded.

Owns the way from a validator's refusal to the sentence an operator reads, with key, line and remedy. Pydantic's own
texts never get through, and neither does the value of a key, which may be a secret.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from cegid_daemon.config.lines import KeyPath, line_of
from cegid_daemon.errors import ConfigurationError, Place

_REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault at a key of the configuration, before its line is known."""

    path: KeyPath
    what: str
    why: str = ""
    remedy: str = ""


def refuse(what: str, *, why: str = "", remedy: str = "") -> NoReturn:
    """For validators: this value cannot be used. Pydantic adds the key and goes on to the next."""
    raise PydanticCustomError(_REFUSED, "{what}", {"what": what, "why": why, "remedy": remedy})


def dotted(path: KeyPath) -> str:
    """A path as an operator writes it: `route.inventory.source.match`, array elements as `stocks[2]` from 1."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def closest(word: str, words: Iterable[str], otherwise: str = "") -> str:
    """`Did you mean 'x'?`, or `otherwise`."""
    near = difflib.get_close_matches(word, list(words), n=1)
    return f"Did you mean {near[0]!r}?" if near else otherwise


def placed(trouble: Trouble, file: str, lines: Mapping[KeyPath, int]) -> ConfigurationError:
    """The trouble as an error with file, line and key."""
    where = Place(file=file, line=line_of(lines, trouble.path), field=dotted(trouble.path))
    return ConfigurationError(trouble.what, where=where, why=trouble.why, remedy=trouble.remedy)


def troubles_of(error: ValidationError, model: type[BaseModel], above: KeyPath = ()) -> list[Trouble]:
    """What pydantic found wrong, in plain sentences; `above` is the path of the validated table."""
    return [_worded(one, model, above) for one in error.errors(include_url=False, include_input=False)]


def _worded(error: ErrorDetails, model: type[BaseModel], above: KeyPath) -> Trouble:
    kind, loc, ctx = error["type"], error["loc"], error.get("ctx", {})
    inner = tuple(part for part in loc if part != "[key]")
    path = above + inner
    if kind == _REFUSED:
        return Trouble(path, ctx["what"], ctx["why"], ctx["remedy"])
    if kind == "extra_forbidden":
        return _unknown(path, _keys_at(model, inner[:-1]))
    if kind == "missing":
        return Trouble(path, f"{path[-1]!r} is missing", remedy=f"Set {dotted(path)}.")
    return Trouble(path, _SENTENCES.get(kind, "cannot be used").format(**ctx), remedy=f"Correct {dotted(path)}.")


def _unknown(path: KeyPath, known: list[str]) -> Trouble:
    listed = f"Known here: {', '.join(sorted(known))}." if known else "Remove it."
    return Trouble(path, f"unknown key {str(path[-1])!r}", remedy=closest(str(path[-1]), known, listed))


_SENTENCES = {
    "string_type": "must be a text in quotes",
    "int_type": "must be a whole number without quotes",
    "bool_type": "must be true or false, without quotes",
    "list_type": "must be a list: [ … ]",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "literal_error": "must be one of {expected}",
    "greater_than_equal": "must be {ge} or more",
    "string_pattern_mismatch": "a name has letters, digits, '-', '_' and '.', begins with a letter or digit "
    "and is at most 64 long",
    "string_too_short": "must not be blank",
    "string_too_long": "must be at most {max_length} long",
}


def _keys_at(model: type[BaseModel], loc: KeyPath) -> list[str]:
    """The keys that the table at `loc` of `model` knows."""
    kind: Any = model
    for part in loc:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(part))
            kind = field.annotation if field else None
        else:  # a mapping or list: its values
            kind = typing.get_args(kind)[-1] if typing.get_args(kind) else None
        kind = _table_in(kind)
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def _table_in(kind: Any) -> Any:
    """The table behind `Table | None`; anything else as it is."""
    tables = [one for one in typing.get_args(kind) if isinstance(one, type) and issubclass(one, BaseModel)]
    return tables[0] if tables and type(None) in typing.get_args(kind) else kind
