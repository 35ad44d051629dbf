"""`once`: every source looked at and every open message tried once, then the end. Needs no daemon and no timer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cegid_daemon.carrying import Looked, Passed
from cegid_daemon.errors import CegidDaemonError, Unsure
from cegid_daemon.journal.rows import Message
from cegid_daemon.model import State, escape_name


@dataclass(slots=True)
class Outcome:
    """What a run came to; `faults` holds one line for each thing that is not well."""

    delivered: int = 0
    claimed: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def well(self) -> bool:
        """Whether everything found was carried to its end."""
        return not self.faults


def once(sources: Sequence[Looked], *, clock: Callable[[], datetime], wait: Callable[[float], bool]) -> Outcome:
    """One pass over each source, and further ones while files settle; `wait(seconds)` returns True to stop at once."""
    passes = {source.name: [source.look(patient=False)] for source in sources}
    while unsettled := [source for source in sources if passes[source.name][-1].settling]:
        next_look = min(passes[source.name][-1].next_look for source in unsettled)
        if wait(max(0.01, (next_look - clock()).total_seconds())):
            break
        for source in unsettled:
            passes[source.name].append(source.look())
    outcome = Outcome()
    for source in sources:
        _add(outcome, source, passes[source.name])
    return outcome


def _add(outcome: Outcome, source: Looked, passes: Sequence[Passed]) -> None:
    stopped: dict[int, tuple[Message, CegidDaemonError]] = {}
    held: dict[int, tuple[Message, CegidDaemonError]] = {}
    faults: dict[str, None] = {}
    for passed in passes:
        outcome.delivered += passed.delivered
        outcome.claimed += passed.claimed
        faults.update(dict.fromkeys(_line(f"{source.name}: {error}") for error in passed.faults))
        faults.update(
            dict.fromkeys(_line(f"message {one.id} failed: {_said(one, error)}") for one, error in passed.failed)
        )
        faults.update(
            dict.fromkeys(_line(f"message {one.id} refused: {_said(one, error)}") for one, error in passed.refused)
        )
        stopped.update(passed.stopped)
        held.update(passed.held)
    faults.update(
        dict.fromkeys(
            _line(f"message {one.id} {_stopped_how(one, error)}: {_said(one, error)}")
            for one, error in stopped.values()
        )
    )
    faults.update(
        dict.fromkeys(_line(f"message {one.id} is held: {_said(one, error)}") for one, error in held.values())
    )
    outcome.faults += faults


def _stopped_how(message: Message, error: CegidDaemonError) -> str:
    if message.state is State.UNSURE or isinstance(error, Unsure):
        return "is unsure"
    return "is held" if message.state is State.HELD else "waits"


def _said(message: Message, error: CegidDaemonError) -> str:
    """The error, with the received file's name ahead where the error names another file: a template, a target."""
    named = error.where.file in (message.file_name, escape_name(message.file_name))
    return str(error) if named else f"{escape_name(message.file_name)}: {error}"


def _line(text: str) -> str:
    return " ".join(text.splitlines())
