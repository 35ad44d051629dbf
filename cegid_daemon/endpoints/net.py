"""TCP connections that cannot hang, and what their failures mean: silence, refusal, unknown hosts, untrusted TLS.

Owns the translation of socket and TLS errors into the error tree, for every remote adapter.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from cegid_daemon.endpoints.bounds import Excess, shortened
from cegid_daemon.errors import Barred, EndpointError, Interrupted, Place, Taken, Transient, Unsure, Untrusted

_AGAIN = "It is tried again by itself."
_KEEPALIVE = 15  # seconds between two questions whether an idle peer is still there


def connected(host: str, port: int, seconds: float) -> socket.socket:
    """A TCP connection whose every call ends within `seconds`. OSError if there is none by then."""
    sock = socket.create_connection((host, port), timeout=seconds)
    try:
        guard(sock, seconds)
    except OSError:
        sock.close()
        raise
    return sock


def guard(sock: socket.socket, seconds: float) -> None:
    """Has the kernel end a connection whose peer takes nothing for `seconds`, or has silently gone."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE)


def net_error(error: Exception, what: str, where: str) -> EndpointError:
    """`error`, raised while a connection to `where` was opened or used, as the error tree says it."""
    place = Place(file=where)
    if isinstance(error, ssl.SSLCertVerificationError):
        return Untrusted(
            f"{what}: the server's certificate is not trusted",
            where=place,
            why=error.verify_message or str(error),
            remedy="Use the name the certificate was made for; if its authority is your own, name its file in `ca`.",
        )
    if isinstance(error, ssl.SSLError):
        return _tls_error(error, what, place)
    if isinstance(error, Excess):
        return Transient(what, where=place, why=str(error), remedy=error.remedy).by_place()
    return Transient(what, where=place, why=_why(error), remedy=_AGAIN).by_place()


def answer_lost(error: Exception, what: str, where: str) -> Unsure:
    """`error`, raised while the answer to a request was waited for that may not be sent twice."""
    lost = net_error(error, what, where)
    return Unsure(
        f"{what}: the answer was lost",
        where=lost.where,
        why=lost.why,
        remedy="What happened is found out by what lies on the server.",
    )


def taken(where: str) -> Taken:
    """What was written whole is not there any more."""
    return Taken(
        "the server confirmed the upload, and the file is not there any more",
        where=Place(file=where),
        why="the server shows it neither by MLST, SIZE and LIST nor for a rename: somebody takes files at once, "
        "whatever their name",
        remedy="`check --live` tells which `temporary` of the target works with this server.",
    )


@contextmanager
def interrupting(refusal: type[Exception]) -> Iterator[None]:
    """An upload: a Transient that stands for no `refusal` of the server's is Interrupted, for the line broke in it."""
    try:
        yield
    except Transient as error:
        if error.__cause__ is None or isinstance(error.__cause__, refusal):
            raise
        raise Interrupted(error.what, where=error.where, why=error.why, remedy=error.remedy) from error.__cause__


def _why(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "the server did not answer in time"
        case socket.gaierror():
            return f"the host's name is not known ({error.strerror})"
        case EOFError():
            return "the server ended the connection"
        case OSError():
            return error.strerror or str(error)
    return shortened(str(error)) or type(error).__name__


def _tls_error(error: ssl.SSLError, what: str, place: Place) -> EndpointError:
    reason = error.reason or str(error)
    if reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"}:
        return Barred(
            f"{what}: the server does not speak TLS here",
            where=place,
            why=reason,
            remedy="ftps:// is explicit TLS on port 21, ftps+implicit:// is TLS from the first byte on port 990.",
        )
    if reason in {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE", "DH_KEY_TOO_SMALL",
                  "EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "NO_CIPHERS_AVAILABLE"}:  # fmt: skip
        return Barred(
            f"{what}: the server offers only TLS that is no longer safe",
            where=place,
            why=reason,
            remedy="Have the server allow TLS 1.2 or later.",
        )
    return Transient(f"{what}: TLS failed", where=place, why=reason, remedy=_AGAIN).by_place()
