"""FTP servers that open no data connection, or none for what is empty."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cegid_daemon.endpoints import open_endpoint
from cegid_daemon.endpoints.ftp import FtpEndpoint
from cegid_daemon.errors import Transient
from tests.integration.test_ftp import _open_to_all
from tests.integration.test_ftp_lists import call, shop
from tests.servers import ftp
from tests.servers.ftp import FTPHandler, TLS_FTPHandler, in_process
from tests.servers.ftp_lists import Habit, habitual

IN_NO_TIME = 5.0  # seconds; the time-out is ten
NEITHER = {"PASV": "502 PASV is off", "EPSV": "502 EPSV is off"}
Answer = Callable[[Any], None]


def bare(reply: str) -> Answer:
    """Answers without ever opening a data connection."""
    return lambda handler: handler.respond(reply)


def closed_at_once(handler: Any) -> None:
    """Opens the data connection and closes it."""
    handler.respond("150 Here comes the listing.")
    if handler.data_channel is not None:
        handler.data_channel.close()
    elif handler._dtp_acceptor is not None:
        handler._dtp_acceptor.close()
    handler.respond("226 Done.")


def answering(answer: Answer, scheme: str = "ftp", word: str = "LIST") -> dict[str, Any]:
    """Attributes of a handler that answers a command so."""
    handler = FTPHandler if scheme == "ftp" else TLS_FTPHandler
    commands = {name: how for name, how in handler.proto_cmds.items() if name not in {"MLSD", "MLST"}}
    return {f"ftp_{word}": lambda handler, _path, *_more: answer(handler), "proto_cmds": commands}


@pytest.fixture
def in_no_time() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < IN_NO_TIME


@pytest.mark.usefixtures("in_no_time")
@pytest.mark.parametrize("passive", [True, False], ids=["passive", "active"])
@pytest.mark.parametrize("scheme", ["ftp", "ftps"])
@pytest.mark.parametrize("reply", ["226 Transfer complete.", "250 Requested file action okay."])
def test_a_listing_that_is_over_before_it_began_is_an_empty_folder(
    tmp_path: Path, scheme: str, reply: str, passive: bool
) -> None:
    with in_process(tmp_path / "server", scheme, **answering(bare(reply), scheme)) as place:
        with closing(open_endpoint(place.spec(passive=passive))) as endpoint:
            assert endpoint.list("") == []
            assert endpoint.put("", "a.csv", [b"12"]).size == 2, "the connection is in step"
            endpoint.rename("", "a.csv", "", "b.csv", replace=True)
        assert (place.root / "b.csv").read_bytes() == b"12"


@pytest.mark.usefixtures("in_no_time")
@pytest.mark.parametrize("scheme", ["ftp", "ftps"])
def test_a_data_connection_that_is_closed_at_once_is_an_empty_folder(tmp_path: Path, scheme: str) -> None:
    with (
        in_process(tmp_path / "server", scheme, **answering(closed_at_once, scheme)) as place,
        closing(open_endpoint(place.spec())) as endpoint,
    ):
        for _ in range(2):
            assert endpoint.list("") == []
        assert endpoint.put("", "a.csv", [b"12"]).size == 2


def test_a_listing_that_comes_without_150_is_read(tmp_path: Path) -> None:
    class Hasty(FTPHandler):  # type: ignore[misc]
        def respond(self, resp: str, *more: Any, **named: Any) -> None:
            if not resp.startswith(("125", "150")):
                FTPHandler.respond(self, resp, *more, **named)

    commands = {name: how for name, how in FTPHandler.proto_cmds.items() if name not in {"MLSD", "MLST"}}
    with in_process(tmp_path / "server", respond=Hasty.respond, proto_cmds=commands) as place:
        (place.root / "a.csv").write_bytes(b"x")
        with closing(open_endpoint(place.spec())) as endpoint:
            assert [one.name for one in endpoint.list("")] == ["a.csv"]


@pytest.mark.usefixtures("in_no_time")
@pytest.mark.parametrize("scheme", ["ftp", "ftps"])
def test_an_empty_file_that_is_read_without_a_data_connection(tmp_path: Path, scheme: str) -> None:
    with in_process(tmp_path / "server", scheme, **answering(bare("226 Done."), scheme, "RETR")) as place:
        (place.root / "empty.csv").touch()
        (place.root / "full.csv").write_bytes(b"x")
        with closing(open_endpoint(place.spec())) as endpoint:
            with endpoint.read("", "empty.csv") as reading:
                assert b"".join(reading) == b""
            with pytest.raises(Transient, match="0 of 1"), endpoint.read("", "full.csv") as reading:
                list(reading)


def test_an_upload_that_is_over_before_it_began_is_tried_again(tmp_path: Path) -> None:
    with (
        in_process(tmp_path / "server", **answering(bare("226 Done."), word="STOR")) as place,
        closing(open_endpoint(place.spec())) as endpoint,
        pytest.raises(Transient, match="before it began"),
    ):
        endpoint.put("", "a.csv", [b"12"])


# no data connections at all


@pytest.mark.parametrize(
    "replies",
    [
        ("502 no", "502 no"),
        ("500 no", "500 no"),
        ("522 no", "522 no"),
        ("425 no", "425 no"),
        ("550 no files found", "550 not found"),
    ],
)
@pytest.mark.parametrize("has_mlsd", [True, False])
def test_a_server_that_refuses_every_passive_connection_is_in_trouble(
    tmp_path: Path, replies: tuple[str, str], has_mlsd: bool
) -> None:
    habit = Habit(refuse=dict(zip(("PASV", "EPSV"), replies, strict=True)), has_mlsd=has_mlsd)
    with habitual(tmp_path / "server", habit) as place:
        (place.root / "a.csv").write_bytes(b"x")
        with closing(FtpEndpoint.of(place.spec())) as endpoint:
            for call_it in (
                lambda: endpoint.list(""),
                lambda: endpoint.put("", "b.csv", [b"1"]),
                lambda: endpoint.read("", "a.csv").__enter__(),
                endpoint.facts,
            ):
                with pytest.raises(Transient, match=replies[0]) as caught:
                    call_it()
                assert caught.value.of_place
                assert "passive = false" in caught.value.remedy
            habit.refuse = {}
            assert [one.name for one in endpoint.list("")] == ["a.csv"]


def test_a_server_without_size_whose_data_connections_fail_after_an_upload_has_not_taken_the_file(
    tmp_path: Path,
) -> None:
    habit = Habit()

    def refusing(handler: Any, line: str, command: str, argument: str) -> None:
        if command == "SIZE":
            handler.respond("502 no")
        elif command in NEITHER and habit.asked["STOR"]:
            handler.respond(NEITHER[command])
        else:
            habit.asked[command] += 1
            FTPHandler.pre_process_command(handler, line, command, argument)

    commands = {name: how for name, how in FTPHandler.proto_cmds.items() if name not in {"MLSD", "MLST"}}
    with (
        in_process(tmp_path / "server", pre_process_command=refusing, proto_cmds=commands) as place,
        closing(open_endpoint(place.spec())) as endpoint,
        pytest.raises(Transient, match="PASV is off"),
    ):
        endpoint.put("", "a.csv", [b"1"])


def test_vsftpd_without_passive_mode_says_that_active_mode_is_left(tmp_path: Path) -> None:
    with ftp.vsftpd(_open_to_all(tmp_path), pasv_enable="NO", cmds_denied="EPSV") as place:
        with closing(open_endpoint(place.spec())) as endpoint:
            with pytest.raises(Transient) as caught:
                endpoint.list("")
            assert "It takes PORT" in caught.value.remedy
        with closing(open_endpoint(place.spec(passive=False))) as endpoint:
            assert endpoint.list("") == []


def test_a_message_waits_for_passive_mode_and_check_live_says_what_is_wrong(tmp_path: Path) -> None:
    habit = Habit()
    with habitual(tmp_path / "server", habit) as place:
        folder = shop(tmp_path / "shop", place)
        text = (
            (folder / "cegid-daemon.toml")
            .read_text()
            .replace('source = { endpoint = "cegid"', 'source = { endpoint = "here"')
        )
        (folder / "cegid-daemon.toml").write_text(
            text.replace("[layout.rows]", '[endpoint.here]\nurl = "file:."\n[layout.rows]').replace(
                ', poll = "100ms"', ""
            )
        )
        (folder / "in").mkdir()
        (folder / "in" / "a.csv").write_bytes(b"ID\r\n1\r\n")
        habit.refuse = NEITHER
        once = call(folder, "once")
        assert once.returncode == 1
        check = call(folder, "check", "--live")
        assert check.returncode == 1
        for text in (once.stderr, call(folder, "status").stdout, check.stdout + check.stderr):
            assert "PASV is off" in text
        assert "passive = false" in once.stderr
        assert '"waiting"' in call(folder, "log", "list", "--json").stdout
        habit.refuse = {}
        assert call(folder, "once").returncode == 0
        assert (place.root / "out" / "a.txt").read_bytes() == b"1\n"
