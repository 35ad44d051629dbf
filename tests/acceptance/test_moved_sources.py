"""The real process, where a source folder is moved or reached by another path while a message of it is open."""

from __future__ import annotations

import signal
from pathlib import Path

from harness import Shop, route_table, rows

RETRY = 'retry = { first = "1h" }'


def stuck(tmp_path: Path) -> Shop:
    """A shop where a message of route stock waits, as its target folder is gone."""
    shop = Shop(tmp_path, route_table("stock", extra=RETRY))
    assert shop.call("once").returncode == 0  # the folders are made
    shop.outbox.rename(shop.outbox.with_name("away"))
    shop.drop("a.csv", rows("A"))
    assert shop.call("once").returncode == 1
    return shop


def heal(shop: Shop) -> None:
    shop.outbox.with_name("away").rename(shop.outbox)


def sent_once(shop: Shop, new: Path) -> None:
    """The open file is sent once and filed away from the new place; the next one under its name is taken."""
    once = shop.call("once")
    assert once.returncode == 0, once.stderr
    assert shop.states() == {"done": 1}
    assert list(shop.out()) == ["a.txt"]
    assert [path.name for path in new.glob("processed/*/*")] == ["a.csv"]
    shop.drop("a.csv", rows("A"), new)
    assert shop.call("once").returncode == 0
    assert shop.states() == {"done": 2}


def test_the_open_file_of_a_moved_folder_is_sent_once(tmp_path: Path) -> None:
    shop = stuck(tmp_path)
    new = shop.inbox.with_name("s2")
    shop.inbox.rename(new)
    shop.configure(route_table("stock", folder="s2", extra=RETRY))
    assert shop.call("once").returncode == 1
    assert shop.states() == {"waiting": 1}
    heal(shop)
    sent_once(shop, new)


def test_the_open_file_of_a_folder_that_another_url_leads_to_is_sent_once(tmp_path: Path) -> None:
    shop = stuck(tmp_path)
    (tmp_path / "alias").symlink_to(tmp_path / "inbox")
    table = route_table("levels", extra='moved_from = "stock"\n' + RETRY).replace('"inbox"', '"alias"')
    shop.configure(f'[endpoint.alias]\nurl = "file:alias"\n{table}')
    assert shop.call("once").returncode == 1
    assert shop.states() == {"waiting": 1}
    heal(shop)
    sent_once(shop, shop.inbox)


def test_a_folder_moved_under_the_running_daemon_is_told_and_its_file_sent_once(tmp_path: Path) -> None:
    shop = stuck(tmp_path)
    with shop.run() as daemon:
        new = shop.inbox.with_name("s2")
        shop.inbox.rename(new)
        heal(shop)
        shop.configure(route_table("stock", folder="s2", extra=RETRY))
        daemon.send(signal.SIGHUP)
        daemon.wait_for(lambda: "taken before in another folder" in daemon.said(), "the file, recognised")
        shop.drop("b.csv", rows("B"), new)
    assert shop.call("once").returncode == 0
    assert shop.states() == {"done": 2}
    assert sorted(shop.out()) == ["a.txt", "b.txt"]
