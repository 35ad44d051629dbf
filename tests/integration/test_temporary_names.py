"""Temporary names on real servers: each kind, servers that refuse some, and such as take every upload at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from click.testing import CliRunner

from cegid_daemon.cli.root import cegid_daemon as program
from cegid_daemon.endpoints import open_endpoint
from cegid_daemon.errors import Taken
from cegid_daemon.journal import Journal
from tests.servers import ftp, sftp
from tests.servers.places import Place, wait_until

PATTERNS = [".{id}.part", "up_{id}", "{id}.tmp", "tmp/{id}", "none"]
WAYS = [*zip(PATTERNS, ["replace", "version"] * 3, strict=False), ("none", "version")]
REAL = {
    "vsftpd": ftp.vsftpd,
    "vsftpd-tls": partial(ftp.vsftpd, scheme="ftps"),
    "openssh": sftp.openssh,
    "pyftpdlib-bare": partial(ftp.in_process, proto_cmds=ftp.BARE),
}


class Shop:
    """A configuration with one route to a server, and the commands on it."""

    def __init__(self, folder: Path, place: Place, **target: str) -> None:
        self.folder = folder
        self.place = place
        (folder / "inbox").mkdir()
        self._runner = CliRunner()
        self.configure(**target)

    def configure(self, **target: str) -> None:
        keys = {key: str(value) for key, value in self.place.options.items() if isinstance(value, str)}
        if "password" in self.place.options:
            (self.folder / "password").write_text(self.place.options["password"].reveal())
        secret = 'password = { file = "password" }' if "password" in self.place.options else ""
        options = "\n".join(f"{key} = {json.dumps(value)}" for key, value in keys.items())
        more = "".join(f", {key} = {json.dumps(value)}" for key, value in target.items())
        (self.folder / "cegid-daemon.toml").write_text(f"""
[store.main]
[endpoint.in]
url = "file:inbox"
[endpoint.out]
url = "{self.place.url}"
timeout = "5s"
{options}
{secret}
[layout.rows]
kind = "delimited"
[route.rows]
store = "main"
source = {{ endpoint = "in", settle = "0s" }}
layout = "rows"
template = "rows.txt.j2"
target = {{ endpoint = "out", name = "{{{{ source.stem }}}}.txt"{more} }}
""")
        (self.folder / "templates").mkdir(exist_ok=True)
        (self.folder / "templates" / "rows.txt.j2").write_text("{% for r in records %}{{ r.ID }}\n{% endfor %}")

    def call(self, *command: str) -> Any:
        return self._runner.invoke(program, [*command, "--config", str(self.folder / "cegid-daemon.toml")])

    def drop(self, name: str, uid: str) -> None:
        (self.folder / "inbox" / name).write_text(f"ID\n{uid}\n")

    def states(self) -> list[str]:
        with closing(Journal.open(self.folder / "var" / "journal.sqlite", readonly=True)) as journal:
            return [row[0] for row in journal.connection.query("SELECT state FROM message ORDER BY id")]

    def arrived(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.place.root)): path.read_text()
            for path in self.place.root.rglob("*") if path.is_file()
        }  # fmt: skip


@pytest.fixture(scope="module", params=REAL)
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with REAL[request.param](tmp_path_factory.mktemp(request.param)) as place:
        yield place


@pytest.mark.parametrize(("pattern", "exists"), WAYS)
def test_every_kind_of_temporary_names_works_on_real_servers(
    real: Place, tmp_path: Path, pattern: str, exists: str
) -> None:
    for path in real.root.rglob("*.txt"):
        path.unlink()
    shop = Shop(tmp_path, real, temporary=pattern, exists=exists)
    live = shop.call("check", "--live")
    assert live.exit_code == 0, live.output
    assert f"temporary {pattern} yes" in live.output
    for uid in ("one", "two"):
        shop.drop("S.csv", uid)
        shop.drop("T.csv", uid * 2)
        done = shop.call("once")
        assert done.exit_code == 0, done.output
    assert shop.states() == ["done"] * 4
    newest = {"S.txt": "two\n", "T.txt": "twotwo\n"}
    versions = {"S.txt": "one\n", "T.txt": "oneone\n", "S.2.txt": "two\n", "T.2.txt": "twotwo\n"}
    assert shop.arrived() == (newest if exists == "replace" else versions)


# -- servers with habits of their own ----------------------------------------------------------------------------------


class Mailbox(ftp.FTPHandler):
    """Takes every upload at once, whatever its name."""

    taken: list[tuple[str, bytes]]

    def on_file_received(self, file: str) -> None:
        path = Path(file)
        self.taken.append((path.name, path.read_bytes()))
        path.unlink()


def of(kind: type, **more: Any) -> Callable[[Path], Any]:
    """A server whose handler has what `kind` adds."""
    own = {name: value for name, value in vars(kind).items() if not name.startswith("__")}
    return partial(ftp.in_process, **own, **more)


def without(*words: str) -> dict[str, Any]:
    return {word: about for word, about in ftp.FTPHandler.proto_cmds.items() if word not in words}


@pytest.mark.parametrize("commands", [None, ftp.BARE], ids=["with MLST", "without SIZE and MLST"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_server_that_takes_every_upload_at_once_gets_one_copy(
    tmp_path: Path, pattern: str, commands: dict[str, Any] | None
) -> None:
    taken: list[tuple[str, bytes]] = []
    more = {"proto_cmds": commands} if commands else {}
    with of(Mailbox, taken=taken, **more)(tmp_path / "server") as place:
        shop = Shop(tmp_path, place, temporary=pattern)
        for name in ("S.csv", "T.csv"):
            shop.drop(name, name[0])
        codes = [shop.call("once").exit_code for _ in range(4)]
        copies = [body for _, body in taken]
        if pattern == "none":
            assert taken == [("S.txt", b"S\n"), ("T.txt", b"T\n")]
            assert (codes[0], shop.states()) == (0, ["done", "done"])
        else:
            assert (copies.count(b"S\n"), shop.states()[0]) == (1, "unsure")
            assert copies.count(b"T\n") <= 1
            assert set(codes) == {1}
            shop.call("discard", "1")
            for _ in range(3):
                shop.call("once")
            assert ([body for _, body in taken].count(b"T\n"), shop.states()) == (1, ["discarded", "unsure"])


class SftpMailbox(asyncssh.SFTPServer):
    """Takes every file that was written the moment it is closed."""

    taken: list[bytes]

    def close(self, file_obj: Any) -> None:
        asyncssh.SFTPServer.close(self, file_obj)
        path = Path(os.fsdecode(file_obj.name))
        self.taken.append(path.read_bytes())
        path.unlink()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_an_sftp_server_that_takes_every_upload_at_once_gets_one_copy(tmp_path: Path, pattern: str) -> None:
    taken: list[bytes] = []
    kind = type("Kind", (SftpMailbox,), {"taken": taken})
    with sftp.in_process(tmp_path / "server", kind) as place:
        shop = Shop(tmp_path, place, temporary=pattern)
        for name in ("S.csv", "T.csv"):
            shop.drop(name, name[0])
        codes = [shop.call("once").exit_code for _ in range(3)]
        live = shop.call("check", "--live")
    if pattern == "none":
        assert (codes[0], taken[:2], shop.states()) == (0, [b"S\n", b"T\n"], ["done", "done"])
        assert live.exit_code == 0, live.output
    else:
        assert (taken.count(b"S\n"), taken.count(b"T\n") <= 1, shop.states()[0]) == (1, True, "unsure")
        assert "was taken before it could be renamed); would work: none" in live.output


def test_the_endpoint_itself_says_that_an_upload_was_taken(tmp_path: Path) -> None:
    taken: list[tuple[str, bytes]] = []
    with (
        of(Mailbox, taken=taken)(tmp_path) as place,
        closing(open_endpoint(place.spec())) as endpoint,
        pytest.raises(Taken, match="not there any more"),
    ):
        endpoint.put("", "S.txt", [b"x"])
    assert taken == [("S.txt", b"x")]


def test_check_live_says_what_works_with_a_mailbox_and_leaves_few_files_in_it(tmp_path: Path) -> None:
    taken: list[tuple[str, bytes]] = []
    with of(Mailbox, taken=taken)(tmp_path / "server") as place:
        shop = Shop(tmp_path, place)
        live = shop.call("check", "--live")
        assert live.exit_code == 1
        assert 'cannot deliver with temporary = ".{id}.part"' in live.output
        assert "was taken before it could be renamed); would work: none" in live.output
        assert len(taken) == 1
        shop.configure(temporary="none")
        live = shop.call("check", "--live")
        assert live.exit_code == 0, live.output
        assert "temporary none yes" in live.output


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_server_that_shows_nothing_is_believed_by_its_answer_to_rnfr(tmp_path: Path, pattern: str) -> None:
    """No SIZE, MLST, LIST or NLST: that a temporary is there is known by the answer to RNFR."""
    blind = {word: about for word, about in ftp.BARE.items() if word not in ("LIST", "NLST", "STAT")}
    with ftp.in_process(tmp_path / "server", proto_cmds=blind) as place:
        shop = Shop(tmp_path, place, temporary=pattern, exists="version")
        (place.root / "S.txt").write_text("not yet collected")
        shop.drop("S.csv", "one")
        done = shop.call("once")
        assert (done.exit_code, shop.states()) == (0, ["done"]), done.output
        assert shop.arrived() == {"S.txt": "not yet collected", "S.2.txt": "one\n"}


class NoDots(ftp.FTPHandler):
    """Refuses names with a leading dot."""

    def ftp_STOR(self, file: str, mode: str = "w") -> Any:
        if Path(file).name.startswith("."):
            self.respond("553 Prohibited file name.")
            return None
        return ftp.FTPHandler.ftp_STOR(self, file, mode)


class NoSuffixes(ftp.FTPHandler):
    """Takes names that end in .txt only, and makes no folders."""

    def ftp_STOR(self, file: str, mode: str = "w") -> Any:
        if not file.endswith(".txt"):
            self.respond("553 Prohibited file name.")
            return None
        return ftp.FTPHandler.ftp_STOR(self, file, mode)

    def ftp_MKD(self, path: str) -> None:
        self.respond("550 Permission denied.")


def test_check_live_says_what_works_where_leading_dots_are_refused(tmp_path: Path) -> None:
    with of(NoDots)(tmp_path / "server") as place:
        shop = Shop(tmp_path, place)
        live = shop.call("check", "--live")
        assert live.exit_code == 1
        wanted = "temporary .{id}.part no (553 Prohibited file name.); would work: up_{id}, {id}.tmp, tmp/{id}, none"
        assert wanted in live.output
        found = json.loads(shop.call("check", "--live", "--json").stdout)["endpoints"]
        assert [one["target_faults"] != [] for one in found] == [False, True]
        shop.drop("S.csv", "one")
        waiting = shop.call("once")
        assert (waiting.exit_code, shop.states()) == (1, ["waiting"])
        assert "temporary" in waiting.output
        shop.configure(temporary="up_{id}")
        assert shop.call("check", "--live").exit_code == 0
        assert shop.call("once").exit_code == 0
        assert shop.arrived() == {"S.txt": "one\n"}, "what waited goes out under the names of now"


def test_a_folder_for_temporary_names_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with of(NoSuffixes)(tmp_path / "server") as place:
        shop = Shop(tmp_path, place, temporary="tmp/{id}.txt")
        live = shop.call("check", "--live")
        assert live.exit_code == 1
        assert "temporary tmp/{id}.txt no (550 Permission denied.); would work: none" not in live.output
        assert "550 Permission denied." in live.output
        shop.drop("S.csv", "one")
        assert shop.call("once").exit_code == 1
        (place.root / "tmp").mkdir()
        assert shop.call("check", "--live").exit_code == 0
        assert shop.call("once").exit_code == 0
        assert shop.arrived() == {"S.txt": "one\n"}


# -- lines that break --------------------------------------------------------------------------------------------------


class SilentMailbox(Mailbox):
    """Takes every upload at once, and ends the connection instead of confirming it."""

    def respond(self, text: str, logfun: Any = None) -> None:
        if text.startswith("226") and self.data_channel is not None and self.data_channel.receive:
            self.close()
        else:
            ftp.FTPHandler.respond(self, text, *(() if logfun is None else (logfun,)))

    on_file_received = Mailbox.on_file_received


@pytest.mark.parametrize("pattern", PATTERNS)
def test_an_upload_whose_confirmation_is_lost_is_not_sent_twice(tmp_path: Path, pattern: str) -> None:
    taken: list[tuple[str, bytes]] = []
    with of(SilentMailbox, taken=taken)(tmp_path / "server") as place:
        shop = Shop(tmp_path, place, temporary=pattern)
        shop.drop("S.csv", "one")
        codes = [shop.call("once").exit_code for _ in range(3)]
    assert ([body for _, body in taken], shop.states(), set(codes)) == ([b"one\n"], ["unsure"], {1})


@pytest.mark.parametrize("scheme", ["ftp", "ftps"])
def test_an_upload_that_is_given_up_is_not_called_whole_by_the_server(tmp_path: Path, scheme: str) -> None:
    """vsftpd removes what breaks off, if it can tell that from what ends: by a reset, not by an orderly end."""

    def chunks() -> Iterator[bytes]:
        yield b"half" * 100_000
        wait_until((place.root / "S.txt").exists)
        raise OSError("the disk of the sender")

    with (
        ftp.vsftpd(tmp_path, scheme, delete_failed_uploads="YES") as place,
        closing(open_endpoint(place.spec())) as endpoint,
    ):
        with pytest.raises(OSError, match="the disk of the sender"):
            endpoint.put("", "S.txt", chunks())
        wait_until(lambda: not (place.root / "S.txt").exists())
