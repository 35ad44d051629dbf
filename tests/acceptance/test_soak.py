"""The short form of `make soak`: a storm of half a minute around the real daemon, counted by an oracle of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.servers.places import program
from tests.soak.run import soak

STORM_SECONDS = 30.0


@pytest.mark.timeout(400)
@pytest.mark.slow
def test_a_short_storm_loses_doubles_halves_and_reorders_nothing(tmp_path: Path) -> None:
    for name in ("curl", "lftp", "faketime"):
        program(name, name)
    report = soak(tmp_path, STORM_SECONDS, 20261127, say=lambda _line: None)
    sys.stdout.write(f"{report}\n")
    assert report.ok, str(report)
    assert report.counts["SIGKILLs"] > 3
