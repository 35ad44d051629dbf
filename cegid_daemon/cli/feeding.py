"""`buffers import --layout`: a file that feeds buffers and catalogue, taken in by command instead of by a route.

Owns the way from the file to the book: read by its layout as a route would read it, all of it in one go. Which values
count is the rule's to say, and no message is made of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from cegid_daemon.cli.opening import Invocation, the_store, who
from cegid_daemon.cli.output import note, plural, print_json
from cegid_daemon.cli.rewriting import ConfiguredBook, reading_file
from cegid_daemon.cli.sheets import account_of, tell_import
from cegid_daemon.errors import MessageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cegid_daemon.config import Config
    from cegid_daemon.journal.book import BufferBook
    from cegid_daemon.journal.intake import BelongsRow, BufferRow, ImportReport
    from cegid_daemon.rewrite.recipe import Layout
    from cegid_daemon.rewrite.tally import Tally


def import_by_layout(ctx: click.Context, file: Path, layout: str, store: str | None, as_json: bool) -> NoReturn:
    """Takes `file` into the book, says what came of it, and ends the command. Raises BadInput: nothing was taken."""
    from cegid_daemon.rewrite.tally import Tally

    invocation = ctx.ensure_object(Invocation)
    config = invocation.config(layout)
    feeding, name, tally = _feeding(config, layout), the_store(config, store).name, Tally()
    with invocation.writing(config) as journal:
        buffers, catalogue = _taken(journal.book, feeding, file, name, tally)
    _tell(file, buffers, catalogue, tally.coverage().left_out, as_json)
    ctx.exit(0)


def _feeding(config: Config, name: str) -> Layout:
    """The layout of that name. Raises click.BadParameter if there is none, or it feeds no buffers."""
    from cegid_daemon import resources

    if name not in config.layouts:
        known = ", ".join(sorted({*config.layouts, *resources.layout_presets()}))
        raise click.BadParameter(f"there is no layout {name!r}; known: {known}", param_hint="--layout")
    if not config.layouts[name].buffer:
        raise click.BadParameter(f"the layout {name!r} has no `buffer`: it feeds no buffers", param_hint="--layout")
    return config.layouts[name]


def _taken(book: BufferBook, layout: Layout, file: Path, store: str, tally: Tally) -> tuple[ImportReport, ImportReport]:
    from cegid_daemon.bootstrap import utc_now

    pairs: list[BelongsRow] = []
    try:
        rows = _rows(layout, file, store, tally, pairs)
        return book.import_fed(rows, pairs, who=who(), origin=f"buffers import {file.name}", now=utc_now())
    except MessageError as error:
        error.at(file=str(file))
        raise


def _rows(layout: Layout, file: Path, store: str, tally: Tally, pairs: list[BelongsRow]) -> Iterator[BufferRow]:
    """The buffers of the file; `pairs` fills with what it says of the catalogue, known or not."""
    from cegid_daemon.rewrite import buffers, keys

    def belongs(sku: str, product: str) -> None:
        pairs.append((0, store, sku, product))

    with reading_file(file) as source:
        found = keys.found(layout, source, tally)
        for level, key, value, line in buffers.fed(found, layout, ConfiguredBook(None), tally, belongs=belongs):
            yield line, store, level, key, value


def _tell(
    file: Path, buffers: ImportReport, catalogue: ImportReport, left_out: Mapping[str, int], as_json: bool
) -> None:
    if as_json:
        told = {"rows": catalogue.read, "written": catalogue.written, "revision": catalogue.revision}
        print_json({**account_of(buffers), "left_out": dict(left_out), "catalogue": told})
        return
    tell_import(file, buffers)
    for reason, count in left_out.items():
        note(f"{plural(count, 'record')} left out: {reason}")
    note(f"catalogue: {plural(catalogue.read, 'variation')}, {catalogue.written} changed")
