"""One SSH connection to our own SFTP site, held within bounds: algorithms, memory, and how often keys are exchanged.

Owns what asyncssh leaves open: it reads on from a client that takes no answers, keeps all that comes while a password
is compared, and lets a client ask for new keys without end. Who may log in stands in `sftp_site`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import asyncssh
from asyncssh.channel import SSHServerChannel
from asyncssh.connection import SSHServerConnection, SSHServerConnectionOptions
from asyncssh.kex import get_kex_algs
from asyncssh.packet import SSHPacket

from cegid_daemon.sites.connections import Connection

KEEPALIVE_SECONDS = 15  # between two questions whether a client is there; after three without an answer it is not
WINDOW = 1 << 20  # bytes of a session that may be on their way
_MAX_UNREAD = 192 << 10  # bytes of a connection that wait to be understood
_MAX_PACKET_BEFORE_SESSION = 64 << 10  # bytes
_MAX_DEFERRED_PACKETS = 128  # of 32 KiB at most
_MAX_KEY_EXCHANGES = 12  # of a connection in a minute, beside those that are due after so much data:
_BYTES_OF_KEYS = 1 << 20
_MORE_SECONDS = 1.0  # for a login whose password waits for its comparison when the time is over
_MINUTE = 60.0

# Nothing with SHA-1, no groups below 2048 bits or of the client's choice, none so large that they cost seconds.
_KEY_EXCHANGES = (
    "mlkem768x25519-sha256", "sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com",
    "curve25519-sha256", "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521",
    "diffie-hellman-group14-sha256", "diffie-hellman-group16-sha512",
)  # fmt: skip
_CIPHERS = (
    "chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-gcm@openssh.com",
    "aes256-ctr", "aes192-ctr", "aes128-ctr",
)  # fmt: skip
_MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
_SIGNATURES = (
    "ssh-ed25519", "sk-ssh-ed25519@openssh.com", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com", "rsa-sha2-256", "rsa-sha2-512",
)  # fmt: skip


def options_of(host_key: str, login_seconds: float, server: Callable[[], asyncssh.SSHServer]) -> Any:
    """What all connections of a site have in common. Raises OSError or KeyImportError."""
    options = SSHServerConnectionOptions(
        server_factory=server,
        server_host_keys=[host_key],
        login_timeout=login_seconds,
        keepalive_interval=KEEPALIVE_SECONDS,
        server_version="cegid-daemon",
        kex_algs=_known(_KEY_EXCHANGES, get_kex_algs()),
        encryption_algs=list(_CIPHERS),
        mac_algs=list(_MACS),
        signature_algs=list(_SIGNATURES),
        compression_algs=["none"],
        allow_pty=False,
        allow_scp=False,
        agent_forwarding=False,
        x11_forwarding=False,
        gss_host=None,
        window=WINDOW,
    )
    allowed = {name.encode() for name in _SIGNATURES}
    for name in [one for one in options.server_host_keys if one not in allowed]:
        del options.server_host_keys[name]
    if not options.server_host_keys:
        raise asyncssh.KeyImportError(f"{host_key}: a host key of this kind would need SHA-1; make an ed25519 key")
    return options


def _known(names: Iterable[str], known: Iterable[bytes]) -> list[str]:
    """Some need parts of OpenSSL or liboqs that are not everywhere."""
    available = set(known)
    return [name for name in names if name.encode() in available]


class _Channel(SSHServerChannel[bytes]):
    """A channel of a session. Variables of an environment are not kept: there is none they could be for."""

    def _process_env_request(self, packet: SSHPacket) -> bool:  # noqa: ARG002
        return False


class SiteConnection(SSHServerConnection):
    """A connection, from its acceptance on."""

    def __init__(self, loop: asyncio.AbstractEventLoop, options: Any, place: Connection) -> None:
        super().__init__(loop, options)
        self.place = place
        self._max_recv_pktlen = _MAX_PACKET_BEFORE_SESSION
        self._reasons_not_to_read: set[str] = set()
        self._key_exchanges: deque[float] = deque(maxlen=_MAX_KEY_EXCHANGES)
        self._bytes_since_keys = 0

    def data_received(self, data: bytes, datatype: Any = None) -> None:
        """Bytes of the client."""
        self.place.spoke = True
        self._bytes_since_keys += len(data)
        super().data_received(data, datatype)
        if len(self._inpbuf) > _MAX_UNREAD:
            self._stop_reading("unread")

    def _finish_recv_packet(self, *arguments: Any, **named: Any) -> None:
        super()._finish_recv_packet(*arguments, **named)
        if self._reasons_not_to_read and len(self._inpbuf) <= _MAX_UNREAD:
            self._read_on("unread")

    def pause_writing(self) -> None:
        """The client does not take what it is sent: then it is not heard either."""
        self._stop_reading("unsent")

    def resume_writing(self) -> None:
        """The client has taken what it was sent."""
        self._read_on("unsent")

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        """Sends a packet; while keys are exchanged it waits, and a client that never ends that is cut off."""
        if len(self._deferred_packets) >= _MAX_DEFERRED_PACKETS:
            self.abort()
            return
        super().send_packet(pkttype, *args, handler=handler)

    def _send(self, data: bytes) -> None:
        self._bytes_since_keys += len(data)
        super()._send(data)

    def _login_timer_callback(self) -> None:
        """The time of the login is over; the comparison of its password is not the client's time."""
        if self.place.proves:
            self._login_timer = self._loop.call_later(_MORE_SECONDS, self._login_timer_callback)
        else:
            super()._login_timer_callback()

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        """Keys were exchanged, which costs time: as much as the data of a client that renews them now and then."""
        now = time.monotonic()
        if self._bytes_since_keys < _BYTES_OF_KEYS:
            if len(self._key_exchanges) == _MAX_KEY_EXCHANGES and now - self._key_exchanges[0] < _MINUTE:
                raise asyncssh.DisconnectError(asyncssh.DISC_PROTOCOL_ERROR, "too many key exchanges")
            self._key_exchanges.append(now)
        self._bytes_since_keys = 0
        super().send_newkeys(k, h)

    def create_server_channel(
        self, encoding: str | None = "", errors: str = "", window: int = 0, max_pktsize: int = 0
    ) -> SSHServerChannel[Any]:
        """A channel for a session."""
        size = max_pktsize or self._max_pktsize
        self._update_recv_pktlen(size)
        return _Channel(
            self, self._loop, False, False, False, 0, 0, self._encoding if encoding == "" else encoding,
            self._errors if errors == "" else errors, window or self._window, size,
        )  # fmt: skip

    def _stop_reading(self, reason: str) -> None:
        self._reasons_not_to_read.add(reason)
        if self._transport is not None:
            self._transport.pause_reading()

    def _read_on(self, reason: str) -> None:
        self._reasons_not_to_read.discard(reason)
        if not self._reasons_not_to_read and self._transport is not None:
            self._transport.resume_reading()
