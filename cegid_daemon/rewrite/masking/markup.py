"""Masking in XML: texts and attributes, in the document as it stands.

Works on the text of the document instead of writing a parsed tree anew, so that whatever is not masked stays byte for
byte: quotes, entities, comments, the declaration. Takes documents that a parser has found well-formed and free of a
DTD; where that turns out not to be so, it raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from cegid_daemon.errors import BadInput
from cegid_daemon.rewrite.masking.fields import STAR, Fields

LONGEST = 12_000_000  # characters of one tag, text or comment; the parser of layouts takes no more either

_TOKEN = re.compile(
    r"""[^<]+(?=<) | </[^>]*> | <[^\s!?/>"'][^>"']*(?:"[^"]*"[^>"']*|'[^']*'[^>"']*)*>
      | <!--.*?--> | <!\[CDATA\[.*?\]\]> | <\?.*?\?>""",
    re.DOTALL | re.VERBOSE,
)
_NAME = re.compile(r"<(?:[^\s/>:]+:)?([^\s/>:]+)")
_ATTRIBUTE = re.compile(r"""(?<=\s)([^\s=<>/"']++)(\s*+=\s*+)("[^"]*"|'[^']*')""")
_ENTITY = re.compile(r"&(?:#(\d+)|#x([0-9A-Fa-f]+)|(amp|lt|gt|quot|apos));")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}

Known = Callable[[str], bool]


def masked(
    fields: Fields, add: Callable[[str], None], texts: Iterable[str], *, known: Known | None = None
) -> Iterator[str]:
    """The document with the fields' elements and attributes masked, and those whose value is `known`.

    A masked element is masked with all it holds, attributes included. `add` gets each value that a field had.
    """
    mask = _Mask(fields, add, known)
    rest, more, size = "", list[str](), 0  # the beginning of a token, and what came behind it
    for text in texts:
        more.append(text)
        size += len(text)
        if size < len(rest):  # read again only when it has doubled, or time would go by the square
            continue
        tokens, rest = _cut(rest + "".join(more))
        more, size = [], 0
        yield "".join(map(mask, tokens))
    tokens, rest = _cut(rest + "".join(more))
    yield "".join(map(mask, tokens))
    if "<" in rest or mask.inside:
        raise BadInput("the XML ends within a tag, or is not well-formed")
    yield rest


def _cut(text: str) -> tuple[list[str], str]:
    tokens: list[str] = []
    at = 0
    while found := _TOKEN.match(text, at):
        tokens.append(found[0])
        at = found.end()
    if len(text) - at > LONGEST:
        raise BadInput("a tag, text or comment of the XML never ends", why=f"it is longer than {LONGEST} characters")
    return tokens, text[at:]


class _Mask:
    """Masks token by token; `inside` counts the open elements from the outermost masked one on."""

    def __init__(self, fields: Fields, add: Callable[[str], None], known: Known | None) -> None:
        self._fields, self._add, self._known = fields, add, known
        self.inside = 0

    def __call__(self, token: str) -> str:
        if not token.startswith("<"):
            return self._value(token, unescaped, named=bool(self.inside))
        match token[1]:
            case "/":
                self.inside = max(0, self.inside - 1)
            case "!":
                return self._section(token)
            case "?":
                pass
            case _:
                return self._start(token)
        return token

    def _start(self, tag: str) -> str:
        name = _NAME.match(tag)
        within = bool(self.inside or (name and name[1] in self._fields.names))
        if within and not tag.endswith("/>"):
            self.inside += 1
        if not (within or self._fields.attributes or self._known):
            return tag
        return _ATTRIBUTE.sub(lambda found: self._attribute(found, within=within), tag)

    def _attribute(self, found: re.Match[str], *, within: bool) -> str:
        name, equals, text = found.groups()
        if name == "xmlns" or name.startswith("xmlns:"):
            return found[0]
        named = within or name.rpartition(":")[2] in self._fields.attributes
        return f"{name}{equals}{text[0]}{self._value(text[1:-1], unescaped, named=named)}{text[0]}"

    def _section(self, token: str) -> str:
        if token.startswith("<!--"):
            return f"<!--{self._value(token[4:-3], str, named=True)}-->" if self.inside else token
        return f"<![CDATA[{self._value(token[9:-3], str, named=bool(self.inside))}]]>"

    def _value(self, text: str, plain: Callable[[str], str], *, named: bool) -> str:
        """The text masked if it is that of a field (`named`), or known; blanks around it stay."""
        core = text.strip()
        if not core or not (named or self._known):
            return text
        value = plain(core)
        if named:
            self._add(value)
        elif not (self._known and self._known(value)):
            return text
        start = text.index(core)
        return text[:start] + STAR * len(value) + text[start + len(core) :]


def unescaped(text: str) -> str:
    """Text with its entity and character references resolved; a document without a DTD has no others."""
    return _ENTITY.sub(_character, text) if "&" in text else text


def _character(found: re.Match[str]) -> str:
    decimal, hexadecimal, name = found.groups()
    return _NAMED[name] if name else chr(int(decimal) if decimal else int(hexadecimal, 16))
