"""Clients of the drop sites that do what no library would let them: raw FTP lines, raw SFTP packets, silence."""

from __future__ import annotations

import contextlib
import ftplib
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import paramiko

from tests.security.service import SENDER, Service
from tests.servers.places import HOST

OPEN, CLOSE, READ, WRITE, OPENDIR, READDIR, EXTENDED, STATUS, HANDLE, NAME = 3, 4, 5, 6, 11, 12, 200, 101, 102, 104
RENAME, SYMLINK, READLINK, LSTAT, STAT, REMOVE, SETSTAT, REALPATH = 18, 20, 19, 7, 17, 13, 9, 16
FOR_READING, FOR_WRITING = 1, 2 | 8 | 16


def string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


class Sftp:
    """An SFTP session, packet by packet."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self.channel = channel
        self._number = 0
        channel.settimeout(10)
        channel.invoke_subsystem("sftp")
        channel.sendall(struct.pack(">IBI", 5, 1, 3))
        assert self.receive()[0] == 2

    def send(self, kind: int, payload: bytes) -> int:
        self._number += 1
        body = struct.pack(">BI", kind, self._number) + payload
        self.channel.sendall(struct.pack(">I", len(body)) + body)
        return self._number

    def receive(self) -> tuple[int, bytes]:
        """Kind of the next packet, and what follows the number of its request."""
        (length,) = struct.unpack(">I", self._exactly(4))
        packet = self._exactly(length)
        return packet[0], packet[5:]

    def ask(self, kind: int, payload: bytes) -> tuple[int, bytes]:
        self.send(kind, payload)
        return self.receive()

    def open(self, path: bytes, flags: int = FOR_WRITING) -> bytes | None:
        """A handle, already as it is sent; None if the site refuses."""
        kind, answer = self.ask(OPEN, string(path) + struct.pack(">II", flags, 0))
        return answer if kind == HANDLE else None

    def write(self, handle: bytes, offset: int, data: bytes) -> int:
        """The status."""
        kind, answer = self.ask(WRITE, handle + struct.pack(">Q", offset) + string(data))
        assert kind == STATUS
        return int(struct.unpack(">I", answer[:4])[0])

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            piece = self.channel.recv(size - len(found))
            if not piece:
                raise EOFError
            found += piece
        return found


@contextmanager
def ssh(service: Service, name: str = "cegid", password: str = SENDER) -> Iterator[paramiko.Transport]:
    transport = paramiko.Transport((HOST, service.sftp), default_window_size=1 << 21)
    try:
        transport.connect(username=name, password=password)
        yield transport
    finally:
        transport.close()


@contextmanager
def sftp(service: Service) -> Iterator[Sftp]:
    with ssh(service) as transport:
        yield Sftp(transport.open_session())


@contextmanager
def ftp(service: Service, *, tls: bool = False, encoding: str = "utf-8") -> Iterator[ftplib.FTP]:
    client = ftplib.FTP_TLS(timeout=10) if tls else ftplib.FTP(timeout=10)
    client.encoding = encoding
    try:
        client.connect(HOST, service.ftp)
        client.login("cegid", SENDER.encode().decode(encoding))
        yield client
    finally:
        client.close()


def silent(port: int, source: str = HOST) -> socket.socket:
    return socket.create_connection((HOST, port), timeout=5, source_address=(source, 0))


def flood(sock: socket.socket | paramiko.Channel, piece: bytes, limit: int, seconds: float = 3) -> int:
    """Sends until so many bytes are sent, or until the other side takes no more for a while. Bytes sent."""
    sock.settimeout(seconds)
    sent = 0
    with contextlib.suppress(OSError):
        while sent < limit:
            sent += sock.send(piece)
    return sent


def ends(sock: socket.socket, seconds: float) -> bool:
    """Whether the other side ends the connection in time."""
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            sock.settimeout(max(0.05, deadline - time.monotonic()))
            if not sock.recv(4096):
                return True
    except TimeoutError:
        return False
    except OSError:
        return True
    return False


def refuses(action: Callable[[], object]) -> bool:
    try:
        action()
    except (ftplib.Error, OSError, EOFError):
        return True
    return False
