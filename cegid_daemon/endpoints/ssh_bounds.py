"""paramiko's connection within bounds: what an SSH server may say before the login, in one packet, and unasked.

paramiko believes the lengths a server tells and keeps what it sends beyond the window. Here the connection ends
instead. It also keeps what the server offered: that is lost when nothing of it can be agreed on.
"""

from __future__ import annotations

from typing import ClassVar

import paramiko
from paramiko.common import MSG_CHANNEL_DATA, MSG_CHANNEL_EXTENDED_DATA

from cegid_daemon.endpoints.bounds import MAX_LOGIN_BYTES

_MAX_PACKET = 1 << 20  # bytes; servers send 32 KiB, OpenSSH takes 256 KiB
_MAX_AHEAD = 1 << 24  # bytes on a channel that nobody has read: the window, and as much again


class BoundedPackets(paramiko.Packetizer):  # type: ignore[misc]  # paramiko tells no types
    """What comes over the connection, counted until the login is through."""

    is_logged_in = False
    _before_login = 0

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        """As many bytes, unless no packet is as long. SSHException then, and where the login has no end."""
        if not 0 <= n <= _MAX_PACKET:
            raise paramiko.SSHException(f"the server announces a packet of {n} bytes")
        self._count(n)
        return bytes(super().read_all(n, check_rekey))

    def _read_timeout(self, timeout: float) -> bytes:
        """Some bytes of the lines ahead of the first packet."""
        got = bytes(super()._read_timeout(timeout))
        self._count(len(got))
        return got

    def _count(self, size: int) -> None:
        if not self.is_logged_in:
            self._before_login += size
            if self._before_login > MAX_LOGIN_BYTES:
                raise paramiko.SSHException(f"the server says more than {MAX_LOGIN_BYTES >> 10} KiB before the login")


def _feed(channel: paramiko.Channel, message: paramiko.Message) -> None:
    _check_window(channel)
    channel._feed(message)


def _feed_extended(channel: paramiko.Channel, message: paramiko.Message) -> None:
    _check_window(channel)
    channel._feed_extended(message)


def _check_window(channel: paramiko.Channel) -> None:
    if len(channel.in_buffer) + len(channel.in_stderr_buffer) > _MAX_AHEAD:
        raise paramiko.SSHException("the server sends more than it was allowed to send ahead")


class BoundedTransport(paramiko.Transport):  # type: ignore[misc]  # paramiko tells no types
    """paramiko's connection, which bounds what comes and keeps what the server offered."""

    offered = "unknown"
    _channel_handler_table: ClassVar = {
        **paramiko.Transport._channel_handler_table,
        MSG_CHANNEL_DATA: _feed,
        MSG_CHANNEL_EXTENDED_DATA: _feed_extended,
    }

    def _parse_kex_init(self, m: paramiko.Message) -> None:
        lists = self._really_parse_kex_init(paramiko.Message(m.get_remainder()))
        kinds = ("kex_algo_list", "server_key_algo_list", "server_encrypt_algo_list", "server_mac_algo_list")
        self.offered = "; ".join(",".join(lists[kind]) for kind in kinds)
        super()._parse_kex_init(m)
