"""FTP's conversation: how a data connection is asked for; and what a refusal speaks of."""

from __future__ import annotations

import ftplib
import socket
from typing import Any

import pytest

from cegid_daemon.endpoints.ftp_conversation import PlainFtp
from cegid_daemon.endpoints.ftp_words import DataRefusal, speaks_of_rights, speaks_of_trouble

PASV, EPSV = "227 Entering Passive Mode (10,0,0,5,195,80).", "229 Entering Extended Passive Mode (|||50000|)"


class Peer:
    """A control connection to 192.0.2.7."""

    def getpeername(self) -> tuple[str, int]:
        return ("192.0.2.7", 21)

    def getsockname(self) -> tuple[str, int]:
        return ("192.0.2.1", 50001)


def ftp(family: int, replies: dict[str, str]) -> tuple[Any, list[str]]:
    asked: list[str] = []

    class Answering(PlainFtp):
        def sendcmd(self, cmd: str) -> str:
            asked.append(cmd)
            reply = replies[cmd.split()[0]]
            if reply[0] in "45":
                raise (ftplib.error_temp if reply[0] == "4" else ftplib.error_perm)(reply)
            return reply

        voidcmd = sendcmd

    found = Answering()
    found.af, found.timeout, found.sock = family, 5.0, Peer()  # type: ignore[assignment]
    return found, asked


@pytest.mark.parametrize(
    ("family", "replies", "first", "then"),
    [
        (socket.AF_INET, {"PASV": PASV, "EPSV": "500 no"}, ["PASV"], ["PASV"]),
        (socket.AF_INET6, {"PASV": "500 no", "EPSV": EPSV}, ["EPSV"], ["EPSV"]),
        (socket.AF_INET, {"PASV": "550 no", "EPSV": EPSV}, ["PASV", "EPSV"], ["EPSV"]),
        (socket.AF_INET, {"PASV": "425 use EPSV", "EPSV": EPSV}, ["PASV", "EPSV"], ["EPSV"]),
        (socket.AF_INET, {"PASV": "227 somewhere", "EPSV": EPSV}, ["PASV", "EPSV"], ["EPSV"]),
        (socket.AF_INET6, {"PASV": PASV, "EPSV": "502 no"}, ["EPSV", "PASV"], ["PASV"]),
    ],
)
def test_a_passive_connection_leads_to_the_peer_whichever_way_it_is_asked_for(
    family: int, replies: dict[str, str], first: list[str], then: list[str]
) -> None:
    link, asked = ftp(family, replies)
    assert link.makepasv() == ("192.0.2.7", 50000)
    assert asked == first
    asked.clear()
    assert link.makepasv() == ("192.0.2.7", 50000)
    assert asked == then


@pytest.mark.parametrize("reply", ["421 closing", "530 log in"])
def test_an_end_of_the_session_is_no_question_of_the_way(reply: str) -> None:
    link, asked = ftp(socket.AF_INET, {"PASV": reply, "EPSV": EPSV})
    with pytest.raises(ftplib.Error, match=reply):
        link.makepasv()
    assert asked == ["PASV"]


@pytest.mark.parametrize("code", ["500", "502", "522", "425", "550"])
@pytest.mark.parametrize(
    ("port", "eprt", "remedy"),
    [("200", "200", "It takes PORT"), ("502", "200", "It takes PORT"), ("502", "522", "It takes no PORT either")],
)
def test_where_both_ways_are_refused_it_is_the_server_s_trouble(code: str, port: str, eprt: str, remedy: str) -> None:
    refused = {"PASV": f"{code} PASV not found", "EPSV": f"{code} EPSV off", "PORT": f"{port} x", "EPRT": f"{eprt} x"}
    link, asked = ftp(socket.AF_INET, refused)
    with pytest.raises(DataRefusal, match="PASV not found") as caught:
        link.makepasv()
    assert caught.value.code == 425
    assert "EPSV off" in caught.value.reply
    assert remedy in caught.value.remedy
    assert asked[:2] == ["PASV", "EPSV"]


@pytest.mark.parametrize(
    ("family", "replies", "asked"),
    [
        (socket.AF_INET, {"PORT": "200 x"}, ["PORT"]),
        (socket.AF_INET, {"PORT": "425 x", "EPRT": "200 x"}, ["PORT", "EPRT"]),
        (socket.AF_INET, {"PORT": "502 x", "EPRT": "522 x"}, ["PORT", "EPRT"]),
        (socket.AF_INET6, {"EPRT": "502 x"}, ["EPRT"]),
    ],
)
def test_an_active_connection_is_asked_for_both_ways(family: int, replies: dict[str, str], asked: list[str]) -> None:
    link, said = ftp(family, replies)
    if list(replies.values())[-1][0] == "2":
        link.makeport().close()
    else:
        with pytest.raises(DataRefusal) as caught:
            link.makeport()
        assert "passive = false" in caught.value.remedy
    assert [line.split()[0] for line in said] == asked


@pytest.mark.parametrize(
    ("reply", "rights", "trouble"),
    [
        ("550 Permission denied.", True, True),
        ("550 Access is denied.", True, True),
        ("550 Zugriff verweigert", True, True),
        ("450 File busy", False, True),
        ("550 Failed to open file.", False, True),
        ("550 Cannot create a file when that file already exists.", False, True),
        ("553 Permission denied: file exists", False, True),
        ("550 No files found", False, False),
        ("550 Rename failed.", False, True),
        ("553 File exists", False, False),
    ],
)
def test_what_a_refusal_speaks_of(reply: str, rights: bool, trouble: bool) -> None:
    assert (speaks_of_rights(reply), speaks_of_trouble(reply)) == (rights, trouble)
