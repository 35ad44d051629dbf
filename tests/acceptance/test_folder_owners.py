"""Two real daemons with two state folders on one inbox."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from harness import CONFIGURATION, OWNER_MARK, Shop, route_table, rows


class Second(Shop):
    """A shop of its own whose source is another's inbox."""

    def __init__(self, folder: Path, first: Shop, source: str = "") -> None:
        self.inbox_url = f"file:{first.inbox.parent}"
        super().__init__(folder, route_table("rows", source=source))
        self.inbox = first.inbox

    def configure(self, *routes: str, layout: str = "") -> None:
        text = CONFIGURATION.format(layout=layout).replace("file:inbox", self.inbox_url)
        self.configuration.write_text(text + "".join(routes), "utf-8")


def shops(tmp_path: Path, one: str = "", other: str = "") -> tuple[Shop, Second]:
    first = Shop(tmp_path / "one", route_table("rows", source=one))
    return first, Second(tmp_path / "two", first, other)


def count(shop: Shop) -> int:
    """How many files were delivered."""
    return len(list(shop.outbox.glob("*.txt")))


def test_of_two_daemons_on_one_inbox_one_takes_each_file_once(tmp_path: Path) -> None:
    first, second = shops(tmp_path)
    with first.run() as one, second.run() as other:
        for number in range(40):
            first.drop(f"{number:02}.csv", rows(f"A{number}"))
        one.wait_for(lambda: count(first) + count(second) >= 40, "delivered")
        refused = other if count(first) else one
        refused.wait_for(lambda: "belongs to another cegid-daemon" in refused.said(), "refused")
        assert "names instance" in refused.said()
        assert "cegid-daemon claim-folder rows" in refused.said()
    bodies = sorted([*first.out().values(), *second.out().values()])
    assert bodies == sorted(f"A{number};0\n".encode() for number in range(40))
    assert {len(first.out()), len(second.out())} == {0, 40}


def test_once_and_check_and_status_say_whose_the_folder_is(tmp_path: Path) -> None:
    first, second = shops(tmp_path)
    assert first.call("once").returncode == 0
    first.drop("a.csv", rows("A"))
    told = "belongs to another cegid-daemon"
    checked = second.call("check")
    assert (checked.returncode, told in checked.stderr) == (0, True)
    refused = second.call("once")
    assert (refused.returncode, refused.stderr.count(told)) == (1, 1)
    assert str(first.folder / "var") in refused.stderr
    assert told in second.call("status").stdout


def test_claiming_turns_a_folder_beside_a_running_daemon_and_back(tmp_path: Path) -> None:
    first, second = shops(tmp_path)
    assert first.call("once").returncode == 0
    first.drop("a.csv", rows("A"))
    told = "belongs to another cegid-daemon"
    with second.run() as daemon:
        daemon.wait_for(lambda: told in daemon.said(), "refused")
        claimed = second.call("claim-folder", "rows")
        assert claimed.returncode == 0, claimed.stderr
        assert "taken from instance" in claimed.stdout
        daemon.wait_for(lambda: count(second), "taken over")
    first.drop("b.csv", rows("B"))
    assert told in first.call("once").stderr
    assert first.call("claim-folder", str(first.inbox)).returncode == 0
    assert first.call("once").returncode == 0
    assert first.out() == {"b.txt": b"B;0\n"}
    assert "there are: rows" in first.call("claim-folder", "nothing").stderr


def test_daemons_whose_masks_cannot_overlap_work_side_by_side(tmp_path: Path) -> None:
    first, second = shops(tmp_path, ', match = "S*.csv"', ', match = "P*.csv"')
    with first.run() as daemon, second.run():
        first.drop("S1.csv", rows("S"))
        first.drop("P1.csv", rows("P"))
        daemon.wait_for(lambda: count(first) and count(second), "both")
    assert (first.out(), second.out()) == ({"S1.txt": b"S;0\n"}, {"P1.txt": b"P;0\n"})


def test_a_reload_that_leaves_the_folder_takes_the_mark_away(tmp_path: Path) -> None:
    first, second = shops(tmp_path)
    with first.run() as daemon:
        daemon.wait_for((first.inbox / OWNER_MARK).exists, "marked")
        first.configure(route_table("rows", folder="other"))
        daemon.send(signal.SIGHUP)
        daemon.wait_for(lambda: not (first.inbox / OWNER_MARK).exists(), "the mark is taken away")
        daemon.wait_for((first.inbox.with_name("other") / OWNER_MARK).exists, "the other folder is marked")
        first.drop("a.csv", rows("A"))
        assert second.call("once").returncode == 0
    assert second.out() == {"a.txt": b"A;0\n"}


def test_a_site_that_was_moved_or_begun_anew_goes_on(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    assert shop.call("once").returncode == 0
    (tmp_path / "shop").rename(tmp_path / "moved")
    moved = Shop(tmp_path / "moved")
    moved.drop("a.csv", rows("A"))
    assert moved.call("once").returncode == 0
    shutil.rmtree(moved.folder / "var")
    moved.drop("b.csv", rows("B"))
    assert moved.call("once").returncode == 0
    assert set(moved.out()) == {"a.txt", "b.txt"}


def test_a_mask_for_dot_files_takes_no_mark(tmp_path: Path) -> None:
    shop = Shop(tmp_path, route_table("rows", source=', match = ["*", ".*"]'))
    for _ in range(2):
        answer = shop.call("once")
        assert (answer.returncode, answer.stderr) == (0, "")
    assert shop.states() == {}
