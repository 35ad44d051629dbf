"""One daemon for each state folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cegid_daemon.errors import AlreadyRunning, ConfigurationError, JournalUnavailable
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


def test_a_state_folder_of_another_user_is_refused_and_says_whose_it_is(tmp_path, owned_by_another):
    (tmp_path / "var").mkdir()
    owned_by_another(tmp_path / "var")
    with pytest.raises(ConfigurationError, match="the state folder belongs to another user") as told:
        StateFolder(tmp_path / "var").hold()
    assert "chown" in told.value.remedy
    assert list((tmp_path / "var").iterdir()) == []


def test_a_link_that_another_user_made_leads_to_no_state_folder(tmp_path, owned_by_another):
    (tmp_path / "mine").mkdir()
    (tmp_path / "var").symlink_to(tmp_path / "mine")
    owned_by_another(tmp_path / "var")
    with pytest.raises(ConfigurationError, match="link to the state folder belongs to another user"):
        StateFolder(tmp_path / "var").hold()


def test_an_own_link_leads_to_the_state_folder(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "var").symlink_to(tmp_path / "disk")
    StateFolder(tmp_path / "var").hold()
    assert (tmp_path / "disk" / "lock").is_file()


def test_others_may_no_longer_write_into_the_state_folder(tmp_path, caplog):
    (tmp_path / "var").mkdir()
    (tmp_path / "var").chmod(0o777)
    StateFolder(tmp_path / "var").hold()
    assert (tmp_path / "var").stat().st_mode & 0o777 == 0o755
    assert "Others could write" in caplog.text


@pytest.mark.parametrize("name", ["lock", "spool"])
def test_a_link_planted_in_the_state_folder_is_not_followed(tmp_path, name):
    victim = tmp_path / "victim"
    victim.mkdir() if name == "spool" else victim.write_text("precious")
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / name).symlink_to(victim)
    with pytest.raises((ConfigurationError, JournalUnavailable)):
        StateFolder(tmp_path / "var").hold()
    assert victim.is_dir() or victim.read_text() == "precious"


@pytest.fixture
def owned_by_another(monkeypatch):
    """Makes a path seem another user's: only root can give it away."""

    def give(path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534, follow_symlinks=False)
        else:
            mine = os.geteuid()
            monkeypatch.setattr(os, "geteuid", lambda: mine + 1)

    return give
