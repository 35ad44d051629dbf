"""What a process does for its own memory and files; each in a process of its own, as none of it can be undone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.acceptance.harness import environment

SEEN = """
import ctypes, os, resource
dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
print(dumpable, resource.getrlimit(resource.RLIMIT_CORE), oct(os.umask(0)), open("/proc/self/oom_score_adj").read())
"""


def seen(call: str, umask: int = 0) -> str:
    code = f"import os; os.umask({umask}); from cegid_daemon import protection; {call}\n{SEEN}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    return done.stdout


@pytest.mark.parametrize(("umask", "then"), [(0, "0o2"), (0o002, "0o2"), (0o027, "0o27"), (0o077, "0o77")])
def test_nothing_that_is_made_is_writable_by_everybody(umask, then):
    assert f" {then} " in seen("protection.protect_process()", umask)


def test_no_core_is_dumped_and_nobody_else_may_trace(capfd):
    assert seen("pass").startswith("1 ")
    assert seen("protection.protect_process()").startswith("0 (0, 0) ")
    assert seen("protection.protect_memory()").startswith("0 (0, 0) ")


def test_a_worker_ends_before_the_daemon_where_memory_runs_out():
    assert seen("protection.offer_as_victim()").split()[-1] == "500"
