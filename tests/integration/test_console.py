"""The console over HTTP, on the real daemon: what it shows, what it changes, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from html import unescape
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cegid_daemon.config.loading import load
from cegid_daemon.console.app import _editing
from cegid_daemon.journal import Journal
from cegid_daemon.model import Fault, State
from tests.integration.console_site import Browser, Site, eventually

HOSTILE = "<img src=x onerror=alert(1)>\u202e&\"'.csv"
STOCK = "GA_CODEARTICLE;GA_CODEBARRE;GQ_DEPOT;GQ_PHYSIQUE;GQ_RESERVECLI;GQ_PREPACLI;GQ_CLOTURE\n"
BROKEN = f"{STOCK}1;2;1;<b>x</b>;;;-\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A shop where a stock file, an order export and a hostile file were dropped."""
    with Site(tmp_path_factory.mktemp("shop")).running() as running:
        running.drop("STOCK.csv", "inventory")
        running.drop("ORDERS.xml", "orders")
        running.drop("PRODUCTS.xml", "products")
        running.write(BROKEN, "inventory", HOSTILE)
        yield running


@pytest.fixture
def browser(site: Site) -> Browser:
    return site.browser()


def ids(browser: Browser, query: str) -> list[int]:
    """The messages of a filtered list, by its download."""
    rows = csv.DictReader(io.StringIO(browser.get(f"/log/export.csv?{query}").text))
    return [int(row["message_id"]) for row in rows]


def message_of(browser: Browser, name: str) -> int:
    rows = csv.DictReader(io.StringIO(browser.get("/log/export.csv").text))
    return next(int(row["message_id"]) for row in rows if name in row["file_name"])


def test_a_message_shows_its_remarks_and_the_overview_counts_it(site, browser):
    site.write(f"{STOCK}1;1,5E+12;1;5,000;;;-\n", "inventory", "ODD.csv")
    eventually(lambda: "ODD.csv" in browser.get("/log/export.csv").text)
    page = f"/message/{message_of(browser, 'ODD.csv')}"
    eventually(lambda: "a key in scientific notation: 1" in browser.get(page).text)
    assert "1,5E+12" in browser.get(page).text
    assert "Files with remarks" in browser.get("/").text
    figures = text_string_to_metric_families(browser.get("/metrics").text)
    counted = {one.labels["route"]: one.value for family in figures for one in family.samples if "remarks" in one.name}
    assert counted["inventory"] == 1


PAGES = [
    "/",
    "/?part=live",
    "/log",
    "/buffers",
    "/settings",
    "/files",
    "/files/inventory",
    "/alerts",
    "/buffers/import",
    "/log/scan?q=ray%C3%A9e",
]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_answers_and_loads_nothing_from_elsewhere(browser, path):
    answer = browser.get(path)
    assert answer.status == 200
    assert "http://" not in answer.text.replace(f"http://127.0.0.1:{browser.port}", "")
    assert "https://" not in answer.text
    assert " style=" not in answer.text
    assert "<style" not in answer.text
    assert "onclick" not in answer.text


def test_hostile_names_and_contents_are_escaped_everywhere(browser):
    failed = message_of(browser, "onerror")
    for path in ("/", "/log", f"/message/{failed}", f"/message/{failed}/pair", f"/message/{failed}/replay",
                 "/files/inventory?in=failed"):  # fmt: skip
        text = browser.get(path).text
        assert "<img src=x" not in text, path
        assert "<b>x</b>" not in text, path
        assert "\u202e" not in text, path


def test_an_order_is_found_by_its_number(browser):
    answer = browser.get("/log?q=0000100045")
    assert "ORDERS.xml" in answer.text
    assert "STOCK.csv" not in answer.text


def test_what_stands_inside_a_file_is_found_by_looking_through_them(browser):
    answer = browser.get("/log/scan?q=Parapluie")
    assert "PRODUCTS.xml" in answer.text
    assert "messages were looked through" in answer.text


def test_a_filter_is_a_link_and_pages_go_by_key(browser):
    assert ids(browser, "route=orders") == ids(browser, "kind=Response")
    assert set(ids(browser, "outcome=failed")) == {message_of(browser, "onerror")}
    assert ids(browser, "order=oldest") == sorted(ids(browser, ""))
    text = browser.get("/log?size=25&variant=Modified").text
    assert "Unmodified<div" not in text


def test_a_word_of_a_file_is_found_whole_or_by_its_beginning_once_it_is_indexed(browser):
    eventually(lambda: "PRODUCTS.xml" in browser.get("/log?q=parapluie").text)
    answer = browser.get("/log?q=PARAPL").text
    assert "PRODUCTS.xml" in answer
    assert "STOCK.csv" not in answer
    assert "No key, file name or word matches" in browser.get("/log?q=arapluie").text


def test_a_failed_file_is_found_by_its_name_and_its_words(browser):
    failed = message_of(browser, "onerror")
    eventually(lambda: failed in ids(browser, "q=onerror"))
    eventually(lambda: failed in ids(browser, "q=GA_CODEARTICLE+GQ_PHYSIQUE"))


def test_the_list_is_sorted_by_its_heads_and_the_order_is_part_of_the_link(browser):
    def column(order: str, name: str) -> list[str]:
        rows = csv.DictReader(io.StringIO(browser.get(f"/log/export.csv?order={order}").text))
        return [row[name].removeprefix("'") for row in rows]

    sizes = [int(size) for size in column("largest", "size")]
    assert sizes == sorted(sizes, reverse=True)
    assert [int(size) for size in column("smallest", "size")] == sizes[::-1]
    assert len(set(sizes)) > 2
    names = [name.lower() for name in column("a-z", "file_name")]
    assert names == sorted(names)
    text = browser.get("/log?order=largest&size=25&kind=Request").text
    assert 'aria-sort="descending"><a href="/log?kind=Request&amp;order=smallest&amp;size=25">Size' in text
    assert '<a href="/log?kind=Request&amp;size=25">Time</a>' in text
    assert browser.get("/log?order=nonsense").status == 200


def test_the_download_cannot_be_taken_for_a_formula(site, browser):
    site.write("x", "inventory", "=cmd|' calc'!A0.csv")
    rows = list(csv.DictReader(io.StringIO(browser.get("/log/export.csv").text)))
    assert any(row["file_name"].startswith("'=cmd") for row in rows)


def test_a_pair_shows_each_change_with_its_cause(browser):
    text = browser.get(f"/message/{message_of(browser, 'STOCK.csv')}/pair").text
    assert "Store buffer 2" in text
    assert "r.GQ_CLOTURE == &#39;X&#39;" in text
    assert "stands in what was sent, to the letter" in text
    assert '<mark class="buffer" title="10 − Store buffer 2">8</mark>' in text
    assert '<mark class="template" title="by template aurora/inventory-import.xml.j2">1</mark>' in text


def test_a_pair_is_searched_by_any_value_of_the_file(browser):
    path = f"/message/{message_of(browser, 'PRODUCTS.xml')}/pair"
    assert browser.get(f"{path}?key=2000000000022").text.count("<article") == 1
    assert "No record bears" in browser.get(f"{path}?key=nothing").text
    assert "no records here" in browser.get(f"{path}?first=999").text


def test_an_entry_gives_its_bytes_as_text_as_a_dump_and_as_a_file(site, browser):
    number = next(row["id"] for row in csv.DictReader(io.StringIO(browser.get("/log/export.csv").text))
                  if row["file_name"] == "STOCK.csv")  # fmt: skip
    assert "2000000000015" in browser.get(f"/entry/{number}").text
    assert "47 41 5f 43" in browser.get(f"/entry/{number}?as=bytes").text
    saved = browser.get(f"/entry/{number}/save")
    assert saved.body == (site.folder / "samples" / "STOCK.csv").read_bytes()
    assert saved.headers["content-disposition"].startswith("attachment")
    assert saved.headers["content-type"] == "application/octet-stream"


def test_a_failed_message_is_replayed_with_a_reason_that_is_kept(site, browser):
    failed = message_of(browser, "onerror")
    path = f"/message/{failed}/replay"
    token = browser.token(path)
    assert browser.post(path, token, reason="  ").status == 409
    answer = browser.post(path, token, reason="tried again")
    assert answer.status == 303
    copy = int(answer.where.partition("?")[0].rpartition("/")[2])
    assert copy > failed
    text = browser.get(f"/message/{failed}").text
    assert "tried again" in text
    assert f"/message/{copy}" in text
    eventually(lambda: "badge is-failed" in browser.get(f"/message/{copy}").text)


def test_what_cannot_be_decided_is_refused_with_what_to_do(browser):
    done = message_of(browser, "ORDERS.xml")
    assert browser.get(f"/message/{done}/release").status == 409
    assert browser.post(f"/message/{done}/discard", browser.token(f"/message/{done}/replay"), reason="r").status == 409
    assert browser.get(f"/message/{done}/explode").status == 404
    assert browser.get("/message/999999").status == 404


def test_a_changed_buffer_is_used_for_the_next_file_and_its_history_says_who(site, browser):
    token = browser.token("/buffers?key=2000000000015")
    answer = browser.post("/buffers", token, store="main", level="variation", key="2000000000015", value="7")
    assert answer.status == 303
    site.drop("STOCK.csv", "inventory", "NEXT.csv")
    number = message_of(browser, "NEXT.csv")
    eventually(lambda: "badge is-done" in browser.get(f"/message/{number}").text)
    assert "Variation buffer 7" in browser.get(f"/message/{number}/pair").text
    assert "console:local" in browser.get("/buffers/history?level=variation&key=2000000000015").text
    browser.post("/buffers", token, store="main", level="variation", key="2000000000015", value="")
    assert "not set" in browser.get("/buffers?key=2000000000015").text


@pytest.mark.parametrize(
    "fields", [{"value": "-1"}, {"value": "2.0"}, {"level": "planet"}, {"store": "moon"}, {"key": ""}]
)
def test_a_buffer_that_cannot_be_is_refused(browser, fields):
    typed = {"store": "main", "level": "variation", "key": "A", "value": "1", **fields}
    assert browser.post("/buffers", browser.token("/buffers?key=A"), **typed).status == 409


def test_an_import_is_seen_before_it_happens_and_says_a_word_on_each_bad_line(browser):
    table = b"store,level,key,value\nmain,variation,I1,4\nmain,variation,I2,x\nmoon,variation,I3,1\nmain,store,,2\n"
    shown = browser.upload("/buffers/import", browser.token("/buffers/import"), "buffers.csv", table)
    assert shown.status == 200
    assert "not configured" in shown.text
    assert "it unsets the buffer" in shown.text
    assert '<strong>unset</strong> <span class="dim">“x” is no value</span>' in shown.text
    assert "<strong>4</strong>" in shown.text
    assert "not set" in browser.get("/buffers?key=I1").text
    done = browser.post("/buffers/import/apply", browser.token("/buffers/import"), name="buffers.csv")
    assert done.status == 303
    assert 'value="4"' in browser.get("/buffers?key=I1").text
    again = browser.post("/buffers/import/apply", browser.token("/buffers/import"), name="buffers.csv")
    assert again.status == 409


def test_an_import_needs_the_token_of_the_session(browser):
    browser.get("/buffers/import")
    assert browser.upload("/buffers/import", "forged", "b.csv", b"store,level,key,value\n").status == 403


def test_buffers_are_exported_as_they_are_imported(browser):
    text = browser.get("/buffers/export.csv?store=main").text
    assert text.startswith("store,level,key,value\r\n")
    assert "main,store,," in text


def test_a_key_that_is_typed_half_leads_to_those_that_begin_so(browser):
    browser.post(
        "/buffers", browser.token("/buffers?key=HALF-1"), store="main", level="variation", key="HALF-1", value="1"
    )
    text = browser.get("/buffers?key=HALF").text
    assert 'href="/buffers?store=main&amp;key=HALF-1"' in text
    assert "Known keys that begin so" not in browser.get("/buffers?key=HALF-1").text


def test_a_setting_is_switched_and_recorded(browser):
    token = browser.token("/settings")
    assert browser.post("/settings", token, store="main", key="log-requests", value="false").status == 303
    assert "console:local" in browser.get("/settings").text
    assert browser.post("/settings", token, store="main", key="log-requests", value="true").status == 303
    assert browser.post("/settings", token, store="main", key="secret", value="true").status == 409
    assert browser.post("/settings", token, store="main", key="enabled", value="perhaps").status == 409


def test_a_failed_file_stands_with_the_text_that_explains_it(browser):
    text = browser.get("/files/inventory?in=failed").text
    assert "why it failed" in text
    link = re.search(r'href="(/files/inventory/view[^"]+)">why it failed', text)
    assert link
    assert "is not a number" in browser.get(unescape(link[1])).text
    assert 'class="payload wrapped"' in browser.get(unescape(link[1])).text
    assert "STOCK.csv" in browser.get("/files/inventory?in=processed").text


@pytest.mark.parametrize(
    "query",
    [
        "in=inbox&name=../../cegid-daemon.toml",
        "in=inbox&name=..%2f..%2fcegid-daemon.toml",
        "in=../..&name=var",
        "in=processed&day=../..&name=cegid-daemon.toml",
        "in=processed&day=..&name=x",
        "in=failed&name=%2Fetc%2Fpasswd",
        "in=inbox&name=%5Cx2e%5Cx2e%5Cx2fcegid-daemon.toml",
        "in=inbox&name=processed",
        "in=inbox&name=",
        "in=inbox&name=.",
    ],
)
@pytest.mark.parametrize("what", ["view", "save"])
def test_no_address_reads_outside_of_the_folders_of_a_route(browser, what, query):
    answer = browser.get(f"/files/inventory/{what}?{query}")
    assert answer.status == 404
    assert "endpoint.inbox" not in answer.text


def test_a_symlink_in_an_inbox_is_never_followed(site, browser):
    (site.folder / "inbox" / "inventory" / "link.csv").symlink_to(site.folder / "cegid-daemon.toml")
    try:
        assert browser.get("/files/inventory/view?in=inbox&name=link.csv").status == 404
        assert "not a regular file" in browser.get("/files/inventory").text
    finally:
        (site.folder / "inbox" / "inventory" / "link.csv").unlink()


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e%2fapp.py", "/static/console.py", "/nothing", "/message/x"]
)
def test_what_is_no_page_is_not_there(browser, path):
    assert browser.get(path).status == 404


def test_a_form_without_the_token_of_its_session_changes_nothing(site, browser):
    token = browser.token("/buffers?key=C1")
    other = site.browser()
    other.get("/")
    assert other.post("/buffers", token, store="main", level="variation", key="C1", value="1").status == 403
    assert site.browser().post("/buffers", token, store="main", level="variation", key="C1", value="1").status == 403
    assert browser.post("/buffers", "", store="main", level="variation", key="C1", value="1").status == 403
    assert "not set" in browser.get("/buffers?key=C1").text


def test_a_request_for_another_name_and_a_form_of_another_page_are_refused(browser):
    assert browser.ask("GET", "/", Host="evil.example").status == 421
    assert browser.ask("POST", "/buffers", b"", Origin="http://evil.example").status == 403
    assert browser.ask("POST", "/buffers", b"", Sec_Fetch_Site="cross-site").status == 403


def test_health_and_metrics_are_there_for_machines(browser):
    assert browser.get("/health/live").text == "alive\n"
    assert browser.get("/health/ready").text == "ready\n"
    text = browser.get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert all(family.documentation and family.type != "unknown" for family in families.values())
    assert 'cegid_daemon_messages_received_total{route="orders"} 1.0' in text
    assert 'cegid_daemon_endpoint_up{endpoint="inbox"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_the_listing_of_a_hundred_visitors_at_once_holds_the_daemon_up_for_nobody(site):
    statuses: list[int] = []

    def visit() -> None:
        statuses.extend(site.browser().get("/log").status for _ in range(5))

    threads = [threading.Thread(target=visit) for _ in range(20)]
    for thread in threads:
        thread.start()
    site.drop("STOCK.csv", "inventory", "AMONG.csv")
    for thread in threads:
        thread.join()
    assert statuses == [200] * 100


# -- with passwords -------------------------------------------------------------------------------------------------


PASSWORDS = 'password = "edit me"\nviewer_password = "look"\n'


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("guarded"), PASSWORDS).running() as running:
        running.drop("STOCK.csv", "inventory")
        yield running


@pytest.mark.parametrize(
    "path", ["/", "/log", "/message/1", "/entry/1/save", "/buffers/export.csv", "/files/inventory", "/log/export.csv"]
)
def test_nothing_is_shown_without_a_login(guarded, path):
    answer = guarded.browser().get(path)
    assert answer.status == 303
    assert answer.where.startswith("/login?next=")


def test_an_operator_logs_in_edits_under_their_name_and_logs_out(guarded):
    browser = guarded.browser()
    assert browser.log_in("Ann <b>", "edit me").where == "/"
    token = browser.token("/buffers?key=P1")
    assert browser.post("/buffers", token, store="main", level="variation", key="P1", value="3").status == 303
    assert "console:Ann &lt;b&gt;" in browser.get("/buffers/history?level=variation&key=P1").text
    cookies = dict(browser.cookies)
    assert browser.post("/logout", token).status == 303
    browser.cookies = cookies
    assert browser.get("/").status == 303


def test_a_viewer_reads_everything_and_changes_nothing(guarded):
    browser = guarded.browser()
    browser.log_in("Bob", "look")
    page = browser.get("/buffers?key=P9").text
    assert "reads only" in page
    assert '<form class="inlineform"' not in page
    token = browser.token("/settings")
    assert browser.upload("/buffers/import", token, "b.csv", b"store,level,key,value\n").status == 403
    paths = [str(route.path) for route in _editing() if route.path != "/logout"]
    assert len(paths) > 5
    for path in paths:
        answer = browser.post(path.replace("{number:int}", "1").replace("{what}", "replay"), token, reason="r")
        assert (answer.status, "Only operators may" in answer.text) == (403, True), path
    for path in ("/buffers/import", "/message/1/replay"):
        assert browser.get(path).status == 403
    for path in ("/", "/buffers", "/settings", "/message/1", "/alerts", "/files/inventory"):
        assert 'method="post" action="/logout"' in browser.get(path).text
        assert browser.get(path).text.count('method="post"') == 1, path
        assert "/replay" not in browser.get(path).text


def test_a_wrong_password_is_refused_and_many_of_them_have_to_wait(guarded):
    browser = guarded.browser()
    for _ in range(5):
        assert browser.log_in("Eve", "guess").status == 403
    answer = browser.log_in("Eve", "edit me")
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "edit me" not in guarded.log
    assert "guess" not in guarded.log


def test_a_login_form_of_another_page_is_refused(guarded):
    browser = guarded.browser()
    browser.get("/login")
    assert browser.post("/login", "forged", name="Eve", password="edit me").status == 403


def test_cookies_are_out_of_reach_for_scripts_and_foreign_forms(guarded):
    cookie = guarded.browser().get("/login").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie


# -- alerts and reload ----------------------------------------------------------------------------------------------


class _Hook(BaseHTTPRequestHandler):
    bodies: list[dict[str, str]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        self.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Silent."""


@pytest.fixture
def hook() -> Iterator[HTTPServer]:
    _Hook.bodies.clear()
    with HTTPServer(("127.0.0.1", 0), _Hook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_people_are_alerted_of_a_failed_file_and_may_try_it_out(tmp_path: Path, hook: HTTPServer):
    alert = f'[alert]\nurls = ["json://127.0.0.1:{hook.server_port}/"]\n'
    with Site(tmp_path, alert).running() as site:
        browser = site.browser()
        assert "json" in (page := browser.get("/alerts").text)
        assert str(hook.server_port) not in page
        assert browser.post("/alerts", browser.token("/alerts")).status == 303
        assert "a test" in _Hook.bodies[0]["title"]
        site.write(BROKEN, "inventory", "BAD.csv")
        eventually(lambda: len(_Hook.bodies) > 1)
        assert "BAD.csv" in _Hook.bodies[1]["message"]


def test_a_reload_keeps_sessions_until_the_password_changes(tmp_path: Path):
    with Site(tmp_path, PASSWORDS).running() as site:
        browser = site.browser()
        browser.log_in("Ann", "edit me")
        site.reload()
        eventually(lambda: browser.get("/health/live").status == 200)
        assert browser.get("/").status == 200
        configuration = tmp_path / "cegid-daemon.toml"
        configuration.write_text(configuration.read_text("utf-8").replace("edit me", "edit now"), "utf-8")
        site.reload()
        assert browser.get("/").status == 303


def test_an_address_cannot_make_the_console_say_something(tmp_path: Path):
    with Site(tmp_path).running() as site:
        browser = site.browser()
        assert "call+this" not in browser.get("/?notice=call+this+number").text
        token = browser.token("/settings")
        browser.post("/settings", token, store="main", key="stock-buffer", value="9")
        assert "Stock Buffer is now 9" in browser.get("/settings").text
        assert "Stock Buffer is now 9" not in browser.get("/settings").text


def test_behind_a_proxy_metrics_need_a_password_too(tmp_path: Path):
    with Site(tmp_path, f"{PASSWORDS}https = true\n").running() as site:
        browser = site.browser()
        assert browser.get("/metrics").status == 401
        assert browser.ask("GET", "/metrics", Authorization="Basic bWU6bG9vaw==").status == 200
        assert browser.ask("GET", "/metrics", Authorization="Basic bWU6d3Jvbmc=").status == 401
        assert "Secure" in browser.get("/login").headers["set-cookie"]
        assert browser.get("/health/ready").status == 200


def test_nothing_is_left_in_the_spool_by_a_preview_or_a_pair(tmp_path: Path):
    with Site(tmp_path).running() as site:
        browser = site.browser()
        site.drop("STOCK.csv", "inventory")
        assert browser.get("/message/1/pair").status == 200
        table = b"store,level,key,value\nmain,variation,I1,4\n"
        assert browser.upload("/buffers/import", browser.token("/buffers/import"), "b.csv", table).status == 200
    assert list((tmp_path / "var" / "spool").iterdir()) == []


@contextmanager
def opened(site: Site) -> Iterator[Journal]:
    """The journal of a daemon that does not run."""
    journal = Journal.open(site.folder / "var" / "journal.sqlite")
    try:
        yield journal
    finally:
        journal.close()


@pytest.fixture
def undecided(tmp_path: Path) -> Iterator[tuple[Browser, int, int]]:
    """A daemon that found two unsure messages at its start, and their numbers."""
    shop, now = Site(tmp_path), datetime.now(UTC)
    with shop.running() as site:
        site.drop("STOCK.csv", "inventory")
    with opened(shop) as journal:
        route, sent = load(tmp_path / "cegid-daemon.toml").routes["inventory"], journal.ledger.message(1)
        first, second = (
            journal.claims.claim_again(sent, route, recipe=None, logged=True, now=now, replay_as="") for _ in range(2)
        )
        for message in (first, second):
            journal.ledger.stop(message, State.UNSURE, Fault("Unsure", "nobody knows whether it arrived"))
    with shop.running() as site:
        yield site.browser(), first, second


def test_a_message_of_a_route_that_is_gone_is_a_notice_and_not_one_that_is_tried_again(tmp_path: Path):
    shop, now = Site(tmp_path), datetime.now(UTC)
    with shop.running() as site:
        site.drop("STOCK.csv", "inventory")
    with opened(shop) as journal:
        route, sent = load(tmp_path / "cegid-daemon.toml").routes["inventory"], journal.ledger.message(1)
        again = journal.claims.claim_again(sent, route, recipe=None, logged=True, now=now, replay_as="")
        journal.ledger.stop(
            again, State.WAITING, Fault("Transient", "no answer", remedy="It is tried again by itself.")
        )
    configuration = tmp_path / "cegid-daemon.toml"
    configuration.write_text(configuration.read_text("utf-8").replace("[route.inventory]", "[route.levels]"), "utf-8")
    with shop.running() as site:
        eventually(lambda: "is no longer configured" in site.browser().get("/").text)
        page = site.browser().get("/").text
        assert "Nothing needs a person" not in page
        assert "tried again by itself" not in page
        assert "no longer configured, and nothing tries it" in site.browser().get("/log?q=STOCK.csv").text


def test_an_unsure_message_is_released_and_the_one_behind_it_discarded_with_reasons(undecided):
    browser, first, second = undecided
    assert "nobody knows whether it arrived" in browser.get("/").text
    path = f"/message/{first}/release"
    assert browser.post(path, browser.token(path), reason="the shop has not got it").status == 303
    eventually(lambda: "badge is-done" in browser.get(f"/message/{first}").text)
    assert "the shop has not got it" in browser.get(f"/message/{first}").text
    path = f"/message/{second}/discard"
    assert browser.post(path, browser.token(path), reason="once is enough").status == 303
    text = browser.get(f"/message/{second}").text
    assert "badge is-discarded" in text
    assert "console:local: once is enough" in text
    assert browser.get(f"/message/{second}/release").status == 409
    assert "nobody knows whether it arrived" not in browser.get("/").text


def test_what_the_receiver_answered_is_shown_escaped_and_in_lines(tmp_path: Path):
    shop = Site(tmp_path)
    with shop.running() as site:
        site.drop("STOCK.csv", "inventory")
    with opened(shop) as journal:
        delivery = journal.outgoing.of_message(1)[0].id
        staged = journal.payloads.stage_bytes([b"<Ack><script>alert(1)</script>" + b"<i/>" * 20_000 + b"</Ack>"])
        journal.answers.keep(1, delivery, staged, "ok", "200", datetime.now(UTC))
    with shop.running() as site:
        browser = site.browser()
        link = re.search(r'href="(/answer/\d+)"', browser.get("/message/1").text)
        assert link
        text = browser.get(link[1]).text
        assert "&lt;Ack&gt;\n&lt;script&gt;alert(1)" in text
        assert "Only the beginning is shown" in text
        assert "<script>alert" not in text
        assert browser.get("/answer/999999").status == 404


def test_a_second_daemon_on_the_same_port_says_so_and_its_messages_go_on(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = Site(tmp_path / "a"), Site(tmp_path / "b")
    configuration = second.folder / "cegid-daemon.toml"
    configuration.write_text(configuration.read_text("utf-8").replace(f":{second.port}", f":{first.port}"), "utf-8")
    second.port = first.port  # whose console answers for both
    with first.running(), second.running():
        eventually(lambda: f"cannot listen on http://127.0.0.1:{first.port}/" in second.log)
        second.drop("STOCK.csv", "inventory")
        assert list((second.folder / "outbox").rglob("*.xml"))
        assert "STOCK.csv" not in first.browser().get("/log").text


def test_an_empty_installation_says_what_to_do_next(tmp_path: Path):
    with Site(tmp_path).running() as site:
        browser = site.browser()
        assert "No file was received yet" in browser.get("/").text
        site.drop("STOCK.csv", "inventory")
        assert "No file was received yet" not in browser.get("/").text


def test_many_clients_that_say_nothing_lock_nobody_out(tmp_path: Path):
    """A probe that got no answer would have the daemon killed."""
    with Site(tmp_path).running() as site, ExitStack() as ends:
        for _ in range(300):
            silent = ends.enter_context(closing(socket.create_connection(("127.0.0.1", site.port))))
            silent.sendall(b"GET / HTTP/1.1\r\n")
        eventually(lambda: site.browser().get("/health/live").status == 200)


def test_slow_downloads_keep_no_reader_from_others(tmp_path: Path):
    big = STOCK + "".join(f"{one:06};2{one:012};001;5,000;;;-\n" for one in range(150_000))
    with Site(tmp_path).running() as site, ExitStack() as ends:
        site.write(big, "inventory", "BIG.csv")
        for _ in range(8):
            slow = ends.enter_context(closing(socket.socket()))
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", site.port))
            slow.sendall(f"GET /entry/1/save HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n\r\n".encode())
            assert slow.recv(12) == b"HTTP/1.1 200"
        assert site.browser().get("/log").status == 200


def test_what_the_store_was_told_of_a_sku_stands_with_the_number_the_shop_counted(browser):
    text = browser.get("/buffers/told?key=2000000000022").text
    assert re.search(r'Shop counted" class="num">2</td>.*Store buffer 2.*<strong>0</strong>', text, re.S)
    assert re.search(r'href="/message/\d+/pair\?key=2000000000022">STOCK.csv', text)
    assert "/buffers/told?store=main&amp;key=2000000000022&amp;part=1" in browser.get("/buffers?key=2000000000022").text
    assert "<html" not in browser.get("/buffers/told?key=2000000000022&part=1").text
    assert "No stored message with stock speaks of" in browser.get("/buffers/told?key=nothing").text
    eventually(lambda: "left out" in browser.get("/buffers/told?key=2000000000046").text)  # its words are indexed late


def test_of_a_large_file_any_sku_is_told(tmp_path: Path):
    big = STOCK + "".join(f"{one:06};2{one:012};001;{one % 50},000;;;-\n" for one in range(20_000))
    with Site(tmp_path).running() as site:
        site.write(big, "inventory", "BIG.csv")
        browser = site.browser()
        number = message_of(browser, "BIG.csv")
        eventually(lambda: "badge is-done" in browser.get(f"/message/{number}").text)
        assert "<strong>47</strong>" in browser.get("/buffers/told?key=2000000019999").text
        assert "No stored message with stock" in browser.get("/buffers/told?key=2000000020000").text


def test_what_was_searched_for_leads_to_its_record_and_its_buffers(browser):
    text = browser.get("/log?q=0000100046").text
    assert re.search(r'href="/message/\d+/pair\?key=0000100046"', text)
    assert "what store" not in text
    assert "what store main was told" in browser.get("/log?q=2000000000022").text
    assert re.search(r'href="/message/\d+/pair"', browser.get("/log?q=STOCK.csv").text)
    browser.post(
        "/buffers", browser.token("/buffers?key=KNOWN"), store="main", level="variation", key="KNOWN", value="1"
    )
    assert "what store main was told" in browser.get("/log?q=KNOWN").text


def test_a_record_that_the_receiver_rejected_says_so_in_the_pair(tmp_path: Path):
    shop = Site(tmp_path)
    with shop.running() as site:
        site.drop("STOCK.csv", "inventory")
    with opened(shop) as journal:
        refusal = "RequestID 2, VariationReference 2000000000022: archived <b>"
        journal.ledger.note(1, "answer", "refused", refusal, datetime.now(UTC))
    with shop.running() as site:
        browser = site.browser()
        text = browser.get("/message/1/pair").text
        assert text.count("rejected: archived &lt;b&gt;") == 1
        assert 'rejected 1 of these: <a href="/message/1/pair?key=2000000000022">' in text
        told = browser.get("/buffers/told?key=2000000000022").text
        assert "archived &lt;b&gt;" in told
        assert "<strong>" not in told


def test_the_files_of_routes_are_listed_with_their_folders_and_those_of_an_api_are_not(browser):
    text = browser.get("/files").text
    assert 'href="/files/inventory?in=failed"' in text
    assert "/inbox/inventory" in text


def test_a_large_entry_is_paged_from_end_to_end(site, browser):
    site.write(STOCK + "".join(f"{one:06};{one:013};001;5;;;-\n" for one in range(9_000)), "inventory", "LONG.csv")
    rows = csv.DictReader(io.StringIO(browser.get("/log/export.csv?q=LONG.csv&variant=Unmodified").text))
    entry = next(int(row["id"]) for row in rows)
    text = browser.get(f"/entry/{entry}").text
    assert ">First<" not in text
    last = re.search(r'href="([^"]+)">Last<', text)
    assert last
    text = browser.get(unescape(last[1])).text
    assert f"{8_999:013};001" in text
    assert ">Next<" not in text
    assert ">First<" in text
    assert 'name="from"' in text


def test_what_the_receiver_refused_needs_a_person_and_has_its_badge_filter_and_figure(tmp_path: Path):
    shop = Site(tmp_path)
    with shop.running() as site:
        site.drop("STOCK.csv", "inventory")
    with opened(shop) as journal:
        (delivery,) = journal.outgoing.of_message(1)
        journal.answers.refuse(delivery, 3, 1)
        journal.answers.mark(1, Fault("", "the API refused 1 of 3 requests", why="unknown <b>"))
    with shop.running() as site:
        browser = site.browser()
        text = browser.get("/").text
        assert 'class="badge is-partly-refused">partly refused<' in text
        assert "unknown &lt;b&gt;" in text
        assert 'href="/message/1/replay"' in text
        assert "1 of 3 requests refused" in browser.get("/message/1").text
        assert "STOCK.csv" in browser.get("/log?outcome=partly+refused").text
        assert "No entry matches" in browser.get("/log?outcome=refused").text
        assert 'cegid_daemon_messages{route="inventory",state="partly refused"} 1.0' in browser.get("/metrics").text
