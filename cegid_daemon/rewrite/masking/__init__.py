"""Masking: the copy of a file that may stay in the journal when some of its fields may not.

Owns what `redact` in a route means for bytes: the named fields of a received file become `*`, as many as the value has
characters, and the same values are masked in what was made of it. Everything else stays byte for byte. Streams; never
guesses: what cannot be masked with certainty raises, and its copy must then be dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from cegid_daemon.errors import BadInput
from cegid_daemon.rewrite import output as outputs
from cegid_daemon.rewrite.layouts.text import Source
from cegid_daemon.rewrite.masking import markup, rows
from cegid_daemon.rewrite.masking.faults import reads, tellable, withheld
from cegid_daemon.rewrite.masking.fields import Fields
from cegid_daemon.rewrite.masking.spelling import marked, of_text, of_xml, respelled
from cegid_daemon.rewrite.masking.values import Values
from cegid_daemon.rewrite.recipe import Layout, Recipe

__all__ = ["Fields", "Values", "made", "reads", "received", "tellable", "tells", "withheld"]


def received(layout: Layout, fields: Fields, source: Source, values: Values) -> Iterator[bytes]:
    """A received file with its fields masked; their values are added to `values`.

    `source` opens the bytes from the start. Raises `MessageError` where the file does not follow its layout, so that a
    field may stand where nobody looks: nothing of what came out may be kept then.
    """
    if layout.kind == "xml":
        spelling = of_xml(source, layout.encoding)
        mask = partial(markup.masked, fields, values.add)
    else:
        spelling = of_text(source, layout.encoding)
        mask = partial(rows.masked, layout, fields, values.add)
    return respelled(source, spelling, mask)


def made(recipe: Recipe, fields: Fields, values: Values, source: Source) -> Iterator[bytes]:
    """A part that was made with `recipe`, with the `values` of the received file masked wherever they stand.

    In XML those are whole texts and attributes, and the elements that `fields` names are masked whatever they hold;
    elsewhere whole words. Raises `MessageError` if it cannot be done.
    """
    if values.too_many:
        raise BadInput("the masked fields hold too many different values to look for", why=f"over {values.most}")
    name, _ = outputs.codec(recipe.output)
    known = values.index(name if recipe.output.transliterate else "")
    mask = partial(markup.masked, fields, _nobody, known=known.holds) if is_xml(recipe) else partial(_words, known.mask)
    return respelled(source, marked(source, name), mask)


def is_xml(recipe: Recipe) -> bool:
    """Whether what the recipe makes is XML: by its check, or by the name of its template."""
    main = recipe.templates.main if recipe.templates else ""
    return recipe.output.check in ("xml", "xsd") or main.endswith(".xml.j2")


def tells(recipe: Recipe, fields: Fields) -> bool:
    """Whether the keys a message is found by are made of a masked field: then they may not be indexed."""
    layout = recipe.layout
    texts = [layout.sku, layout.product, recipe.unique, *(stocks.sku for stocks in layout.stocks)]
    return reads(texts, fields)


def _words(mask: Callable[[str], str], texts: Iterable[str]) -> Iterator[str]:
    return map(mask, rows.lines(texts))


def _nobody(_value: str) -> None:
    """Values of a part are not looked for elsewhere."""
