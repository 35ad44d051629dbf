"""The daemon as a process: one for each state folder, signals, reload, and every way a file can come to lie there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from cegid_daemon.daemon import ONE_REQUEST
from tests.acceptance.harness import EFFORT, Shop, opened_by, route_table, rows

MANY = 12_000 if EFFORT > 1 else 3_000
SLOW = (
    "{% for r in records %}{% for a in range(3000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}"
    "{{ r.ID }};{% endfor %}"
)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


# -- one process, its signals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["run"], ["once"]])
def test_a_second_one_on_the_same_state_folder_is_refused_with_a_clear_message(words: list[str], shop: Shop) -> None:
    with shop.run() as daemon:
        done = shop.call(*words)
        assert done.returncode == 3
        assert "another cegid-daemon" in done.stderr
        assert str(daemon.process.pid) in done.stderr
    assert shop.call("once").returncode == 0, "the lock ends with its process"


def test_the_lock_ends_with_a_killed_daemon_and_so_do_its_workers(shop: Shop) -> None:
    with shop.run() as daemon:
        shop.drop("a.csv", rows("a"))
        daemon.wait_for(shop.out, "a.txt")
        children = children_of(daemon.process.pid)
        assert children
        daemon.kill()
        daemon.wait_for(lambda: not any(map(runs, children)), "no process left", 5)
    assert shop.call("once").returncode == 0


def test_the_first_sigterm_drains_what_is_under_way(shop: Shop) -> None:
    (shop.folder / "templates" / "rows.txt.j2").write_text(SLOW, "utf-8")
    shop.drop("a.csv", rows("a"))
    with shop.run() as daemon:
        daemon.wait_for(lambda: shop.states()["received"], "claimed")
        assert daemon.stop() == 0
        assert "Stopped." in daemon.said()
    assert shop.states() == {"done": 1}
    assert shop.out() == {"a.txt": b"a;"}


def test_a_second_signal_cuts_and_the_next_start_goes_on(shop: Shop) -> None:
    template = shop.folder / "templates" / "rows.txt.j2"
    template.write_text(SLOW.replace("3000", "30000"), "utf-8")
    shop.drop("a.csv", rows("a"))
    with shop.run() as daemon:
        daemon.wait_for(lambda: shop.states()["received"], "claimed")
        daemon.send(signal.SIGTERM)
        daemon.wait_for(lambda: "Stopping" in daemon.said(), "draining")
        threading.Event().wait(2 * ONE_REQUEST)  # closer together they would be one request
        assert daemon.stop() == 75
        assert "Second signal" in daemon.said()
    template.write_text("done", "utf-8")
    assert shop.call("once").returncode == 0
    assert shop.out() == {"a.txt": b"done"}
    assert shop.spool() == []


def test_a_reload_takes_the_new_configuration_over_as_a_whole(shop: Shop) -> None:
    with shop.run() as daemon:
        shop.drop("a.csv", rows("a"))
        daemon.wait_for(lambda: "a.txt" in shop.out(), "a.txt")
        shop.configure(route_table("rows", target=', name = "new-{{ source.stem }}.txt"'))
        daemon.send(signal.SIGHUP)
        daemon.wait_for(lambda: "Reloaded." in daemon.said(), "reloaded")
        shop.drop("b.csv", rows("b"))
        daemon.wait_for(lambda: "new-b.txt" in shop.out(), "the new name")


def test_a_bad_configuration_or_template_is_refused_and_the_old_one_goes_on(shop: Shop) -> None:
    with shop.run() as daemon:
        for number, spoil in enumerate((spoil_configuration, spoil_template, spoil_state)):
            kept = shop.configuration.read_text("utf-8"), (shop.folder / "templates" / "rows.txt.j2").read_text("utf-8")
            spoil(shop)
            daemon.send(signal.SIGHUP)
            daemon.wait_for(lambda: daemon.said().count("is refused, the old one goes on") == number + 1, "refused")  # noqa: B023
            shop.drop(f"{number}.csv", rows(str(number)))
            daemon.wait_for(lambda: f"{number}.txt" in shop.out(), "still working")  # noqa: B023
            shop.configuration.write_text(kept[0], "utf-8")
            (shop.folder / "templates" / "rows.txt.j2").write_text(kept[1], "utf-8")
    assert [body for _, body in sorted(shop.out().items())] == [b"0;0\n", b"1;0\n", b"2;0\n"]


def spoil_configuration(shop: Shop) -> None:
    shop.configuration.write_text(shop.configuration.read_text("utf-8") + "\nnonsense = 1\n", "utf-8")


def spoil_template(shop: Shop) -> None:
    (shop.folder / "templates" / "rows.txt.j2").write_text("{% for r in records %}", "utf-8")


def spoil_state(shop: Shop) -> None:
    text = shop.configuration.read_text("utf-8")
    shop.configuration.write_text(text.replace('state = "var"', 'state = "elsewhere"'), "utf-8")


def test_files_dropped_while_it_reloads_again_and_again_arrive_exactly_once(shop: Shop) -> None:
    with shop.run() as daemon:
        for number in range(30):
            shop.drop(f"{number}.csv", rows(str(number)))
            if number % 3 == 0:
                daemon.send(signal.SIGHUP)
            time.sleep(0.02)
        daemon.wait_for(lambda: shop.states() == {"done": 30}, "done")
    assert len(shop.out()) == 30


# -- how files come to lie there ---------------------------------------------------------------------------------------


def test_files_there_at_start_renamed_in_and_written_in_place_are_all_taken(shop: Shop) -> None:
    shop.drop("early.csv", rows("early"))
    with shop.run() as daemon:
        shop.drop("renamed.csv", rows("renamed"))
        (shop.inbox / "written.csv").write_bytes(rows("written"))
        shutil.copyfile(shop.drop("other.csv", rows("other"), shop.folder), shop.inbox / "copied.csv")
        daemon.wait_for(lambda: len(shop.out()) == 4, "all four")
    assert shop.states() == {"done": 4}


def test_a_file_written_slowly_or_appended_to_is_taken_once_and_whole(shop: Shop) -> None:
    shop.configure(route_table("rows", source=', match = "*.csv"').replace('settle = "0s"', 'settle = "700ms"'))
    with shop.run() as daemon:
        with (shop.inbox / "slow.csv").open("wb", buffering=0) as slow:
            slow.write(b"ID;N\n")
            for number in range(10):
                with (shop.inbox / "appended.csv").open("ab") as appended:
                    appended.write(b"ID;N\n" * (not number) + b"b;%d\n" % number)
                slow.write(b"a;%d\n" % number)
                time.sleep(0.15)
        daemon.wait_for(lambda: len(shop.out()) == 2, "both")
    assert sorted(len(body.splitlines()) for body in shop.out().values()) == [10, 10]
    assert shop.states() == {"done": 2}


def test_a_file_replaced_before_it_is_whole_goes_as_the_new_one_only(shop: Shop) -> None:
    shop.configure(route_table("rows").replace('settle = "0s"', 'settle = "800ms"'))
    with shop.run() as daemon:
        for number in range(5):
            shop.drop("S.csv", rows(str(number)))
            time.sleep(0.2)
        daemon.wait_for(lambda: shop.states() == {"done": 1}, "done")
    assert shop.out() == {"S.txt": b"4;0\n"}


def test_a_folder_deleted_and_made_again_is_watched_again(shop: Shop) -> None:
    with shop.run() as daemon:
        for turn in range(3):
            shop.drop("a.csv", rows(f"a{turn}"))
            daemon.wait_for(lambda: shop.states()["done"] == turn + 1, "done")  # noqa: B023
            shutil.rmtree(shop.inbox)
            time.sleep(0.1)
            shop.inbox.mkdir()
    assert shop.out() == {"a.txt": b"a2;0\n"}


def test_a_marker_is_waited_for_and_goes_with_its_file(shop: Shop) -> None:
    shop.configure(route_table("rows", source=', match = "*.csv", marker = ".ok"'))
    with shop.run() as daemon:
        shop.drop("a.csv", rows("a"))
        shop.drop("b.csv", rows("b"))
        shop.drop("a.csv.ok", b"")
        daemon.wait_for(lambda: shop.states() == {"done": 1}, "done")
        assert list(shop.out()) == ["a.txt"]
        assert shop.lying() == ["b.csv"]
        shop.drop("b.csv.ok", b"")
        daemon.wait_for(lambda: shop.states() == {"done": 2}, "done")


@pytest.mark.timeout(300)
def test_many_files_dropped_while_it_was_stopped_or_did_not_hear_are_all_found(shop: Shop) -> None:
    for number in range(MANY):
        (shop.inbox / f"{number:05}.csv").write_bytes(rows(f"a{number}"))
    with shop.run() as daemon:
        daemon.wait_for(lambda: shop.states()["done"] > MANY // 10, "begun", 60)
        daemon.send(signal.SIGSTOP)  # the queue of events overflows meanwhile, or very nearly
        for number in range(MANY):
            (shop.inbox / f"x{number:05}.csv").write_bytes(rows(f"b{number}"))
        daemon.send(signal.SIGCONT)
        daemon.wait_for(lambda: shop.states()["done"] == 2 * MANY, "all", 200)
        memory = int(Path(f"/proc/{daemon.process.pid}/status").read_text().partition("VmHWM:")[2].split()[0])
        descriptors = len(opened_by(daemon.process.pid))
    assert len(shop.out()) == 2 * MANY
    assert descriptors < 60
    assert memory < 200_000, f"{memory} kB"
    shop.check_coverage()


def test_more_events_than_the_queue_takes_lose_nothing(shop: Shop) -> None:
    if os.getuid() == 0 and shutil.which("unshare"):
        limit = Path("/proc/sys/fs/inotify/max_queued_events")
        before = limit.read_text()
        try:
            limit.write_text("16")
        except OSError:
            pytest.skip("the kernel's queue cannot be made shorter here")
        try:
            with shop.run() as daemon:
                daemon.send(signal.SIGSTOP)
                for number in range(200):
                    shop.drop(f"{number}.csv", rows(str(number)))
                daemon.send(signal.SIGCONT)
                daemon.wait_for(lambda: shop.states() == {"done": 200}, "all")
        finally:
            limit.write_text(before)
    else:
        pytest.skip("needs root to make the kernel's queue shorter")


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    return [int(child) for child in found] + [one for child in found for one in children_of(int(child))]


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_record_delivered_once_is_not_sent_twice_by_messages_that_waited_together(tmp_path: Path) -> None:
    shop = Shop(tmp_path, route_table("orders", source=', unique = "r.ID"'))
    shop.call("once")
    shop.outbox.rmdir()
    for name in ("1.csv", "2.csv", "3.csv"):
        shop.drop(name, rows("first" if name == "1.csv" else "second"))
        assert shop.call("once").returncode == 1
    shop.outbox.mkdir()
    assert shop.call("once").returncode == 0
    assert shop.out() == {"1.txt": b"first;0\n", "2.txt": b"second;0\n"}
    assert shop.states() == {"done": 3}
