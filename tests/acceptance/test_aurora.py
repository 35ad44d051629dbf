"""The store behind its API, with the real program: stock goes out, answers come back, orders are fetched once each."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cegid_daemon.sites.aurora_standin import ExportedOrder
from tests.servers.aurora import Fault, FaultyApi, body, cut_after, cut_before, cut_within, silent, status
from tests.servers.command_line import run_command

SAMPLES = Path(__file__).parents[2] / "samples"
STOCK = (
    "GA_CODEBARRE;GA_CODEARTICLE;GQ_DEPOT;GQ_PHYSIQUE;GQ_RESERVECLI;GQ_PREPACLI;GQ_CLOTURE\r\n"
    "0001;A1;010;10;0;0;-\r\n0002;A1;010;5;0;0;-\r\n0003;A2;010;7;0;0;-\r\n"
)
CONFIGURATION = """\
[store.main]
stock_buffer = 2
{store}
[endpoint.inbox]
url = "file:inbox"
[endpoint.outbox]
url = "file:outbox"
[endpoint.aurora]
url = "{url}"
token = {{ env = "AURORA_TOKEN" }}
{endpoint}

[route.inventory]
title = "Inventory Import"
store = "main"
source = {{ endpoint = "inbox", folder = "inventory", settle = "0s" }}
layout = "y2-stock-csv"
template = "aurora/inventory-import.xml.j2"
target = {{ endpoint = "aurora", method = "{method}"{target}, name = "{name}" }}
retry = {{ first = "50ms", longest = "200ms" }}
{output}

[route.orders]
title = "Order Export"
direction = "export"
store = "main"
source = {{ endpoint = "aurora", request = "aurora/order-get.xml.j2", unique = "r.OrderID", poll = "100ms", limit = 2 }}
layout = "aurora-order-export"
template = "cegid/order-piece.asc.j2"
target = {{ endpoint = "outbox", folder = "orders", name = "{orders}" }}
output = {{ encoding = "cp1252", newline = "crlf", check = "columns" }}
rejects = {{ folder = "rejects", settle = "0s", poll = "100ms", after = "archive" }}
"""


class Shop:
    """A folder with a configuration, and the API it speaks to."""

    def __init__(self, folder: Path, api: FaultyApi, **settings: str) -> None:
        self.folder = folder
        self.api = api
        self.configure(**settings)

    def configure(self, **settings: str) -> None:
        wanted = dict.fromkeys(("store", "endpoint", "target", "output"), "")
        wanted |= {"method": "StockUpdate", "name": "{{ source.stem }}.xml", "orders": "CC_{{ message.id }}.asc"}
        text = CONFIGURATION.format(**{**wanted, "url": self.api.url, **settings})
        (self.folder / "cegid-daemon.toml").write_text(text)
        (self.folder / "inbox/inventory").mkdir(parents=True, exist_ok=True)

    def drop(self, name: str = "STOCK.csv", text: str = STOCK) -> None:
        (self.folder / "inbox/inventory" / name).write_bytes(text.encode())

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "cegid_daemon", *words, "--config", str(self.folder / "cegid-daemon.toml")]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "AURORA_TOKEN": "the-token"}

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        configuration = str(self.folder / "cegid-daemon.toml")
        return run_command(*words, "--config", configuration, environment=self.environment())

    def once(self, *routes: str, code: int = 0) -> str:
        done = self.call("once", *routes)
        assert done.returncode == code, done.stderr + done.stdout
        return done.stderr

    @contextmanager
    def run(self) -> Iterator[subprocess.Popen[bytes]]:
        with (self.folder / "daemon.log").open("ab") as log:
            process = subprocess.Popen(self.command("run"), stderr=log, env=self.environment())
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(30)

    def sql(self, text: str, *params: object) -> list[tuple[Any, ...]]:
        journal = self.folder / "var/journal.sqlite"
        if not journal.exists():
            return []
        with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
            try:
                return db.execute(text, params).fetchall()
            except sqlite3.OperationalError:
                return []

    def log(self, kind: str = "Request") -> list[tuple[Any, ...]]:
        return self.sql(
            "SELECT variant, name, endpoint, outcome FROM api_integration_log WHERE kind = ? ORDER BY id", kind
        )

    def states(self, route: str = "inventory") -> list[str]:
        return [row[0] for row in self.sql("SELECT state FROM message WHERE route = ? ORDER BY id", route)]

    def wait_for(self, come: Any, what: str) -> None:
        end = time.monotonic() + 30
        while not come():
            assert time.monotonic() < end, f"{what} did not come\n{(self.folder / 'daemon.log').read_text()}"
            time.sleep(0.02)


@pytest.fixture
def api() -> Iterator[FaultyApi]:
    with FaultyApi() as api:
        yield api


@pytest.fixture
def shop(tmp_path: Path, api: FaultyApi) -> Shop:
    return Shop(tmp_path, api)


def order(number: str, *, ago: timedelta = timedelta(minutes=5)) -> ExportedOrder:
    from lxml import etree

    sample = etree.parse(str(SAMPLES / "ORDERS.xml"))
    element = next(sample.iter("{*}Order"))
    next(element.iter("OrderID")).text = number
    return ExportedOrder(datetime.now(UTC) - ago, etree.tostring(element, with_tail=False))


def test_stock_is_posted_with_its_pair_and_the_answer_with_its_own(shop: Shop) -> None:
    shop.drop()
    shop.once("inventory")
    assert shop.api.applied == [
        ("StockUpdate", "0001", "8"),
        ("StockUpdate", "0002", "3"),
        ("StockUpdate", "0003", "5"),
    ]
    assert shop.log() == [
        ("Unmodified", "Inventory Import", "inbox", "ok"),
        ("Modified", "API Delivery: Inventory Import", "aurora", "ok"),
    ]
    assert shop.log("Response") == [
        ("Unmodified", "Inventory Import", "aurora", "ok"),
        ("Modified", "Inventory Import", "aurora", "ok"),
    ]
    assert [name.name for name in (shop.folder / "inbox/inventory").glob("processed/*/*")] == ["STOCK.csv"]
    assert b"the-token" not in (shop.folder / "var/journal.sqlite").read_bytes()


def test_what_the_api_refuses_is_listed_with_its_key_and_counted(shop: Shop) -> None:
    shop.api.refuse = {"0002": "unknown variation"}
    shop.drop()
    (line,) = shop.once("inventory", code=1).splitlines()
    assert "refused 1 of 3 requests" in line
    assert "STOCK.csv" in line
    assert "VariationReference 0002: unknown variation" in line
    assert shop.states() == ["done"]
    assert [row[3] for row in shop.log()] == ["partly refused", "partly refused"]
    (coverage,) = shop.sql("SELECT coverage FROM message WHERE route = 'inventory'")[0]
    assert json.loads(coverage)["rejected"] == {"unknown variation": 1}
    assert json.loads(coverage)["sent"] == 2
    listed = (shop.folder / "inbox/inventory/failed/STOCK.csv.rejected.csv").read_text()
    assert list(csv.reader(io.StringIO(listed), delimiter=";")) == [
        ["RequestID", "Key", "Reason"],
        ["2", "0002", "unknown variation"],
    ]
    assert ("RequestID 2, VariationReference 0002: unknown variation",) in shop.sql("SELECT detail FROM attempt")


def test_a_message_with_refused_records_needs_attention_until_it_is_sent_again(shop: Shop) -> None:
    shop.api.refuse = {"0002": "unknown variation"}
    shop.drop()
    shop.once("inventory", code=1)
    shown = shop.call("status").stdout
    assert re.search(r"message 1 \(inventory, STOCK.csv\) partly refused: the API refused 1 of 3 requests.*0002", shown)
    (route,) = [
        one for one in json.loads(shop.call("status", "--json").stdout)["routes"] if one["route"] == "inventory"
    ]
    assert (route["partly_refused"], route["failed"]) == (1, 0)
    listed = json.loads(shop.call("log", "list", "--outcome", "partly refused", "--json").stdout)
    assert [entry["variant"] for entry in listed] == ["Modified", "Unmodified"]
    assert all("unknown variation" in entry["error"] for entry in listed)
    assert "1 of 3 requests refused" in shop.call("log", "show", "1").stdout
    replayed = shop.call("replay", "1")
    assert (replayed.returncode, "partly refused" in replayed.stdout) == (1, True)
    shop.api.refuse = {}
    (message,) = [row[0] for row in shop.sql("SELECT id FROM message WHERE replay_of = 1")]
    assert shop.call("replay", str(message)).returncode == 0
    assert "refused: " not in shop.call("status").stdout
    assert shop.log()[0][3] == "partly refused", "the log goes on telling what came of the first"


def test_the_daemon_log_warns_of_refused_records_with_counts_and_reasons(shop: Shop) -> None:
    shop.api.refuse = {"0002": "unknown variation"}
    shop.drop()
    with shop.run():
        shop.wait_for(lambda: shop.states() == ["done"], "the delivery")
    (line,) = [one for one in (shop.folder / "daemon.log").read_text().splitlines() if "refused 1 of 3" in one]
    assert " warning " in line
    assert "STOCK.csv" in line
    assert "0002: unknown variation" in line


def test_a_file_of_which_nothing_is_accepted_fails(shop: Shop) -> None:
    shop.api.refuse = dict.fromkeys(("0001", "0002", "0003"), "closed")
    shop.drop()
    shop.once("inventory", code=1)
    assert shop.states() == ["failed"]
    assert "closed (3)" in (shop.folder / "inbox/inventory/failed/STOCK.csv.error.txt").read_text()
    assert [row[3] for row in shop.log()] == ["refused", "refused"]


def test_parts_are_posted_each_and_a_refused_one_does_not_fail_the_others(shop: Shop) -> None:
    shop.configure(output="output = { batch = 1 }", name="{{ source.stem }}.{{ part }}.xml")
    shop.api.refuse = {"0002": "unknown"}
    shop.drop()
    shop.once("inventory", code=1)
    assert [request.method for request in shop.api.received] == ["StockUpdate"] * 3
    assert len({request.request_uid for request in shop.api.received}) == 3
    assert shop.states() == ["done"]
    assert [row[3] for row in shop.log()] == ["partly refused", "ok", "refused", "ok"]


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_busy_api_is_tried_again_with_the_same_request(shop: Shop, code: int) -> None:
    shop.api.plan = [status(code), status(code)]
    shop.drop()
    with shop.run():
        shop.wait_for(lambda: shop.states() == ["done"], "the delivery")
    assert len(shop.api.applied) == 3


def test_the_api_says_when_to_come_again(shop: Shop) -> None:
    shop.api.plan = [status(429, Retry_After="3600")]
    shop.drop()
    shop.once("inventory", code=1)
    (due,) = shop.sql("SELECT next_try_at FROM message")[0]
    left = datetime.fromisoformat(due) - datetime.now(UTC)
    assert timedelta(minutes=58) < left < timedelta(minutes=61)


@pytest.mark.parametrize(
    ("fault", "said"), [(status(400), "HTTP 400"), (status(403), "token"), (status(302), "redirects")]
)
def test_a_refusal_is_not_tried_again(shop: Shop, fault: Fault, said: str) -> None:
    shop.api.plan = [fault]
    shop.drop()
    assert said in shop.once("inventory", code=1)
    shop.once("inventory")
    assert shop.states() == ["failed"]
    assert shop.api.applied == []


def test_a_wrong_token_fails_and_says_so_without_showing_it(shop: Shop) -> None:
    shop.api._token = "another"
    shop.drop()
    said = shop.once("inventory", code=1)
    assert "the token is not known" in said
    assert "the-token" not in said


@pytest.mark.parametrize("fault", [cut_before, cut_after, body(b"<html>Service maintenance</html>")])
def test_a_lost_answer_to_a_repeatable_request_is_sent_again_with_its_id(shop: Shop, fault: Fault) -> None:
    shop.api.plan = [fault]
    shop.drop()
    shop.once("inventory", code=1)
    assert shop.states() == ["waiting"]
    shop.once("inventory")
    assert shop.states() == ["done"]
    assert len({request.request_uid for request in shop.api.received}) == 1
    assert len(shop.api.applied) == 3


@pytest.mark.parametrize(
    ("answer", "why"), [(b"", "there is no XML in it"), (b'{"errors": [', "line 1"), (b"<A>", "line")]
)
def test_an_answer_that_cannot_be_read_is_told_as_one(shop: Shop, answer: bytes, why: str) -> None:
    shop.api.plan = [body(answer)]
    shop.drop()
    (line,) = shop.once("inventory", code=1).splitlines()
    assert "the answer of the API cannot be read" in line
    assert why in line
    assert shop.api.url in line


def test_an_answer_with_reasons_in_elements_of_their_own_is_read_and_listed(shop: Shop) -> None:
    responses = "".join(
        f"<Response><RequestID>{number}</RequestID><Ack>{ack}</Ack>{error}</Response>"
        for number, ack, error in (
            (1, "Success", ""), (1, "Failure", "<Error><Code>7</Code><Message>again</Message></Error>"),
            (2, "Success", "<Data><Variation><Ack>Failure</Ack></Variation></Data>"), (3, "Success", ""),
        )
    )  # fmt: skip
    shop.api.plan = [body(f"<A><Responses>{responses}</Responses></A>".encode())]
    shop.drop()
    (line,) = shop.once("inventory", code=1).splitlines()
    assert "the API refused 2 of 3 requests" in line
    (coverage,) = shop.sql("SELECT coverage FROM message WHERE route = 'inventory'")[0]
    assert json.loads(coverage)["rejected"] == {"again": 1, "Ack 'Success', with Ack 'Failure' in it": 1}
    assert shop.states("inventory/answer") == ["done"]


def test_a_lost_answer_to_any_other_request_waits_for_a_person(shop: Shop) -> None:
    shop.configure(method="OrderAdd")
    shop.api.plan = [cut_after]
    shop.drop()
    shop.once("inventory", code=1)
    shop.once("inventory", code=1)
    assert shop.states() == ["unsure"]
    assert len(shop.api.received) == 1
    assert shop.call("release", "1").returncode == 0
    shop.once("inventory")
    assert shop.states() == ["done"]


def test_a_kill_between_post_and_answer_neither_loses_nor_doubles(shop: Shop) -> None:
    shop.api.plan = [silent]
    shop.drop()
    with shop.run() as daemon:
        shop.wait_for(lambda: shop.api.received, "the request")
        daemon.kill()
        daemon.wait()
    assert shop.sql("SELECT state FROM delivery") == [("sending",)]
    shop.api.released.set()
    shop.once("inventory")
    assert shop.states() == ["done"]
    assert len({request.request_uid for request in shop.api.received}) == 1
    assert len(shop.api.applied) == 3
    assert [row[3] for row in shop.log()] == ["ok", "ok"]


def test_kills_and_cuts_at_any_moment_neither_lose_nor_double(shop: Shop) -> None:
    chance = random.Random(20261123)
    shop.api.plan = [chance.choice([None, None, cut_before, cut_after, cut_within, status(503)]) for _ in range(40)]
    names = [f"S{number:02}.csv" for number in range(15)]
    for name in names:
        shop.drop(name)
    for _ in range(5):
        with shop.run() as daemon:
            more = len(shop.api.received) + 1
            shop.wait_for(lambda: len(shop.api.received) > more or len(shop.api.applied) == 45, "requests")  # noqa: B023
            time.sleep(chance.uniform(0, 0.05))
            daemon.kill()
            daemon.wait()
    shop.api.plan = []
    shop.once("inventory")
    assert shop.states() == ["done"] * len(names)
    assert len(shop.api.applied) == 3 * len(names)
    assert sorted(path.name for path in (shop.folder / "inbox/inventory").glob("processed/*/*")) == names
    assert [row[:2] for row in shop.log()].count(("Modified", "API Delivery: Inventory Import")) == len(names)
    assert list((shop.folder / "var/spool").iterdir()) == []


def test_a_kill_before_the_answer_to_an_unrepeatable_request_leaves_it_unsure(shop: Shop) -> None:
    shop.configure(method="OrderAdd")
    shop.api.plan = [silent]
    shop.drop()
    with shop.run() as daemon:
        shop.wait_for(lambda: shop.api.received, "the request")
        daemon.kill()
        daemon.wait()
    shop.api.released.set()
    assert "it is unknown whether the request arrived" in shop.once("inventory", code=1)
    assert shop.states() == ["unsure"]
    assert len(shop.api.received) == 1


def test_the_answer_becomes_a_file_for_cegid(shop: Shop) -> None:
    shop.configure(
        target=', reply = { template = "aurora/acks.csv.j2", target = { endpoint = "outbox", folder = "acks", '
        'name = "ACK_{{ source.stem }}.csv" }, output = { encoding = "cp1252", newline = "crlf" } }'
    )
    shop.api.refuse = {"0003": "épuisé"}
    shop.drop()
    shop.once("inventory", code=1)
    (reply,) = (shop.folder / "outbox/acks").iterdir()
    assert reply.read_bytes().decode("cp1252").split("\r\n") == [
        "RequestID;Key;Ack;Reason", "1;0001;Success;", "2;0002;Success;", "3;0003;Failure;épuisé", "",
    ]  # fmt: skip
    assert shop.log("Response")[1][:3] == ("Modified", "Folder Delivery: Inventory Import", "outbox")


def test_without_log_nothing_of_request_and_answer_is_kept(shop: Shop) -> None:
    shop.configure(store="log_requests = false")
    shop.drop()
    shop.once("inventory")
    assert shop.states() == ["done"]
    assert shop.sql("SELECT * FROM log_entry") == []
    assert shop.sql("SELECT * FROM payload") == []


def test_a_deferred_answer_is_followed_up(shop: Shop) -> None:
    shop.api.deferring = True
    shop.api.refuse = {"0002": "unknown variation"}
    shop.drop()
    assert "after it had acknowledged" in shop.once("inventory", code=1)
    assert shop.states() == ["done"]
    shop.once("inventory")
    assert [request.method for request in shop.api.received] == ["StockUpdate", "ReportGet"]
    assert [row[3] for row in shop.log()] == ["partly refused", "partly refused"]
    assert shop.sql("SELECT * FROM follow_up") == []
    (coverage, error) = shop.sql("SELECT coverage, error FROM message WHERE route = 'inventory'")[0]
    assert json.loads(coverage)["rejected"] == {"unknown variation": 1}
    assert "after it had acknowledged" in error
    assert (shop.folder / "inbox/inventory/failed/STOCK.csv.rejected.csv").exists()
    shop.once("inventory")
    assert len(shop.api.received) == 2


def test_orders_are_fetched_page_by_page_and_exported_once(shop: Shop) -> None:
    shop.api.orders = [order(f"100{number}") for number in range(5)]
    shop.once("orders")
    pages = [request.body.count(b"<Page>1<") for request in shop.api.received]
    assert len(pages) == 4
    shop.api.orders.append(order("2000", ago=timedelta(seconds=1)))
    shop.once("orders")
    exported = "".join(path.read_bytes().decode("cp1252") for path in (shop.folder / "outbox/orders").iterdir())
    numbers = [row.split(";")[1] for row in exported.splitlines() if row.startswith("CC;")]
    assert sorted(set(numbers)) == ["1000", "1001", "1002", "1003", "1004", "2000"]
    lines = {number: numbers.count(number) for number in numbers}
    assert len(set(lines.values())) == 1
    assert ("Unmodified", "Order Export", "aurora", "ok") in shop.log("Response")
    assert ("Modified", "Folder Delivery: Order Export", "outbox", "ok") in shop.log("Response")
    names = shop.sql("SELECT file_name FROM message WHERE route = 'orders' ORDER BY id LIMIT 1")
    assert names[0][0].startswith("OrderGet_2")
    assert names[0][0].endswith("_p1.xml")


def test_an_order_file_that_cegid_has_not_taken_is_never_overwritten(shop: Shop) -> None:
    shop.configure(orders="CC.asc")
    for number in ("1000", "1001", "1002"):
        shop.api.orders.append(order(number, ago=timedelta(seconds=1)))
        shop.once("orders")
    files = {path.name: path.read_bytes() for path in (shop.folder / "outbox/orders").iterdir()}
    assert sorted(files) == ["CC.2.asc", "CC.3.asc", "CC.asc"]
    assert all(body.endswith(b"\r\n") and body.count(b"\n") == body.count(b"\r\n") for body in files.values())
    assert [b";1000;" in files["CC.asc"], b";1001;" in files["CC.2.asc"], b";1002;" in files["CC.3.asc"]] == [True] * 3


def test_an_empty_answer_is_not_recorded(shop: Shop) -> None:
    shop.once("orders")
    assert len(shop.api.received) == 1
    assert shop.states("orders") == []


def test_a_poll_that_breaks_off_is_asked_again_from_where_the_last_whole_one_began(shop: Shop) -> None:
    shop.once("orders")
    shop.api.orders = [order(f"100{number}", ago=timedelta(seconds=1)) for number in range(4)]
    shop.api.plan = [None, status(500)]
    shop.once("orders", code=1)
    before = shop.sql("SELECT value FROM about WHERE key LIKE 'poll %'")
    shop.once("orders")
    assert shop.sql("SELECT value FROM about WHERE key LIKE 'poll %'") != before
    assert sorted(row[0] for row in shop.sql("SELECT key FROM exported")) == ["1000", "1001", "1002", "1003"]


def test_an_answer_that_is_a_refusal_is_no_empty_answer(shop: Shop) -> None:
    shop.api._token = "another"
    assert "HTTP 401" in shop.once("orders", code=1)
    shop.api.plan = [
        body(b"<AuroraResponseEnvelope><Header><Summary><Ack>Failure</Ack><Message>no rights</Message></Summary>"
             b"</Header><Responses/></AuroraResponseEnvelope>")
    ]  # fmt: skip
    assert "no rights" in shop.once("orders", code=1)
    assert shop.sql("SELECT value FROM about WHERE key LIKE 'poll %'") == []


def test_what_cegid_refuses_is_tied_to_its_message(shop: Shop) -> None:
    shop.api.orders = [order("1000")]
    shop.once("orders")
    (sent,) = (shop.folder / "outbox/orders").iterdir()
    rejects = shop.folder / "outbox/rejects"
    sent.rename(rejects / sent.name)
    (rejects / f"{sent.stem}.log").write_bytes("Client inconnu : WEB1, ligne 2\r\nPièce refusée\r\n".encode("cp1252"))
    (rejects / "foreign.asc").write_text("not ours")
    assert "CEGID refused CC_1.asc" in shop.once("orders", code=1)
    message, state, error = shop.sql("SELECT id, state, error FROM message WHERE route = 'orders'")[0]
    assert state == "done"
    assert "Pièce refusée" in json.loads(error)["text"]
    assert [row[3] for row in shop.log("Response")[:2]] == ["refused", "refused"]
    shown = shop.call("log", "show", str(message)).stdout
    assert "Client inconnu" in shown
    assert re.search(r"CC_1.asc: delivered 20\S+Z, rejected\n", shown), "when it arrived stays known"
    assert sorted(path.name for path in rejects.glob("processed/*/*")) == ["CC_1.asc", "CC_1.log", "foreign.asc"]
    shop.once("orders")
    assert len(shop.sql("SELECT * FROM attempt WHERE step = 'rejects'")) == 1


def test_check_says_whether_the_api_is_there(shop: Shop) -> None:
    shop.once()
    here = shop.call("check", "--live")
    assert here.returncode == 0
    [line] = [one for one in here.stdout.splitlines() if one.startswith("endpoint      aurora:")]
    assert line.endswith(": takes requests; its token is tried with the first of them")
    shop.configure(url="http://127.0.0.1:1/1.4")
    gone = shop.call("check", "--live")
    assert gone.returncode == 1
    assert "cannot be reached" in gone.stdout
