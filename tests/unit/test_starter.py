"""`init` makes a folder that works, and never touches what is there."""

import pytest

from cegid_daemon import resources
from cegid_daemon.config import load
from cegid_daemon.errors import ConfigurationError, Refused
from cegid_daemon.starter import make_folders, start


def test_a_started_folder_holds_configuration_templates_samples_and_a_folder_for_each_route(tmp_path):
    started = start(tmp_path / "new" / "shop")
    folder = tmp_path / "new" / "shop"
    assert started.config.folder == folder
    assert started.config.warnings == ()
    assert (folder / "templates" / "aurora" / "inventory-import.xml.j2").is_file()
    assert (folder / "systemd" / "cegid-daemon@.service").is_file()
    for name, route in started.config.routes.items():
        assert (folder / "inbox" / name).is_dir()
        assert (folder / "outbox" / name).is_dir() == (route.target is not None)
    assert folder / "cegid-daemon.toml" in started.made
    assert started.kept == ()
    assert not list(folder.rglob("*.part"))


def test_starting_again_makes_nothing(tmp_path):
    start(tmp_path)
    again = start(tmp_path)
    assert (again.made, again.kept) == ((), ())


def test_what_was_edited_is_kept_and_what_was_removed_comes_back(tmp_path):
    start(tmp_path)
    edited, removed = tmp_path / "cegid-daemon.toml", tmp_path / "inbox" / "orders"
    edited.write_text(edited.read_text() + "# mine\n")
    removed.rmdir()
    again = start(tmp_path)
    assert edited.read_text().endswith("# mine\n")
    assert (again.made, again.kept) == ((removed,), (edited,))


def test_a_folder_outside_is_not_made_by_us(tmp_path):
    (tmp_path / "site").mkdir()
    path = tmp_path / "site" / "cegid-daemon.toml"
    text = resources.starter_configuration().read_text().replace('"file:inbox"', '"file:../elsewhere"')
    path.write_text(text)
    made = make_folders(load(path))
    assert made
    assert all(folder.is_relative_to(tmp_path / "site" / "outbox") for folder in made)
    assert not (tmp_path / "elsewhere").exists()


def test_a_configuration_with_faults_is_left_alone_and_its_faults_are_told(tmp_path):
    (tmp_path / "cegid-daemon.toml").write_text("wrong = 1\n")
    with pytest.raises(ConfigurationError):
        start(tmp_path)
    assert (tmp_path / "cegid-daemon.toml").read_text() == "wrong = 1\n"


def test_a_folder_that_cannot_be_made_is_refused_with_its_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="cannot be written"):
        start(tmp_path / "file" / "shop")
