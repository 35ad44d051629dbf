"""Writes docs/configuration.md out of the schema: `python -m cegid_daemon.config.reference > docs/configuration.md`.

Owns the layout of that page. The keys, kinds, defaults and meanings stand in `schema` and its
neighbours, what is not done yet in `later.py`; a test compares the page with what this gives.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal

from pydantic.fields import FieldInfo

from cegid_daemon import resources
from cegid_daemon.clock import duration_text
from cegid_daemon.config import console_table, later, layout_tables, schema, site_tables, tables
from cegid_daemon.config.lines import KeyPath
from cegid_daemon.config.values import Kind

_TABLES: tuple[tuple[KeyPath, type[tables.Table]], ...] = (
    ((), schema.Root),
    (("console",), console_table.ConsoleTable),
    (("alert",), schema.AlertTable),
    (("site",), site_tables.SitesTable),
    (("site", "ftp"), site_tables.FtpSiteTable),
    (("site", "sftp"), site_tables.SftpSiteTable),
    (("site", "KIND", "users", "NAME"), site_tables.SiteUserTable),
    (("store", "NAME"), schema.StoreTable),
    (("endpoint", "NAME"), schema.EndpointTable),
    (("route", "NAME"), schema.RouteTable),
    (("route", "NAME", "source"), schema.SourceTable),
    (("route", "NAME", "target"), schema.TargetTable),
    (("route", "NAME", "target", "reply"), schema.ReplyTable),
    (("route", "NAME", "target", "reply", "target"), schema.ReplyTargetTable),
    (("route", "NAME", "rejects"), schema.RejectsTable),
    (("route", "NAME", "output"), schema.OutputTable),
    (("route", "NAME", "retry"), schema.RetryTable),
    (("route", "NAME", "log"), schema.LogTable),
    (("defaults",), schema.DefaultsTable),
    (("layout", "NAME"), layout_tables.LayoutTable),
    (("layout", "NAME", "fields"), layout_tables.FieldTable),
    (("layout", "NAME", "stocks"), layout_tables.StocksTable),
    (("layout", "NAME", "proof"), layout_tables.ProofTable),
)
_LISTS = (layout_tables.FieldTable, layout_tables.StocksTable)

_OPENING = """\
# Configuration

<!-- Made by `make reference` out of the tables in cegid_daemon/config: change it there. -->

One TOML file, `cegid-daemon.toml` unless `--config` names another. Relative paths start at the file's folder. All its
faults are named at once, each with its line; `cegid-daemon check` names them before anything runs. An unknown key is a
fault: nothing is ignored in silence.

- **Durations** are texts: `"500ms"`, `"1.5s"`, `"30s"`, `"15m"`, `"24h"`, `"7d"`.
- **Globs** know `*`, `?`, `[a-z]` and `[!a-z]`, and are case-sensitive. A `match` glob takes a name with a leading dot
  only if it begins with a dot itself.
- **Secrets** are named, not written: `{ credential = "NAME" }` is a file in `$CREDENTIALS_DIRECTORY` (systemd's
  `LoadCredential=`), `{ env = "NAME" }` an environment variable, `{ file = "PATH" }` a file. A plain text is taken only
  from a configuration file that nobody but its owner can read.
- **Names** of stores, endpoints, routes and layouts have letters, digits, `-`, `_` and `.`.
- **Same source, several routes**: routes whose `source` tables are equal (but for `unique`) share each file. Otherwise
  two sources that could take the same file are a fault, and so is a route that would take what a route files away or
  delivers.
"""

_LAYOUTS = """\
An own layout may begin from a shipped one: `extends = "y2-stock-csv"` takes all its keys, and those written here win.
Shipped layouts: {presets}.
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([_OPENING, *(_section(path, table) for path, table in _TABLES), _not_yet()])


def _section(path: KeyPath, table: type[tables.Table]) -> str:
    head = f"## `{_title(path, table)}`" if path else "## The file itself"
    rows = "\n".join(_rows(path, table))
    if not rows:
        return f"{head}\n\n{_about(table)}\n\nNo key of it is supported by this version yet.\n"
    extra = ""
    if table is layout_tables.LayoutTable:
        extra = "\n" + _LAYOUTS.format(presets=", ".join(f"`{name}`" for name in resources.layout_presets()))
    return f"{head}\n\n{_about(table)}\n\n| key | value | default | meaning |\n|---|---|---|---|\n{rows}\n{extra}"


def _title(path: KeyPath, table: type[tables.Table]) -> str:
    name = ".".join(map(str, path))
    return f"[[{name}]]" if table in _LISTS else f"[{name}]"


def _about(table: type[tables.Table]) -> str:
    return "\n".join(line.strip() for line in (table.__doc__ or "").strip().splitlines())


def _rows(path: KeyPath, table: type[tables.Table]) -> Iterator[str]:
    for name, field in table.model_fields.items():
        if not later.is_later((*path, name)):
            cells = (f"`{name}`", _kind(field), _default(field), field.description or "")
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _kind(field: FieldInfo) -> str:
    marked = [one.text for one in field.metadata if isinstance(one, Kind)]
    return marked[0] if marked else _kind_of(field.annotation)


def _kind_of(annotation: Any) -> str:
    if annotation is bool:
        return "`true` or `false`"
    if typing.get_origin(annotation) is Literal:
        return ", ".join(f'`"{one}"`' for one in typing.get_args(annotation))
    inner = [one for one in typing.get_args(annotation) if one is not type(None)]
    if typing.get_origin(annotation) is list:
        return "list of tables"
    marks = [one.text for part in inner for one in typing.get_args(part) if isinstance(one, Kind)]
    if marks and typing.get_origin(annotation) is not dict:
        return marks[0]
    return _kind_of(inner[0]) if bool in inner else "table"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**needed**"
    extra = field.json_schema_extra
    shown = extra.get("shown") if isinstance(extra, dict) else ""
    return str(shown) if shown else _written(field.default)


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, timedelta):
        return f'`"{duration_text(value)}"`'
    if isinstance(value, str):
        return f'`"{value}"`'
    return f"`{value}`" if isinstance(value, int) else ""


def _not_yet() -> str:
    keys = "\n".join(f"- `{name}`" for name in later.KEYS)
    return (
        "## Not yet supported\n\n"
        "These keys are refused by this version, with a sentence that says so (`*` stands for any name):\n\n"
        f"{keys}\n"
    )


if __name__ == "__main__":
    sys.stdout.write(reference())
