"""Hostile names everywhere a sender, a receiver or a visitor can put one: every page shows them as text.

Each page of the route table is parsed as a browser parses it; in Chromium no script of them runs.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from lxml import html

from cegid_daemon.bootstrap import Installation, utc_now
from cegid_daemon.config import Config, load
from cegid_daemon.console.sessions import Role, Session
from cegid_daemon.desk import Desk
from cegid_daemon.model import Fault, Identity, WaitReason
from tests.security.console_pages import Answer, Pages, addresses, carry, console

NAME = "\"><img src=x onerror=owned=1><svg onload=owned=1>'{{7*7}} hx-on:load=owned=1 javascript:owned=1"  # a file's
HOSTILE = f"</script><script>owned=1</script></textarea></title>{NAME}<a href=javascript:owned=1>x</a>" \
    "<iframe srcdoc='<script>owned=1</script>'><object data=data:text/html,x>"  # fmt: skip
CONFIGURATION = """
state = "var"
[console]
listen = "127.0.0.1:8470"
password = {{ file = "secret" }}
viewer_password = {{ file = "secret2" }}
[store.main]
stock_buffer = 2
[endpoint.inbox]
url = "file:inbox"
[endpoint.outbox]
url = "file:outbox"
[layout.rows]
kind = "delimited"
delimiter = "|"
sku = "r.CODE"
product = "r.PRODUCT"
stock = "r.STOCK"
[route.rows]
title = {title}
store = "main"
source = {{ endpoint = "inbox", folder = "rows", settle = "0s" }}
layout = "rows"
template = "rows.xml.j2"
target = {{ endpoint = "outbox", folder = "rows" }}
"""
TEMPLATE = (
    "<R>{% for r in records %}<S>{{ r.sku }}</S><L>{{ r.LABEL|fit(400) }}</L><N>{{ r.stock }}</N>{% endfor %}</R>"
)
SHEET = "store,level,key,value\n" + "".join(
    f'{store},{level},"{NAME.replace(chr(34), chr(34) * 2)}",{value}\n'
    for store, level, value in (("main", "variation", "5"), ("main", "product", "<b>x"), (HOSTILE[:50], "x", "1"))
)
BOUNDARY = "mark-of-a-test"
LOADING = ("src", "href", "action", "formaction", "data", "srcdoc", "hx-get", "hx-post", "poster", "xlink:href")
STRANGERS = {"iframe", "object", "embed", "applet", "base", "style", "math", "video", "audio", "frame"}


class Shop:
    """A console over hostile names."""

    def __init__(self, pages: Pages, installation: Installation, config: Config) -> None:
        self.pages = pages
        self.config = config
        self.token, self.session = pages.sessions.open(HOSTILE[:200], Role.OPERATOR)
        self._db = installation.journal.connection

    def answers(self) -> Iterator[tuple[str, Answer]]:
        """Every page, also those of forms that were filled in by somebody hostile."""
        for path in self.paths():
            self.session.notice = HOSTILE
            yield path, self.pages.ask("GET", path, self.token)
        for path, fields in (("/settings", {"store": "main", "key": HOSTILE, "value": "1"}),
                             ("/settings", {"store": HOSTILE}), ("/buffers", {"store": "main", "level": HOSTILE}),
                             ("/buffers", {"store": "main", "level": "store", "value": HOSTILE})):  # fmt: skip
            body = urlencode({"csrf": self.session.csrf, **fields}).encode()
            yield path, self.pages.ask("POST", path, self.token, body)
        yield "/buffers/import", self.pages.ask("POST", "/buffers/import", self.token, *_upload(self.session))

    def paths(self) -> list[str]:
        """The addresses that are read."""
        tables = ("message", "log_entry", "attempt")
        numbers = {str(row[0]) for name in tables for row in self._db.query(f"SELECT id FROM {name}")}
        values = {"number": sorted(numbers, key=int), "what": ["replay", "discard", HOSTILE.replace("/", "")],
                  "route": ["rows", NAME], "name": ["console.css"]}  # fmt: skip
        files = [{"in": which, "day": day, "name": path.name} for which, day, path in self.files()]
        queries = {
            "*": [dict.fromkeys(("q", "key", "store", "route", "since", "order", "in", "day", "next", "part"), HOSTILE),
                  {"q": NAME, "key": NAME}],
            "/files/{route}": [{"in": "processed"}, {"in": "failed"}, {"in": HOSTILE}],
            "/files/{route}/view": files,
            "/message/{number:int}/pair": [{"key": NAME}],
            "/buffers/history": [{"level": "variation", "key": NAME}],
        }  # fmt: skip
        return addresses("GET", values, queries)

    def files(self) -> Iterator[tuple[str, str, Path]]:
        inbox = self.config.folder / "inbox" / "rows"
        for path in inbox.rglob("*"):
            parts = path.relative_to(inbox).parts
            if path.is_file():
                yield (parts[0] if len(parts) > 1 else "inbox"), (parts[1] if len(parts) > 2 else ""), path


def _upload(session: Session) -> tuple[bytes, str]:
    name = quote(NAME, safe=" <>=(){}*:;'")
    body = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n{session.csrf}\r\n'
    body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n{SHEET}\r\n'
    return f"{body}--{BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={BOUNDARY}"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("markup")
    config = _configured(folder)
    with Installation(config) as installation:
        carry(installation, config)
        _tell(installation, config)
        with console(installation, config) as pages:
            yield Shop(pages, installation, config)


def _configured(folder: Path) -> Config:
    for name in ("templates", "inbox/rows", "outbox/rows"):
        (folder / name).mkdir(parents=True)
    for name in ("secret", "secret2"):
        (folder / name).write_text(f"{name} of some length")
        (folder / name).chmod(0o600)
    (folder / "templates" / "rows.xml.j2").write_text(TEMPLATE)
    head = "CODE|PRODUCT|STOCK|LABEL\n"
    for number, row in enumerate((f"{NAME}|{HOSTILE}|5|{HOSTILE}", f"A|B|{HOSTILE}|x", f"A|B|1|{HOSTILE * 3}")):
        (folder / "inbox" / "rows" / f"{NAME}{number}.html").write_text(f"{head}{row}\n")
    (folder / "inbox" / "rows" / "picture.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' onload='owned=1'/>")
    (folder / "cegid-daemon.toml").write_text(CONFIGURATION.format(title=json.dumps(HOSTILE)))
    return load(folder / "cegid-daemon.toml")


def _tell(installation: Installation, config: Config) -> None:
    """All that a receiver, an endpoint or an operator may have said."""
    journal, now = installation.journal, utc_now()
    for level, key in (("variation", NAME), ("product", HOSTILE), ("store", "")):
        journal.book.set("main", level, key, "1", who=HOSTILE, now=now, origin=HOSTILE)
    journal.book.belongs("main", [(NAME, HOSTILE)], who=HOSTILE, origin=HOSTILE, now=now)
    journal.notices.report(HOSTILE, HOSTILE, HOSTILE, now)
    journal.waiting_files.see(HOSTILE, HOSTILE, HOSTILE, Identity(5), WaitReason.UNREADABLE, HOSTILE, now)
    journal.connection.execute(
        "INSERT OR REPLACE INTO contact (endpoint, failing_since, error) VALUES ('inbox', ?, ?)",
        (now.isoformat(), HOSTILE),
    )  # fmt: skip
    staged = journal.payloads.stage_bytes([HOSTILE.encode()])
    with journal.connection.transaction():
        answer = journal.payloads.seal(staged)
    journal.ledger.note(1, HOSTILE, "refused", f"RequestID {NAME}, OrderID {HOSTILE}: {HOSTILE}", now)
    journal.connection.execute("UPDATE attempt SET answer = ? WHERE id = (SELECT max(id) FROM attempt)", (answer,))
    journal.ledger.hold_overtaken(2, Fault(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE))
    Desk(journal, config.routes, config.stores, config.recipes, who=HOSTILE, clock=utc_now).discard(2, reason=HOSTILE)


def test_every_page_shows_hostile_names_as_text(shop):
    found: list[str] = []
    shown = 0
    for path, answer in shop.answers():
        if answer.headers["content-type"].startswith("text/html"):
            shown += "owned=1" in answer.text
            found += [f"{path}: {fault}" for fault in _faults(answer.text)]
    assert found == []
    assert shown > 40  # they were there to be seen


def _faults(text: str) -> Iterator[str]:
    for element in html.document_fromstring(text).iter():
        tag = element.tag
        if not isinstance(tag, str):
            continue
        if tag in STRANGERS or (tag == "script" and not (element.get("src") or "").startswith("/static/")):
            yield f"<{tag}>"
        if tag == "img" and not (element.get("src") or "").startswith("/static/"):
            yield "<img>"
        for name, value in element.attrib.items():
            if name.startswith(("on", "hx-on", "data-hx-on")) or name == "style":
                yield f"{name}={value}"
            if name in LOADING and not value.startswith(("/", "#", "?")):
                yield f"{name}={value}"
            if name in LOADING and value.startswith(("//", "/\\")):
                yield f"{name}={value}"
    if "49 hx-on" in text:
        yield "a template was computed"


def test_every_answer_says_what_it_is_and_lets_no_script_run(shop):
    for path, answer in shop.answers():
        assert answer.headers["x-content-type-options"] == "nosniff", path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy, path


def test_what_is_saved_is_never_shown_by_a_browser(shop):
    token = shop.token
    saved = [path for path in shop.paths() if path.split("?")[0].endswith(("/save", "export.csv"))]
    files = [{"in": which, "day": day, "name": path.name} for which, day, path in shop.files()]
    saved += [f"/files/rows/save?{urlencode(one)}" for one in files]
    answered = [(path, answer) for path in saved if (answer := shop.pages.ask("GET", path, token)).status == 200]
    assert len(answered) > 6
    for path, answer in answered:
        assert answer.headers["content-disposition"].startswith("attachment;"), path
        assert answer.headers["content-type"] in ("application/octet-stream", "text/csv; charset=utf-8"), path
        assert answer.headers["content-security-policy"].startswith("sandbox"), path
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert not re.search("[\r\n]", answer.headers["content-disposition"]), path


def test_no_login_leads_to_another_site(shop):
    for next_ in ("//evil.example", "javascript:owned=1", "https://evil.example", "/\\evil.example", HOSTILE):
        text = shop.pages.ask("GET", f"/login?{urlencode({'next': next_})}").text
        assert list(_faults(text)) == []
        assert "evil.example" not in text


KEY = quote(NAME)
VISITED = (
    "/", "/log", "/message/1", "/message/1/pair", "/message/2", "/entry/1", "/buffers", f"/buffers?key={KEY}",
    "/settings", "/files/rows?in=failed", "/alerts", f"/log?q={KEY}", f"/log/scan?q={KEY}", f"/buffers/told?key={KEY}",
)  # fmt: skip
INJECTED = """
    const one = document.createElement('script'); one.textContent = 'window.owned = 1'; document.body.append(one);
    const box = document.createElement('div'); document.body.append(box);
    box.innerHTML = '<img src=/static/nothing onerror="window.owned = 2"><b hx-on:click="window.owned = 3">x</b>';
    htmx.process(box); box.querySelector('b').click();
"""
CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"


@pytest.mark.skipif(
    not (Path(CHROMIUM).exists() and Path(DRIVER).exists()) and not os.environ.get("CI"),
    reason="Chromium is not installed (apt install chromium chromium-driver)",
)
def test_in_chromium_no_script_of_a_name_runs_and_none_that_is_put_into_a_page(shop, tmp_path):
    from tests.security.chromium import browsing

    with browsing(shop.pages, shop.token, tmp_path / "profile") as browser:
        for path in VISITED:
            browser.open(path)
            assert browser.script("return [window.owned, document.title]") == [None, browser.title()], path
            assert browser.complaints() == [], path
        browser.open("/")
        browser.script(INJECTED)
        assert browser.script("return window.owned || null") is None
        assert any("Content Security Policy" in one for one in browser.complaints())
