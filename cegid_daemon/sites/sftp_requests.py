"""The requests of one SFTP session, within bounds: what asyncssh answers, and what we do not let it.

Owns that an answer is taken before the next request is read, the size of a packet, and the number of open handles.
Extensions that read or write without bound (copy-data, ranges) are not offered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asyncssh import SFTPBadMessage, SFTPLimits
from asyncssh.constants import FXP_OPEN, FXP_OPENDIR
from asyncssh.packet import SSHPacket
from asyncssh.sftp import SFTPServerHandler

from cegid_daemon.sites.handles import MAX_OF_SESSION, HandleBounds

MAX_READ = 255 << 10  # bytes one READ is answered with: clients ask again for the rest
MAX_PACKET = (256 << 10) + 1024  # bytes, as OpenSSH
_VERSION = 3
_OFFERED = (
    (b"posix-rename@openssh.com", b"1"),
    (b"fsync@openssh.com", b"1"),
    (b"lsetstat@openssh.com", b"1"),
    (b"statvfs@openssh.com", b"2"),
    (b"fstatvfs@openssh.com", b"2"),
    (b"limits@openssh.com", b"1"),
)
_PROTOCOL = {name for name, _ in _OFFERED}


class Requests(SFTPServerHandler):
    """One session's requests, one after the other."""

    _extensions: list[tuple[bytes, bytes]] = list(_OFFERED)  # noqa: RUF012

    def __init__(
        self, server: Any, reader: Any, writer: Any, *, user: str, bounds: HandleBounds, active: Callable[[], None]
    ) -> None:
        super().__init__(server, reader, writer, _VERSION)
        self.user = user
        self._bounds = bounds
        self._active = active

    @property
    def handles(self) -> int:
        """Open files and listings."""
        return len(self._file_handles) + len(self._dir_handles)

    async def serve(self, abandon: Callable[[object], None]) -> None:
        """Until the client ends the session; `abandon` gets each file that nobody has closed by then."""
        self._bounds.add(self)
        try:
            await self.run()
        except EOFError:
            await self._cleanup(None)
        finally:
            self._bounds.remove(self)
            for file in self._file_handles.values():
                abandon(file)

    async def recv_packet(self) -> SSHPacket:
        """The next packet. One that is too large ends the session before it takes any memory."""
        assert self._reader is not None
        length = int.from_bytes(await self._reader.readexactly(4), "big")
        if length > MAX_PACKET:
            raise SFTPBadMessage("the packet is too large")
        return SSHPacket(await self._reader.readexactly(length))

    async def _process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        self._active()
        await super()._process_packet(pkttype, pktid, packet)
        if self._writer is not None:
            await self._writer.drain()

    async def _bounded_open(self, packet: SSHPacket) -> bytes:
        self._bounds.check(self)
        return await self._process_open(packet)

    async def _bounded_opendir(self, packet: SSHPacket) -> bytes:
        self._bounds.check(self)
        return await self._process_opendir(packet)

    async def _own_limits(self, packet: SSHPacket) -> SFTPLimits:
        packet.check_end()
        return SFTPLimits(MAX_PACKET, MAX_READ, MAX_READ, MAX_OF_SESSION)

    _packet_handlers: dict[int | bytes, Any] = {  # noqa: RUF012
        **{
            kind: handle
            for kind, handle in SFTPServerHandler._packet_handlers.items()
            if isinstance(kind, int) or kind in _PROTOCOL
        },
        FXP_OPEN: _bounded_open,
        FXP_OPENDIR: _bounded_opendir,
        b"limits@openssh.com": _own_limits,
    }
