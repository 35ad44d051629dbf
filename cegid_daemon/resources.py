"""Finds what ships with the program: templates, layout presets, unit files, samples, the starter configuration.

An installed wheel carries them under `cegid_daemon/shipped/`; in a checkout (and an editable install) they stand at the
top of the repository. Owns only where they lie: it never reads, copies or interprets them.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped(name: str, *, package: Path = _PACKAGE) -> Path:
    """Where `templates`, `systemd`, `samples` or `cegid-daemon.toml` lies; raises FileNotFoundError if nowhere."""
    for place in (package / "shipped" / name, package.parent / name):
        if place.exists():
            return place
    raise FileNotFoundError(f"{name} is not part of this installation of cegid-daemon: install it again")


def templates() -> Path:
    """The folder of shipped templates (`aurora/…`, `cegid/…`)."""
    return shipped("templates")


def units() -> Path:
    """The folder of systemd unit files."""
    return shipped("systemd")


def samples() -> Path:
    """The folder of synthetic sample files."""
    return shipped("samples")


def starter_configuration() -> Path:
    """The configuration of the embedded default."""
    return shipped("cegid-daemon.toml")


def layout_presets(*, package: Path = _PACKAGE) -> dict[str, Path]:
    """The shipped layouts by name: each a TOML file with the body of a `[layout.NAME]` table."""
    return {path.stem: path for path in sorted((package / "presets" / "layouts").glob("*.toml"))}
