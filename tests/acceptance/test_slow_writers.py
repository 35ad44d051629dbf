"""Senders that open a file and take their time: the real daemon takes what they wrote whole, once, or says why not."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.acceptance.harness import Shop

ROUTE = (
    '[route.rows]\nstore = "main"\nlayout = "rows"\ntemplate = "rows.txt.j2"\n'
    'source = {{ endpoint = "inbox", folder = "in", settle = "200ms"{} }}\n'
    'target = {{ endpoint = "outbox", folder = "out", name = "{{{{ source.stem }}}}.txt" }}\n'
)
WITHOUT_LEASES = ["setpriv", "--bounding-set=-lease"]  # as another user's daemon: leases on the file are refused
WAITING = "SELECT name, reason FROM waiting_file"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path, ROUTE.format(""))


def write(shop: Shop, script: str) -> subprocess.Popen[bytes]:
    """A sender that writes as a shell script says; `$F` is the file."""
    return subprocess.Popen(["sh", "-c", script], env={**os.environ, "F": str(shop.inbox / "STOCK.csv")})


def test_a_file_opened_empty_and_filled_later_goes_out_with_its_rows(shop: Shop) -> None:
    with shop.run() as daemon:
        with write(shop, r"(sleep 6; printf 'ID;N\na;1\na;2\n') > $F"):
            daemon.wait_for(lambda: shop.sql(WAITING) == [("STOCK.csv", "empty")], "waiting", 7)
            assert "STOCK.csv: empty, waiting since" in shop.call("status").stdout
        daemon.wait_for(lambda: shop.states()["done"], "done")
        assert shop.out() == {"STOCK.txt": b"a;1\na;2\n"}
        assert (dict(shop.states()), shop.sql(WAITING)) == ({"done": 1}, [])


@pytest.mark.parametrize("own", [True, False], ids=["own file", "another user's file"])
def test_a_row_a_pause_and_a_row_are_one_file(own: bool, shop: Shop) -> None:
    if not own and (os.geteuid() != 0 or shutil.which("setpriv") is None):
        pytest.skip("needs root and setpriv to run the daemon without CAP_LEASE")
    with shop.run(prefix=() if own else WITHOUT_LEASES) as daemon:
        give_away = "" if own else "chown 65534 $F;"
        with write(shop, rf"({give_away} printf 'ID;N\na;1\n'; sleep 5; printf 'a;2\n') > $F"):
            daemon.wait_for(lambda: shop.sql(WAITING) == [("STOCK.csv", "open for writing")], "waiting", 6)
        daemon.wait_for(lambda: shop.states()["done"], "done")
        assert (shop.out(), dict(shop.states())) == ({"STOCK.txt": b"a;1\na;2\n"}, {"done": 1})


def test_a_writer_from_before_the_start_is_seen_too(shop: Shop) -> None:
    with (shop.inbox / "STOCK.csv").open("wb", buffering=0) as file:
        file.write(b"ID;N\na;1\n")
        with shop.run() as daemon:
            daemon.wait_for(lambda: shop.sql(WAITING) == [("STOCK.csv", "open for writing")], "waiting")
            file.write(b"a;2\n")
            file.close()
            daemon.wait_for(lambda: shop.states()["done"], "done")
            assert shop.out() == {"STOCK.txt": b"a;1\na;2\n"}


def test_once_reports_what_is_still_being_written_and_what_is_empty_and_takes_the_rest(shop: Shop) -> None:
    shop.drop("WHOLE.csv", b"ID;N\nw;1\n")
    shop.drop("EMPTY.csv", b"")
    with (shop.inbox / "OPEN.csv").open("wb", buffering=0) as file:
        file.write(b"ID;N\no;1\n")
        begun = time.monotonic()
        done = shop.call("once")
        assert (done.returncode, shop.out()) == (1, {"WHOLE.txt": b"w;1\n"})
        assert time.monotonic() - begun < 10
        lines = done.stderr.splitlines()
        assert ["EMPTY.csv" in line and "empty" in line for line in lines].count(True) == 1
        assert ["OPEN.csv" in line and "open for writing" in line for line in lines].count(True) == 1


def test_without_settle_open_a_quiet_file_is_whole(shop: Shop) -> None:
    shop.configure(ROUTE.format(", settle_open = false"))
    with (shop.inbox / "OPEN.csv").open("wb", buffering=0) as file:
        file.write(b"ID;N\no;1\n")
        assert shop.call("once").returncode == 0
    assert shop.out() == {"OPEN.txt": b"o;1\n"}


def test_an_empty_file_is_one_at_once_if_it_is_told_so(shop: Shop) -> None:
    shop.configure(ROUTE.format(', settle_empty = "0s"'))
    shop.drop("EMPTY.csv", b"")
    assert shop.call("once").returncode == 0
    assert dict(shop.states()) == {"done": 1}


@pytest.mark.parametrize("after", ["archive", "delete"])
def test_what_is_written_after_a_file_was_taken_goes_out_too(after: str, shop: Shop) -> None:
    shop.configure(ROUTE.format(f', settle_open = false, after = "{after}"'))
    with shop.run() as daemon, (shop.inbox / "STOCK.csv").open("wb", buffering=0) as file:
        file.write(b"ID;N\na;1\n")
        daemon.wait_for(lambda: shop.states()["done"] == 1, "the first half")
        file.write(b"a;2\n")
        daemon.wait_for(lambda: shop.states()["done"] == 2, "the whole")
        assert shop.out() == {"STOCK.txt": b"a;1\na;2\n"}
        assert "changed after message 1 was made of it" in daemon.said()


def test_what_is_written_after_once_is_taken_by_the_next(shop: Shop) -> None:
    shop.drop("STOCK.csv", b"ID;N\na;1\n")
    assert shop.call("once").returncode == 0
    (archived,) = (shop.inbox / "processed").glob("*/STOCK.csv")
    with archived.open("ab") as file:
        file.write(b"a;2\n")
    assert shop.call("once").returncode == 0
    assert shop.out() == {"STOCK.txt": b"a;1\na;2\n"}
