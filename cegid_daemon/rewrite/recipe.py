"""What a rewriting is made with: layout, templates, output. Frozen, plain, comparable, and the same in every process.

A `Recipe` is everything but the bytes and the buffers; the journal keeps each one once by the SHA-256 of `as_json`, so
that a past rewriting can be computed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a fixed-width line: `at` counts characters from 1 on the line as it stands, head included."""

    name: str
    at: int
    width: int
    trim: bool = True


@dataclass(frozen=True, slots=True)
class Stocks:
    """A stock value that stands inside a record (`[[layout.NAME.stocks]]`); `each` blank = the record itself."""

    each: str = ""
    sku: str = ""
    stock: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """How a file shows that it is whole: a trailer line with this start, and how many records it declares."""

    trailer: str = ""
    count: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a CEGID file is laid out (product.md, Layouts). Expressions are texts over the record `r`; blank = none."""

    name: str
    kind: str  # delimited | fixed | records | xml
    encoding: str = "auto"
    delimiter: str = ";"
    quote: str = ""
    header: bool = True
    columns: tuple[str, ...] = ()
    decimal: str = "."
    fields: tuple[Field, ...] = ()
    head: str = ""
    types: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    record: str = ""
    root: str = ""
    skip: tuple[str, ...] = ()  # each counted by its own text
    sku: str = ""
    product: str = ""
    stock: str = ""
    stocks: tuple[Stocks, ...] = ()
    sum_by: str = ""
    delta: bool = False  # stock movements: never buffered
    proof: Proof | None = None
    untrimmed: tuple[str, ...] = ()  # fields kept with their blanks (GA_ARTICLE)
    buffer: str = ""  # the layout feeds the buffer book: the buffer value of a record
    lead: int = 0  # text layouts: lines ahead of the title row or the records (a counter record, see `Proof`)
    text: str = ""  # XML: "all" = a value is all text inside its element; blank = one with elements inside is a fault
    catalogue: bool = False  # a stock layout whose sku and product keep the catalogue current, as product layouts do


@dataclass(frozen=True, slots=True)
class Templates:
    """A frozen bundle: the template of the route and every text it extends, includes or imports, by name."""

    main: str
    texts: Mapping[str, str]


WITH_MARKS = frozenset({"utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"})
"""The encodings, by Python's names, that an output can begin with a byte order mark in."""


@dataclass(frozen=True, slots=True)
class Output:
    """How the rewritten text becomes bytes, and what is checked before anything leaves."""

    encoding: str = "utf-8"
    transliterate: bool = False
    newline: str = "keep"  # keep | lf | crlf
    bom: bool = False
    check: str = "none"  # xml | xsd | columns | none
    schema: str = ""  # the text of the XSD where check is "xsd"
    schema_name: str = ""
    batch: int = 0  # records per delivered part; 0 = one part
    separator: str = ";"  # what the check "columns" counts in every row


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything a rewriting needs but the bytes and the buffers."""

    layout: Layout
    templates: Templates | None
    output: Output = Output()
    target_name: str = ""  # the name template of the target
    unique: str = ""  # the key expression of records that are delivered once
    title: str = ""  # what templates see as message.name
    versions: Mapping[str, str] = field(default_factory=dict)  # of the libraries that shape the result
    remarks: str = "keep"  # or "fail": what is odd in a file makes its message fail

    def as_json(self) -> dict[str, Any]:
        """The recipe without template texts, which stand by name and SHA-256 (`texts` gives them)."""
        body = asdict(self)
        body["layout"]["types"] = list(self.layout.types.items())  # their order counts, and JSON is written sorted
        if self.templates is not None:
            body["templates"] = {
                "main": self.templates.main,
                "texts": {name: sha256_text(text) for name, text in sorted(self.templates.texts.items())},
            }
        body["output"]["schema"] = sha256_text(self.output.schema) if self.output.schema else ""
        return body

    def texts(self) -> dict[str, str]:
        """Every text the recipe stands on, by its SHA-256."""
        texts = list(self.templates.texts.values()) if self.templates else []
        return {sha256_text(text): text for text in [*texts, self.output.schema] if text}

    @property
    def sha256(self) -> str:
        """The recipe's name in the journal: the SHA-256 of its canonical JSON."""
        return sha256_text(json.dumps(self.as_json(), sort_keys=True, ensure_ascii=False))


def sha256_text(text: str) -> str:
    """SHA-256 of the text in UTF-8, as hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def recipe_from_json(body: Mapping[str, Any], text_of: Callable[[str], str]) -> Recipe:
    """The recipe behind `as_json`; `text_of` gives the text of a SHA-256."""
    layout = dict(body["layout"])
    layout["fields"] = tuple(Field(**one) for one in layout["fields"])
    layout["stocks"] = tuple(Stocks(**one) for one in layout["stocks"])
    layout["types"] = {name: tuple(columns) for name, columns in layout["types"]}
    layout["proof"] = Proof(**layout["proof"]) if layout["proof"] else None
    layout.update({name: tuple(layout[name]) for name in ("columns", "skip", "untrimmed")})
    templates = body["templates"]
    bundle = templates and Templates(
        templates["main"], {name: text_of(sha) for name, sha in templates["texts"].items()}
    )
    schema = body["output"]["schema"]
    output = Output(**{**body["output"], "schema": text_of(schema) if schema else ""})
    rest = {key: body[key] for key in ("target_name", "unique", "title", "versions")}
    rest["remarks"] = body.get("remarks", "keep")  # recipes of earlier versions have none
    return Recipe(layout=Layout(**layout), templates=bundle, output=output, **rest)
