"""Two daemons with two state folders on one folder of a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.harness import Shop, route_table, rows
from tests.servers import ftp, sftp
from tests.servers.places import Place


@pytest.fixture(params=["ftp", "sftp"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "server"
    folder.mkdir()
    with ftp.vsftpd(folder) if request.param == "ftp" else sftp.openssh(folder) as found:
        (found.root / "in").mkdir()
        (found.root / "in").chmod(0o777)
        yield found


def configure(shop: Shop, place: Place, source: str) -> None:
    lines = ["[endpoint.cegid]", f'url = "{place.url}"']
    lines += [f'{key} = "{place.options[key]}"' for key in ("known_hosts", "private_key") if key in place.options]
    table = route_table("rows", source=source).replace('endpoint = "inbox"', 'endpoint = "cegid"')
    shop.configure("\n".join([*lines, table]))


def shop_on(place: Place, folder: Path, source: str = "") -> Shop:
    folder.mkdir()
    shop = Shop(folder)
    configure(shop, place, source)
    return shop


def test_a_mark_is_told_by_a_daemon_without_one_and_taken_over_by_claim_folder(place: Place, tmp_path: Path) -> None:
    marked = ", owner_mark = true"
    first = shop_on(place, tmp_path / "first", marked)
    second = shop_on(place, tmp_path / "second")
    assert first.call("once").returncode == 0
    instance = first.sql("SELECT value FROM about WHERE key = 'instance'")[0][0]
    told = second.call("once")
    assert told.returncode == 1, told.stderr
    assert told.stderr.count(f"names instance {instance}") == 1
    assert "owner_mark = true in the source and run: cegid-daemon claim-folder rows" in told.stderr
    assert "folder owned" in second.call("status").stdout
    assert f"names instance {instance}" in second.call("check", "--live").stderr
    assert second.states() == {}
    configure(second, place, marked)
    assert "belongs to another cegid-daemon" in second.call("once").stderr
    claimed = second.call("claim-folder", "rows")
    assert (claimed.returncode, claimed.stdout.count(f"taken from instance {instance}")) == (0, 1), claimed.stderr
    (place.root / "in" / "a.csv").write_bytes(rows("a"))
    refused = first.call("once")
    assert (refused.returncode, first.states()) == (1, {})
    assert "belongs to another cegid-daemon" in refused.stderr
    assert second.call("once").returncode == 0
    assert second.states() == {"done": 1}
