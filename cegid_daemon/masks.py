"""File masks: which names `STOCK*.csv` means, and whether two masks can mean one same name.

Owns the grammar (`*`, `?`, `[a-z]`, `[!a-z]`; case-sensitive; everything else is itself) for `match` and `ignore`. As
in a shell, a `match` mask takes a name with a leading dot only if the mask itself begins with a dot; an `ignore` mask
has no such exception. Pure: knows names, no files. Splitting `A*;B*` into two masks is the configuration's business.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

OWNER_MARK = ".cegid-daemon.owner"  # in a source folder: whose it is. Names that begin so are never source files
_LAST = 0x10FFFF
_Ranges = tuple[tuple[int, int], ...]  # code points, both ends included, sorted, not touching


@dataclass(frozen=True, slots=True)
class _Token:
    """One character out of `allowed`, or any number of them."""

    allowed: _Ranges
    repeats: bool = False


_Mask = tuple[_Token, ...]


@dataclass(frozen=True, slots=True)
class Masks:
    """Which names a source takes: those that fit one of `match` and none of `ignore`."""

    match: tuple[str, ...] = ("*",)
    ignore: tuple[str, ...] = ()

    def takes(self, name: str) -> bool:
        """Whether `name` is to be taken; an owner's mark never is."""
        if name.startswith(OWNER_MARK):
            return False
        return _takers(self.match, name.startswith("."))(name) and not _fits(self.ignore)(name)


def meet(one: Masks, other: Masks) -> bool:
    """Whether both can take one same name. In doubt they can."""
    left = [mask for mask in one.match if not _covered(mask, other.ignore)]
    right = [mask for mask in other.match if not _covered(mask, one.ignore)]
    return overlap(left, right)


def _covered(mask: str, ignored: Sequence[str]) -> bool:
    """Whether every name of `mask` is certainly ignored: a plain glob that takes the mask's own text takes them."""
    return any(not re.search(r"[?\[]", glob) and _fits((glob,))(mask) for glob in ignored)


def overlap(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether some name fits a `match` mask of each. Exact, not a guess."""
    return any(_share(first, second) for first, second in product(one, other))


def _takers(match: tuple[str, ...], dotted: bool) -> _Fits:
    return _fits(tuple(mask for mask in match if mask.startswith(".")) if dotted else match)


class _Fits:
    """Whether a name fits one of some masks, through one regular expression."""

    def __init__(self, masks: tuple[str, ...]) -> None:
        parts = [_pattern(_tokens(mask)) for mask in masks]
        self._fullmatch = re.compile("|".join(f"(?:{part})" for part in parts), re.DOTALL).fullmatch if parts else None

    def __call__(self, name: str) -> bool:
        return self._fullmatch is not None and self._fullmatch(name) is not None


@lru_cache(maxsize=1024)
def _fits(masks: tuple[str, ...]) -> _Fits:
    return _Fits(masks)


def _share(one: str, other: str) -> bool:
    if one.startswith(".") != other.startswith("."):
        return False
    masks = [_tokens(one), _tokens(other)]
    if not one.startswith("."):
        masks.append(_NO_LEADING_DOT)
    return _meet(masks)


def _meet(masks: Sequence[_Mask]) -> bool:
    """Walks all masks at once over every name that could fit them all so far; true if all can end together."""
    start = (0,) * len(masks)
    seen, todo = {start}, [start]
    while todo:
        at = todo.pop()
        if all(place == len(mask) for place, mask in zip(at, masks, strict=True)):
            return True
        for step in _steps(masks, at):
            if step not in seen:
                seen.add(step)
                todo.append(step)
    return False


def _steps(masks: Sequence[_Mask], at: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Where the masks can stand next: past a `*` for nothing, or all past one character they share."""
    steps = [
        (*at[:no], place + 1, *at[no + 1 :])
        for no, place in enumerate(at)
        if place < len(masks[no]) and masks[no][place].repeats
    ]
    if all(place < len(mask) for place, mask in zip(at, masks, strict=True)):
        tokens = [mask[place] for place, mask in zip(at, masks, strict=True)]
        if _in_common([token.allowed for token in tokens]):
            steps.append(tuple(place + (not token.repeats) for place, token in zip(at, tokens, strict=True)))
    return steps


def _in_common(sets: Sequence[_Ranges]) -> bool:
    """Whether one character is in every set."""
    shared = sets[0]
    for ranges in sets[1:]:
        shared = tuple(
            (max(low, first), min(high, last))
            for (low, high), (first, last) in product(shared, ranges)
            if max(low, first) <= min(high, last)
        )
    return bool(shared)


@lru_cache(maxsize=1024)
def _tokens(mask: str) -> _Mask:
    tokens: list[_Token] = []
    at = 0
    while at < len(mask):
        token, at = _token(mask, at)
        if not (token.repeats and tokens and tokens[-1].repeats):
            tokens.append(token)
    return tuple(tokens)


def _token(mask: str, at: int) -> tuple[_Token, int]:
    """The token that begins at `at`, and where the next one does."""
    letter = mask[at]
    if letter == "*":
        return _STAR, at + 1
    if letter == "?":
        return _ANY, at + 1
    if letter == "[":
        negated = mask[at + 1 : at + 2] == "!"
        first = at + 1 + negated
        end = mask.find("]", first + 1)  # a bracket right after the opening one is a member of the set
        if end > 0:
            members = _members(mask[first:end])
            return _Token(_without(members) if negated else _usable(members)), end + 1
    return _Token(((ord(letter), ord(letter)),)), at + 1


def _members(text: str) -> _Ranges:
    """`a-cx` as ranges; a range written backwards has no members."""
    ranges: list[tuple[int, int]] = []
    at = 0
    while at < len(text):
        ends_at = at + 2 if text[at + 1 : at + 2] == "-" and at + 2 < len(text) else at
        low, high = ord(text[at]), ord(text[ends_at])
        if low <= high:
            ranges.append((low, high))
        at = ends_at + 1
    return tuple(ranges)


def _without(ranges: _Ranges) -> _Ranges:
    """Every character a name may have but these."""
    rest: list[tuple[int, int]] = []
    start = 0
    for low, high in sorted((*ranges, *_NEVER)):
        if low > start:
            rest.append((start, low - 1))
        start = max(start, high + 1)
    if start <= _LAST:
        rest.append((start, _LAST))
    return tuple(rest)


def _usable(ranges: _Ranges) -> _Ranges:
    """The members without the two characters that no name has."""
    return _without(_without(ranges))


def _pattern(mask: _Mask) -> str:
    """The mask as a regular expression that never tries twice: between two `*` the first place that fits will do."""
    pieces = [""]
    for token in mask:
        if token.repeats:
            pieces.append("")
        else:
            pieces[-1] += _as_regex(token)
    first, *others = pieces
    if not others:
        return first
    *between, last = others
    any_ = _as_regex(_ANY)
    return first + "".join(f"(?>{any_}*?{piece})" for piece in between) + f"{any_}*{last}"


def _as_regex(token: _Token) -> str:
    if not token.allowed:
        return "(?!)"
    body = "".join(f"{re.escape(chr(low))}-{re.escape(chr(high))}" for low, high in token.allowed)
    return f"[{body}]"


_NEVER: _Ranges = ((0, 0), (ord("/"), ord("/")))
_ANY = _Token(_without(()))
_STAR = _Token(_without(()), repeats=True)
_NO_LEADING_DOT: _Mask = (_Token(_without(((ord("."), ord(".")),))), _STAR)
