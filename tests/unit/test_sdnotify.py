"""What systemd hears, and that a systemd which does not hear ends nothing."""

from __future__ import annotations

import logging
import socket
import time
from pathlib import Path

import pytest

from cegid_daemon.sdnotify import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_each_state_is_one_datagram(abstract: bool, tmp_path: Path) -> None:
    address = "@" + tmp_path.name if abstract else str(tmp_path / "notify")
    notifier = Notifier({"NOTIFY_SOCKET": address})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0", 1))
        before = time.monotonic_ns() // 1000
        for tell in (notifier.ready, notifier.reloading, notifier.ready, notifier.alive, notifier.stopping):
            tell()
        heard = [manager.recv(4096).decode() for _ in range(5)]
    reloading, _, at = heard[1].partition("\nMONOTONIC_USEC=")
    assert [heard[0], reloading, *heard[2:]] == ["READY=1", "RELOADING=1", "READY=1", "WATCHDOG=1", "STOPPING=1"]
    assert before <= int(at) <= time.monotonic_ns() // 1000


def test_without_a_manager_nothing_is_said() -> None:
    Notifier({}).ready()


def test_a_manager_that_does_not_listen_ends_nothing_and_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    with caplog.at_level(logging.WARNING):
        notifier.ready()
        notifier.alive()
    assert len(caplog.records) == 1


def test_a_manager_that_is_stuck_is_not_waited_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cegid_daemon.sdnotify._PATIENCE", 0.01)
    address = str(tmp_path / "notify")
    notifier = Notifier({"NOTIFY_SOCKET": address})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        for _ in range(1000):  # more than the socket's queue takes
            notifier.alive()
            if notifier._unheard:
                break
        assert notifier._unheard
        manager.recv(4096)
        notifier.alive()
        assert not notifier._unheard
