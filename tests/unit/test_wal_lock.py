"""Commits share a lock, a checkpoint holds it alone: across threads, connections and processes."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cegid_daemon.journal.wal_lock import WalLock

Make = Callable[[], WalLock]


@pytest.fixture
def lock_of(tmp_path: Path) -> Iterator[Make]:
    """Makes locks of one file, each as a connection of its own has it."""
    descriptors: list[int] = []

    def make() -> WalLock:
        descriptors.append(os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT))
        return WalLock(descriptors[-1])

    yield make
    for one in descriptors:
        os.close(one)


def test_commits_share_the_lock_and_a_checkpoint_holds_it_alone(lock_of: Make) -> None:
    first, second, third = lock_of(), lock_of(), lock_of()
    assert first.share(0)
    assert second.share(0)
    assert not third.exclude(0)
    first.release()
    second.release()
    assert third.exclude(0)
    assert not first.share(0)
    assert not second.exclude(0)
    third.release()
    assert first.share(0)


def test_a_checkpoint_that_waited_in_vain_lets_commits_begin_again(lock_of: Make) -> None:
    committing, checkpointing, other = lock_of(), lock_of(), lock_of()
    committing.share(0)
    assert not checkpointing.exclude(0.01)
    assert other.share(0)


def test_a_checkpoint_gets_its_turn_among_commits_that_never_pause(lock_of: Make) -> None:
    """Two that overlap all the time, so that there is no moment without a commit."""
    ended = threading.Event()

    def commit_on_and_on(lock: WalLock) -> None:
        while not ended.is_set():
            assert lock.share(10)
            ended.wait(0.02)
            lock.release()

    threads = [threading.Thread(target=commit_on_and_on, args=(lock_of(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    checkpointing = lock_of()
    try:
        for _ in range(5):
            assert checkpointing.exclude(10)
            checkpointing.release()
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("begin", ["share", "exclude"])
def test_a_killed_process_leaves_nothing_locked(begin: str, lock_of: Make, tmp_path: Path) -> None:
    script = (
        "import os, sys, time; from cegid_daemon.journal.wal_lock import WalLock\n"
        f"WalLock(os.open(sys.argv[1], os.O_RDWR)).{begin}(10); print('held', flush=True); time.sleep(60)\n"
    )
    lock = lock_of()
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "file")], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert not lock.exclude(0)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert lock.exclude(0)


def test_a_commit_costs_three_calls(lock_of: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is several commits: the lock is on the way of every one of them."""
    lock, calls = lock_of(), list[bytes]()
    monkeypatch.setattr(fcntl, "fcntl", lambda _file, _command, request: calls.append(request))
    assert lock.share()
    lock.release()
    assert len(calls) == 3


def test_waiting_ends_in_time(lock_of: Make) -> None:
    first, second = lock_of(), lock_of()
    first.exclude(0)
    began = time.monotonic()
    assert not second.share(0.2)
    assert 0.2 <= time.monotonic() - began < 5
