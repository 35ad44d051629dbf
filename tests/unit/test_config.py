"""A configuration becomes frozen objects with the defaults of the contract."""

import pickle
from datetime import timedelta
from pathlib import Path

import pytest

from cegid_daemon import resources
from cegid_daemon.config import Config, load
from cegid_daemon.errors import ConfigurationError
from cegid_daemon.model import Direction, LogPolicy, RetryPolicy

BASE = """
[store.main]
[endpoint.inbox]
url = "file:inbox"
[endpoint.outbox]
url = "file:outbox"
"""
ROUTE = """
[route.stock]
store = "main"
source = { endpoint = "inbox", folder = "stock" }
layout = "y2-stock-csv"
template = "aurora/inventory-import.xml.j2"
target = { endpoint = "outbox", folder = "stock" }
"""


def configured(folder: Path, text: str) -> Config:
    path = folder / "cegid-daemon.toml"
    path.write_text(text)
    return load(path)


def test_what_is_left_out_gets_the_defaults_of_the_contract(tmp_path):
    config = configured(tmp_path, BASE + ROUTE)
    route, recipe = config.routes["stock"], config.recipes["stock"]
    assert (config.state, config.templates) == (tmp_path / "var", tmp_path / "templates")
    assert config.console.listen == ""
    assert (config.stores["main"].stock_buffer, config.stores["main"].log_requests) == (None, True)
    assert (route.direction, route.kind, route.title) == (Direction.IMPORT, "Request", "stock")
    assert (route.source.match, route.source.settle, route.source.poll) == (
        ("*",),
        timedelta(seconds=1),
        timedelta(seconds=30),
    )
    assert (route.target.exists, route.retry, route.log) == ("replace", RetryPolicy(), LogPolicy())
    assert (recipe.output.encoding, recipe.output.newline, recipe.output.check) == ("utf-8", "keep", "xml")


def test_relative_places_start_at_the_configuration_wherever_the_program_was_started(tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "cegid-daemon.toml").write_text(BASE + '[endpoint.far]\nurl = "file:///srv//x/../drop/"\n')
    monkeypatch.chdir(tmp_path)
    config = load(Path("site/cegid-daemon.toml"))
    assert config.folder == tmp_path / "site"
    assert config.endpoints["inbox"].url == f"file:{tmp_path}/site/inbox"
    assert config.endpoints["far"].url == "file:/srv/drop"


def test_an_export_never_replaces_by_default_and_is_not_checked_as_xml_unless_it_is(tmp_path):
    config = configured(
        tmp_path,
        BASE
        + ROUTE.replace("aurora/inventory-import.xml.j2", "cegid/order-piece.asc.j2").replace(
            'store = "main"', 'store = "main"\ndirection = "export"'
        ),
    )
    assert config.routes["stock"].target.exists == "version"
    assert config.recipes["stock"].output.check == "none"


def test_defaults_of_all_routes_give_way_key_by_key(tmp_path):
    text = BASE + ROUTE + 'retry.first = "2s"\n'
    text += '[defaults.retry]\nfirst = "9s"\ngive_up = "1h"\n[defaults.log]\npayload_days = "forever"\n'
    route = configured(tmp_path, text).routes["stock"]
    assert route.retry == RetryPolicy(first=timedelta(seconds=2), give_up=timedelta(hours=1))
    assert (route.log.payload_days, route.log.entry_days) == (None, LogPolicy().entry_days)


@pytest.mark.parametrize(
    ("written", "read"),
    [('"A*"', ("A*",)), ('"AE*;AE*.txt;"', ("AE*", "AE*.txt")), ('["a", "b; c"]', ("a", "b", "c"))],
)
def test_masks_come_as_one_as_a_list_or_joined_as_cegid_writes_them(tmp_path, written, read):
    config = configured(tmp_path, BASE + ROUTE.replace('folder = "stock" }', f"match = {written} }}", 1))
    assert config.routes["stock"].source.match == read


@pytest.mark.parametrize(
    ("written", "seconds"), [("1.5s", 1.5), ("250ms", 0.25), ("0s", 0), ("15m", 900), ("24h", 86_400), ("7d", 604_800)]
)
def test_durations_are_a_number_and_a_unit(tmp_path, written, seconds):
    config = configured(tmp_path, BASE + ROUTE.replace('folder = "stock" }', f'settle = "{written}" }}', 1))
    assert config.routes["stock"].source.settle == timedelta(seconds=seconds)


def test_an_own_layout_wins_over_a_preset_of_its_name_and_may_extend_one(tmp_path):
    own = '[layout.y2-stock-csv]\nextends = "y2-stock-csv"\ndelimiter = "|"\nskip = []\n'
    layout = configured(tmp_path, BASE + ROUTE + own).recipes["stock"].layout
    assert (layout.delimiter, layout.skip, layout.sku) == ("|", (), "r.GA_CODEBARRE")


def test_an_own_template_stands_before_the_shipped_one_and_keeps_its_line_ends(tmp_path):
    own = tmp_path / "templates" / "aurora" / "inventory-import.xml.j2"
    own.parent.mkdir(parents=True)
    own.write_bytes(b'{% include "part.j2" %}\r\n')
    (tmp_path / "templates" / "part.j2").write_text("<own/>")
    templates = configured(tmp_path, BASE + ROUTE).recipes["stock"].templates
    assert templates.texts == {own.relative_to(tmp_path / "templates").as_posix(): '{% include "part.j2" %}\r\n',
                               "part.j2": "<own/>"}  # fmt: skip


def test_a_schema_is_frozen_with_the_recipe(tmp_path):
    schema = '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:element name="a"/></xs:schema>'
    (tmp_path / "aurora.xsd").write_text(schema)
    output = configured(tmp_path, BASE + ROUTE + 'output = { check = "xsd:aurora.xsd" }').recipes["stock"].output
    assert (output.check, output.schema_name, output.schema) == ("xsd", "aurora.xsd", schema)


def test_the_same_file_gives_the_same_recipe_and_another_template_another(tmp_path):
    first = configured(tmp_path, BASE + ROUTE).recipes["stock"].sha256
    assert configured(tmp_path, BASE + ROUTE).recipes["stock"].sha256 == first
    other = ROUTE.replace("inventory-import", "product-add")
    assert configured(tmp_path, BASE + other).recipes["stock"].sha256 != first


def test_a_byte_order_mark_of_an_editor_is_no_fault(tmp_path):
    path = tmp_path / "cegid-daemon.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (BASE + ROUTE).encode())
    assert list(load(path).routes) == ["stock"]


def test_the_embedded_default_has_no_fault_and_no_warning():
    config = load(resources.starter_configuration())
    assert set(config.routes) >= {"inventory", "inventory-asc", "products", "orders", "product-fields"}
    assert config.warnings == ()


def test_every_shipped_layout_can_be_used(tmp_path):
    names = resources.layout_presets()
    text = "".join(
        f'[route.r{number}]\nstore = "main"\nlayout = "{name}"\nsource = {{ endpoint = "inbox", folder = "{name}" }}\n'
        + ("" if "fields" in name else 'template = "t"\ntarget = { endpoint = "outbox" }\n')
        for number, name in enumerate(names)
    )
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "t").write_text("")
    assert len(configured(tmp_path, BASE + text).recipes) == len(names) >= 9


def test_what_nothing_uses_is_warned_of(tmp_path):
    text = BASE + ROUTE + '[endpoint.spare]\nurl = "file:spare"\n[store.other]\n[layout.x]\nkind = "delimited"\n'
    assert configured(tmp_path, text).warnings == (
        "endpoint 'spare' is used by no route",
        "store 'other' is used by no route",
        "layout 'x' is used by no route",
    )


def test_faults_travel_between_processes_whole(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        configured(tmp_path, "x = 1")
    assert str(pickle.loads(pickle.dumps(caught.value.faults[0]))) == str(caught.value.faults[0])


def test_a_configuration_that_cannot_be_read_says_so(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path)
