"""The values of masked fields: gathered from the received file, found again in what was made of it.

A value of fewer than four characters is not looked for: `12` or `Mr` would mask half of any file. A template may turn
a value to capitals, flatten its line breaks, or spell it in ASCII where the route says so: these are found too. A value
that a template cuts or puts together in another way is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from cegid_daemon.rewrite.masking.fields import STAR
from cegid_daemon.rewrite.output import Speller

SHORTEST = 4  # characters
MOST = 200_000  # distinct values: about 50 MB

_WORD = re.compile(r"\w+")


class Values:
    """The distinct values of the masked fields of one file."""

    def __init__(self, most: int = MOST, *, shortest: int = SHORTEST) -> None:
        self._shortest = shortest
        self.most = most
        self.too_many = False
        self._values: set[str] = set()

    def add(self, value: str) -> None:
        """Takes a value, without the blanks around it."""
        if len(value) >= self._shortest and not self.too_many:
            self._values.add(value)
            if len(self._values) > self.most:
                self.too_many = True
                self._values.clear()

    def index(self, spelled: str = "") -> Index:
        """The values ready to be found; `spelled` names the encoding an output was transliterated to."""
        spell = Speller(spelled, lambda _text, _times: None) if spelled else str
        return Index(form for value in self._values for form in _forms(value, spell(value)))


def _forms(*texts: str) -> set[str]:
    flat = {form for text in texts for form in (text, " ".join(text.split()))}
    return flat | {text.upper() for text in flat} | {text.lower() for text in flat}


class Index:
    """Finds values as whole texts, or as whole words within a text."""

    def __init__(self, values: Iterable[str]) -> None:
        self._whole = frozenset(values)
        self._by_word: dict[str, list[tuple[int, str]]] = {}  # first word -> (where it stands in the value, value)
        for value in sorted(self._whole, key=len, reverse=True):
            if word := _WORD.search(value):
                self._by_word.setdefault(word[0], []).append((word.start(), value))

    def holds(self, text: str) -> bool:
        """Whether the text is one of the values."""
        return text in self._whole

    def mask(self, text: str) -> str:
        """The text with every value that stands in it as a word, or as words, turned to stars."""
        pieces: list[str] = []
        at = 0
        for word in _WORD.finditer(text):
            for lead, value in self._by_word.get(word[0], ()):
                start = word.start() - lead
                if start >= at and text.startswith(value, start) and _ends(text, value, start + len(value)):
                    pieces += (text[at:start], STAR * len(value))
                    at = start + len(value)
                    break
        return "".join((*pieces, text[at:])) if pieces else text


def _ends(text: str, value: str, end: int) -> bool:
    """Whether no word goes on behind the value."""
    return end == len(text) or not (_WORD.match(value[-1]) and _WORD.match(text[end]))
