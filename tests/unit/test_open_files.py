"""Which files are being written, told by events; and what follows for those that are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from cegid_daemon.endpoints import leases, open_endpoint
from cegid_daemon.endpoints.folder import FolderEndpoint
from cegid_daemon.endpoints.protocol import Abilities, WriterCheck
from cegid_daemon.model import EndpointSpec, WaitReason
from cegid_daemon.open_files import OpenFiles
from tests.unit.spine import Spine, route

Build = Callable[..., Spine]


# -- by events ---------------------------------------------------------------------------------------------------------


def test_a_file_is_open_from_its_first_write_until_it_is_closed() -> None:
    files = OpenFiles()
    assert "a" not in files
    files.written("a")
    assert "a" in files
    files.closed("a")
    assert "a" not in files


def test_a_second_writer_is_heard_of_when_it_writes() -> None:
    files = OpenFiles()
    files.written("a")
    files.closed("a")
    files.written("a")
    assert "a" in files


def test_a_file_that_is_renamed_while_it_is_written_is_still_open() -> None:
    files = OpenFiles()
    files.written("a.tmp")
    files.moved_from("a.tmp", 7)
    files.moved_to("a", 7)
    assert ("a.tmp" in files, "a" in files) == (False, True)


def test_a_file_that_takes_the_name_of_an_open_one_is_not_open() -> None:
    files = OpenFiles()
    files.written("a")
    files.moved_from("b", 7)
    files.moved_to("a", 7)
    assert "a" not in files
    files.written("a")
    files.moved_to("a", 8)
    assert "a" not in files, "it came from another folder"


@pytest.mark.parametrize("end", [lambda files: files.removed("a"), lambda files: files.forget()])
def test_a_file_that_is_gone_or_unknown_is_not_open(end: Callable[[OpenFiles], None]) -> None:
    files = OpenFiles()
    files.written("a")
    end(files)
    assert "a" not in files


# -- by leases ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> WriterCheck:
    endpoint = open_endpoint(EndpointSpec("inbox", f"file:{tmp_path}"), lambda: None)
    assert isinstance(endpoint, WriterCheck)
    return endpoint


def test_the_kernel_knows_who_writes_whenever_it_was_opened(folder: WriterCheck, tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.write(b"half")
        assert folder.has_writer("", "a") is True
    assert folder.has_writer("", "a") is False
    with (tmp_path / "a").open("rb"):
        assert folder.has_writer("", "a") is False, "a reader does no harm"


def test_what_cannot_be_opened_is_not_known(folder: WriterCheck, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("a")
    assert (folder.has_writer("", "a"), folder.has_writer("", "link"), folder.has_writer("b", "a")) == (None,) * 3


def test_on_a_disk_of_another_machine_a_lease_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_by_device", {tmp_path.stat().st_dev: False})
    with (tmp_path / "a").open("wb"):
        assert FolderEndpoint(str(tmp_path)).has_writer("", "a") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user's file")
def test_a_file_of_another_user_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    tmp_path.chmod(0o755)
    (tmp_path / "a").chmod(0o644)
    program = (
        "import os, sys\nfrom cegid_daemon.endpoints import leases\nfile = os.open(sys.argv[1], os.O_RDONLY)\n"
        "os.setresuid(65534, 65534, 65534)\nprint(leases.has_writer(file))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "None"


def test_a_lease_that_is_broken_ends_nothing(tmp_path: Path) -> None:
    """Writers open the file at every moment in between; the default signal for it would end the process."""
    path = tmp_path / "a"
    path.write_bytes(b"x")
    writer = "import sys\nfor _ in range(3000):\n    open(sys.argv[1], 'ab').close()\n"
    with subprocess.Popen([sys.executable, "-c", writer, str(path)]) as process:
        file = os.open(path, os.O_RDONLY)
        while process.poll() is None:
            assert leases.has_writer(file) in (True, False)
        os.close(file)
    assert process.returncode == 0
    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL


# -- what follows ------------------------------------------------------------------------------------------------------


class Writers:
    """Files that are being written, and a spine that hears of them."""

    def __init__(self, spine: Spine) -> None:
        self.names: set[str] = spine.inbox.being_written
        self.spine = spine
        spine.inbox.abilities = Abilities(remote=True)  # or the times of the endpoint in memory would be long ago
        self.restart()

    def restart(self) -> None:
        self.spine.restart()


def waiting(spine: Spine) -> dict[str, WaitReason]:
    return {file.name: file.reason for file in spine.journal.waiting_files.all()}


def test_a_quiet_file_that_is_open_is_taken_when_it_is_closed(spine: Spine) -> None:
    writers = Writers(spine)
    spine.drop("A.csv", b"row 1")
    writers.names.add("A.csv")
    passed = spine.look()
    assert (passed.claimed, passed.settling, waiting(spine)) == (0, 0, {"A.csv": WaitReason.OPEN})
    assert ["open for writing" in str(fault) for fault in passed.faults] == [True]
    spine.drop("A.csv", b"row 1, row 2")
    writers.names.clear()
    assert spine.look().delivered == 1
    assert (spine.out(), waiting(spine)) == ({"A.xml": b"row 1, row 2"}, {})


def test_events_count_where_the_kernel_does_not_know(spine: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = {"A.csv"}
    spine.sources[0].hear_of_writers(heard.__contains__)
    spine.drop("A.csv", b"one")
    monkeypatch.setattr(spine.inbox, "has_writer", lambda *_: None)
    assert spine.look().claimed == 0
    monkeypatch.setattr(spine.inbox, "has_writer", lambda *_: False)
    assert spine.look().claimed == 1


def test_a_file_that_newer_ones_overtook_while_it_was_open_is_held(spine: Spine) -> None:
    writers = Writers(spine)
    spine.drop("A.csv", b"old")
    writers.names.add("A.csv")
    spine.drop("B.csv", b"new")
    assert spine.look().delivered == 1
    writers.names.clear()
    spine.look()
    assert spine.states() == ["done", "held"]


def test_whether_a_file_is_open_may_be_ignored(spine_of: Build) -> None:
    spine = spine_of(route(source_settle_open=False))
    Writers(spine).names.add("A.csv")
    spine.drop("A.csv", b"one")
    assert spine.look().delivered == 1


def test_a_marker_and_a_voucher_count_more(spine_of: Build) -> None:
    spine = spine_of(route("marked", source_marker=".ok"), route("site", source_folder="site"))
    Writers(spine).names.update({"A.csv", "B.csv"})
    spine.drop("A.csv", b"one")
    spine.drop("A.csv.ok", b"")
    spine.drop("B.csv", b"two", "site")
    listed = spine.inbox.stat("site", "B.csv")
    spine.sources[1].vouch("B.csv", listed.identity)
    assert [source.look().claimed for source in spine.sources] == [1, 1]


def test_a_file_that_stays_open_is_reported_after_ten_minutes_and_cleared_when_it_is_taken(
    spine: Spine, caplog: pytest.LogCaptureFixture
) -> None:
    writers = Writers(spine)
    spine.drop("A.csv", b"one")
    writers.names.add("A.csv")
    spine.look()
    spine.after(minutes=9)
    writers.restart()
    spine.look()
    assert spine.journal.notices.active() == []
    spine.after(minutes=1)
    for _ in range(3):
        spine.look()
    (notice,) = spine.journal.notices.active()
    assert (notice.kind, "A.csv is still open for writing" in notice.text) == ("open file", True)
    assert len([line for line in caplog.messages if "still open for writing" in line]) == 1
    writers.names.clear()
    spine.look()
    assert spine.journal.notices.active() == []


def test_once_reports_an_open_file_and_does_not_wait_for_it(spine_of: Build) -> None:
    spine = spine_of(route(source_settle=timedelta(seconds=1)))
    Writers(spine).names.add("A.csv")
    spine.drop("A.csv", b"one")
    outcome, waited = spine.once()
    assert (outcome.claimed, waited) == (0, timedelta(seconds=1))
    assert ["A.csv" in fault and "open for writing" in fault for fault in outcome.faults] == [True]
