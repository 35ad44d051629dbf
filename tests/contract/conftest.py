"""One world for each kind of endpoint; every test of this folder runs in each of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.worlds import FolderWorld, MemoryWorld, World

KINDS = ["folder", "memory"]


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An empty endpoint of one kind, with the folder `in`."""
    made: World = MemoryWorld() if request.param == "memory" else FolderWorld(tmp_path)
    made.endpoint.make_folder("in")
    yield made
    made.endpoint.close()
