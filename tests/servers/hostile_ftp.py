"""An FTP server that answers whatever a test wants: sound by default, hostile word by word."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

from tests.servers.listener import Listener
from tests.servers.places import HOST

ENDLESS = "endless"
MLSD_LINE = b"type=file;size=10;modify=20261123074200; %s\r\n"


@dataclass
class Script:
    """What the server says. `replies` hold what is said to a word instead of the sound answer, bytes or a stream."""

    listing: Callable[[], Iterable[bytes]] = lambda: [MLSD_LINE % b"S1.csv"]
    body: Callable[[], Iterable[bytes]] = lambda: [b"0123456789"]
    facts: bytes = MLSD_LINE[:-5]
    replies: Mapping[str, Callable[[], Iterable[bytes]]] = field(default_factory=dict)
    banner: Callable[[], Iterable[bytes]] = lambda: [b"220 hello\r\n"]
    tls: ssl.SSLContext | None = None
    data_tls: ssl.SSLContext | None = None  # None: as `tls`
    plain_data: bool = False


class HostileFtp(Listener):
    """The server, in threads; `words` are those it was told, over all connections."""

    def __init__(self, script: Script, armed: threading.Event | None = None) -> None:
        self.script = script
        self.words: list[str] = []
        super().__init__("hostile FTP", armed)
        self.start()

    def serve(self, sock: socket.socket) -> None:
        with suppress(OSError, ValueError):
            _Conversation(self, sock).talk()
        with suppress(OSError):
            sock.close()


class _Conversation:
    def __init__(self, server: HostileFtp, sock: socket.socket) -> None:
        self._server = server
        self._script = server.script
        self._sock = sock
        self._data: socket.socket | None = None
        self._held = b""

    def talk(self) -> None:
        self._say(self._script.banner())
        while line := self._line():
            word, _, rest = line.partition(" ")
            self._server.words.append(word)
            if word in self._script.replies:
                self._say(self._script.replies[word]())
            else:
                self._answer(word, rest)

    def _line(self) -> str:
        while b"\n" not in self._held:
            got = self._sock.recv(4096)
            if not got:
                return ""
            self._held += got
        line, _, self._held = self._held.partition(b"\n")
        return line.strip(b"\r").decode("latin-1")

    def _say(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self._sock.sendall(piece)

    def _answer(self, word: str, rest: str) -> None:
        if word in {"MLSD", "LIST", "NLST", "RETR"}:
            self._send(self._script.body() if word == "RETR" else self._script.listing())
        elif word == "AUTH" and self._script.tls is not None:
            self._say([b"234 go on\r\n"])
            self._sock = self._script.tls.wrap_socket(self._sock, server_side=True)
            self._server.keep(self._sock)
        elif word in {"PASV", "EPSV"}:
            self._passive(word)
        else:
            self._say([self._plain(word, rest)])

    def _plain(self, word: str, rest: str) -> bytes:
        facts = b"250-\r\n " + self._script.facts + rest.rpartition("/")[2].encode() + b"\r\n250 end\r\n"
        return {
            "USER": b"331 who\r\n", "PASS": b"230 in\r\n", "PWD": b'257 "/"\r\n', "MLST": facts,
            "FEAT": b"211-\r\n MLST type*;size*;modify*;\r\n SIZE\r\n MDTM\r\n211 end\r\n",
            "MKD": b"257 made\r\n", "AUTH": b"502 no\r\n", "STOR": b"553 no\r\n", "RNFR": b"550 no\r\n",
        }.get(word, b"250 ok\r\n")  # fmt: skip

    def _passive(self, word: str) -> None:
        if self._data is not None:
            self._data.close()
        self._data = socket.create_server((HOST, 0))
        self._server.keep(self._data)
        port = self._data.getsockname()[1]
        said = f"227 ok (192,0,2,9,{port >> 8},{port & 255})" if word == "PASV" else f"229 ok (|||{port}|)"
        self._say([f"{said}\r\n".encode()])

    def _send(self, pieces: Iterable[bytes]) -> None:
        assert self._data is not None
        self._say([b"150 here\r\n"])
        data = self._data.accept()[0]
        self._server.keep(data)
        context = self._script.data_tls or self._script.tls
        if context is not None and not self._script.plain_data:
            data = context.wrap_socket(data, server_side=True)
            self._server.keep(data)
        try:
            for piece in pieces:
                data.sendall(piece)
        finally:
            data.close()
        self._say([b"226 done\r\n"])


def endless(piece: bytes) -> Callable[[], Iterable[bytes]]:
    """The same for ever."""
    return lambda: repeat(piece * (1 + 65536 // len(piece)))


def dripping(piece: bytes, seconds: float = 0.05) -> Callable[[], Iterator[bytes]]:
    """The same for ever, a piece now and then."""

    def drip() -> Iterator[bytes]:
        pause = threading.Event()
        while True:
            yield piece
            pause.wait(seconds)

    return drip


@contextmanager
def hostile_ftp(armed: threading.Event | None = None, **script: Any) -> Iterator[HostileFtp]:
    """A server that follows this script, once it is armed."""
    with ExitStack() as stack:
        server = HostileFtp(Script(**script), armed)
        stack.callback(server.close)
        yield server
