"""Whatever a configuration says, it is either used or refused in sentences with their places: it never falls over."""

import copy
import datetime
import json
import tempfile
import tomllib
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from cegid_daemon import resources
from cegid_daemon.config import layout_tables, load, schema, site_tables
from cegid_daemon.config.lines import key_lines
from cegid_daemon.config.tables import Table
from cegid_daemon.errors import ConfigurationError

DECLARED = [one for room in (schema, layout_tables, site_tables) for one in vars(room).values()]
TABLES = [one for one in DECLARED if isinstance(one, type) and issubclass(one, Table)]
WORDS = sorted({key for table in TABLES for key in table.model_fields})
TEXTS = st.sampled_from(
    ["", "a", "inbox", "main", "file:x", "sftp://x", "1s", "*.csv", "xml", "fixed", "..", "{{ part }}", "{% x", "r.A",
     "y2-stock-csv", "xsd:.", "xsd:\\u0000", "cp1252", "rot13", "\\u0000"]
)  # fmt: skip
LEAVES = st.one_of(
    st.booleans(), st.integers(), st.floats(), TEXTS.map(lambda text: f'"{text}"'), st.just(datetime.date(2026, 11, 23))
)
KEYS = st.sampled_from([*WORDS, "a", "main", "inbox", '"odd key"'])
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=25
)


@settings(max_examples=100)
@given(st.dictionaries(KEYS, VALUES, max_size=8))
def test_any_toml_is_used_or_refused_with_places(document):
    _used_or_refused("".join(f"{key} = {_toml(value)}\n" for key, value in document.items()))


def _used_or_refused(text):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "cegid-daemon.toml")
        path.write_text(text)
        try:
            load(path)
        except ConfigurationError as error:
            assert error.faults
            assert all(fault.where.line and fault.what for fault in error.faults), [str(one) for one in error.faults]
            assert all(fault.where.line in key_lines(text).values() for fault in error.faults)


LAYOUT = """
[layout.own]
kind = "xml"
record = "A"
skip = ["r.A"]
sku = "r.B"
stock = "r.C"
decimal = ","
proof = { trailer = "T", count = "r.N" }
stocks = [{ each = "X", sku = "r.D", stock = "r.E" }]
fields = [{ name = "A", at = 1, width = 2 }]
types = { CCM = ["A"] }
[route.own]
store = "main"
layout = "own"
source = { endpoint = "inbox", match = ["a"], ignore = "b", settle = "1s", max_size = 5, unique = "r.A" }
template = "aurora/inventory-import.xml.j2"
target = { endpoint = "outbox", name = "a", exists = "fail" }
output = { encoding = "utf-16", bom = true, check = "xml", batch = 0 }
retry = { first = "1s" }
log = { payload_days = 1, redact = ["a"] }
"""
SOUND = tomllib.loads(resources.starter_configuration().read_text() + LAYOUT)


def _paths(value, above=()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*above, key)
        yield from _paths(inner, (*above, key))


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(list(_paths(SOUND))), VALUES, min_size=1, max_size=4))
def test_a_sound_configuration_with_any_values_replaced_is_used_or_refused_with_places(changes):
    document = copy.deepcopy(SOUND)
    for path, value in sorted(changes.items(), key=lambda change: -len(change[0])):
        table = document
        for part in path[:-1]:
            table = table[part]
        table[path[-1]] = _Written(_toml(value))
    _used_or_refused("".join(f"{key} = {_toml(value, quoted=True)}\n" for key, value in document.items()))


class _Written(str):
    """A value that is TOML already."""


def _toml(value, *, quoted=False):
    if isinstance(value, _Written):
        return str(value)
    if quoted and isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(inner, quoted=quoted)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(inner, quoted=quoted) for inner in value) + "]"
    return str(value).lower() if isinstance(value, bool | float) else str(value)
