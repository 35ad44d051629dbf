"""The audit of dependencies: what it makes of a report, of allowed findings, and of no network."""

from __future__ import annotations

import http.client
import importlib.util
import sys
from datetime import date
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / ".ci" / "audit.py"
TODAY = date(2026, 11, 27)
REPORT = {
    "dependencies": [
        {"name": "sound", "version": "1.0", "vulns": []},
        {"name": "skipped", "skip_reason": "not found"},
        {"name": "leaky", "version": "2.0", "vulns": [
            {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-11", "GHSA-x"], "fix_versions": ["2.1"], "description": ""},
            {"id": "PYSEC-2026-2", "aliases": [], "fix_versions": [], "description": ""},
        ]},
    ]
}  # fmt: skip


@pytest.fixture(scope="module")
def audit():
    spec = importlib.util.spec_from_file_location("audit", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["audit"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["audit"]


def test_findings_name_package_number_and_what_mends_them(audit):
    assert [str(one) for one in audit.findings(REPORT)] == [
        "leaky 2.0: PYSEC-2026-1, mended in 2.1", "leaky 2.0: PYSEC-2026-2, no version without it yet"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ([], 2),
        (["# PYSEC-2026-1 2026-12-31 a comment", ""], 2),
        (["PYSEC-2026-1 2026-11-27 not reachable here"], 1),
        (["CVE-2026-11 2026-12-31 by another name"], 1),
        (["PYSEC-2026-1 2026-11-26 its day is over"], 2),
    ],
)
def test_a_finding_is_let_through_until_its_day(audit, lines, left):
    assert len(audit.not_allowed(audit.findings(REPORT), lines, TODAY)) == left


@pytest.mark.parametrize("line", ["PYSEC-2026-1", "PYSEC-2026-1 2026-12-31", "PYSEC-2026-1 someday because"])
def test_a_line_without_a_day_or_reason_is_refused(audit, line):
    with pytest.raises(ValueError):
        audit.not_allowed([], [line], TODAY)


def test_the_allowed_findings_of_this_repository_can_be_read(audit):
    audit.not_allowed([], audit.ALLOWED.read_text("utf-8").splitlines(), TODAY)


@pytest.mark.parametrize(
    ("reachable", "report", "code", "told"),
    [
        (False, None, 0, "not audited: no vulnerability database can be reached"),
        (True, None, 0, "not audited: the database gave no whole answer"),
        (True, REPORT, 1, "vulnerable: leaky 2.0: PYSEC-2026-1"),
        (True, {"dependencies": []}, 0, "0 packages audited, 0 findings"),
    ],
)
def test_only_findings_are_a_fault(audit, monkeypatch, capsys, reachable, report, code, told):
    def audited(_scratch):
        if report is None:
            raise ValueError("no JSON")
        return report

    monkeypatch.setattr(audit, "is_reachable", lambda: reachable)
    monkeypatch.setattr(audit, "audited", audited)
    assert audit.main() == code
    assert told in capsys.readouterr().out


def test_whatever_answers_in_place_of_the_database_is_none(audit, monkeypatch):
    def answered_by_another(*_, **__):
        raise http.client.BadStatusLine("no HTTP")

    monkeypatch.setattr(audit.urllib.request, "urlopen", answered_by_another)
    assert not audit.is_reachable()
