"""One daemon for each state folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from cegid_daemon.errors import AlreadyRunning, JournalUnavailable
from cegid_daemon.holding import StateFolder


def test_a_held_folder_is_refused_by_name_and_free_after_release(tmp_path: Path) -> None:
    first, second = StateFolder(tmp_path / "var"), StateFolder(tmp_path / "var")
    assert not first.is_held()
    first.hold()
    assert second.is_held()
    with pytest.raises(AlreadyRunning, match="holds its lock"):
        second.hold()
    first.release()
    second.hold()
    second.release()


def test_a_folder_that_cannot_be_made_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalUnavailable, match="state folder"):
        StateFolder(tmp_path / "file" / "var").hold()
