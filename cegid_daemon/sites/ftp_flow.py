"""In which order, and how fast, the commands of one FTP client are answered.

Owns that commands wait behind an upload they follow, behind a password that is compared, and behind answers that the
client does not take; what waits is bounded, and who sends more is not read. One transfer at a time.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from cegid_daemon.sites.ftp_data import Data
from cegid_daemon.sites.ftp_server import make_passive_port
from cegid_daemon.sites.pyftpdlib_quietly import asynchat

_MAX_WAITING_COMMANDS = 1000
_MAX_WAITING_BYTES = 256 << 10
_MAX_UNSENT_REPLIES = 32
_TRANSFERS = ("STOR", "APPE", "RETR", "LIST", "NLST", "MLSD")
_GIVING_UP = ("REIN", "USER", "ABOR")


class Flow:
    """The order's part of a control connection; comes before pyftpdlib's class."""

    ac_in_buffer_size = 16 << 10  # bytes read at once: a record of TLS
    is_login_pending = False
    place: Any = None

    def __init__(self, *args: Any, **settings: Any) -> None:
        self._waiting_commands: deque[tuple[str, str, str]] = deque()
        self._waiting_bytes = 0
        super().__init__(*args, **settings)

    # -- what waits -------------------------------------------------------------------------------------------------

    def pre_process_command(self: Any, line: str, cmd: str, arg: str) -> None:
        """Answers a command, or keeps it until its turn comes."""
        if self._closed or self._closing:
            return
        if self._is_turn(cmd, others_wait=bool(self._waiting_commands)):
            super().pre_process_command(line, cmd, arg)  # type: ignore[misc]
        elif len(self._waiting_commands) < _MAX_WAITING_COMMANDS and self._waiting_bytes < _MAX_WAITING_BYTES:
            self._waiting_commands.append((line, cmd, arg))
            self._waiting_bytes += len(line)
        else:
            self.respond("421 Too many commands that wait for an answer.")
            self.close_when_done()

    def _is_turn(self: Any, cmd: str, *, others_wait: bool) -> bool:
        if self._is_held_up():
            return False
        data = self._unanswered_upload()
        if data is None:
            return not others_wait
        return bool(data.take_command(cmd[-4:], others_wait=others_wait))

    def _is_held_up(self: Any) -> bool:
        """Whether no command is answered now, and none is read."""
        unsent = self.producer_fifo
        is_congested = len(unsent) > _MAX_UNSENT_REPLIES or any(hasattr(one, "more") for one in unsent)
        return is_congested or self.is_login_pending

    def go_on(self: Any) -> None:
        """Something that commands waited for is over."""
        while self._waiting_commands and not self._closed and not self._closing:
            line, cmd, arg = self._waiting_commands[0]
            if not self._is_turn(cmd, others_wait=False):
                break
            self._waiting_commands.popleft()
            self._waiting_bytes -= len(line)
            super().pre_process_command(line, cmd, arg)  # type: ignore[misc]
        self._set_events()

    def drop_waiting(self: Any) -> None:
        """Nothing that came up to now is a command any more."""
        self._waiting_commands.clear()
        self._waiting_bytes = 0
        self.ac_in_buffer = b""
        self._in_buffer.clear()
        self._in_buffer_len = 0

    def _on_dtp_close(self: Any) -> None:
        super()._on_dtp_close()  # type: ignore[misc]
        self.go_on()

    def _unanswered_upload(self: Any) -> Data | None:
        data = getattr(self, "data_channel", None)
        return data if isinstance(data, Data) and data.is_unanswered_upload else None

    # -- replies the client does not take ---------------------------------------------------------------------------

    def initiate_send(self: Any) -> None:
        """Sends what fits; what is left is sent when the client takes it, and until then nothing more is read."""
        asynchat.async_chat.initiate_send(self)
        if self._closed:
            return
        if self._waiting_commands and not self.producer_fifo:
            self.ioloop.call_later(0, self._go_on_later, _errback=self.handle_error)
        self._set_events()

    def _go_on_later(self: Any) -> None:
        if not self._closed and self._unanswered_upload() is None:
            self.go_on()

    def _set_events(self: Any) -> None:
        if self._closed or self._fileno not in self.ioloop.socket_map:
            return
        wanted = 0 if self._is_held_up() else self.ioloop.READ
        if self.producer_fifo:
            wanted |= self.ioloop.WRITE
        if self._wanted_io_events != wanted:
            self._wanted_io_events = wanted
            self.modify_ioloop_events(wanted)

    def collect_incoming_data(self: Any, data: bytes) -> None:
        """A line without an end is no command: its sender is left."""
        if self.place is not None:
            self.place.spoke = True
        super().collect_incoming_data(data)  # type: ignore[misc]
        if not self._in_buffer and not self._closing:  # pyftpdlib has just dropped what was too long
            self.ac_in_buffer = b""
            self.close_when_done()

    def respond_w_warning(self: Any, resp: str) -> None:
        """What a client does wrong, as often as it likes, is no warning to ours."""
        self.respond(resp)

    # -- one transfer at a time -------------------------------------------------------------------------------------

    def process_command(self: Any, cmd: str, *args: Any, **kwargs: Any) -> None:
        """A transfer takes the place of one whose data connection has not come."""
        if self._closed:
            return
        if cmd in _TRANSFERS and self.data_channel is not None and self.data_channel.cmd is not None:
            self.respond("450 Another transfer is under way.")
            return
        if cmd in _TRANSFERS or cmd in _GIVING_UP:
            self._discard_waiting_transfer()
        super().process_command(cmd, *args, **kwargs)  # type: ignore[misc]

    def _discard_waiting_transfer(self: Any) -> None:
        receiving, sending = self._in_dtp_queue, self._out_dtp_queue
        self._in_dtp_queue = self._out_dtp_queue = None
        for file in (receiving[0] if receiving else None, sending[2] if sending else None):
            if file is not None:
                file.close()

    def _make_epasv(self: Any, extmode: bool = False) -> None:
        """Opens a port for data."""
        self._shutdown_connecting_dtp()
        if self.data_channel is not None:
            self.data_channel.close()
            self.data_channel = None
        try:
            self._dtp_acceptor = make_passive_port(self, extended=extmode)
        except OSError as error:
            self.respond(f"425 No port for data is free ({error.strerror}); try again later.")
