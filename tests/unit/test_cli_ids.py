"""Ids on the command line: one that no journal can hold is a mistake of usage, not a bug."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from cegid_daemon.cli.root import cegid_daemon


@pytest.mark.parametrize("number", ["9223372036854775808", "9" * 30, "9" * 4000, "0", "-1", "٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣"])
@pytest.mark.parametrize(
    "command", ["log show", "log diff", "log save", "replay --reason x", "release --reason x", "discard --reason x"]
)
def test_an_id_that_cannot_be_is_refused(command, number):
    result = CliRunner().invoke(cegid_daemon, [*command.split(), "--", number])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
