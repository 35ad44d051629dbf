"""FTP servers with other habits than vsftpd's, to the endpoint and to the whole program."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cegid_daemon.endpoints import open_endpoint
from cegid_daemon.endpoints.card import card_of
from cegid_daemon.endpoints.ftp import FtpEndpoint
from cegid_daemon.endpoints.listing import unread_lines
from cegid_daemon.endpoints.many import Move, rename_many, stat_many
from cegid_daemon.errors import Absent, Exists, Transient
from tests.integration.test_ftp import _open_to_all
from tests.servers import ftp
from tests.servers.command_line import run_command
from tests.servers.ftp import FTPHandler
from tests.servers.ftp_lists import Habit, as_printed, habitual, unix
from tests.servers.places import Place
from tests.unit.test_ftp_list_formats import HABITS

Opened = Callable[..., tuple[Habit, FtpEndpoint, Path]]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Starts a server with habits; gives them, an endpoint on it, and its folder."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(settings: dict[str, Any] | None = None, **habits: Any) -> tuple[Habit, FtpEndpoint, Path]:
            habit = Habit(**habits)
            place = stack.enter_context(habitual(tmp_path / "server", habit, **(settings or {})))
            endpoint = FtpEndpoint.of(place.spec())
            stack.callback(endpoint.close)
            return habit, endpoint, place.root

        yield start


def content(endpoint: FtpEndpoint, name: str) -> bytes:
    with endpoint.read("", name) as reading:
        return b"".join(reading)


# listings


@pytest.mark.parametrize("line", HABITS)
def test_a_file_on_a_server_of_any_habit_is_listed_and_read(opened: Opened, line: bytes) -> None:
    _, endpoint, root = opened(line=as_printed(line))
    (root / "STOCK.csv").write_bytes(b"x" * 309)
    (root / "sub").mkdir()
    listing = endpoint.list("")
    assert unread_lines(listing) == ()
    (file,) = [one for one in listing if one.regular]
    assert (file.name, file.identity.size) == ("STOCK.csv", 309)
    assert content(endpoint, "STOCK.csv") == b"x" * 309
    assert [one for one in endpoint.list("") if one.regular] == [file]
    assert endpoint.stat("", "STOCK.csv") == file
    endpoint.rename("", "STOCK.csv", "sub", "STOCK.csv", replace=False)
    assert [one.name for one in endpoint.list("") if one.regular] == []


@pytest.mark.parametrize("name", ["STOCK.csv", " STOCK.csv", "2026 STOCK.csv", "a -> b.csv", "x  y.csv"])
@pytest.mark.parametrize(
    "line",
    [
        b"-rw-r--r--    1 0        0             309 Nov 18 2026  STOCK.csv",
        b"-rw-r--r--    1 0        0             309 Nov 18 10:26 2026 STOCK.csv",
        b"11-18-26  10:26AM                  309  STOCK.csv",
        b"-rw-r--r--    1 0        0             309 Nov 18 10:26 STOCK.csv",
    ],
)
def test_where_the_columns_leave_a_name_open_the_server_is_asked_once(opened: Opened, line: bytes, name: str) -> None:
    habit, endpoint, root = opened(line=as_printed(line))
    (root / name).write_bytes(b"x")
    for _ in range(3):
        assert [one.name for one in endpoint.list("")] == [name]
    assert habit.asked["NLST"] <= 1
    assert content(endpoint, name) == b"x"


def test_where_names_cannot_be_asked_for_the_likely_one_is_taken(opened: Opened) -> None:
    line = b"11-18-26  10:26AM                  309  STOCK.csv"
    _, endpoint, root = opened(line=as_printed(line), refuse={"NLST": "502 no"})
    (root / "a.csv").write_bytes(b"x")
    assert [one.name for one in endpoint.list("")] == ["a.csv"]


def test_lines_that_are_not_understood_come_with_the_listing_in_the_endpoint_s_encoding(opened: Opened) -> None:
    _, endpoint, root = opened(extra="STOCK é.CSV;1  1/3  18-NOV-2026 10:26:40\r\n".encode())
    (root / "a.csv").write_bytes(b"x")
    listing = endpoint.list("")
    assert [one.name for one in listing] == ["a.csv"]
    assert unread_lines(listing) == ("STOCK é.CSV;1  1/3  18-NOV-2026 10:26:40",)


def test_a_time_is_the_server_s_own_and_not_what_list_prints(opened: Opened) -> None:
    lines = iter([b"Dec 31 23:59", b"Dec 31  2025", b"Jan  1 00:59", b"01-01-2026 00:59"])
    current = [next(lines)]
    _, endpoint, root = opened(line=lambda path: unix(path).replace(b"Nov 18 10:26", current[0]))
    (root / "a.csv").write_bytes(b"x")
    first = endpoint.list("")
    for current[0] in lines:
        assert endpoint.list("") == first
    assert first[0].identity.mtime_ns // 10**9 == int((root / "a.csv").stat().st_mtime)


def test_files_that_no_route_takes_are_not_asked_for_their_times(opened: Opened) -> None:
    habit, endpoint, root = opened()
    for number in range(500):
        (root / f"foreign{number}.dat").write_bytes(b"x")
    (root / "S.csv").write_bytes(b"x")
    listing = endpoint.list("", lambda name: name.endswith(".csv"))
    assert len(listing) == 501
    assert habit.asked["MDTM"] == 1
    assert card_of(endpoint, "", _now).tried["remove"] == "yes"
    assert habit.asked["MDTM"] < 20
    assert next(one for one in listing if one.name == "S.csv").identity.mtime_ns
    assert endpoint.list("", lambda name: name.endswith(".csv")) == listing


@pytest.mark.parametrize("command", ["MLSD", "MLST"])
def test_a_server_whose_mlsd_does_not_work_is_listed_by_list(opened: Opened, command: str) -> None:
    class Sizeless(FTPHandler):  # type: ignore[misc]
        def ftp_MLSD(self, path: str) -> None:
            self.push_dtp_data(b"type=file; a.csv\r\n", isproducer=False, cmd="MLSD")

    settings = {} if command == "MLSD" else {"ftp_MLSD": Sizeless.ftp_MLSD}
    refuse = {"MLSD": "502 no"} if command == "MLSD" else {}
    _, endpoint, root = opened(settings, has_mlsd=True, refuse=refuse)
    (root / "a.csv").write_bytes(b"abc")
    (file,) = endpoint.list("")
    assert file.identity.size == 3
    assert content(endpoint, "a.csv") == b"abc"
    assert endpoint.stat("", "a.csv") == file


@pytest.mark.parametrize("refuse", [("SIZE",), ("MDTM",), ("SIZE", "MDTM")])
def test_a_server_without_size_or_times_is_read_all_the_same(opened: Opened, refuse: tuple[str, ...]) -> None:
    _, endpoint, root = opened(refuse=dict.fromkeys(refuse, "500 unknown command"))
    (root / "a.csv").write_bytes(b"abc")
    (root / "sub").mkdir()
    (file,) = [one for one in endpoint.list("") if one.regular]
    assert content(endpoint, "a.csv") == b"abc"
    assert endpoint.stat("", "a.csv") == file
    assert stat_many(endpoint, "", ["a.csv", "none", "sub"])[:2] == [file, None]
    assert endpoint.put("", "b.csv", [b"12345"]).size == 5
    with pytest.raises(Exists):
        endpoint.rename("", "b.csv", "", "a.csv", replace=False)


# empty folders


@pytest.mark.parametrize(
    "reply",
    [
        "550 No files found",
        "450 No files found.",
        "550 No such file or directory",
        "550 a.csv: file not found",
        "450 Directory is empty",
        "550 Aucun fichier",
        "550 Requested action not taken",
    ],
)
def test_an_empty_folder_that_is_refused_is_an_empty_folder(opened: Opened, reply: str) -> None:
    _, endpoint, root = opened(empty=reply)
    assert endpoint.list("") == []
    assert endpoint.facts()
    (root / "a.csv").write_bytes(b"x")
    assert [one.name for one in endpoint.list("")] == ["a.csv"]
    with pytest.raises(Absent):
        endpoint.list("gone")


@pytest.mark.parametrize(
    "reply", ["550 Permission denied", "450 File busy, try again", "550 Access is denied.", "451 x"]
)
def test_a_folder_that_may_not_be_listed_is_no_empty_one(opened: Opened, reply: str) -> None:
    _, endpoint, _ = opened(refuse={"LIST": reply})
    with pytest.raises(Transient, match=reply[:3]):
        endpoint.list("")


def test_a_refusal_that_leaves_it_open_is_no_empty_folder_where_names_are_listed(opened: Opened) -> None:
    _, endpoint, root = opened(refuse={"LIST": "550 Requested action not taken"})
    (root / "a.csv").write_bytes(b"x")
    with pytest.raises(Transient, match="550"):
        endpoint.list("")


# renames onto taken names

TAKEN = ["550 Cannot create a file when that file already exists.", "553 File exists", "550 Rename failed.", "500 no"]


@pytest.mark.parametrize("reply", TAKEN)
def test_a_server_that_refuses_to_rename_onto_a_taken_name_is_known_for_it(opened: Opened, reply: str) -> None:
    _, endpoint, root = opened(renames_onto=reply)
    for name in ("a.tmp", "b.tmp", "a.csv"):
        (root / name).write_bytes(name.encode())
    assert endpoint.abilities.replaces
    assert card_of(endpoint, "", _now).tried["replace"] == "no"
    assert not endpoint.abilities.replaces
    with pytest.raises(Exists):
        endpoint.rename("", "a.tmp", "", "a.csv", replace=True)
    errors = rename_many(endpoint, "", "", [Move("a.tmp", "a.csv"), Move("b.tmp", "b.csv")], replace=True)
    assert isinstance(errors[0], Exists)
    assert errors[1] is None


def test_a_folder_under_the_new_name_says_nothing_of_the_server(opened: Opened) -> None:
    _, endpoint, root = opened(renames_onto="550 no")
    (root / "a.tmp").write_bytes(b"x")
    (root / "a.csv").mkdir()
    with pytest.raises(Exists):
        endpoint.rename("", "a.tmp", "", "a.csv", replace=True)
    assert endpoint.abilities.replaces


def _now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)


# data connections


@pytest.mark.parametrize("reply", ["502 PASV disabled", "500 unknown", "425 no", "522 use EPSV"])
def test_epsv_where_pasv_is_refused(opened: Opened, reply: str) -> None:
    habit, endpoint, root = opened(refuse={"PASV": reply})
    (root / "a.csv").write_bytes(b"x")
    assert [one.name for one in endpoint.list("")] == ["a.csv"]
    assert content(endpoint, "a.csv") == b"x"
    assert (habit.asked["PASV"], habit.asked["EPSV"]) == (1, 2)


def test_where_neither_is_offered_the_usual_way_s_refusal_is_told(opened: Opened) -> None:
    _, endpoint, _ = opened(refuse={"PASV": "502 PASV is off", "EPSV": "502 EPSV is off"})
    with pytest.raises(Exception, match="PASV is off"):
        endpoint.list("")


def test_an_address_behind_nat_is_not_believed(opened: Opened) -> None:
    _, endpoint, root = opened({"masquerade_address": "192.0.2.7"})
    (root / "a.csv").write_bytes(b"x")
    assert [one.name for one in endpoint.list("")] == ["a.csv"]


def test_eprt_where_port_is_refused(tmp_path: Path) -> None:
    habit = Habit(refuse={"PORT": "502 no"})
    with habitual(tmp_path / "server", habit) as place:
        (place.root / "a.csv").write_bytes(b"x")
        with closing(open_endpoint(place.spec(passive=False))) as endpoint:
            assert [one.name for one in endpoint.list("")] == ["a.csv"]
    assert habit.asked["EPRT"] == 1


@pytest.mark.parametrize("denied", ["PASV", "EPSV"])
def test_vsftpd_that_allows_one_passive_mode(tmp_path: Path, denied: str) -> None:
    with ftp.vsftpd(_open_to_all(tmp_path), cmds_denied=denied) as place:
        (place.root / "a.csv").write_bytes(b"x")
        with closing(open_endpoint(place.spec())) as endpoint:
            assert [one.name for one in endpoint.list("")] == ["a.csv"]
            assert endpoint.put("", "b.csv", [b"12"]).size == 2


def test_vsftpd_with_names_that_look_like_columns(tmp_path: Path) -> None:
    names = [" STOCK.csv", "2026 a.csv", "a -> b.csv", "STOCK.csv", "x  y.csv", "10:26 z.csv"]
    with ftp.vsftpd(_open_to_all(tmp_path)) as place, closing(open_endpoint(place.spec())) as endpoint:
        for name in names:
            (place.root / name).write_bytes(b"x")
        listing = endpoint.list("")
        assert sorted(one.name for one in listing) == sorted(names)
        assert unread_lines(listing) == ()
        for name in names:
            with endpoint.read("", name) as reading:
                assert b"".join(reading) == b"x"


# the program

CONFIGURATION = """\
state = "var"
templates = "templates"
[store.main]
[endpoint.cegid]
url = "{url}"
password = {{ file = "password" }}
[layout.rows]
kind = "delimited"
[route.rows]
title = "Rows"
store = "main"
layout = "rows"
template = "rows.txt.j2"
source = {{ endpoint = "cegid", folder = "in", settle = "50ms", poll = "100ms", match = "*.csv" }}
target = {{ endpoint = "cegid", folder = "out", name = "{{{{ source.stem }}}}.txt" }}
"""


def shop(folder: Path, place: Place) -> Path:
    folder.mkdir()
    (folder / "templates").mkdir()
    (folder / "templates" / "rows.txt.j2").write_text("{% for r in records %}{{ r.ID }}\n{% endfor %}")
    (folder / "password").write_text(ftp.PASSWORD)
    (folder / "password").chmod(0o600)
    (folder / "cegid-daemon.toml").write_text(CONFIGURATION.format(url=place.url))
    for name in ("in", "out"):
        (place.root / name).mkdir(exist_ok=True)
    return folder


def call(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run_command(*words, folder=folder, timeout=100)


def test_a_line_that_is_not_understood_is_told_by_once_status_and_check(tmp_path: Path) -> None:
    line = "STOCK.CSV;1                1/3       18-NOV-2026 10:26:40  [CEGID,SHOP] (RWED,RWED,RE,)"
    with habitual(tmp_path / "server", Habit(extra=f"{line}\r\n".encode())) as place:
        folder = shop(tmp_path / "shop", place)
        (place.root / "in" / "a.csv").write_bytes(b"ID\r\n1\r\n")
        once = call(folder, "once")
        assert once.returncode == 1, once
        assert once.stderr.count(line) == 1
        assert (place.root / "out" / "a.txt").read_bytes() == b"1\n"
        assert " ".join(line.split()) in call(folder, "status").stdout
        assert json.loads(call(folder, "status", "--json").stdout)["notices"][0]["kind"] == "unread listing line"
        check = call(folder, "check", "--live")
        assert check.returncode == 1
        assert line in check.stderr
        assert "No fault found" not in check.stdout


def test_a_name_that_is_denied_ends_once_and_frees_the_lock(tmp_path: Path) -> None:
    def ghost(path: Path) -> bytes:
        return unix(path).replace(b"a.csv", b"\xa0a.csv")

    with habitual(tmp_path / "server", Habit(line=ghost)) as place:
        folder = shop(tmp_path / "shop", place)
        (place.root / "in" / "a.csv").write_bytes(b"ID\r\n1\r\n")
        (place.root / "in" / "b.csv").write_bytes(b"ID\r\n2\r\n")
        for _ in range(2):
            once = call(folder, "once")
            assert once.returncode == 1, once
            assert "a.csv" in once.stderr
            assert "not there" in once.stderr
        assert (place.root / "out" / "b.txt").read_bytes() == b"2\n"
        assert "not there" in call(folder, "status").stdout
        check = call(folder, "check", "--live")
        assert check.returncode == 1
        assert "not there" in check.stderr


@pytest.mark.parametrize("files", [1, 20])
def test_where_the_name_is_taken_and_cannot_be_replaced_the_next_free_one_is_used(tmp_path: Path, files: int) -> None:
    habit = Habit(renames_onto="550 Cannot create a file when that file already exists.")
    with habitual(tmp_path / "server", habit) as place:
        folder = shop(tmp_path / "shop", place)
        for number in range(files):
            (place.root / "in" / f"{number}.csv").write_bytes(b"ID\r\n%d\r\n" % number)
            (place.root / "out" / f"{number}.txt").write_bytes(b"older")
        once = call(folder, "once")
        assert (once.returncode, once.stderr) == (0, "")
        for number in range(files):
            assert (place.root / "out" / f"{number}.txt").read_bytes() == b"older"
            assert (place.root / "out" / f"{number}.2.txt").read_bytes() == b"%d\n" % number
        assert len(list((place.root / "out").iterdir())) == 2 * files
        with closing(sqlite3.connect(folder / "var" / "journal.sqlite")) as db:
            names = {row[0] for row in db.execute("SELECT name FROM delivery")}
        assert names == {f"{number}.2.txt" for number in range(files)}
        check = call(folder, "check", "--live")
        assert "cannot replace" in check.stdout
        assert ": renames, replaces" not in check.stdout
        assert "replace no" in check.stdout


def test_an_empty_folder_that_is_refused_is_well(tmp_path: Path) -> None:
    with habitual(tmp_path / "server", Habit(empty="550 No files found")) as place:
        folder = shop(tmp_path / "shop", place)
        assert call(folder, "once").returncode == 0
        assert call(folder, "check", "--live").returncode == 0
        (place.root / "in").rmdir()
        assert call(folder, "once").returncode == 1
