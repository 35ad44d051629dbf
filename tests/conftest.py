"""What holds for every test: in CI none is skipped in silence.

A skip whose reason is not listed here fails the run where CI=true. The listed ones are facts of what is tested (a
protocol that cannot say a name), or of a sandbox nobody can change from inside; pytest prints each with its reason.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

ALLOWED = (
    "this server shows a symlink as the file it leads to",
    "this endpoint says that it cannot replace",
    "this protocol or server cannot say such names",
    "root may read every folder",
    "mounting a small file system is not allowed here",
    "the kernel's queue cannot be made shorter here",
)


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
