"""Data connections of our own FTP site, and when an upload over one of them counts as whole.

Over TLS the sender says that it is done (`close_notify`). In the clear the end of a file and the death of its sender
look alike here, so the answer is withheld for a grace: a process that dies ends its control connection at the same
moment. What shows that the sender lives, and that it has sent everything, ends the grace early.
"""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from typing import Any

from cegid_daemon.logs import printable
from cegid_daemon.sites.pyftpdlib_quietly import SSL, DTPHandler, TLS_DTPHandler, is_session_reused
from cegid_daemon.sites.upload import Upload

log = logging.getLogger(__name__)

_ESTABLISHED, _CLOSE_WAIT = 1, 8  # states of a TCP connection: open; its peer has closed it, and did not reset it
_FAREWELL_SECONDS = 5.0
_SAYS_NOTHING = ("NOOP", "STAT")  # clients send these by timers of their own while a file is on its way


class Data(DTPHandler):  # type: ignore[misc]
    """A data connection. Ends an upload well, or keeps it for a resumption."""

    transfer_finished: bool
    grace = 0.5  # seconds the answer to an upload in the clear is withheld
    in_grace = False
    _commands_wait = False  # commands came before the end of the data: they tell nothing of it
    _announced: int | None = None  # bytes the client said the file has

    def enable_receiving(self, kind: str, cmd: str) -> None:  # noqa: ARG002
        """Bytes are kept as they come: a text transfer would change line ends."""
        super().enable_receiving("i", cmd)
        self._announced = self.cmd_channel.take_announced_size()

    def use_sendfile(self) -> bool:
        """Never for an upload, which is no plain file."""
        return not isinstance(self.file_obj, Upload) and bool(super().use_sendfile())

    # -- the end of an upload in the clear --------------------------------------------------------------------------

    def handle_close(self) -> None:
        """The client ended the connection. Whether it is done or dead is known when the grace is over."""
        if self._needs_grace():
            self._begin_grace()
        elif not self.in_grace:
            super().handle_close()

    def end_grace(self) -> None:
        """The client lives: the upload is whole."""
        if self.in_grace and not self._closed:
            self.in_grace = False
            super().handle_close()

    @property
    def is_unanswered_upload(self) -> bool:
        """Whether the client has not heard yet what became of an upload."""
        return self.receive and not self._closed and isinstance(self.file_obj, Upload)

    def take_command(self, word: str, *, others_wait: bool) -> bool:
        """A command comes before the upload is answered. False if it has to wait for that.

        In the grace, a client that goes on lives, and closed the connection because it was done; one that takes its
        leave or aborts before it heard that the file arrived did not wait for its end.
        """
        if word in _SAYS_NOTHING or word == "ABOR":
            return True
        if others_wait:
            return False
        if word == "QUIT":
            if self.in_grace:
                self.close()
            return True
        if self.in_grace and not self._commands_wait:
            self.end_grace()
            return True
        return False

    def _needs_grace(self) -> bool:
        if self.in_grace or self._closed or not self.receive or isinstance(self.socket, SSL.Connection):
            return False
        if not isinstance(self.file_obj, Upload) or self.grace <= 0 or self._is_announced_size() is not None:
            return False
        return self._was_ended() and self._client_is_there()

    def _begin_grace(self) -> None:
        self.in_grace = True
        self._hold_back()
        self.ioloop.unregister(self._fileno)
        if self._idler is not None and not self._idler.cancelled:
            self._idler.cancel()
        self._commands_wait = bool(self._pending_commands())
        self.call_later(self.grace, self.end_grace)

    def _hold_back(self) -> None:
        """A client that died behind its last byte, and resumes, goes by sizes: it would take the file for arrived."""
        with suppress(OSError):  # nothing can be written any more: what becomes of it is told at its end
            self.file_obj.hold_back()

    def _is_announced_size(self) -> bool | None:
        """Whether as much came as the client said the file has; None if it said nothing, or of a file that grew."""
        if self._announced is None or not isinstance(self.file_obj, Upload):
            return None
        came = {self.file_obj.size, self.tot_bytes_received}
        return True if self._announced in came else False if self._announced > max(came) else None

    # -- what becomes of an upload ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Settles what becomes of an upload before the client is answered."""
        if not self._closed and isinstance(self.file_obj, Upload) and not self.file_obj.closed:
            self._settle(self.file_obj)
        super().close()

    def _settle(self, upload: Upload) -> None:
        if self._is_whole():
            try:
                upload.commit()
            except OSError as error:
                log.warning("An upload of %s could not be kept: %s", printable(upload.name), error)
                self._resp = (f"451 {error.strerror}; the file was not taken.", log.debug)
                self.transfer_finished = False
            else:
                log.info("%s came in from %s.", printable(upload.name), self.cmd_channel.username)
            return
        why, self.transfer_finished = self._why_broken(), False
        if upload.too_large:
            upload.discard()
            self._resp = ("552 The file is larger than this site takes.", log.debug)
            return
        if self._client_may_be_done():
            self._hold_back()
        upload.keep()
        log.warning("An upload of %s broke off and can be resumed: %s", printable(upload.name), why)
        if not (self._resp and self._resp[0][0] in "45"):
            self._resp = (f"426 {why}", log.debug)

    def _is_whole(self) -> bool:
        if not self.receive or not self.transfer_finished or self.in_grace or self._is_announced_size() is False:
            return False
        return self._was_ended() and self._client_is_there()

    def _was_ended(self) -> bool:
        """Whether the sender said that it is done: a reset, which loses bytes, looks the same to pyftpdlib."""
        if isinstance(self.socket, SSL.Connection):
            return bool(self.socket.get_shutdown() & SSL.RECEIVED_SHUTDOWN)
        return _state(self.socket) == _CLOSE_WAIT

    def _client_may_be_done(self) -> bool:
        """Whether the data came to an end, of which it is unknown whether it is the file's."""
        if not self.receive or isinstance(self.socket, SSL.Connection) or self._is_announced_size() is False:
            return False  # over TLS, clients that say no close_notify go on behind their last byte
        return _state(self.socket) == _CLOSE_WAIT

    def _why_broken(self) -> str:
        if self.in_grace:
            return "The client left before it heard that the file arrived: it is unknown whether it is whole."
        if self.receive and self.transfer_finished and self._is_announced_size() is False:
            return f"{self.tot_bytes_received} bytes came, ALLO had announced {self._announced}."
        if self.receive and isinstance(self.socket, SSL.Connection) and not self._was_ended():
            return "The data connection ended without TLS's close_notify: it is unknown whether the file is whole."
        return "Transfer broken off."

    def _client_is_there(self) -> bool:
        """A client that died has ended its data connection just as one that is done; its control connection tells."""
        control = self.cmd_channel
        pending = self._pending_commands()
        if pending is None:
            return False
        if isinstance(control.socket, SSL.Connection):
            if pending:  # now in OpenSSL's hands: no event will tell of it
                control.ioloop.call_later(0, control.handle_read_event, _errback=control.handle_error)
        elif has_left(control.socket):
            return False
        return b"ABOR" not in pending.upper()

    def _pending_commands(self) -> bytes | None:
        """What the client has sent on its control connection and nobody has read; None if it has ended that."""
        try:
            return self.cmd_channel.socket.recv(512, socket.MSG_PEEK) or None
        except (BlockingIOError, SSL.WantReadError, SSL.WantWriteError):
            return b""
        except (OSError, SSL.Error):
            return None


class TlsData(TLS_DTPHandler, Data):  # type: ignore[misc]
    """A data connection over TLS."""

    def initiate_send(self) -> None:
        """Sends what fits, once there is TLS: else an empty listing ended the connection before that."""
        if not self._ssl_accepting:
            super().initiate_send()

    def send(self, data: bytes) -> int:
        """OpenSSL takes an empty piece for the end of the connection."""
        return int(super().send(data)) if data else 0

    def modify_ioloop_events(self, events: int, logdebug: bool = False) -> None:
        """While TLS waits for the client nothing else counts: room to write would wake us without end."""
        super().modify_ioloop_events(self.ioloop.READ if self._ssl_want_read else events, logdebug)

    def handle_ssl_established(self) -> None:
        """Who went on with the session of the control connection is the client that logged in there."""
        if self.cmd_channel.session_reuse and not is_session_reused(self.socket):
            log.warning("%s: a data connection did not reuse the TLS session.", self.cmd_channel.remote_ip)
            self._resp = ("522 The data connection must reuse the TLS session of the control connection.", log.debug)
            self._error = True  # nothing more is said to it
            self.close()

    def close(self) -> None:
        """Says `close_notify`; a client that does not take it is cut off after a while."""
        if self._ssl_accepting and not self._closed and not self._resp:
            self._resp = ("425 The data connection ended before there was TLS.", log.debug)
        super().close()
        if not self._closed and self._ssl_closing:
            self.call_later(_FAREWELL_SECONDS, self._cut)

    def handle_failed_ssl_handshake(self) -> None:
        """What came is no TLS, or none of ours."""
        self._resp = ("522 There could be no TLS on the data connection.", log.debug)
        self.close()

    def _cut(self) -> None:
        if not self._closed:
            self._error = True
            self.close()


def has_left(sock: Any) -> bool:
    """Whether the other side has ended a connection, whatever it sent before that nobody has read."""
    return _state(sock) != _ESTABLISHED


def _state(sock: Any) -> int:
    return int(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0])
