"""What holds for every test: it leaves no thread behind, in CI none is skipped in silence, and its folder is in memory.

No test pulls the plug, so a sync to a disk shows nothing and costs milliseconds, some ten thousand times. What must be
shown on the file system of a disk takes `disk_path`; where the memory is too small, every test does.

A skip whose reason is not listed here fails the run where CI=true. The listed ones are facts of what is tested (a
protocol that cannot say a name), or of a sandbox nobody can change from inside; pytest prints each with its reason.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("busy machine", settings(), deadline=None)  # no property is about the time an example takes
settings.load_profile("busy machine")

ALLOWED = (
    "this server shows a symlink as the file it leads to",
    "this endpoint says that it cannot replace",
    "this protocol or server cannot say such names",
    "root may read every folder",
    "mounting a small file system is not allowed here",
    "the kernel's queue cannot be made shorter here",
)

MEMORY = Path("/dev/shm")  # a file system in memory
MEMORY_BYTES = 4 << 30  # as much must be free there

GRACE = 10.0  # seconds in which a thread that was told to end may do so


def pytest_configure(config: pytest.Config) -> None:
    """Lets pytest make its folders in memory, unless somebody says where."""
    if config.getoption("basetemp") is None and _is_roomy(MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Half as many again as there are cores: many tests wait for a daemon, a settled file or a dead line."""
    return len(os.sched_getaffinity(0)) * 3 // 2


def _is_roomy(folder: Path) -> bool:
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize >= MEMORY_BYTES and not found.f_flag & os.ST_NOEXEC


@pytest.fixture
def disk_path() -> Iterator[Path]:
    """An empty folder where the system has its temporary files."""
    with tempfile.TemporaryDirectory(prefix="cegid-daemon-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Fails a test after which a thread still runs that did not run before, but for servers that tests share."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + GRACE
    begun = [one for one in threading.enumerate() if one not in before and not one.name.startswith("shared server")]
    for thread in begun:
        thread.join(max(0.0, deadline - time.monotonic()))
    left = [thread.name for thread in begun if thread.is_alive()]
    assert not left, f"threads still run: {left}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.Item, None]:
    """Turns a skip that CI does not allow into a failure that says so."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and os.environ.get("CI") == "true" and not _is_allowed(report):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} may not be skipped in CI: {_reason(report)}. See .ci/run for what it needs."


def _is_allowed(report: pytest.TestReport) -> bool:
    return hasattr(report, "wasxfail") or any(reason in _reason(report) for reason in ALLOWED)


def _reason(report: pytest.TestReport) -> str:
    return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
