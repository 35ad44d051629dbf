"""How long the console bears with a slow client: one that sends no whole request, or does not take its answer.

Owns the clocks of a connection, and what it says of itself to the crowd it is in. How long a form may take to come is
the gate's to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.h11_impl import H11Protocol

from cegid_daemon.console.crowd import Stage

HEAD = 10.0  # seconds from the first byte, or from the connection, to the end of a request's head
TAKING = 30.0  # seconds in which a client takes nothing of an answer


class PatientProtocol(H11Protocol):
    """HTTP/1.1 with an end to waiting."""

    connected = False
    when_answered: Callable[[], None] = staticmethod(lambda: None)
    when_lost: Callable[[], None] = staticmethod(lambda: None)
    _clock: asyncio.TimerHandle | None = None
    _left = 0  # bytes of an answer that are still to be taken
    _has_login = False

    def stage(self) -> Stage:
        """What the client does. A page says in the request's state (`logged_in`) that somebody logged in."""
        cycle = self.cycle
        self._has_login = self._has_login or (self.scope is not None and "logged_in" in self.scope["state"])
        if not self.connected or cycle is None or cycle.response_complete:
            return Stage.IDLE if self._has_login else Stage.SILENT
        if (cycle.more_body or self.flow.write_paused) and not self._has_login:
            return Stage.SLOW
        return Stage.BUSY

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there, and is to ask for something."""
        super().connection_made(transport)
        self.connected = True
        self._wait(HEAD)

    def data_received(self, data: bytes) -> None:
        """Some of a request; once its head is whole, the clock stands still."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._clock is None:
            self._wait(HEAD)

    def _unsupported_upgrade_warning(self) -> None:
        """That a client offers to speak something else (`curl --http2`) is nothing to be told: it is passed over."""

    def on_response_complete(self) -> None:
        """A request was answered."""
        self.when_answered()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client takes its answer more slowly than it is made."""
        super().pause_writing()
        self._left = self.transport.get_write_buffer_size()
        self._wait(TAKING, self._taken)

    def resume_writing(self) -> None:
        """It has taken some of it."""
        super().resume_writing()
        self._stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop()
        super().connection_lost(exc)
        self.when_lost()

    def _taken(self) -> None:
        """Whoever took some of it meanwhile may go on, however slow the line."""
        left, self._left = self._left, self.transport.get_write_buffer_size()
        if self._left < left:
            self._wait(TAKING, self._taken)
        else:
            self.transport.abort()

    def _wait(self, seconds: float, then: Callable[[], None] | None = None) -> None:
        self._stop()
        self._clock = self.loop.call_later(seconds, then or self.transport.abort)

    def _stop(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
