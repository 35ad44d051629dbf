"""On which line of a TOML text each key stands.

`tomllib` gives values without places, so this reads the text a second time, only for its keys. Owns that one
question; the text must already have been read by `tomllib` without an error, which is what lets the reader here be
small: it never judges, and it gives no values.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

KeyPath = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRINGS = (
    re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}', re.DOTALL),
    re.compile(r"'''.*?'{3,5}", re.DOTALL),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


def key_lines(text: str) -> dict[KeyPath, int]:
    """Every key, table and array element of a valid TOML text with the line it begins on, counted from 1.

    Elements of arrays stand under their index: `("layout", "x", "stocks", 0, "sku")`. A table that is only implied by
    longer keys has the line of the first of them.
    """
    return _Reader(text.replace("\r\n", "\n")).read()


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """The line of `path`, or of the nearest key around it; 0 if not even its outermost key is there."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 0)


class _Reader:
    """Walks once over the text; `at` is where it stands."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.line = 1
        self._counted = 0
        self.lines: dict[KeyPath, int] = {}
        self.arrays: dict[KeyPath, int] = {}  # arrays of tables: how many tables so far

    def read(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self._blank()
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._blank()
        return self.lines

    def _header(self) -> KeyPath:
        array = self.text.startswith("[[", self.at)
        self.at += 2 if array else 1
        line = self._line()
        path = self._through_arrays(self._key())
        self.at += 2 if array else 1
        if array:
            number = self.arrays[path] = self.arrays.get(path, -1) + 1
            self._note(path, line)
            path = (*path, number)
        self._note(path, line, own=True)
        return path

    def _through_arrays(self, key: KeyPath) -> KeyPath:
        """`[a.b]` after `[[a]]` means the last of `a`."""
        path: KeyPath = ()
        for part in key[:-1]:
            path = (*path, part)
            if path in self.arrays:
                path = (*path, self.arrays[path])
        return (*path, key[-1])

    def _pair(self, table: KeyPath) -> None:
        line = self._line()
        path = (*table, *self._key())
        self.at += 1  # the equals sign
        self._note(path, line, own=True)
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        self._blank()
        first = self.text[self.at]
        if first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        elif first in "\"'":
            self._string()
        else:
            self._match(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        number = 0
        while self._next_item("]"):
            element = (*path, number)
            self._note(element, self._line())
            self._value(element)
            number += 1

    def _inline_table(self, path: KeyPath) -> None:
        while self._next_item("}"):
            self._pair(path)

    def _next_item(self, closing: str) -> bool:
        """Steps over the opening bracket or comma; False once the closing bracket is passed."""
        self._blank()
        if self.text[self.at] != closing:
            self.at += 1
            self._blank()
        if self.text[self.at] != closing:
            return True
        self.at += 1
        return False

    def _key(self) -> KeyPath:
        parts: list[str] = []
        while True:
            self._blank()
            quoted = self.text[self.at] in "\"'"
            parts.append(_unquoted(self._string()) if quoted else self._match(_BARE_KEY))
            self._blank()
            if self.text[self.at] != ".":
                return tuple(parts)
            self.at += 1

    def _string(self) -> str:
        start = self.at
        for pattern in _STRINGS:
            if found := pattern.match(self.text, self.at):
                self.at = found.end()
                break
        return self.text[start : self.at]

    def _blank(self) -> None:
        self._match(_BLANK)

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return found[0] if found else ""

    def _line(self) -> int:
        self.line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self.line

    def _note(self, path: KeyPath, line: int, *, own: bool = False) -> None:
        """Remembers a line; a table's own header (`own`) beats the line of a longer key that implied it."""
        if own:
            self.lines[path] = line
        else:
            self.lines.setdefault(path, line)
        for length in range(1, len(path)):
            self.lines.setdefault(path[:length], line)


def _unquoted(key: str) -> str:
    return next(iter(tomllib.loads(f"{key} = 0")))
