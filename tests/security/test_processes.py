"""What the daemon's processes know of each other, and what others on the machine can know of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.harness import opened_by
from tests.security.service import OPERATOR, SENDER, VIEWER, Service, running
from tests.servers.places import descendants

IN_ENVIRONMENT = "a secret of the environment 4711"


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A daemon with a secret in its environment, where an operator may put one."""
    before, os.environ["ALERT_SECRET"] = os.environ.get("ALERT_SECRET"), IN_ENVIRONMENT
    try:
        with running(tmp_path_factory.mktemp("processes") / "shop") as started:
            yield started
    finally:
        del os.environ["ALERT_SECRET"]
        if before is not None:
            os.environ["ALERT_SECRET"] = before


def processes(service: Service) -> list[int]:
    """The daemon's nursery and its workers, of which one is idle now."""
    service.deliver()
    found = descendants(service.pid)
    assert len(found) >= 2, "a nursery and a worker"
    return found


def test_no_secret_is_in_a_command_line_or_in_a_worker_s_environment(service):
    for pid in (service.pid, *(children := processes(service))):
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
        assert not any(secret in line for secret in (OPERATOR, VIEWER, SENDER, IN_ENVIRONMENT))
    for pid in children:
        opened_by(pid)  # says so where only root may look
        assert IN_ENVIRONMENT not in Path(f"/proc/{pid}/environ").read_text()


def test_workers_inherit_no_listener_and_no_journal_that_can_be_written(service):
    inodes = listening(service.pid)
    assert len(inodes) >= 3, "console, FTP and SFTP listen"
    for pid in processes(service):
        for number, link in descriptors(pid).items():
            assert link.removeprefix("socket:[").removesuffix("]") not in inodes, (pid, link)
            if link.endswith("journal.sqlite"):  # SQLite shares its -wal and -shm with who reads
                assert is_readonly(pid, number), (pid, link)
            if number > 2:
                assert "journal" in link or link.startswith("socket:"), (pid, link)


def test_no_process_may_dump_a_core_and_workers_end_first_where_memory_runs_out(service):
    for pid in (service.pid, *processes(service)):
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        assert next(line.split()[4:6] for line in limits if line.startswith("Max core")) == ["0", "0"]
    daemon, *others = (int(Path(f"/proc/{pid}/oom_score_adj").read_text())
                       for pid in (service.pid, *processes(service)))  # fmt: skip
    assert all(other > daemon for other in others), "where memory runs out a worker ends first"


def test_a_daemon_that_is_made_to_crash_leaves_no_core(tmp_path):
    with running(tmp_path / "shop", cores=True) as service:
        service.daemon.send(signal.SIGSEGV)
        _, status = os.waitpid(service.pid, 0)
        assert os.WTERMSIG(status) == signal.SIGSEGV
        assert not os.WCOREDUMP(status)


def listening(pid: int) -> set[str]:
    """The inodes of the sockets that listen in a process's network."""
    lines = [
        line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()
    ]
    ours = {link.removeprefix("socket:[").removesuffix("]") for link in descriptors(pid).values()}
    return {line[9] for line in lines if line[3] == "0A"} & ours


def descriptors(pid: int) -> dict[int, str]:
    """What a process has open."""
    return opened_by(pid)


def is_readonly(pid: int, number: int) -> bool:
    lines = Path(f"/proc/{pid}/fdinfo/{number}").read_text().splitlines()
    flags = next(int(line.split()[1], 8) for line in lines if line.startswith("flags"))
    return flags & os.O_ACCMODE == os.O_RDONLY
