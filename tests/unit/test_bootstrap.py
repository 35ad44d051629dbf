"""An installation that cannot start leaves nothing open behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cegid_daemon.bootstrap import Installation
from cegid_daemon.config import Config
from cegid_daemon.journal import Journal
from cegid_daemon.workshop import Workshop


def test_a_workshop_that_does_not_start_leaves_no_journal_open_and_no_lock_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Journal] = []
    close = Journal.close

    def closing(journal: Journal) -> None:
        closed.append(journal)
        close(journal)

    def fail(_: Workshop) -> None:
        raise OSError("no process can be made")

    config = Config(
        tmp_path / "cegid-daemon.toml", tmp_path, tmp_path / "var", tmp_path, stores={}, endpoints={}, routes={},
        recipes={},
    )  # fmt: skip
    monkeypatch.setattr(Journal, "close", closing)
    with monkeypatch.context() as broken:
        broken.setattr(Workshop, "start", fail)
        with pytest.raises(OSError, match="no process"):
            Installation(config)
    assert len(closed) == 1
    with Installation(config) as installation:
        assert installation.journal is not closed[0]
