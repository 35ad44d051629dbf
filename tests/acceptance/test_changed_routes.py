"""The real process, where routes are renamed or removed while messages are open."""

from __future__ import annotations

import signal
from pathlib import Path

from harness import Shop, route_table, rows

MOVED = route_table("levels", extra='moved_from = "stock"')


def stuck(tmp_path: Path) -> Shop:
    """A shop where a message of route stock waits, as its target folder is gone."""
    shop = Shop(tmp_path, route_table("stock", extra='retry = { first = "1h" }'))
    assert shop.call("once").returncode == 0  # the folders are made
    shop.outbox.rename(shop.outbox.with_name("away"))
    shop.drop("a.csv", rows("A"))
    assert shop.call("once").returncode == 1
    shop.outbox.with_name("away").rename(shop.outbox)
    assert shop.states() == {"waiting": 1}
    return shop


def test_check_once_run_and_status_name_a_gone_route_and_how_to_go_on(tmp_path: Path) -> None:
    shop = stuck(tmp_path)
    shop.configure(route_table("levels"))
    told = "route 'stock' is no longer configured, but 1 message of it is open (1), made of "
    for command, code in (("check", 0), ("once", 1), ("status", 1)):
        answer = shop.call(command)
        assert (answer.stderr + answer.stdout).count(told) == 1, command
        assert 'moved_from = "stock"' in answer.stderr + answer.stdout
        assert f"{shop.inbox}/a.csv" in answer.stderr + answer.stdout
        assert command == "status" or answer.returncode == code
    assert "tried again by itself" not in shop.call("status").stdout
    assert "route stock is no longer configured" in shop.call("log", "search", "a.csv").stdout
    with shop.run() as daemon:
        daemon.wait_for(lambda: told in daemon.said(), "named in the log")
        shop.configure(MOVED)
        daemon.send(signal.SIGHUP)
        daemon.wait_for(lambda: shop.states() == {"done": 1}, "taken over by a reload")
        daemon.wait_for(lambda: "takes over 1 open message(s) of stock" in daemon.said(), "told")
    assert list(shop.out().values()) == [b"A;0\n"]
    assert "stock" not in shop.call("status").stdout
    assert not [path for path in shop.inbox.iterdir() if path.suffix == ".csv"]


def test_discard_beside_a_daemon_archives_the_file_of_a_gone_route(tmp_path: Path) -> None:
    shop = stuck(tmp_path)
    shop.configure(route_table("levels"))
    with shop.run() as daemon:
        daemon.wait_for(lambda: "no longer configured" in daemon.said(), "named in the log")
        assert shop.call("discard", "1").returncode == 0
        daemon.wait_for(lambda: not (shop.inbox / "a.csv").exists(), "archived")
        shop.drop("a.csv", rows("B"))
        daemon.wait_for(lambda: shop.states() == {"discarded": 1, "done": 1}, "the next one is taken")
    assert list(shop.out().values()) == [b"B;0\n"]


def test_a_record_that_was_delivered_before_its_route_was_renamed_is_not_sent_again(tmp_path: Path) -> None:
    unique = ', unique = "r.ID"'
    shop = Shop(tmp_path, route_table("stock", source=unique))
    shop.drop("a.csv", rows("A"))
    assert shop.call("once").returncode == 0
    shop.configure(route_table("levels", source=unique, extra='moved_from = "stock"'))
    shop.drop("b.csv", rows("A") + b"B;1\n")
    assert shop.call("once").returncode == 0
    assert shop.out() == {"a.txt": b"A;0\n", "b.txt": b"B;1\n"}
    assert shop.call("replay", "1").returncode == 0
    assert shop.sql("SELECT DISTINCT route FROM message") == [("levels",)]
