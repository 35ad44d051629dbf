"""How daemon and worker talk: length, kind and a pickle, over one socket pair.

The daemon unpickles only the frozen values of an answer (`receive_answer`): a worker that was taken over by a hostile
file can end its own life, not run code in the daemon.
"""

from __future__ import annotations

import io
import pickle
import socket
import struct
from enum import IntEnum
from typing import Any

_HEAD = struct.Struct("!QB")
_LARGEST = 1024 * 1024 * 1024
_TRUSTED = tuple(f"cegid_daemon.{room}" for room in ("coverage", "errors", "model", "rewrite.ports", "workshop.orders"))
_PATHS = {("pathlib", "PosixPath"), ("pathlib._local", "PosixPath")}


class Kind(IntEnum):
    """What a frame is."""

    ORDERS = 1  # to the worker: new recipes, and orders in batches
    PROGRESS = 2  # from the worker: some more of the order is done; no body
    RESULT = 3  # from the worker: one order finished, or failed by its own fault
    WORN = 4  # as RESULT, and the worker ends itself: its memory has grown
    STOPPED = 5  # from the worker: no fault of the order (spool full, journal unreadable); the batch is given up
    RECORDS = 6  # to the worker from its second hand: records, or the error that stands there; at the end the counts


class Lost(Exception):
    """The other side is gone."""


def send(sock: socket.socket, kind: Kind, body: Any = None) -> None:
    """Sends one frame. Raises OSError if the other side is gone, TimeoutError after the socket's timeout."""
    pickled = b"" if body is None else pickle.dumps(body, pickle.HIGHEST_PROTOCOL)
    sock.sendall(_HEAD.pack(len(pickled), kind) + pickled)


def receive_orders(sock: socket.socket) -> Any:
    """The next body from the daemon, or None when it has closed its end."""
    head = _read(sock, _HEAD.size)
    if not head:
        return None
    return pickle.loads(_read(sock, _HEAD.unpack(head)[0]))  # noqa: S301 - from our own daemon


def receive_answer(sock: socket.socket) -> tuple[Kind, Any]:
    """The next frame from a worker.

    Raises Lost if it is gone or sends what no worker of ours would, TimeoutError after the socket's timeout.
    """
    head = _read(sock, _HEAD.size)
    if not head:
        raise Lost
    size, kind = _HEAD.unpack(head)
    if size > _LARGEST:
        raise Lost
    body = _read(sock, size)
    try:
        return Kind(kind), _Values(io.BytesIO(body)).load() if body else None
    except Exception as exc:
        raise Lost from exc


def _read(sock: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes; blank if the other side closed before the first."""
    first = sock.recv(min(size, 262_144)) if size else b""
    if len(first) == size or not first:
        return first
    pieces = bytearray(first)
    while len(pieces) < size:
        piece = sock.recv(min(size - len(pieces), 262_144))
        if not piece:
            raise Lost
        pieces += piece
    return bytes(pieces)


class _Values(pickle.Unpickler):
    """Unpickles our own frozen values and errors, and nothing that runs."""

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name) if module in _TRUSTED or (module, name) in _PATHS else None
        own = isinstance(found, type) and found.__module__ == module
        if own or (module, name) == ("cegid_daemon.errors", "_rebuild") or (module, name) in _PATHS:
            return found
        raise pickle.UnpicklingError(f"a worker may not send {module}.{name}")
