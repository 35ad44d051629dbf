"""Every form of the route table: from whoever may not send it, it is refused before anything happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from cegid_daemon.bootstrap import Installation
from cegid_daemon.config import Config, load
from cegid_daemon.console.sessions import Role
from tests.security.console_pages import FORM, Pages, addresses, carry, console

CONFIGURATION = """
state = "var"
[console]
listen = "127.0.0.1:8470"
password = { file = "secret" }
viewer_password = { file = "secret2" }
[store.main]
stock_buffer = 2
[endpoint.inbox]
url = "file:inbox"
[endpoint.outbox]
url = "file:outbox"
[layout.rows]
kind = "delimited"
sku = "r.CODE"
[route.rows]
title = "Rows"
store = "main"
source = { endpoint = "inbox", folder = "rows", settle = "0s" }
layout = "rows"
template = "rows.csv.j2"
target = { endpoint = "outbox", folder = "rows" }
"""
OPEN_TO_ALL = {"/login", "/logout"}  # whoever asks may log in, and out
FIELDS = {
    "store": "main", "level": "store", "key": "stock-buffer", "value": "7", "reason": "a test", "name": "x.csv",
    "setting": "enabled", "shown": "",
}  # fmt: skip
BOUNDARY = "mark-of-a-test"
SHEET = "store,level,key,value\nmain,variation,A,5\n"


class Shop:
    """A console with a done, a failed and a held message, and all that could have been changed."""

    def __init__(self, pages: Pages, installation: Installation, config: Config, acts: list[str]) -> None:
        self.pages = pages
        self.config = config
        self.acts = acts
        self._db = installation.journal.connection

    def everything(self) -> object:
        """The journal, what else was done, and every file there is."""
        tables = [row[0] for row in self._db.query("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {
            name: list(map(tuple, self._db.query(f"SELECT * FROM {name}")))
            for name in tables if not name.startswith(("search_", "journal_progress"))  # counts commits, empty ones too
        }  # fmt: skip
        files = sorted(
            str(path) for path in self.config.folder.rglob("*") if path.is_file() and "journal.sqlite" not in path.name
        )
        return rows, list(self.acts), sorted(files)

    def forms(self) -> list[str]:
        """The addresses of all forms."""
        numbers = [str(row[0]) for row in self._db.query("SELECT id FROM message")]
        values = {"number": numbers, "what": ["replay", "release", "discard"]}
        return [path for path in addresses("POST", values, {}) if path not in OPEN_TO_ALL]

    def send(self, path: str, token: str, csrf: str | None) -> set[int]:
        """What a form gets, as a form and as an upload."""
        given = FIELDS if csrf is None else {**FIELDS, "csrf": csrf}
        parts = "".join(
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
            for name, text in given.items()
        )
        parts += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="b.csv"\r\n\r\n{SHEET}\r\n'
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        upload = self.pages.ask("POST", path, token, f"{parts}--{BOUNDARY}--\r\n".encode(), kind)
        form = self.pages.ask("POST", path, token, urlencode(given).encode(), FORM)
        for one in (upload, form):
            assert one.status != 303 or one.headers["location"].startswith("/login"), path
        return {upload.status, form.status}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("forms")
    config = _configured(folder)
    acts: list[str] = []
    with Installation(config) as installation:
        carry(installation, config)
        installation.journal.connection.execute("UPDATE message SET state = 'held' WHERE id = 3")
        with console(installation, config, acts) as pages:
            yield Shop(pages, installation, config, acts)


def _configured(folder: Path) -> Config:
    for name in ("templates", "inbox/rows", "outbox/rows"):
        (folder / name).mkdir(parents=True)
    for name in ("secret", "secret2"):
        (folder / name).write_text(f"{name} of some length")
        (folder / name).chmod(0o600)
    (folder / "templates" / "rows.csv.j2").write_text("{% for r in records %}{{ r.CODE|fit(9) }}\n{% endfor %}")
    for name, code in (("a.csv", "1"), ("b.csv", "far too long a code"), ("c.csv", "3")):
        (folder / "inbox" / "rows" / name).write_text(f"CODE\n{code}\n")
    (folder / "cegid-daemon.toml").write_text(CONFIGURATION)
    return load(folder / "cegid-daemon.toml")


def test_there_are_forms_and_an_operator_s_reach_their_pages(shop):
    forms = shop.forms()
    assert {"/buffers", "/buffers/import", "/buffers/import/apply", "/settings", "/alerts"} <= set(forms)
    assert {f"/message/{number}/replay" for number in (1, 2, 3)} <= set(forms)
    token, session = shop.pages.open(Role.OPERATOR)
    body = urlencode({"csrf": session.csrf, **FIELDS, "value": "2"}).encode()
    assert shop.pages.ask("POST", "/settings", token, body).status == 303


@pytest.mark.parametrize("who", ["nobody", "an unknown session", "a viewer", "a viewer with an operator's token",
                                 "an operator without a token", "an operator with a viewer's token"])  # fmt: skip
def test_a_form_of_whoever_may_not_send_it_changes_nothing(shop, who):
    viewer, of_viewer = shop.pages.open(Role.VIEWER)
    operator, of_operator = shop.pages.open(Role.OPERATOR)
    token, csrf = {
        "nobody": ("", of_operator.csrf),
        "an unknown session": ("x" * 43, of_operator.csrf),
        "a viewer": (viewer, of_viewer.csrf),
        "a viewer with an operator's token": (viewer, of_operator.csrf),
        "an operator without a token": (operator, None),
        "an operator with a viewer's token": (operator, of_viewer.csrf),
    }[who]
    before = shop.everything()
    refused = {path: shop.send(path, token, csrf) for path in shop.forms()}
    assert {path: got for path, got in refused.items() if not got <= {303, 400, 403}} == {}
    assert shop.everything() == before


def test_no_page_that_is_only_read_changes_anything(shop):
    numbers = ["1", "2", "3"]
    values = {"number": numbers, "what": ["replay", "release", "discard"], "route": ["rows"], "name": ["console.css"]}
    token, _ = shop.pages.open(Role.OPERATOR)
    before = shop.everything()
    for path in addresses("GET", values, {}):
        shop.pages.ask("GET", path, token)
        assert shop.everything() == before, path
    assert shop.everything() == before


def test_a_viewer_is_given_no_form_of_an_operator(shop):
    token, _ = shop.pages.open(Role.VIEWER)
    for path in ("/message/1/replay", "/buffers/import"):
        assert shop.pages.ask("GET", path, token).status == 403
