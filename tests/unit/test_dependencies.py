"""What pyproject.toml asks for is what requirements.lock names, and parts that are not documented are held in place."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LEANT_ON = ("apprise", "asyncssh", "h11", "jinja2", "paramiko", "pyftpdlib", "pyopenssl", "uvicorn")


def wanted() -> dict[str, Requirement]:
    texts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    found = [Requirement(text) for text in texts]
    return {canonicalize_name(one.name): one for one in found}


def locked() -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE))


def test_the_locked_versions_are_within_the_bounds() -> None:
    versions = locked()
    assert [name for name, one in wanted().items() if not one.specifier.contains(versions[name])] == []


def test_undocumented_parts_cannot_move_by_an_update() -> None:
    found = wanted()
    assert [name for name in LEANT_ON if not any(one.operator == "<" for one in found[name].specifier)] == []
