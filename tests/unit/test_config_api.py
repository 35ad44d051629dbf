"""Routes from and to an API: what their keys mean together, each fault with its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from cegid_daemon import config
from cegid_daemon.errors import ConfigurationError
from cegid_daemon.model import Direction

WHOLE = """\
[store.main]
[endpoint.inbox]
url = "file:inbox"
[endpoint.cegid]
url = "file:cegid"
[endpoint.aurora]
url = "https://api.shop.example/1.4"
token = { env = "AURORA_TOKEN" }

[route.stock]
title = "Inventory Import"
store = "main"
source = { endpoint = "inbox", folder = "stock" }
layout = "y2-stock-csv"
template = "aurora/inventory-import.xml.j2"
target = { endpoint = "aurora", method = "StockUpdate" }

[route.orders]
direction = "export"
store = "main"
source = { endpoint = "aurora", request = "aurora/order-get.xml.j2", unique = "r.OrderID", poll = "5m" }
layout = "aurora-order-export"
template = "cegid/order-piece.asc.j2"
target = { endpoint = "cegid", folder = "orders", name = "CC_{{ message.id }}.asc" }
rejects = { folder = "rejects" }
"""
REPLY = (
    'method = "StockUpdate", '
    'reply = { template = "aurora/acks.csv.j2", target = { endpoint = "cegid", folder = "acks", '
    'name = "A_{{ message.id }}.csv" }, output = { encoding = "cp1252" } }'
)


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AURORA_TOKEN", "the-token")


def loaded(folder: Path, text: str) -> config.Config:
    place = folder / "cegid-daemon.toml"
    place.write_text(text)
    return config.load(place)


def faults(folder: Path, old: str, new: str) -> list[tuple[str, str]]:
    assert old in WHOLE
    with pytest.raises(ConfigurationError) as caught:
        loaded(folder, WHOLE.replace(old, new))
    return [(fault.where.field, fault.what) for fault in caught.value.faults]


def test_a_route_to_an_api_has_a_route_for_its_answers(tmp_path: Path) -> None:
    found = loaded(tmp_path, WHOLE)
    assert found.warnings == ()
    answers = found.routes["stock/answer"]
    assert (answers.answers, answers.log_route, answers.direction) == ("stock", "stock", Direction.EXPORT)
    assert (answers.title, answers.target, answers.source.endpoint) == ("Inventory Import", None, "aurora")
    assert found.recipes["stock/answer"].layout.record == "Response"
    assert set(found.requests) == {"aurora/order-get.xml.j2", "aurora/report-get.xml.j2"}
    assert found.routes["orders"].rejects is not None
    assert found.routes["orders"].rejects.endpoint == "cegid"
    assert "the-token" not in repr(found)


def test_the_answers_of_a_route_that_moved_move_with_it(tmp_path: Path) -> None:
    found = loaded(tmp_path, WHOLE.replace('title = "Inventory Import"', 'moved_from = ["old", "older"]'))
    assert found.routes["stock/answer"].moved_from == ("old/answer", "older/answer")
    ((field, what),) = faults(tmp_path, 'title = "Inventory Import"', 'moved_from = "old/answer"')
    assert (field, what) == ("route.stock.moved_from", "'old/answer' is no name of a route")


def test_a_reply_goes_where_it_says(tmp_path: Path) -> None:
    found = loaded(tmp_path, WHOLE.replace('method = "StockUpdate"', REPLY))
    target = found.routes["stock/answer"].target
    assert target is not None
    assert (target.endpoint, target.folder, target.exists) == ("cegid", "acks", "version")
    assert found.recipes["stock/answer"].output.encoding == "cp1252"
    assert found.recipes["stock/answer"].target_name == "A_{{ message.id }}.csv"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("https://api.shop.example/1.4", "http://api.shop.example/1.4", "endpoint.aurora.url"),
        ("https://api.shop.example/1.4", "https://me@api.shop.example/1.4", "endpoint.aurora.url"),
        ('token = { env = "AURORA_TOKEN" }', "", "endpoint.aurora.token"),
        (', method = "StockUpdate"', "", "route.stock.target.method"),
        ('method = "StockUpdate"', 'method = "stock/update"', "route.stock.target.method"),
        ('method = "StockUpdate"', 'method = "StockUpdate", folder = "x"', "route.stock.target.folder"),
        ('method = "StockUpdate"', 'method = "StockUpdate", exists = "fail"', "route.stock.target.exists"),
        ('request = "aurora/order-get.xml.j2", ', "", "route.orders.source.request"),
        ('unique = "r.OrderID", ', "", "route.orders.source.unique"),
        ('poll = "5m"', 'folder = "x"', "route.orders.source.folder"),
        ('poll = "5m"', 'limit = 0', "route.orders.source.limit"),
        ('folder = "stock" }', 'overlap = "1h" }', "route.stock.source.overlap"),
        ('folder = "stock" }', 'request = "aurora/order-get.xml.j2", unique = "r.SKU" }', "route.stock.source.request"),
        ('folder = "orders", ', 'method = "OrderAdd", ', "route.orders.target.method"),
        ('rejects = { folder = "rejects" }', 'rejects = { endpoint = "aurora", folder = "x" }',
         "route.orders.rejects.endpoint"),
        ('method = "StockUpdate"', REPLY.replace('endpoint = "cegid"', 'endpoint = "aurora"'),
         "route.stock.target.reply.target.endpoint"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_a_fault_at_its_key(tmp_path: Path, old: str, new: str, key: str) -> None:
    assert key in [at for at, _ in faults(tmp_path, old, new)]


def test_an_api_is_no_folder_that_two_routes_could_take_the_same_file_from(tmp_path: Path) -> None:
    again = WHOLE[WHOLE.index("[route.orders]") :].replace("route.orders", "route.returns").replace("CC_", "RT_")
    assert "returns" in loaded(tmp_path, WHOLE + again).routes
