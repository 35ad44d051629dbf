"""The XML schemas that a route's output is checked with: read from their files, and tried.

Owns the way from `check = "xsd:FILE"` to the schema's text. A schema that begins with a byte order mark is read by it;
all others are UTF-8.
"""

from __future__ import annotations

import codecs
from pathlib import Path

from cegid_daemon.config.faults import refuse
from cegid_daemon.errors import ConfigurationError

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MARK = "xsd:"


def schema_named(check: str) -> str:
    """The file that a check names; blank: it names none."""
    return check.removeprefix(_MARK) if check.startswith(_MARK) else ""


def schema_text(path: Path) -> str:
    """The text of a schema; raises OSError or UnicodeDecodeError where it cannot be read."""
    raw = path.read_bytes()
    return raw.decode("utf-16" if raw.startswith(_UTF16) else "utf-8-sig")


def try_schema(folder: Path, name: str) -> None:
    """Refuses a schema that is not there or cannot be used; its path starts at `folder`."""
    from cegid_daemon.rewrite.checks import xml_schema  # loads lxml, which few commands need

    try:
        xml_schema(schema_text(folder / name), name)
    except UnicodeDecodeError:
        refuse(f"schema {name!r} is neither UTF-8 nor UTF-16 with a byte order mark", remedy="Save it as UTF-8.")
    except OSError as error:
        refuse(f"schema {name!r} cannot be read", why=error.strerror or "", remedy="Create it, or mend the path.")
    except ConfigurationError as error:
        refuse(error.what, why=error.why, remedy=error.remedy)
