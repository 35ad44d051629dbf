"""The demonstration as a new user runs it: one command, under a minute, pairs both ways, a folder to look into."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest


def demo(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cegid_daemon", "demo", *words], cwd=cwd, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("demo") / "look"
    began = time.monotonic()
    done = demo(str(folder), cwd=folder.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert time.monotonic() - began < 60
    return folder, done.stdout


def test_the_pairs_of_both_directions_are_in_the_log_and_on_the_screen(shown: tuple[Path, str]) -> None:
    folder, text = shown
    with closing(sqlite3.connect(folder / "var" / "journal.sqlite")) as db:
        log = db.execute("SELECT kind, variant, name, endpoint, outcome FROM api_integration_log").fetchall()
    for row in (
        ("Request", "Unmodified", "Inventory Import", "cegid-ftp", "ok"),
        ("Request", "Modified", "API Delivery: Inventory Import", "aurora", "ok"),
        ("Request", "Unmodified", "Product Import", "cegid-sftp", "ok"),
        ("Request", "Modified", "API Delivery: Product Import", "aurora", "ok"),
        ("Response", "Unmodified", "Order Export", "aurora", "ok"),
        ("Response", "Modified", "FTP Delivery: Order Export", "cegid-ftp", "ok"),
        ("Response", "Modified", "SFTP Delivery: Order Export", "cegid-sftp", "ok"),
    ):
        assert row in log
        assert row[2] in text
    assert {row[4] for row in log} == {"ok"}


def test_the_store_holds_buffered_stock_and_each_order_reaches_cegid_once(shown: tuple[Path, str]) -> None:
    folder, text = shown
    assert "StockUpdate 2000000000015: stock 8\n" in text
    assert "ProductAdd 000126" in text
    (by_ftp,) = (folder / "cegid" / "ftp" / "orders").iterdir()
    (by_sftp,) = (folder / "cegid" / "sftp" / "orders").iterdir()
    lines = by_ftp.read_bytes().decode("cp1252")
    assert lines.count("\r\n") == lines.count("\n") == 4
    assert by_sftp.read_bytes().decode("utf-16") == lines


def test_what_was_dropped_is_filed_away_and_nothing_is_left_half(shown: tuple[Path, str]) -> None:
    folder, _ = shown
    names = [path.name for path in (folder / "cegid").rglob("*") if path.is_file()]
    assert sorted(names) == ["CC_1.asc", "CC_2.asc", "PRODUCTS.xml", "STOCK.csv"]
    assert not list((folder / "cegid").rglob(".uploading"))
    assert all(path.parents[1].name == "processed" for path in (folder / "cegid").rglob("STOCK.csv"))


def test_no_secret_is_shown_and_keys_are_private(shown: tuple[Path, str]) -> None:
    folder, text = shown
    for name in ("token", "password"):
        assert (folder / "keys" / name).read_text() not in text
    assert stat.S_IMODE((folder / "keys").stat().st_mode) == 0o700


def test_the_folder_can_be_looked_into_afterwards(shown: tuple[Path, str]) -> None:
    folder, _ = shown
    done = subprocess.run(
        [sys.executable, "-m", "cegid_daemon", "log", "show", "3", "--config", str(folder / "cegid-daemon.toml")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "inventory" in done.stdout


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    done = demo(str(tmp_path), cwd=tmp_path)
    assert done.returncode == 1
    assert "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
