"""An SFTP server that answers whatever a test wants: its SSH is sound, its packets are the test's."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import paramiko

from tests.servers.listener import Listener
from tests.servers.places import HOST, make_key

PASSWORD = "geheim und länger"
VERSION, STATUS, HANDLE, DATA, NAME, ATTRS = 2, 101, 102, 103, 104, 105
OPEN, READ, LSTAT, FSTAT, OPENDIR, READDIR, REALPATH, STAT = 3, 5, 7, 8, 11, 12, 16, 17
FOLDER, FILE = 0o040755, 0o100644

Answer = Callable[["Requests", int, bytes], None]


def text(body: bytes) -> bytes:
    """A string with its length."""
    return struct.pack(">I", len(body)) + body


def attributes(size: int = 10, mode: int = FILE, mtime: int = 1_700_000_000) -> bytes:
    """Size, rights and times."""
    return struct.pack(">IQIII", 0x0D, size, mode, mtime, mtime)


def entry(name: bytes, attrs: bytes = b"") -> bytes:
    """One entry of a folder."""
    return text(name) + text(b"") + (attrs or attributes())


class Requests:
    """One session: `answers` by packet type go before the sound ones."""

    def __init__(self, channel: paramiko.Channel, answers: dict[int, Answer]) -> None:
        self.channel = channel
        self._answers = answers
        self.listed = False

    def serve(self) -> None:
        while head := self._read(5):
            length, kind = struct.unpack(">IB", head)
            body = self._read(length - 1)
            if kind == 1:
                self.send(VERSION, struct.pack(">I", 3))
                continue
            number = struct.unpack_from(">I", body)[0]
            self._answers.get(kind, Requests.sound(kind))(self, number, body[4:])

    def _read(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            piece = self.channel.recv(size - len(got))
            if not piece:
                return b""
            got += piece
        return got

    def send(self, kind: int, body: bytes) -> None:
        self.channel.sendall(struct.pack(">IB", len(body) + 1, kind) + body)

    def reply(self, kind: int, number: int, body: bytes) -> None:
        self.send(kind, struct.pack(">I", number) + body)

    def status(self, number: int, code: int, said: bytes = b"") -> None:
        self.reply(STATUS, number, struct.pack(">I", code) + text(said) + text(b""))

    @staticmethod
    def sound(kind: int) -> Answer:
        def answer(self: Requests, number: int, body: bytes) -> None:
            match kind:
                case 7 | 8:
                    self.reply(ATTRS, number, attributes())
                case 17:
                    self.reply(ATTRS, number, attributes(mode=FOLDER))
                case 3 | 11:
                    self.reply(HANDLE, number, text(b"h"))
                case 16:
                    self.reply(NAME, number, struct.pack(">I", 1) + entry(b"/"))
                case 12 if not self.listed:
                    self.listed = True
                    self.reply(NAME, number, struct.pack(">I", 1) + entry(b"S1.csv"))
                case 12:
                    self.status(number, 1)
                case 5:
                    offset = struct.unpack_from(">Q", body, 5)[0]
                    rest = b"0123456789"[offset:]
                    self.reply(DATA, number, text(rest)) if rest else self.status(number, 1)
                case 4:
                    self.listed = False
                    self.status(number, 0)
                case _:
                    self.status(number, 4)

        return answer


class _Login(paramiko.ServerInterface):
    def check_auth_password(self, username: str, password: str) -> int:
        return paramiko.AUTH_SUCCESSFUL if password == PASSWORD else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED


class HostileSftp(Listener):
    """The server, in threads. `raw`: what is done with a connection instead of SSH."""

    def __init__(
        self, key: Path, answers: dict[int, Answer], raw: Callable[[socket.socket], None] | None,
        armed: threading.Event | None,
    ) -> None:  # fmt: skip
        super().__init__("hostile SFTP", armed)
        self._key = paramiko.PKey.from_path(key)
        self._answers = answers
        self._raw = raw
        self.host_line = f"[{HOST}]:{self.port} {self._key.get_name()} {self._key.get_base64()}"
        self.passwords: list[str] = []
        self.start()

    def serve(self, sock: socket.socket) -> None:
        if self._raw is not None:
            with suppress(OSError):
                self._raw(sock)
            sock.close()
        else:
            self._serve(sock)

    def _serve(self, sock: socket.socket) -> None:
        answers, passwords = self._answers, self.passwords

        class Handler(paramiko.SubsystemHandler):
            def start_subsystem(self, name: str, transport: paramiko.Transport, channel: paramiko.Channel) -> None:
                with suppress(OSError, EOFError, struct.error, paramiko.SSHException):
                    Requests(channel, answers).serve()

        class Login(_Login):
            def check_auth_password(self, username: str, password: str) -> int:
                passwords.append(password)
                return super().check_auth_password(username, password)

        transport = paramiko.Transport(sock)
        self.keep(transport)
        transport.add_server_key(self._key)
        transport.set_subsystem_handler("sftp", Handler)
        with suppress(OSError, EOFError, paramiko.SSHException):
            transport.start_server(server=Login())
        transport.join(30)


@contextmanager
def hostile_sftp(
    folder: Path, answers: dict[int, Answer] | None = None, raw: Callable[[socket.socket], None] | None = None,
    armed: threading.Event | None = None,
) -> Iterator[HostileSftp]:  # fmt: skip
    """A server with these answers, once it is armed; its key is in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    server = HostileSftp(make_key(folder / "host_key"), answers or {}, raw, armed)
    try:
        yield server
    finally:
        server.close()
