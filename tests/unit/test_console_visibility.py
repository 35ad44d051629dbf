"""Who may see the files of a folder: a viewer none that another route masks, whatever the folder is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from cegid_daemon.config import load
from cegid_daemon.console.sessions import Role
from cegid_daemon.console.visibility import Visibility

CONFIGURATION = """
state = "var"
[store.main]
stock_buffer = 2
[endpoint.hidden]
url = "ftp://shop@files.example/in%20box"
password = {{ file = "secret" }}
[endpoint.open]
url = "{url}"
password = {{ file = "secret" }}
[endpoint.outbox]
url = "file:outbox"
[layout.rows]
kind = "delimited"
sku = "r.CODE"
stock = "r.QTY"
[route.hidden]
layout = "rows"
template = "aurora/inventory-import.xml.j2"
title = "Customers"
store = "main"
source = {{ endpoint = "hidden", folder = "customers", match = "*.csv" }}
target = {{ endpoint = "outbox", folder = "customers", name = "{{{{ source.stem }}}}.xml" }}
log = {{ redact = ["MAIL"] }}
[route.open]
layout = "rows"
template = "aurora/inventory-import.xml.j2"
title = "Stock"
store = "main"
source = {{ endpoint = "open", folder = "{folder}", match = "*.txt" }}
target = {{ endpoint = "outbox", folder = "stock", name = "{{{{ source.stem }}}}.xml" }}
"""


@pytest.mark.parametrize(
    ("url", "folder", "may"),
    [
        ("ftp://other@files.example/in%20box", "customers", False),
        ("ftp://other@FILES.example:21/in%20box/", "customers", False),
        ("sftp://other@files.example/in%20box", "customers", False),
        ("ftp://other@files.example:2121/in%20box/customers", "", False),
        ("ftp://other@files.example/in%20box/stock/../customers", "", False),
        ("ftp://other@files.example/in%20box", "stock", True),
        ("ftp://other@others.example/in%20box", "customers", True),
    ],
)
def test_a_viewer_sees_no_folder_of_a_server_that_another_route_masks(tmp_path: Path, url: str, folder: str, may: bool):
    (tmp_path / "secret").write_text("of some length")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "cegid-daemon.toml").write_text(CONFIGURATION.format(url=url, folder=folder), "utf-8")
    config = load(tmp_path / "cegid-daemon.toml")
    route = config.routes["open"]
    assert Visibility(Role.VIEWER, config).file(route, route.source.folder) is may
    assert Visibility(Role.OPERATOR, config).file(route, route.source.folder)
