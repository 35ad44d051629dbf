"""The command line as an operator uses it: the real program in a folder of its own, with and without a daemon."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.servers.command_line import run_command

SAMPLES = Path(__file__).parents[2] / "samples"
VIEW = [
    "id", "logged_at", "store", "integration", "route", "message_id", "kind", "variant", "name", "part", "endpoint",
    "file_name", "size", "sha256", "outcome", "error",
]  # fmt: skip
CONFIGURATION = """\
state = "var"
[store.main]
stock_buffer = 2
[endpoint.inbox]
url = "file:inbox"
[endpoint.outbox]
url = "file:outbox"
[route.inventory]
title = "Inventory Import"
store = "main"
source = { endpoint = "inbox", folder = "inventory", match = "*.csv", settle = "0s" }
layout = "y2-stock-csv"
template = "aurora/inventory-import.xml.j2"
target = { endpoint = "outbox", folder = "inventory", name = "{{ source.stem }}.xml" }
[route.fields]
store = "main"
source = { endpoint = "inbox", folder = "fields", match = "*.csv", settle = "0s" }
layout = "aurora-product-fields"
"""


class Shop:
    """A configuration in a folder, and the program called on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.configuration = folder / "cegid-daemon.toml"
        self.configuration.write_text(CONFIGURATION, "utf-8")
        self.inbox = folder / "inbox" / "inventory"
        self.outbox = folder / "outbox" / "inventory"
        self.inbox.mkdir(parents=True)

    def __call__(self, *words: str, code: int = 0, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        done = run_command(*words, folder=folder or self.folder)
        assert done.returncode == code, f"{words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(*words, "--json", code=code).stdout)

    def drop(self, name: str = "STOCK.csv", content: bytes | None = None) -> None:
        (self.inbox / name).write_bytes(content or (SAMPLES / "STOCK.csv").read_bytes())

    @contextmanager
    def daemon(self) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(command(["run"]), cwd=self.folder, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            assert any("Ready." in line for line in process.stderr)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


def command(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "cegid_daemon", *words]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


# -- before anything ran ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [["log", "list"], ["log", "search", "X"], ["buffers", "list"], ["buffers", "history", "A", "--level", "product"]],
)
def test_lists_are_empty_and_well_before_there_is_a_journal(shop: Shop, words: list[str]) -> None:
    assert shop.json(*words) == []
    shop(*words)
    assert not (shop.folder / "var").exists(), "a command that only reads makes nothing"


def test_status_and_settings_show_the_configured_before_there_is_a_journal(shop: Shop) -> None:
    told = shop.json("status")
    assert told["running"] is False
    assert [route["route"] for route in told["routes"]] == ["inventory", "fields"]
    assert told["routes"][0]["last"] is None
    assert "There is no journal yet" in shop("status").stderr
    assert {"store": "main", "key": "stock-buffer", "value": "2"} in shop.json("settings", "get")


def test_decisions_on_messages_are_refused_kindly_before_there_is_a_journal(shop: Shop) -> None:
    for words in (["replay", "1"], ["release", "1"], ["discard", "1"], ["log", "show", "1"], ["backup", "b"]):
        assert "There is no journal yet" in shop(*words, code=1).stderr


# -- configuration ----------------------------------------------------------------------------------------------------


def test_the_configuration_is_named_before_or_after_the_command(shop: Shop, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    name = str(shop.configuration)
    shop("--config", name, "status", folder=elsewhere)
    shop("status", "--config", name, folder=elsewhere)
    shop("log", "list", "--config", name, folder=elsewhere)
    shop("log", "--config", name, "list", folder=elsewhere)
    assert "no such configuration file" in shop("status", code=2, folder=elsewhere).stderr


def test_check_names_every_fault_with_file_line_and_key(shop: Shop) -> None:
    text = CONFIGURATION.replace("stock_buffer = 2", "stock_bufer = 2").replace('"y2-stock-csv"', '"y2-stok-csv"')
    shop.configuration.write_text(text, "utf-8")
    lines = shop("check", code=2).stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{shop.configuration}:3: store.main.stock_bufer: ")
    assert lines[1].startswith(f"{shop.configuration}:12: route.inventory.layout: ")
    assert [fault["line"] for fault in shop.json("check", code=2)["faults"]] == [3, 12]


def test_check_tells_versions_state_and_where_the_journal_differs_from_the_configuration(shop: Shop) -> None:
    about = shop.json("check")
    assert about["sqlite"].startswith(sqlite3.sqlite_version)
    assert about["state"] == str(shop.folder / "var")
    assert not any("stock-buffer" in warning for warning in about["warnings"])
    shop("settings", "set", "stock-buffer", "5")
    assert "stock-buffer is 5 by an operator, not 2 as configured" in shop("check").stderr


def test_check_warns_of_names_that_no_template_sees(shop: Shop) -> None:
    template = shop.folder / "templates" / "aurora" / "inventory-import.xml.j2"
    template.parent.mkdir(parents=True, exist_ok=True)
    template.write_text("<a>\n{% for r in recrods %}{% endfor %}</a>")
    found = shop("check").stderr
    assert "warning: 'recrods' is nothing a template sees (file 'aurora/inventory-import.xml.j2', line 2)" in found


def test_check_live_asks_each_endpoint(shop: Shop) -> None:
    missing = {one["endpoint"]: one["error"] for one in shop.json("check", "--live", code=1)["endpoints"]}
    assert missing["outbox"]
    shop("once")
    found = {one["endpoint"]: one for one in shop.json("check", "--live")["endpoints"]}
    assert found["inbox"]["error"] is None
    assert set(found["inbox"]["folders"]) == {"inventory", "fields"}


def test_wrong_usage_ends_with_2(shop: Shop) -> None:
    shop("once", "no-such-route", code=2)
    shop("rewrite", "no-such-route", "cegid-daemon.toml", code=2)
    shop("log", "list", "--since", "yesterday", code=2)
    shop("settings", "get", "--store", "nowhere", code=2)
    shop("replay", "1", "--as", "sent", code=2)
    shop("explain", "X", code=2)


# -- one pass ---------------------------------------------------------------------------------------------------------


def test_once_delivers_what_lies_there_and_the_log_shows_the_pair(shop: Shop) -> None:
    shop.drop()
    assert shop.json("once") == {"delivered": 1, "claimed": 1, "faults": []}
    modified, unmodified = shop.json("log", "list")
    assert list(modified) == VIEW
    assert (unmodified["name"], modified["name"]) == ("Inventory Import", "Folder Delivery: Inventory Import")
    assert shop.json("log", "list", "--variant", "modified") == [modified]
    assert shop.json("log", "list", "--limit", "1") == [modified]
    assert shop.json("log", "list", "--outcome", "failed") == []
    assert shop.json("log", "list", "--until", "1h") == []
    assert len(shop.json("log", "list", "--since", "1h", "--route", "inventory", "--kind", "request")) == 2


def test_log_save_gives_the_exact_bytes_and_diff_both_sides(shop: Shop) -> None:
    shop.drop()
    shop("once")
    delivered = (shop.outbox / "STOCK.xml").read_bytes()
    shop("log", "save", "1", "-o", "raw.csv")
    shop("log", "save", "2", "-o", str(shop.folder))
    assert (shop.folder / "raw.csv").read_bytes() == (SAMPLES / "STOCK.csv").read_bytes()
    assert (shop.folder / "STOCK.xml").read_bytes() == delivered
    done = subprocess.run(command(["log", "save", "2"]), cwd=shop.folder, capture_output=True, check=True)
    assert done.stdout == delivered
    diff = shop("log", "diff", "1").stdout
    assert "--- Unmodified: Inventory Import (STOCK.csv)" in diff
    assert "-000123;2000000000015;001;12,000;1,000;1,000;-" in diff
    assert "+  <Requests>" in diff


def test_log_diff_compares_by_record_with_the_cause_of_each_change_whatever_the_size(shop: Shop) -> None:
    title = (SAMPLES / "STOCK.csv").read_bytes().splitlines(keepends=True)[0]
    rows = b"".join(b"P%d;S%d;001;%d,000;;;-\n" % (one, one, one % 9) for one in range(90_000))
    shop.drop(content=title + rows)
    shop("once")
    assert "log diff 1 --key KEY" in shop("log", "diff", "1", code=1).stderr
    told = shop("log", "diff", "1", "--key", "S80004").stdout
    assert told.startswith("record 80005, line 80006: S80004\n  3 -> 1  Store buffer 2\n")
    assert "  - GQ_PHYSIQUE              3,000\n" in told
    assert "<Stock>1</Stock>" in told
    first, second = shop.json("log", "diff", "1", "--record", "1", "--count", "2")
    assert (first["key"], second["changes"][0]["cause"]) == ("S0", "Store buffer 2")
    assert list((shop.folder / "var" / "spool").iterdir()) == []
    assert "no record of message 1 bears 'S9x'" in shop("log", "diff", "1", "--key", "S9x", code=1).stderr
    assert "there is no message 7" in shop("log", "diff", "7", "--record", "1", code=1).stderr


def test_log_show_accounts_for_every_record_and_tells_where_the_file_lies(shop: Shop) -> None:
    shop.drop()
    shop("once")
    told = shop("log", "show", "1").stdout
    assert "6 records = 5 sent + 1 left out (r.GQ_CLOTURE == 'X': 1) + 0 rejected" in told
    known = shop.json("log", "show", "1")
    coverage = known["coverage"]
    assert coverage["read"] == coverage["sent"] + sum(coverage["left_out"].values())
    assert (shop.folder / "inbox" / known["source"]["filed_as"]).read_bytes() == (SAMPLES / "STOCK.csv").read_bytes()
    assert known["deliveries"][0]["state"] == "delivered"
    assert known["recipe_sha256"] in told


def test_a_file_without_records_is_done_and_log_show_says_that_there_was_nothing_to_send(shop: Shop) -> None:
    (shop.inbox / "EMPTY.csv").write_bytes(b"GA_CODEARTICLE;GA_CODEBARRE;GQ_PHYSIQUE\n")
    shop("once")
    told = shop("log", "show", "1").stdout
    assert "done" in told
    assert "nothing to send" in told


def test_a_bad_file_is_one_line_and_exit_code_1_and_the_status_shows_it(shop: Shop) -> None:
    shop.drop(content=b"GA_CODEARTICLE;GA_CODEBARRE\n1;2;3\n")
    done = shop("once", code=1)
    assert len(done.stderr.splitlines()) == 1
    assert "message 1 failed" in done.stderr
    told = shop.json("status")
    assert told["routes"][0]["failed"] == 1
    assert told["aside"][0]["error"]
    assert "error" in shop("log", "show", "1").stdout


def test_search_finds_by_key_by_name_and_by_content(shop: Shop) -> None:
    shop.drop("S-24.csv")
    shop("once")
    assert [hit["how"] for hit in shop.json("log", "search", "2000000000015")] == ["exact"]
    assert [hit["message"] for hit in shop.json("log", "search", "S-24")] == [1]
    assert [hit["how"] for hit in shop.json("log", "search", "GA_CODEARTICLE")] == ["word"]
    assert shop.json("log", "search", "ODEARTI") == []
    assert [hit["how"] for hit in shop.json("log", "search", "ODEARTI", "--content")] == ["received"]


def test_search_index_and_retention_are_kept_by_once_too(shop: Shop) -> None:
    shop.drop()
    shop("once")
    with closing(sqlite3.connect(shop.folder / "var" / "journal.sqlite")) as journal:
        assert journal.execute("SELECT count(*) FROM search_due").fetchone() == (0,)
    assert shop.json("log", "prune") == {"messages": 0, "payloads": 0, "entries": 0, "freed": 0}


# -- rewriting alone --------------------------------------------------------------------------------------------------


def test_rewrite_gives_what_would_be_delivered_and_records_nothing(shop: Shop) -> None:
    alone = shop("rewrite", "inventory", str(SAMPLES / "STOCK.csv"))
    assert "<Stock>8</Stock>" in alone.stdout, "the configured first value holds before there is a journal"
    assert "6 records = 5 sent + 1 left out" in alone.stderr
    assert not (shop.folder / "var").exists()
    shop.drop()
    shop("once")
    shop("rewrite", "inventory", str(SAMPLES / "STOCK.csv"), "-o", "out.xml")
    assert (shop.folder / "out.xml").read_bytes() == (shop.outbox / "STOCK.xml").read_bytes()
    shop("buffers", "set", "2000000000015", "5", "--level", "variation")
    assert "<Stock>5</Stock>" in shop("rewrite", "inventory", str(SAMPLES / "STOCK.csv")).stdout
    assert len(shop.json("log", "list")) == 2


def test_rewrite_of_a_feeding_route_gives_the_buffers_as_csv(shop: Shop) -> None:
    lines = shop("rewrite", "fields", str(SAMPLES / "FIELDS.csv")).stdout.splitlines()
    assert lines[0] == "store,level,key,value"
    assert len(lines) > 1
    (shop.folder / "buffers.csv").write_text("\n".join(lines), "utf-8")
    assert f"{len(lines) - 1} rows" in shop("buffers", "import", "buffers.csv").stdout


def test_rewrite_of_a_bad_file_tells_the_place_and_writes_nothing(shop: Shop) -> None:
    (shop.folder / "bad.csv").write_bytes(b"GA_CODEARTICLE;GA_CODEBARRE\n1;2;3\n")
    done = shop("rewrite", "inventory", "bad.csv", "-o", "out.xml", code=1)
    assert "bad.csv" in done.stderr
    assert not (shop.folder / "out.xml").exists()


def test_once_names_the_file_of_a_fault_in_the_template(shop: Shop) -> None:
    template = shop.folder / "templates" / "aurora" / "inventory-import.xml.j2"
    template.parent.mkdir(parents=True, exist_ok=True)
    template.write_text("{% for r in records %}<a>{{ r.GONE }}</a>{% endfor %}")
    shop.drop("STOCK_A.csv")
    (line,) = shop("once", code=1).stderr.splitlines()
    assert line.startswith("message 1 failed: STOCK_A.csv: the record has no field 'GONE'")
    assert "file 'aurora/inventory-import.xml.j2', line 1, record 1" in line


# -- replay, release, discard -----------------------------------------------------------------------------------------


def test_replay_without_a_daemon_carries_the_message_itself(shop: Shop) -> None:
    shop.drop()
    shop("once")
    (shop.outbox / "STOCK.xml").unlink()
    assert shop.json("replay", "1", "--reason", "the store lost it") == [
        {"replay_of": 1, "message": 2, "route": "inventory", "state": "done", "outcome": "ok", "error": None}
    ]
    assert (shop.outbox / "STOCK.xml").exists()
    decision = shop.json("log", "show", "1")["decisions"][0]
    assert decision["what"] == "replay"
    assert decision["reason"] == "the store lost it"
    assert decision["who"].startswith("cli:")


def test_replay_beside_a_daemon_is_carried_by_it_and_waited_for(shop: Shop) -> None:
    shop.drop()
    shop("once")
    (shop.outbox / "STOCK.xml").unlink()
    with shop.daemon():
        assert "another cegid-daemon" in shop("once", code=3).stderr
        assert shop.json("status")["running"] is True
        assert shop.json("replay", "1")[0]["state"] == "done"
        assert shop.json("replay", "1", "--no-wait")[0]["message"] == 3
    assert (shop.outbox / "STOCK.xml").exists()


def test_a_replay_warns_that_newer_numbers_went_out_since(shop: Shop) -> None:
    shop.drop("A.csv")
    shop("once")
    assert "warning" not in shop("replay", "1").stderr
    shop.drop("B.csv")
    shop("once")
    assert "1 newer message of route inventory went out since message 1" in shop("replay", "1").stderr


def test_replays_are_recorded_all_or_none(shop: Shop) -> None:
    shop.drop()
    shop("once")
    assert "there is no message 99" in shop("replay", "1", "99", code=1).stderr
    assert shop.json("log", "show", "1")["replays"] == []


def test_a_replay_that_fails_again_says_why_and_ends_with_1(shop: Shop) -> None:
    shop.drop(content=b"GA_CODEARTICLE;GA_CODEBARRE\n1;2;3\n")
    shop("once", code=1)
    (line,) = shop("replay", "1", code=1).stderr.splitlines()
    assert line.startswith("message 2 failed: ")


def test_a_pass_does_not_repeat_that_an_operator_set_something_else_than_configured(shop: Shop) -> None:
    shop("settings", "set", "stock-buffer", "5")
    shop.drop()
    assert [shop("once").stderr, shop("replay", "1").stderr] == ["", ""]
    assert "stock-buffer is 5 by an operator, not 2 as configured" in shop("check").stderr


def test_a_waiting_message_can_be_discarded_and_no_longer_blocks(shop: Shop) -> None:
    shop("once")
    shop.outbox.rmdir()
    shop.drop()
    assert "waits" in shop("once", code=1).stderr
    assert shop.json("status")["routes"][0]["waiting"] == 1
    assert "is waiting" in shop("release", "1", code=1).stderr
    assert shop.json("discard", "1", "--reason", "old")[0]["state"] == "discarded"
    shop("once")
    assert shop.json("status")["routes"][0]["queue"] == 0


# -- buffers, catalogue, settings -------------------------------------------------------------------------------------


def test_buffers_are_set_got_listed_unset_and_remembered(shop: Shop) -> None:
    shop("buffers", "set", "A", "3", "--level", "variation")
    shop("buffers", "set", "--level", "store", "4")
    assert [one["value"] for one in shop.json("buffers", "list")] == ["4", "3"]
    shop("buffers", "unset", "A", "--level", "variation")
    history = shop.json("buffers", "history", "A", "--level", "variation")
    assert [change["value"] for change in history] == ["3", ""]
    assert shop("settings", "get", "stock-buffer").stdout == "4\n"
    shop("buffers", "set", "A", "1", "--level", "store", code=2)


def test_what_is_no_buffer_is_refused_and_the_command_that_unsets_is_named(shop: Shop) -> None:
    shop("buffers", "set", "A", "5", "--level", "variation")
    shop("buffers", "set", "--level", "store", "4")
    for value in ("5O", "-1", "2.0", "2,0", "+2", "٣", "", "  ", "5 0", "1e3", "five"):
        refused = shop("buffers", "set", "A", value, "--level", "variation", code=2)
        assert "buffers unset --level variation A" in refused.stderr, value
        assert "Traceback" not in refused.stderr
        refused = shop("buffers", "set", "--level", "store", value, code=2)
        assert "buffers unset --level store" in refused.stderr, value
        if value:
            refused = shop("settings", "set", "stock-buffer", value, code=2)
            assert '"" for none' in refused.stderr, value
    assert [one["value"] for one in shop.json("buffers", "list")] == ["4", "5"]
    shop("buffers", "set", "A", " 007\u00a0", "--level", "variation")
    assert shop.json("buffers", "get", "A", "--level", "variation")["units"] == 7
    for key in ("enabled", "log-requests"):
        assert "Give true or false" in shop("settings", "set", key, "maybe", code=2).stderr
    assert "is blank" in shop("buffers", "set", " ", "5", "--level", "variation", code=2).stderr
    assert "(unset)" in shop("settings", "set", "stock-buffer", "").stdout
    assert shop("settings", "get", "stock-buffer").stdout == "\n"


def test_an_import_names_the_values_it_unsets(shop: Shop) -> None:
    for key, value in (("A", "5"), ("B", "6"), ("C", "7"), ("D", "8")):
        shop("buffers", "set", key, value, "--level", "variation")
    rows = "main,variation,A,5O\nmain,variation,B,\nmain,variation,C,x\nmain,variation,C,9\nmain,variation,N,-1\n"
    (shop.folder / "b.csv").write_text(f"store,level,key,value\n{rows}", "utf-8")
    done = shop("buffers", "import", "b.csv")
    assert "b.csv:2: A: '5O': not zero or a positive whole number: it unsets the buffer; unsets 5\n" in done.stderr
    assert "b.csv: B: blank; unsets 6\n" in done.stderr
    assert "unsets 7" not in done.stderr, "the last row of a key counts"
    assert "b.csv:6: N: '-1': not zero or a positive whole number: it unsets the buffer\n" in done.stderr
    again = shop.json("buffers", "import", "b.csv")
    assert [one["unsets"] for one in again["ignored"]] == ["", "", ""]
    assert again["unset"] == []


def test_an_import_reports_ignored_values_and_does_not_fail_for_them(shop: Shop) -> None:
    (shop.folder / "b.csv").write_text("store,level,key,value\nmain,product,P,2.5\nmain,variation,A,007\n", "utf-8")
    done = shop("buffers", "import", "b.csv")
    assert "b.csv:2: P: '2.5': " in done.stderr
    assert "2 rows: 2 changed, revision " in done.stdout
    assert shop.json("buffers", "get", "A", "--level", "variation")["units"] == 7


def test_an_import_leaves_out_rows_it_cannot_take_and_ends_with_1(shop: Shop) -> None:
    (shop.folder / "b.csv").write_text("store,level,key,value\nnope,product,P,2\nmain,variation,A,3\n", "utf-8")
    report = shop.json("buffers", "import", "b.csv", code=1)
    assert (report["written"], report["malformed_count"]) == (1, 1)
    assert report["malformed"][0]["line"] == 2


def test_a_product_field_csv_is_imported_by_its_layout_into_buffers_and_catalogue_at_once(shop: Shop) -> None:
    done = shop("buffers", "import", "--layout", "aurora-product-fields", str(SAMPLES / "FIELDS.csv"))
    assert "FIELDS.csv:6: 2000000000077: '2,0': " in done.stderr
    assert "1 ignored, 0 malformed" in done.stdout
    assert shop.json("buffers", "get", "2000000000015", "--level", "variation")["units"] == 5
    assert shop.json("buffers", "get", "000123", "--level", "product")["units"] == 3
    assert shop("catalogue", "get", "2000000000022").stdout == "000123\n"
    (change,) = shop.json("buffers", "history", "000126", "--level", "product")
    assert change["origin"] == "buffers import FIELDS.csv"
    again = shop.json("buffers", "import", "--layout", "aurora-product-fields", str(SAMPLES / "FIELDS.csv"))
    assert (again["rows"], again["written"], again["ignored_count"], again["catalogue"]["written"]) == (5, 0, 1, 0)


def test_an_import_by_a_layout_of_the_configuration_counts_what_it_leaves_out(shop: Shop) -> None:
    with shop.configuration.open("a", encoding="utf-8") as text:
        text.write('[layout.ours]\nkind = "delimited"\nsku = "r.SKU"\nbuffer = "r.Held"\n')
    (shop.folder / "ours.csv").write_text("SKU;Held\nA;4\n;2\n", "utf-8")
    told = shop.json("buffers", "import", "--layout", "ours", "--store", "main", "ours.csv")
    assert (told["written"], told["left_out"]) == (1, {"no key": 1})
    assert shop.json("buffers", "get", "A", "--level", "variation")["units"] == 4


def test_an_import_by_layout_takes_all_of_a_file_or_nothing(shop: Shop) -> None:
    (shop.folder / "f.csv").write_text("Group Reference,Reference,CEGID Stock Buffer\nP,A,4\nP,B\n", "utf-8")
    assert "f.csv" in shop("buffers", "import", "--layout", "aurora-product-fields", "f.csv", code=1).stderr
    assert shop.json("catalogue", "get", "A")["product"] is None
    for layout in ("nope", "y2-stock-csv"):
        assert layout in shop("buffers", "import", "--layout", layout, "f.csv", code=2).stderr
    shop("buffers", "import", "--store", "main", "f.csv", code=2)


def test_names_of_any_bytes_print_in_any_locale(shop: Shop) -> None:
    shop.drop("é\udcff'\n.csv")
    shop("once")
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for words in (["log", "list"], ["log", "list", "--json"], ["status"], ["log", "show", "1"], ["log", "diff", "1"]):
        done = subprocess.run(command(words), cwd=shop.folder, env=ascii_only, capture_output=True, check=True)
        assert b"\\xff" in done.stdout


def test_what_is_exported_can_be_imported_into_another_shop(shop: Shop, tmp_path: Path) -> None:
    shop("buffers", "import", str(SAMPLES / "buffers.csv"))
    shop("buffers", "export", "-o", "out.csv")
    (tmp_path / "other").mkdir()
    other = Shop(tmp_path / "other")
    other("buffers", "import", str(shop.folder / "out.csv"))
    assert other("buffers", "export").stdout == shop("buffers", "export").stdout


def test_the_catalogue_takes_csv_and_answers(shop: Shop) -> None:
    (shop.folder / "c.csv").write_text("store,variation,product\nmain,A,P\n", "utf-8")
    shop("catalogue", "import", "c.csv")
    assert shop("catalogue", "get", "A").stdout == "P\n"
    assert shop.json("catalogue", "get", "B")["product"] is None


def test_settings_hold_from_the_next_pass_on(shop: Shop) -> None:
    shop("settings", "set", "enabled", "false")
    shop.drop()
    assert shop.json("once")["claimed"] == 0
    shop("settings", "set", "enabled", "true")
    shop("settings", "set", "stock-buffer", "")
    shop("once")
    assert "<Stock>10</Stock>" in (shop.outbox / "STOCK.xml").read_text("utf-8")
    assert "is not a stock buffer" in shop("settings", "set", "stock-buffer", "-3", code=2).stderr


def test_edits_beside_a_running_daemon_count_at_once(shop: Shop) -> None:
    with shop.daemon():
        shop("buffers", "set", "2000000000015", "5", "--level", "variation")
        assert shop.json("buffers", "get", "2000000000015", "--level", "variation")["units"] == 5


# -- the journal ------------------------------------------------------------------------------------------------------


def test_a_backup_opens_as_a_journal_of_its_own(shop: Shop) -> None:
    shop.drop()
    shop("once")
    with shop.daemon():
        shop("backup", "copy.sqlite")
    copy = shop.folder / "copy.sqlite"
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copy)) as journal:
        assert journal.execute("SELECT count(*) FROM api_integration_log").fetchone() == (2,)


def test_a_lost_or_broken_journal_is_refused_with_4_and_never_begun_anew(shop: Shop) -> None:
    shop("once")
    journal = shop.folder / "var" / "journal.sqlite"
    journal.write_bytes(b"this is not SQLite")
    for words in (["run"], ["once"], ["status"], ["log", "list"], ["buffers", "list"], ["check"]):
        assert "backup" in shop(*words, code=4).stderr
    journal.unlink()
    for words in (["run"], ["once"], ["status"], ["check"]):
        assert "the journal is missing" in shop(*words, code=4).stderr
    assert not journal.exists()


# -- running ----------------------------------------------------------------------------------------------------------


def test_run_says_where_to_drop_what_and_ends_well_on_sigterm(shop: Shop) -> None:
    shop("settings", "set", "stock-buffer", "5")
    process = subprocess.Popen(command(["run"]), cwd=shop.folder, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "fields" in line:
            break
    assert f"drop *.csv into {shop.inbox}" in "".join(lines)
    assert "".join(lines).count("stock-buffer is 5 by an operator, not 2 as configured") == 1
    process.send_signal(signal.SIGTERM)
    assert "Stopped." in process.communicate(timeout=30)[1]
    assert process.returncode == 0


def test_a_reload_that_would_move_the_state_is_refused_and_the_old_configuration_goes_on(shop: Shop) -> None:
    with shop.daemon() as process:
        shop.configuration.write_text(CONFIGURATION.replace('"var"', '"elsewhere"'), "utf-8")
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        assert any("the state folder cannot change" in line for line in process.stderr)
        assert process.poll() is None


def test_completion_knows_commands_and_routes(shop: Shop) -> None:
    for typed, expected in (("cegid-daemon re", "replay"), ("cegid-daemon rewrite inv", "inventory")):
        words = typed.split()
        environment = {**os.environ, "_CEGID_DAEMON_COMPLETE": "bash_complete", "COMP_WORDS": typed,
                       "COMP_CWORD": str(len(words) - 1)}  # fmt: skip
        done = subprocess.run(
            command([]), cwd=shop.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert expected in done.stdout


# -- places of results ------------------------------------------------------------------------------------------------


def into_pipe(shop: Shop, fifo: Path, *words: str) -> bytes:
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    shop(*words, str(fifo))
    reader.join(10)
    return read[0]


def test_a_dash_is_stdout_for_every_command_that_writes_a_result(shop: Shop) -> None:
    shop.drop()
    shop("once")
    shop("buffers", "set", "A", "5", "--level", "variation")
    sample = str(SAMPLES / "STOCK.csv")
    commands = [("rewrite", "inventory", sample), ("log", "save", "1"), ("buffers", "export")]
    for words in commands:
        assert shop(*words, "-o", "-").stdout == shop(*words).stdout != "", words
    assert "stdout has the account" in shop("rewrite", "inventory", sample, "--json", "-o", "-", code=2).stderr
    assert "cannot go to stdout" in shop("backup", "-", code=2).stderr
    assert not (shop.folder / "-").exists()
    shop("log", "save", "1", "-o", "./-")
    assert (shop.folder / "-").exists()


def test_results_are_written_through_pipes_and_never_over_links(shop: Shop) -> None:
    shop.drop()
    shop("once")
    shop("buffers", "set", "A", "5", "--level", "variation")
    fifo, link = shop.folder / "fifo", shop.folder / "link"
    os.mkfifo(fifo)
    link.symlink_to(shop.folder / "elsewhere")
    sample = str(SAMPLES / "STOCK.csv")
    commands = {
        ("rewrite", "inventory", sample, "-o"): b"<?xml",
        ("log", "save", "1", "-o"): b"",
        ("buffers", "export", "-o"): b"store,level,key,value\n",
        ("catalogue", "export", "-o"): b"store,variation,product\n",
    }
    for words, beginning in commands.items():
        if words[0] == "catalogue" and "export" not in shop("catalogue", "--help").stdout:
            continue
        assert into_pipe(shop, fifo, *words).startswith(beginning), words
        assert fifo.is_fifo(), words
        assert "a link is not written to" in shop(*words, str(link), code=1).stderr, words
    assert "a link is not written to" in shop("backup", str(link), code=1).stderr
    assert link.is_symlink()
    assert not link.exists()
    for words in (("rewrite", "inventory", sample), ("log", "save", "1")):
        shop(*words, "-o", "payload")
        assert (shop.folder / "payload").stat().st_mode & 0o777 == 0o600, words
    assert "does not exist" in shop("log", "save", "1", "-o", "no/such/folder", code=1).stderr
