"""The `[layout.NAME]` tables: every key, its kind, its default and what it does. Shapes only, as in `schema`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cegid_daemon.config.tables import Table, key, needed
from cegid_daemon.config.values import AnyEncoding, Expression, Expressions, Kind, Text, Texts


class FieldTable(Table):
    """A field of a fixed-width line."""

    name: Text = needed("its name")
    at: Annotated[int, Field(ge=1), Kind("whole number")] = needed("its first character, from 1 on the whole line")
    width: Annotated[int, Field(ge=1), Kind("whole number")] = needed("its characters")
    trim: bool = key(True, "remove blanks around it")


class StocksTable(Table):
    """A stock value that stands inside a record."""

    each: Text = key("", "the path of the elements that carry it", shown="the record itself")
    sku: Expression = key("", "its SKU", shown="none: the product's own stock")
    stock: Expression = needed("the stock")


class ProofTable(Table):
    """How a file shows that it is whole."""

    trailer: Text = key("", "how its last line begins", shown="none")
    count: Expression = key("", "how many records it declares", shown="none")


class LayoutTable(Table):
    """How a CEGID file is laid out. Expressions are Jinja expressions over the record `r`."""

    kind: Literal["delimited", "fixed", "records", "xml"] = needed("the geometry")
    encoding: AnyEncoding = key("auto", "of the file; `auto` looks for a BOM, NULs, UTF-8, then takes cp1252")
    delimiter: Annotated[str, Field(min_length=1), Kind("text")] = key(";", "between columns (delimited, records)")
    quote: Annotated[str, Field(max_length=1), Kind("one character")] = key(
        "", "around values (delimited, records)", shown="none: CEGID does not quote"
    )
    header: bool | None = key(None, "the first row names the columns (delimited)", shown="true unless `columns` is set")
    columns: Texts = key((), "the names of the columns (delimited)", shown="those of the header")
    decimal: Literal[".", ","] = key(".", "the decimal mark of numbers")
    fields: list[FieldTable] = key([], "where the fields stand on a line (fixed)", shown="none")
    head: Text = key("", "the record type in characters 1-3 (fixed)", shown="none")
    types: dict[str, Texts] = key({}, "the columns of each record type (records)", shown="none")
    record: Text = key("", "name of the record's element, or its path from the root (xml)", shown="none")
    text: Literal["", "all"] = key(
        "", 'a field with elements inside is a fault when it is read; `"all"`: it is all the text inside it (xml)',
        shown="a fault",
    )  # fmt: skip
    root: Text = key("", "name of the root element; another one fails (xml)", shown="any")
    skip: Expressions = key((), "records to leave out, each counted by its own text", shown="none")
    sku: Expression = key("", "the SKU of a record", shown="none")
    product: Expression = key("", "the product of a record", shown="none")
    stock: Expression = key("", "the stock of a record", shown="none")
    stocks: list[StocksTable] = key([], "stock values inside a record (xml)", shown="none")
    sum_by: Text = key("", 'one record a SKU, stock summed: `"sku"`', shown="none")
    delta: bool = key(False, "the stock is a movement and is never buffered")
    proof: ProofTable | None = key(None, "how a file shows that it is whole", shown="none")
    untrimmed: Texts = key((), "fields whose blanks are part of them", shown="none")
    buffer: Expression = key("", "the buffer value of a record: the layout feeds the buffer book", shown="none")
    lead: Annotated[int, Field(ge=0), Kind("whole number")] = key(
        0, "lines ahead of the title row or the records, such as a counter (delimited, fixed, records)"
    )
    catalogue: bool = key(False, "a stock layout keeps the catalogue current, as product layouts do by themselves")
