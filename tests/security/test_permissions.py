"""Every path that the daemon makes, with its mode, where it was started with the loosest umask there is."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from ftplib import FTP

import pytest

from tests.acceptance.harness import opened_by, rows
from tests.security.service import SENDER, Service, running
from tests.servers.places import HOST

PRIVATE = ("var", "backup.sqlite", "shown.bin")  # what stands in them is for the daemon's user alone


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A daemon that was started with umask 0."""
    with running(tmp_path_factory.mktemp("loose") / "shop", umask=0) as started:
        yield started


def test_nothing_the_daemon_makes_is_open_that_should_be_closed(service):
    folder = service.shop.folder
    work_with_everything(service)
    made = {path: stat.S_IMODE(path.lstat().st_mode) for path in folder.rglob("*")}
    told = "\n".join(f"{mode:04o} {path.relative_to(folder)}" for path, mode in sorted(made.items()))
    names = {str(path.relative_to(folder)) for path in made}
    for expected in (
        "var/journal.sqlite", "var/journal.sqlite-wal", "var/journal.sqlite-shm", "var/journal.sqlite.kept", "var/lock",
        "var/spool", "backup.sqlite", "shown.bin", "inbox/in/failed/bad.csv.error.txt", "inbox/in/processed",
        "inbox/.uploading",
    ):  # fmt: skip
        assert expected in names, told
    assert [name for name, mode in made.items() if mode & 0o002] == [], told
    of_state = {path: mode for path, mode in made.items() if path.relative_to(folder).parts[0] in PRIVATE}
    assert [path for path, mode in of_state.items() if mode & 0o077] == [], told


def work_with_everything(service: Service) -> None:
    """A delivery, a failure, an upload that broke off, a backup, an export."""
    shop = service.shop
    service.deliver()
    shop.drop("bad.csv", b"\xff\xfe\x00\x00nothing of the kind")
    service.daemon.wait_for((shop.inbox / "failed" / "bad.csv.error.txt").exists, "the failure told")
    with FTP() as client:
        client.connect(HOST, service.ftp)
        client.login("cegid", SENDER)
        client.storbinary("STOR whole.csv", io.BytesIO(rows("whole")))
        line = client.transfercmd("STOR broken.csv")
        line.sendall(b"half")
        client.close()
        line.close()
    service.daemon.wait_for((shop.folder / "inbox" / ".uploading").exists, "what broke off is kept")
    number = str(shop.sql("SELECT max(id) FROM log_entry")[0][0])
    for words in (["backup", "backup.sqlite"], ["log", "save", number, "--output", "shown.bin"]):
        done = shop.call(*words)
        assert done.returncode == 0, done.stderr


def test_a_link_planted_in_the_inbox_leads_nothing_out_of_it(service, tmp_path):
    """Where somebody else may write: `processed` and `failed` are links to a folder of the victim's."""
    victim = tmp_path / "victim"
    victim.mkdir()
    before = sorted(victim.iterdir())
    shop, day = service.shop, service.shop.inbox / "processed"
    service.deliver()
    day.rename(shop.inbox / "processed.away")
    day.symlink_to(victim)
    try:
        shop.drop("linked.csv", rows("linked"))
        service.daemon.wait_for((shop.outbox / "linked.txt").exists, "linked delivered")
        service.daemon.wait_for(lambda: any("not filed away" in one for one in shop.notices()), "told")
    finally:
        day.unlink()
        (shop.inbox / "processed.away").rename(day)
    assert sorted(victim.iterdir()) == before
    service.daemon.wait_for(lambda: list(day.rglob("linked.csv")), "filed away once the link is gone")


def test_links_in_place_of_results_are_not_written_through(service, tmp_path):
    shop, victim = service.shop, tmp_path / "victim"
    victim.write_text("precious")
    (shop.folder / "link").symlink_to(victim)
    number = str(shop.sql("SELECT max(id) FROM log_entry")[0][0])
    for words in (["backup", "link"], ["log", "save", number, "--output", "link"]):
        done = shop.call(*words)
        assert done.returncode == 1
        assert "link" in done.stderr
    assert victim.read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_root_gives_no_payload_to_whoever_lured_it(service):
    shop, bait = service.shop, service.shop.folder / "bait"
    bait.write_text("")
    os.chown(bait, 65534, 65534)
    number = str(shop.sql("SELECT max(id) FROM log_entry")[0][0])
    assert shop.call("log", "save", number, "--output", "bait").returncode == 0
    assert (bait.stat().st_uid, stat.S_IMODE(bait.stat().st_mode)) == (0, 0o600)


def test_no_guessable_name_is_used_where_others_may_write(service):
    """Nothing of the daemon lies in /tmp: scratch files have no name or lie in the state folder."""
    links = opened_by(service.pid).values()
    assert [link for link in links if link.startswith("/tmp/") and str(service.shop.folder) not in link] == []
