"""What several unit tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cegid_daemon.endpoints.protocol import Abilities
from cegid_daemon.model import Route
from tests.unit.spine import Spine


@pytest.fixture
def together() -> bool:
    """Whether the target takes many files together: a test file that must hold for both has a fixture of its own."""
    return False


@pytest.fixture
def spine_of(tmp_path: Path, together: bool) -> Iterator[Callable[..., Spine]]:
    """Builds a spine for some routes; closed afterwards."""
    built: list[Spine] = []

    def build(*routes: Route, **options: object) -> Spine:
        built.append(Spine(tmp_path, *routes, **options))  # type: ignore[arg-type]
        built[-1].outbox.abilities = Abilities(together=together)
        return built[-1]

    yield build
    for one in built:
        one.close()


@pytest.fixture
def spine(spine_of: Callable[..., Spine]) -> Spine:
    """A spine with one route from `in` to `out`."""
    return spine_of()
