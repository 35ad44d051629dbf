"""The unit files: right, closed, and open enough for what the daemon does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cegid_daemon import resources
from cegid_daemon.descriptors import share_of
from cegid_daemon.workshop.orders import Limits

UNITS = ("cegid-daemon.service", "cegid-daemon@.service")
SAMPLES = Path(__file__).parents[2] / "samples"
MOST_OF_CONSOLE = 512  # connections
AS_ROOT = {"fchown"}  # SQLite gives its files to the journal's owner when root calls it; the service is not root
MOST = 12  # tenths: an exposure of 1.2


def needed(tool: str) -> str:
    """A tool of the machine; where it is missing the test is skipped, but never in CI."""
    found = shutil.which(tool)
    if found is None:
        assert "CI" not in os.environ, f"{tool} is needed here: see .ci/run"
        pytest.skip(f"{tool} is not installed")
    return found


def output_of(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def text_of(unit: str) -> str:
    return (resources.units() / unit).read_text("utf-8")


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_finds_nothing_to_say_against_the_unit(unit: str, tmp_path: Path) -> None:
    analyze = needed("systemd-analyze")
    program = Path(sys.executable).with_name("cegid-daemon")
    copy = tmp_path / unit  # the program lies elsewhere than on an installed machine, and `verify` looks for it
    copy.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={program}", text_of(unit)), "utf-8")
    assert output_of(analyze, "verify", "--man=no", str(copy)) == ""


@pytest.mark.parametrize("unit", UNITS)
def test_the_unit_is_exposed_by_no_more_than_one_point_two(unit: str) -> None:
    analyze = needed("systemd-analyze")
    told = output_of(
        analyze, "security", "--offline=true", f"--threshold={MOST}", "--no-pager", str(resources.units() / unit)
    )
    assert float(re.findall(r"exposure level for \S+: ([0-9.]+)", told)[0]) <= MOST / 10


def test_both_units_are_closed_alike() -> None:
    own = [re.sub(r"(/|-?)%i(\.toml)?", "", text_of(unit)) for unit in UNITS]
    hardening = [text[text.index("NoNewPrivileges") :] for text in own]
    assert hardening[0] == hardening[1]


@pytest.mark.parametrize("unit", UNITS)
def test_the_unit_keeps_to_what_the_daemon_relies_on(unit: str) -> None:
    text = text_of(unit)
    for line in ("Type=notify", "KillMode=mixed", "OOMPolicy=continue", "RestartPreventExitStatus=2 4"):
        assert f"\n{line}\n" in text


@pytest.mark.parametrize("unit", UNITS)
def test_the_unit_bounds_what_the_daemon_may_use(unit: str) -> None:
    found = dict(re.findall(r"(?m)^(LimitNOFILE|MemoryMax|MemorySwapMax|TasksMax|LimitCORE)=(.*)$", text_of(unit)))
    worker = Limits().memory  # two, one of the console's, and a reader beside each that works on a large file
    assert int(found["MemoryMax"].removesuffix("G")) * 1024**3 >= 5 * worker + 512 * 1024**2
    assert (found["MemorySwapMax"], found["LimitCORE"]) == ("0", "0")
    assert int(found["TasksMax"]) >= 256
    descriptors = int(found["LimitNOFILE"])
    assert share_of("console", descriptors) >= 2 * MOST_OF_CONSOLE
    for line in re.findall(r"(?m)^(?:LimitNOFILE|MemoryMax|MemorySwapMax|TasksMax)=", text_of(unit)):
        before = text_of(unit).split(f"\n{line}")[0].splitlines()[-1]
        assert before.startswith("# "), f"{line} has its reason in a comment"


@pytest.mark.parametrize("unit", UNITS)
def test_nobody_but_the_unit_loads_code_into_the_daemon(unit: str) -> None:
    unset = re.findall(r"(?m)^UnsetEnvironment=(.*)$", text_of(unit))[0].split()
    assert {"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP"} <= set(unset)


def test_the_daemon_makes_no_system_call_that_the_unit_forbids(tmp_path: Path) -> None:
    """Runs the program, workers included, and compares its calls with the unit's filter."""
    strace, analyze = needed("strace"), needed("systemd-analyze")
    program = [sys.executable, "-m", "cegid_daemon"]
    output_of(*program, "init", str(tmp_path))
    shutil.copy(SAMPLES / "STOCK.csv", tmp_path / "inbox" / "inventory")
    shutil.copy(SAMPLES / "ORDERS.xml", tmp_path / "inbox" / "orders")
    calls = tmp_path / "calls"
    configuration = str(tmp_path / "cegid-daemon.toml")
    output_of(strace, "-f", "-qq", "-e", "signal=none", "-o", str(calls), *program, "once", "--config", configuration)
    made = set(re.findall(r"(?m)^\d+ +(?:<\.\.\. )?(\w+)(?:\(| resumed)", calls.read_text("utf-8", "replace")))
    assert "prlimit64" in made, "a worker bounds itself"
    assert made - AS_ROOT - allowed(analyze, text_of(UNITS[0])) == set()


def allowed(analyze: str, unit: str) -> set[str]:
    """The calls that the SystemCallFilter= lines of a unit leave."""
    left: set[str] = set()
    for line in re.findall(r"(?m)^SystemCallFilter=(.*)$", unit):
        named = {call for word in line.removeprefix("~").split() for call in calls_of(analyze, word)}
        left = left - named if line.startswith("~") else left | named
    return left


def calls_of(analyze: str, word: str) -> set[str]:
    if not word.startswith("@"):
        return {word}
    told = output_of(analyze, "syscall-filter", "--no-pager", word).splitlines()[1:]
    found = (line.strip() for line in told if line.strip() and not line.strip().startswith("#"))
    return {call for inner in found for call in calls_of(analyze, inner)}
