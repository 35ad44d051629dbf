"""Asks a vulnerability database about every package of requirements.lock: `make audit`.

Ends with 0 if nothing is known against them or no database can be reached (and says so), with 1 if something is. What
stands in .ci/audit-allowed is let through until its day, for the reason that stands there. The auditor (pip-audit,
requirements-audit.lock) is installed into a folder of its own, and only where there is a database to ask.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK, OWN_LOCK, ALLOWED = ROOT / "requirements.lock", ROOT / "requirements-audit.lock", ROOT / ".ci" / "audit-allowed"
DATABASE = "https://api.osv.dev/v1/query"
REACH_SECONDS, ANSWER_SECONDS, AUDIT_SECONDS = 5, 15, 120


@dataclass(frozen=True)
class Finding:
    """A vulnerability that is known of a package that is locked."""

    package: str
    number: str
    aliases: frozenset[str]
    fixed_in: str

    def __str__(self) -> str:
        return f"{self.package}: {self.number}, {self.fixed_in or 'no version without it yet'}"


def main() -> int:
    """The audit; the exit code."""
    if not is_reachable():
        return not_audited("no vulnerability database can be reached")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            report = audited(Path(scratch))
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            return not_audited(f"the database gave no whole answer ({type(error).__name__})")
    found = findings(report)
    left = not_allowed(found, ALLOWED.read_text("utf-8").splitlines(), datetime.now(UTC).date())
    for one in left:
        print(f"vulnerable: {one}")  # noqa: T201
    print(f"{len(report['dependencies'])} packages audited, {len(found)} findings, {len(left)} not allowed")  # noqa: T201
    return 1 if left else 0


def not_audited(why: str) -> int:
    """Says so; this is no fault of what is checked."""
    print(f"not audited: {why}")  # noqa: T201
    return 0


def is_reachable() -> bool:
    """Whether the database answers at all."""
    try:
        with urllib.request.urlopen(  # https, as written above
            urllib.request.Request(DATABASE, b"{}", {"Content-Type": "application/json"}),
            timeout=REACH_SECONDS,
        ):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 400  # it does not like an empty question, and so it is there
    except (OSError, http.client.HTTPException):
        return False


def audited(scratch: Path) -> Any:
    """The report of pip-audit. Raises SubprocessError, OSError or ValueError where there is none."""
    run([sys.executable, "-m", "venv", str(scratch / "venv")])
    python = str(scratch / "venv" / "bin" / "python")
    run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes",
         "--requirement", str(OWN_LOCK)])  # fmt: skip
    report = scratch / "report.json"
    options = ["--disable-pip", "--require-hashes", "--progress-spinner", "off", "--vulnerability-service", "osv"]
    options += ["--timeout", str(ANSWER_SECONDS), "--format", "json", "--output", str(report)]
    words = [python, "-m", "pip_audit", "--requirement", str(LOCK), *options]
    subprocess.run(words, capture_output=True, timeout=AUDIT_SECONDS, check=False)  # 1: findings or faults, alike
    return json.loads(report.read_text("utf-8"))


def run(words: list[str]) -> None:
    """A command that must work."""
    subprocess.run(words, capture_output=True, timeout=AUDIT_SECONDS, check=True)


def findings(report: Any) -> list[Finding]:
    """What is known."""
    return [
        Finding(f"{package['name']} {package.get('version', '')}", one["id"], frozenset(one.get("aliases", ())),
                f"mended in {', '.join(one['fix_versions'])}" if one.get("fix_versions") else "")
        for package in report["dependencies"] for one in package.get("vulns", ())
    ]  # fmt: skip


def not_allowed(found: Iterable[Finding], lines: Iterable[str], today: date) -> list[Finding]:
    """Those that no line lets through today. A line is `NUMBER UNTIL REASON`. Raises ValueError for another one."""
    allowed = set()
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        number, until, _reason = line.split(maxsplit=2)
        if date.fromisoformat(until) >= today:
            allowed.add(number)
    return [one for one in found if not allowed & {one.number, *one.aliases}]


if __name__ == "__main__":
    sys.exit(main())
