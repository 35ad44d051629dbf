"""The answer to an upload by plain FTP is withheld for a grace: what ends it early, what breaks the upload in it."""

from __future__ import annotations

import ftplib
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.integration.test_site_ftp import begin, login, reset, tls
from tests.servers.dropsite import PASSWORD, Running, dropsite
from tests.servers.places import program

BODY = b"a;b\r\n1;2\r\n"
LONG, SHORT = timedelta(seconds=20), timedelta(milliseconds=600)


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Running]:
    """A site whose grace is longer than any test waits."""
    with dropsite("ftp", tmp_path, grace=LONG) as running:
        yield running


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Running]:
    with dropsite("ftp", tmp_path, grace=SHORT) as running:
        yield running


def control(ftp: ftplib.FTP) -> socket.socket:
    assert ftp.sock is not None
    return ftp.sock


def is_kept(site: Running, name: str = "S.csv") -> bool:
    return (site.root / ".uploading" / name).exists() and not (site.root / name).exists() and site.landed == []


def test_a_client_that_waits_is_answered_when_the_grace_is_over(site: Running) -> None:
    with login(site) as ftp:
        data = begin(ftp, "STOR S.csv", BODY)
        data.close()
        began = time.monotonic()
        assert ftp.voidresp().startswith("226")
        assert 0.5 < time.monotonic() - began < 5
    assert site.names() == ["S.csv"]


@pytest.mark.parametrize("end", ["fin", "reset"])
def test_a_control_connection_that_ends_in_the_grace_breaks_the_upload(site: Running, end: str) -> None:
    ftp = login(site)
    begin(ftp, "STOR S.csv", BODY).close()
    time.sleep(0.3)
    if end == "reset":
        reset(control(ftp))
    ftp.close()
    time.sleep(1)
    assert is_kept(site)
    with login(site) as again:  # and is resumed
        again.voidcmd("TYPE I")
        come = again.size("S.csv")
        assert come == len(BODY) - 1  # who goes by sizes does not take the file for arrived
        data = begin(again, "STOR S.csv", BODY[come:], rest=come)
        data.close()
        again.voidresp()
    assert (site.root / "S.csv").read_bytes() == BODY


@pytest.mark.parametrize("resume", ["curl", "lftp"])
def test_a_client_that_was_killed_behind_its_last_byte_resumes_by_the_size(
    site: Running, tmp_path: Path, resume: str
) -> None:
    (tmp_path / "S.csv").write_bytes(BODY)
    ftp = login(site)
    begin(ftp, "STOR S.csv", BODY).close()
    time.sleep(0.2)
    ftp.close()
    time.sleep(0.3)
    assert is_kept(site)
    where = f"ftp://cegid:{quote(PASSWORD)}@127.0.0.1:{site.port}/"
    words = {
        "curl": ["curl", "-sS", "-C", "-", "-T", str(tmp_path / "S.csv"), where],
        "lftp": ["lftp", "-e", f"put -c {tmp_path}/S.csv; bye", where],
    }[resume]
    subprocess.run([program(words[0], words[0]), *words[1:]], check=True, timeout=30)
    assert site.names() == ["S.csv"]
    assert (site.root / "S.csv").read_bytes() == BODY


def test_lftp_announces_the_length_of_every_file(patient: Running, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.csv" for number in range(3)]
    for file in files:
        file.write_bytes(BODY)
    began = time.monotonic()
    puts = "; ".join(f"put {file}" for file in files)
    where = f"ftp://cegid:{quote(PASSWORD)}@127.0.0.1:{patient.port}/"
    words = [program("lftp", "lftp"), "-e", f"set ftp:use-allo yes; {puts}; bye", where]
    subprocess.run(words, check=True, timeout=60)
    assert time.monotonic() - began < 15
    assert patient.names() == [file.name for file in files]


@pytest.mark.parametrize("announced", [0, len(BODY) - 1])
def test_more_than_was_announced_is_judged_by_the_grace(site: Running, announced: int) -> None:
    with login(site) as ftp:
        ftp.voidcmd("TYPE I")
        ftp.voidcmd(f"ALLO {announced}")
        begin(ftp, "STOR S.csv", BODY).close()
        time.sleep(0.2)
        assert site.landed == []
        assert ftp.voidresp().startswith("226")
    assert (site.root / "S.csv").read_bytes() == BODY


@pytest.mark.parametrize("farewell", [b"ABOR\r\n", b"QUIT\r\n"])
def test_a_client_that_leaves_before_it_heard_of_its_file_did_not_wait_for_its_end(
    patient: Running, farewell: bytes
) -> None:
    ftp = login(patient)
    begin(ftp, "STOR S.csv", BODY).close()
    time.sleep(0.1)
    control(ftp).sendall(farewell)
    assert ftp.getmultiline()[:3] == "426"
    ftp.close()
    assert is_kept(patient)


def test_a_client_that_goes_on_is_answered_at_once_and_in_order(patient: Running) -> None:
    with login(patient) as ftp:
        began = time.monotonic()
        for number in range(5):
            data = begin(ftp, f"STOR {number}.csv", BODY)
            data.close()
            time.sleep(0.1)
            control(ftp).sendall(b"SIZE %d.csv\r\n" % number)
            assert ftp.getmultiline()[:3] == "226"
            assert ftp.getmultiline() == f"213 {len(BODY)}"
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("command", [b"NOOP\r\n", b"STAT\r\n"])
def test_what_a_timer_of_the_client_sends_tells_nothing(site: Running, command: bytes) -> None:
    ftp = login(site)
    begin(ftp, "STOR S.csv", BODY).close()
    time.sleep(0.1)
    control(ftp).sendall(command)
    assert ftp.getmultiline()[:1] == "2"
    assert site.landed == []
    ftp.close()
    time.sleep(0.8)
    assert is_kept(site)


@pytest.mark.parametrize("first", ["commands", "end"])
def test_commands_that_were_sent_ahead_wait_for_the_upload_they_follow(site: Running, first: str) -> None:
    with login(site) as ftp:
        data = begin(ftp, "STOR S.tmp", BODY)
        if first == "end":
            data.close()
        control(ftp).sendall(b"RNFR S.tmp\r\nRNTO S.csv\r\nSIZE S.csv\r\n")
        if first == "commands":
            time.sleep(0.2)
            data.close()
        assert [ftp.getmultiline()[:3] for _ in range(4)] == ["226", "350", "250", "213"]
    assert (site.root / "S.csv").read_bytes() == BODY


def test_a_quit_that_was_sent_before_the_data_ended_is_honoured(site: Running) -> None:
    ftp = login(site)
    data = begin(ftp, "STOR S.csv", BODY)
    control(ftp).sendall(b"QUIT\r\n")
    time.sleep(0.3)
    data.close()
    replies = [ftp.getmultiline()[:3], ftp.getmultiline()[:3]]
    assert sorted(replies) == ["221", "226"] or replies[-1] == "226"
    ftp.close()
    assert site.names() == ["S.csv"]


def test_a_length_that_was_announced_and_came_is_answered_at_once(patient: Running) -> None:
    with login(patient) as ftp:
        ftp.voidcmd("TYPE I")
        began = time.monotonic()
        for number in range(3):
            ftp.voidcmd(f"ALLO {len(BODY)}")
            begin(ftp, f"STOR {number}.csv", BODY).close()
            assert ftp.voidresp().startswith("226")
        assert time.monotonic() - began < 5
        begin(ftp, "STOR 3.csv", BODY).close()  # ALLO is of one upload only
        time.sleep(0.3)
        assert patient.names() == ["0.csv", "1.csv", "2.csv"]
        ftp.close()


def test_less_than_was_announced_is_no_file(site: Running) -> None:
    with login(site) as ftp:
        ftp.voidcmd("TYPE I")
        ftp.voidcmd(f"ALLO {len(BODY) + 1}")
        begin(ftp, "STOR S.csv", BODY).close()
        with pytest.raises(ftplib.error_temp, match="ALLO"):
            ftp.voidresp()
        assert is_kept(site)
        ftp.voidcmd(f"ALLO {len(BODY) + 1}")  # the rest, its length counted from the start
        begin(ftp, "STOR S.csv", b"x", rest=len(BODY)).close()
        assert ftp.voidresp().startswith("226")
    assert (site.root / "S.csv").read_bytes() == BODY + b"x"


def test_in_a_text_transfer_the_announced_length_may_count_other_bytes(site: Running) -> None:
    with login(site) as ftp:
        ftp.voidcmd("TYPE A")
        ftp.voidcmd("ALLO 1000")
        data = ftp.transfercmd("STOR S.csv")
        data.sendall(BODY)
        data.close()
        assert ftp.voidresp().startswith("226")
    assert (site.root / "S.csv").read_bytes() == BODY


def test_without_a_grace_the_answer_comes_at_once(tmp_path: Path) -> None:
    with dropsite("ftp", tmp_path, grace=timedelta(0)) as site, login(site) as ftp:
        began = time.monotonic()
        begin(ftp, "STOR S.csv", BODY).close()
        assert ftp.voidresp().startswith("226")
        assert time.monotonic() - began < 2


def test_a_stop_of_the_site_in_the_grace_keeps_the_upload(tmp_path: Path) -> None:
    with dropsite("ftp", tmp_path, grace=LONG) as site:
        ftp = login(site)
        begin(ftp, "STOR S.csv", BODY).close()
        time.sleep(0.2)
    ftp.close()
    assert is_kept(site)


def test_over_tls_nobody_waits(tmp_path: Path) -> None:
    with dropsite("ftps", tmp_path, grace=LONG) as site:
        ftp = tls(site)
        ftp.login("cegid", PASSWORD)
        ftp.prot_p()
        began = time.monotonic()
        ftp.voidcmd("TYPE I")
        data = ftp.transfercmd("STOR S.csv")
        data.sendall(BODY)
        data.unwrap()
        data.close()
        assert ftp.voidresp().startswith("226")
        assert time.monotonic() - began < 10
        ftp.close()
