"""What a person should know and could miss is said once, plainly, with what to do; nothing refuses to start for it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.acceptance.harness import Shop, rows


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_an_id_named_twice_is_replayed_once_and_told(shop: Shop) -> None:
    shop.drop("a.csv", rows("a"))
    assert shop.call("once").returncode == 0
    done = shop.call("replay", "1", "1", "1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("message 1 is named 3 times: it counts once") == 1
    assert done.stdout.splitlines() == ["message 1 replayed as 2: done"]
    assert shop.states() == {"done": 2}


def test_an_id_named_twice_is_decided_on_once(shop: Shop) -> None:
    shop.call("once")  # which makes the folders, once
    shutil.rmtree(shop.outbox)
    shop.drop("a.csv", rows("a"))
    shop.call("once")
    done = shop.call("discard", "1", "1")
    assert done.returncode == 0, done.stderr
    assert "message 1 is named 2 times" in done.stderr
    assert done.stdout.splitlines() == ["message 1: discarded"]


def test_two_thousand_folders_whose_names_match_are_one_line(shop: Shop) -> None:
    for number in range(2_000):
        (shop.inbox / f"{number:04}.csv").mkdir()
    with shop.run() as daemon:
        shop.drop("a.csv", rows("a"))
        daemon.wait_for(lambda: shop.states()["done"], "the file among them")
        lines = [line for line in daemon.said().splitlines() if "not regular file" in line]
        assert len(lines) == 1
        assert "Ignoring 2000 matching entries" in lines[0]
        (shop.inbox / "link.csv").symlink_to("nowhere")
        os.mkfifo(shop.inbox / "pipe.csv")
        daemon.wait_for(lambda: "pipe.csv" in daemon.said() and "link.csv" in daemon.said(), "those that came since")
        assert daemon.stop() == 0


def test_a_removed_write_ahead_log_is_told_and_stops_nothing(shop: Shop) -> None:
    with shop.run() as daemon:
        shop.drop("a.csv", rows("a"))
        daemon.wait_for(lambda: shop.states()["done"] == 1, "the first file")
        daemon.kill()
    log = shop.journal.with_name("journal.sqlite-wal")
    assert log.stat().st_size > 0
    log.unlink()
    shop.journal.with_name("journal.sqlite-shm").unlink()
    checked = shop.call("check")
    assert checked.returncode == 0
    assert "the journal lacks work that its marker remembers" in checked.stderr
    with shop.run() as daemon:
        assert "its write-ahead log (-wal) was removed" in daemon.said()
        assert "Committed work may be missing" in shop.notices()["journal taken back"]
        shop.drop("b.csv", rows("b"))
        daemon.wait_for(lambda: "b.txt" in shop.out(), "a new file")
        assert daemon.stop() == 0
    with shop.run() as daemon:
        assert "Committed work" not in daemon.said()


def test_a_restored_backup_is_told_and_sends_nothing_twice_by_itself(shop: Shop) -> None:
    shop.call("once")  # which makes the folders, once
    away = shop.outbox.with_name("away")
    shop.outbox.rename(away)
    shop.drop("a.csv", rows("a"))
    assert shop.call("once").returncode == 1
    assert shop.call("backup", str(shop.folder / "copy")).returncode == 0
    away.rename(shop.outbox)
    assert shop.call("once").returncode == 0
    assert shop.out() == {"a.txt": b"a;0\n"}
    (shop.outbox / "a.txt").unlink()  # the receiver has it
    for left in shop.journal.parent.glob("journal.sqlite-*"):
        left.unlink()
    shutil.copy(shop.folder / "copy", shop.journal)
    with shop.run() as daemon:
        assert "The journal was restored from the backup made at" in daemon.said()
        shop.drop("b.csv", rows("b"))
        daemon.wait_for(lambda: "b.txt" in shop.out(), "a new file")
        assert daemon.stop() == 0
    assert shop.out() == {"b.txt": b"b;0\n"}
    assert shop.states() == {"held": 1, "done": 1}
    assert "may have been delivered since" in shop.call("status").stdout
    assert shop.call("discard", "1").returncode == 0
    assert shop.call("once").returncode == 0
