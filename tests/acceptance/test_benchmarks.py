"""The benchmarks come to their end: what the daemon keeps in its folders besides files must not hold them up."""

from __future__ import annotations

from benchmarks.many import many
from benchmarks.waiting import latency


def test_many_files_are_counted_to_their_end() -> None:
    figures = {one.name: one.value for one in many(0.005)}
    assert figures["files a second"] > 0


def test_the_latency_of_single_files_is_measured() -> None:
    figures = {one.name: one.value for one in latency(0.1)}
    assert figures["drop to delivered, median"] > 0
