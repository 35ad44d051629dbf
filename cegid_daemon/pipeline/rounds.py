"""What came of one try to deliver a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cegid_daemon.errors import CegidDaemonError, EndpointError, Permanent
from cegid_daemon.journal.rows import Delivery, Message

Parts = tuple[Message, Sequence[Delivery]]  # a message and those of its deliveries that are still open


@dataclass(slots=True)
class Round:
    """What came of one try to deliver a batch: the messages that arrived, and the first that did not.

    Of a group that goes together, messages behind one that could not be renamed may have arrived: it is overtaken then,
    and must not go after them by itself.
    """

    delivered: list[Message] = field(default_factory=list)
    failed: list[tuple[Message, CegidDaemonError]] = field(default_factory=list)
    refused: list[tuple[Message, CegidDaemonError]] = field(default_factory=list)  # in part, of `delivered`
    stopped: tuple[Message, CegidDaemonError] | None = None  # it must wait, and all behind it
    overtaken: list[tuple[Message, CegidDaemonError]] = field(default_factory=list)  # a person decides
    arrived: list[Delivery] = field(default_factory=list)  # the deliveries of `delivered`
    untouched: dict[int, Delivery] = field(default_factory=dict)  # put aside in this round, and not renamed yet

    def try_each(self, parts: Sequence[Parts], step: Callable[[Sequence[Delivery]], None]) -> list[Parts]:
        """Runs a step for each message; those with which it went well, up to the first that must wait.

        A permanent failure fails its message alone.
        """
        done: list[Parts] = []
        for message, deliveries in parts:
            try:
                step(deliveries)
            except Permanent as error:
                self.failed.append((message, error))
            except EndpointError as error:
                self.stopped = (message, error)
                break
            else:
                done.append((message, deliveries))
        return done

    def add(self, other: Round) -> None:
        """What came of the messages behind those of this round."""
        self.delivered += other.delivered
        self.failed += other.failed
        self.refused += other.refused
        self.overtaken += other.overtaken
        self.arrived += other.arrived
        self.stopped = self.stopped or other.stopped
