"""What ships is found in a checkout and in a wheel."""

import pytest

from cegid_daemon import resources


def test_in_a_checkout_the_shipped_files_stand_at_the_top():
    assert (resources.templates() / "aurora").is_dir()
    assert (resources.samples() / "README.md").is_file()
    assert resources.starter_configuration().name == "cegid-daemon.toml"


def test_in_a_wheel_the_package_itself_carries_them_whatever_lies_beside_it(tmp_path):
    package = tmp_path / "cegid_daemon"
    (package / "shipped" / "templates").mkdir(parents=True)
    (tmp_path / "templates").mkdir()
    assert resources.shipped("templates", package=package) == package / "shipped" / "templates"


def test_a_broken_installation_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="install it again"):
        resources.shipped("templates", package=tmp_path / "cegid_daemon")


def test_presets_are_found_by_name():
    presets = resources.layout_presets()
    assert "y2-stock-csv" in presets
    assert all(path.is_file() for path in presets.values())
