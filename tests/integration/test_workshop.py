"""The workshop with real processes: what a bad message costs, and that nothing outlives the daemon."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cegid_daemon.errors import BadInput, JournalUnavailable, LimitExceeded, MessageError, Transient
from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.frames import expand_frame
from cegid_daemon.journal.payloads import Payloads
from cegid_daemon.rewrite.ports import Job
from cegid_daemon.rewrite.recipe import Layout, Recipe, Templates
from cegid_daemon.workshop import Finished, Limits, Order, Workshop

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
RECIPE = Recipe(Layout("y2-stock-csv", "delimited"), Templates("aurora/stock.xml.j2", {"aurora/stock.xml.j2": "…"}))
MIB = 1 << 20
QUICK = Limits(seconds=20, memory=200 * MIB)
HERE = Path(__file__).parent


def order(command, message_id=1, *, size=None):
    raw = command.encode()
    job = Job(message_id, "Inventory Import", NOW, f"S{message_id}.csv", "inventory", "inventory", "main", NOW)
    return Order(RECIPE, job, "main", "inventory", 0, message_id, 0, raw, len(raw) if size is None else size)


@pytest.fixture
def state(tmp_path):
    Connection(tmp_path / "journal.sqlite").close()
    return tmp_path


@pytest.fixture
def open_workshop(state, monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    opened = []

    def build(limits=QUICK, workers=2):
        core = "workshop_cores:rewrite"
        opened.append(Workshop(state / "journal.sqlite", state / "spool", limits=limits, workers=workers, core=core))
        opened[-1].start()
        return opened[-1]

    yield build
    for workshop in opened:
        workshop.stop()


def text(finished):
    assert isinstance(finished, Finished), finished
    return b"".join(expand_frame(body) for part in finished.parts for _, body in part)


def spooled(state):
    return sorted(path.name for path in (state / "spool").iterdir())


def running(pid):
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def gone_within(seconds, *pids):
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(map(running, pids)):
        time.sleep(0.01)
    return not any(map(running, pids))


def wait_until(condition):
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


def pids(workshop):
    worker, nursery = workshop.rewrite([order("tell")])[0].rewritten.keys[:2]
    return int(worker), int(nursery)


def test_a_batch_comes_back_in_order(open_workshop):
    results = open_workshop().rewrite([order(f"file {number}", number) for number in range(64)])
    assert [text(result) for result in results] == [f"file {number}".encode() for number in range(64)]
    assert [result.rewritten.parts[0].name for result in results[:2]] == ["S0.csv.xml", "S1.csv.xml"]


def test_no_orders_are_no_results(open_workshop):
    assert open_workshop().rewrite([]) == []


def test_a_bad_message_does_not_spoil_the_others(open_workshop):
    batch = [order(word, number) for number, word in enumerate(["a", "bad", "bug", "misconfigured", "b"])]
    first, bad, bug, other, last = open_workshop().rewrite(batch)
    assert (text(first), text(last)) == (b"a", b"b")
    assert isinstance(bad, BadInput)
    assert bad.remedy == "Repair it."
    assert type(bug) is MessageError
    assert "KeyError: 'bug' in _bug" in str(bug)
    assert type(other) is MessageError
    assert "Give it one." in str(other)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("loop", ["took too long", "template aurora/stock.xml.j2, limit 1"]),
        ("loop-in-c", ["took too long"]),
        ("eat", ["took too much memory", "template aurora/stock.xml.j2, limit 200 MiB"]),
        ("eat-in-template", ["took too much memory"]),
        ("die", ["killed its worker", "SIGKILL"]),
        ("leave", ["killed its worker", "status 3"]),
    ],
)
def test_only_the_message_that_cost_the_worker_fails(open_workshop, state, command, said):
    workshop = open_workshop(Limits(seconds=1, memory=200 * MIB))
    batch = [order("a", 1), order("b", 2), order(command, 3), order("c", 4), order("d", 5)]
    results = workshop.rewrite(batch)
    guilty = results.pop(2)
    assert [text(result) for result in results] == [b"a", b"b", b"c", b"d"]
    assert isinstance(guilty, LimitExceeded)
    assert (guilty.where.route, guilty.where.file) == ("inventory", "S3.csv")
    for words in said:
        assert words in str(guilty)
    assert spooled(state) == []


def test_a_worker_killed_by_chance_costs_nothing(open_workshop, tmp_path):
    results = open_workshop().rewrite([order("a", 1), order(f"die-once {tmp_path}/died", 2), order("b", 3)])
    assert [type(result) for result in results] == [Finished] * 3


def test_workers_killed_from_outside_again_and_again_cost_nothing_before_the_third(open_workshop, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    batch = [order("a", 1), order(f"die-times 2 {first}", 2), order(f"die-times 3 {second}", 3), order("b", 4)]
    results = open_workshop().rewrite(batch)
    assert [type(result) for result in results] == [Finished, Finished, LimitExceeded, Finished]


def test_a_nursery_that_is_killed_is_no_order_s_fault(open_workshop, tmp_path):
    workshop = open_workshop()
    (finished,) = workshop.rewrite([order(f"kill-nursery 2 {tmp_path}", 1)])
    assert type(finished) is Finished
    for one in tmp_path.iterdir():
        if one.name.startswith("killed-"):
            one.unlink()
    with pytest.raises(Transient, match="killed again and again"):
        workshop.rewrite([order(f"kill-nursery 3 {tmp_path}", 1)])
    assert text(workshop.rewrite([order("a")])[0]) == b"a"


def test_memory_that_an_earlier_message_left_taken_is_not_the_next_ones_fault(open_workshop):
    keep = f"keep {100 * MIB}"
    results = open_workshop(Limits(memory=200 * MIB, worn=1000 * MIB)).rewrite([order(keep, 1), order(keep, 2)])
    assert [type(result) for result in results] == [Finished] * 2


def test_a_worker_whose_memory_has_grown_is_replaced(open_workshop):
    workshop = open_workshop(Limits(worn=1))
    results = workshop.rewrite([order("tell", number) for number in range(3)])
    assert len({result.rewritten.keys[0] for result in results}) == 3


def test_large_parts_and_long_lists_lie_in_the_spool_until_discarded(open_workshop, state):
    (finished,) = open_workshop().rewrite([order("rows 2500\n" + os.urandom(700_000).hex())])
    assert spooled(state) == ["rewrite-1-1", "rewrite-1-belongs", "rewrite-1-buffers"]
    assert len(text(finished)) == 1_400_010
    assert list(finished.belongs)[::2499] == [("sku 0", "product é"), ("sku 2499", "product é")]
    assert list(finished.buffers)[-1] == ("variation", "sku 2499", "\udcff2", 2499)
    assert all((state / "spool" / name).stat().st_mode & 0o077 == 0 for name in spooled(state))
    finished.discard()
    finished.discard()
    assert spooled(state) == []


def test_bytes_come_from_the_journal_where_they_are_not_at_hand(open_workshop, state):
    raw = b"file\n" + os.urandom(3_000_000)
    connection = Connection(state / "journal.sqlite")
    payloads = Payloads(connection)
    payload = payloads.seal(payloads.stage_bytes([raw]))
    workshop = open_workshop()
    (finished,) = workshop.rewrite([replace(order(""), payload=payload, raw=None, size=len(raw))])
    assert text(finished) == raw
    finished.discard()
    (refused,) = workshop.rewrite([replace(order(""), payload=99, raw=None, size=1)])
    assert type(refused) is MessageError
    assert "payload 99" in str(refused)
    connection.close()


def test_a_journal_that_cannot_be_read_is_no_fault_of_a_message(open_workshop, state):
    (state / "journal.sqlite").unlink()
    with pytest.raises(JournalUnavailable):
        open_workshop().rewrite([order("a")])


def test_a_full_disk_is_no_fault_of_a_message_and_leaves_nothing(open_workshop, state):
    workshop = open_workshop()
    with pytest.raises(Transient, match="No space left"):
        workshop.rewrite([order("write 2", 1), order("full", 2)])
    assert spooled(state) == []
    assert text(workshop.rewrite([order("a")])[0]) == b"a"


def test_a_spool_file_beyond_its_limit_fails_the_message(open_workshop, state):
    guilty, good = open_workshop(Limits(spool=3 * MIB)).rewrite([order("write 9", 1), order("a", 2)])
    assert isinstance(guilty, LimitExceeded)
    assert "too large a file" in str(guilty)
    assert text(good) == b"a"
    assert spooled(state) == []


def test_small_messages_go_on_while_large_ones_run(open_workshop, tmp_path):
    workshop = open_workshop()
    with ThreadPoolExecutor(2) as threads:
        large = [
            threads.submit(workshop.rewrite, [order(f"wait-for {tmp_path}/go", number, size=2 * MIB)])
            for number in (1, 2)
        ]
        try:
            wait_until((tmp_path / "go.waiting").exists)
            assert text(workshop.rewrite([order("small", 3)])[0]) == b"small"
            assert not any(asked.done() for asked in large)
        finally:
            (tmp_path / "go").touch()
    assert [type(asked.result()[0]) for asked in large] == [Finished] * 2


def test_many_threads_get_each_their_own_results(open_workshop):
    workshop = open_workshop()

    def ask(number):
        batch = [order(f"file {number}.{inner}", number * 100 + inner) for inner in range(20)]
        return [text(result) for result in workshop.rewrite(batch)] == [one.raw for one in batch]

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(ask, range(24)))


def test_progress_grows_within_a_large_message_too(open_workshop):
    workshop = open_workshop()
    workshop.rewrite([order("a")])
    assert workshop.progress == 1
    workshop.rewrite([order("write 20")])[0].discard()
    assert workshop.progress > 4


def test_closing_ends_what_is_under_way(open_workshop, tmp_path):
    workshop = open_workshop()
    both = pids(workshop)
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(workshop.rewrite, [order(f"wait-for {tmp_path}/never")])
        wait_until((tmp_path / "never.waiting").exists)
        workshop.stop()
        assert isinstance(asked.exception(), Transient)
    assert gone_within(0.1, *both)
    assert not workshop.alive()
    with pytest.raises(Transient):
        workshop.rewrite([order("a")])


def test_it_can_be_opened_again(open_workshop):
    workshop = open_workshop()
    workshop.stop()
    workshop.start()
    assert text(workshop.rewrite([order("a")])[0]) == b"a"


def test_a_killed_nursery_takes_its_workers_along_and_is_replaced(open_workshop, tmp_path):
    workshop = open_workshop()
    with ThreadPoolExecutor(1) as thread:
        worker, nursery = pids(workshop)
        asked = thread.submit(workshop.rewrite, [order(f"wait-for {tmp_path}/go")])
        wait_until((tmp_path / "go.waiting").exists)
        os.kill(nursery, signal.SIGKILL)
        assert gone_within(2, worker, nursery)
        (tmp_path / "go").touch()
        assert type(asked.result()[0]) is Finished
    assert workshop.alive()


def test_a_nursery_that_cannot_be_started_is_told_as_such(state, monkeypatch):
    workshop = Workshop(state / "journal.sqlite", state / "spool")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", str(state / "gone"))
        with pytest.raises(Transient, match="no worker can be started"):
            workshop.start()
    workshop.stop()


def test_signals_meant_for_the_daemon_do_not_end_workers(open_workshop):
    workshop = open_workshop()
    both = pids(workshop)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        for pid in both:
            os.kill(pid, number)
    assert pids(workshop) == both
    assert os.getpgid(both[0]) != os.getpgid(0)


def test_workers_know_neither_secrets_nor_the_command_line(open_workshop, monkeypatch):
    monkeypatch.setenv("AURORA_TOKEN", "secret")
    known = open_workshop().rewrite([order("tell")])[0].rewritten.keys
    assert "AURORA_TOKEN" not in known
    assert "PATH" in known
    assert not {"cegid_daemon.cli", "click", "paramiko", "pydantic", "sqlite_utils", "watchdog"} & set(known)


def test_the_spool_is_cleared(open_workshop, state):
    workshop = open_workshop()
    (state / "spool" / "rewrite-7-1").write_bytes(b"x")
    (state / "spool" / "folder").mkdir()
    workshop.clear_spool()
    assert spooled(state) == []


DAEMON = """
import sys, threading
sys.path.insert(0, {here!r})
print("imported", flush=True)
import test_workshop
from pathlib import Path
state = Path({state!r})
workshop = test_workshop.Workshop(state / "journal.sqlite", state / "spool", core="workshop_cores:rewrite",
                                  limits=test_workshop.Limits(seconds={seconds}, seconds_per_mb=0))
workshop.start()
print(*test_workshop.pids(workshop), flush=True)
workshop.rewrite([test_workshop.order({command!r}, size=1 << 30)])
"""


@contextmanager
def daemon_at(state, command, seconds=30):
    """Another process whose main module starts the workshop without a guard, as a console script may."""
    script = state / "daemon.py"
    script.write_text(DAEMON.format(here=str(HERE), state=str(state), command=command, seconds=seconds))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as daemon:
        try:
            assert daemon.stdout.readline() == "imported\n"
            worker, nursery = map(int, daemon.stdout.readline().split())
            wait_until((state / "spool" / "rewrite-1-1").exists if command == "loop" else lambda: True)
            yield daemon, worker, nursery
        finally:
            daemon.kill()


@pytest.mark.parametrize("command", ["loop", "loop-in-c"])
def test_kill_9_of_the_daemon_leaves_no_process_behind(state, command):
    with daemon_at(state, command) as (daemon, worker, nursery):
        daemon.kill()
        assert gone_within(2, worker, nursery)
        assert daemon.stdout.read() == "", "a worker ran the main module again"


def test_the_kernel_ends_a_worker_whose_daemon_is_too_busy_to(state):
    with daemon_at(state, "loop", seconds=0.1) as (daemon, worker, _nursery):
        daemon.send_signal(signal.SIGSTOP)
        assert gone_within(10, worker)


def test_no_thread_and_no_descriptor_is_left(open_workshop):
    threads, descriptors = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    workshop = open_workshop(Limits(seconds=1, memory=200 * MIB))
    for command in ("a", "eat", "die", "loop"):
        workshop.rewrite([order(command)])
    workshop.stop()
    assert (threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))) == (threads, descriptors)


STOCK = Recipe(
    Layout("own", "delimited", columns=("SKU", "STOCK"), header=False, sku="r.SKU", stock="r.STOCK"),
    Templates("stock.csv.j2", {"stock.csv.j2": "{% for r in records %}{{ r.sku }}={{ r.stock }};{% endfor %}"}),
    target_name="{{ source.stem }}.txt",
)


def with_template(inner):
    return replace(STOCK, templates=Templates("own.j2", {"own.j2": f"{{% for r in records %}}{inner}{{% endfor %}}"}))


def test_a_worker_that_stands_still_is_given_up(open_workshop, tmp_path):
    (result,) = open_workshop(Limits(seconds=0.1, memory=200 * MIB)).rewrite([order(f"wait-for {tmp_path}/nobody")])
    assert isinstance(result, LimitExceeded)
    assert "took too long (" in str(result)
    assert "limit 1.001 s" in str(result)
    assert "CPU" not in str(result)


def test_a_worker_that_is_waited_for_is_no_standstill_of_the_daemon(open_workshop, tmp_path, monkeypatch):
    monkeypatch.setattr("cegid_daemon.workshop.hiring._LOOK_SECONDS", 0.05)
    workshop = open_workshop(Limits(seconds=0.1, memory=200 * MIB))
    before = workshop.progress
    workshop.rewrite([order(f"wait-for {tmp_path}/nobody")])
    assert workshop.progress - before > 5


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "took too long"),
        ("{% set x = 'x' * 10 ** 9 %}{{ x }}", "took too much memory"),
    ],
)
def test_a_hostile_template_costs_its_own_message(state, template, said):
    workshop = Workshop(state / "journal.sqlite", state / "spool", limits=Limits(seconds=1, memory=200 * MIB))
    workshop.start()
    try:
        good = replace(order("A;2\nB;1\n", 1), recipe=STOCK)
        first, hostile, last = workshop.rewrite(
            [good, replace(good, message_id=2, recipe=with_template(template)), replace(good, message_id=3)]
        )
    finally:
        workshop.stop()
    assert (text(first), text(last)) == (b"A=2;B=1;", b"A=2;B=1;")
    assert isinstance(hostile, LimitExceeded)
    assert said in str(hostile)
    assert "template own.j2" in str(hostile)
    assert first.rewritten.parts[0].name == "S1.txt"
