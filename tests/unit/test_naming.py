"""Names of our own: what stands beside a file, numbered and shortened."""

from __future__ import annotations

import os

import pytest

from cegid_daemon.pipeline.naming import error_name, numbered, rejects_name


def test_the_reason_a_file_failed_bears_the_files_whole_name():
    assert error_name("S1.csv") == "S1.csv.error.txt"
    assert rejects_name("S1.csv") == "S1.csv.rejected.csv"


@pytest.mark.parametrize(
    "name", ["n" * 251 + ".csv", "é" * 125 + "x.csv", "n" * 255, os.fsdecode(b"\xff" * 251 + b".csv")]
)
def test_files_whose_names_are_as_long_as_can_be_never_share_one_explanation(name):
    filed = [numbered(name, number) for number in range(1, 4)]
    beside = [error_name(one) for one in filed]
    assert len(set(beside)) == 3
    assert all(len(os.fsencode(one)) <= 255 and one.endswith(".error.txt") for one in beside)
    assert all(one.startswith(name[:100]) for one in beside)
