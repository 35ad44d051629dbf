"""The attack suite: the real daemon with everything that listens, and after each attack the proof that it still serves.

`service` is shared by the tests of a file and checked behind each of them; a test that needs another configuration
starts a daemon of its own by `service.running`.

`make attack` runs it alone, within some two minutes on two idle cores; pytest's last line says how long it took.
Nothing here needs a network; some tests need root, strace or Chromium, and say so where these are missing.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.security.service import Service, running


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One daemon for the tests of a file."""
    with running(tmp_path_factory.mktemp("service") / "shop") as started:
        yield started


@pytest.fixture
def service(shared_service: Service) -> Iterator[Service]:
    """The daemon of this file; behind each test it must live, deliver and be small."""
    shared_service.begin_attack()
    yield shared_service
    shared_service.check()


LOGIN = 2.5  # seconds that a login at the drop sites of `site_service` may take
OF_ADDRESS = 6  # connections of one address there


@pytest.fixture(scope="session")
def site_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One daemon for all attacks on the drop sites by plain FTP and SFTP; impatient, and strict to each address."""
    keys = f'login = "{LOGIN:g}s"\nattempts = 1\nconnections_per_address = {OF_ADDRESS}'
    with running(tmp_path_factory.mktemp("sites") / "shop", ftp_keys=keys, sftp_keys=keys) as started:
        yield started
