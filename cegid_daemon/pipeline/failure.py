"""What an operator reads beside a failed file: what, where, why, and what to do now. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from cegid_daemon.journal.rows import Message
from cegid_daemon.model import Fault, escape_name


def explanation(
    name: str, failures: Sequence[tuple[Message, Fault]], out: Mapping[int, Sequence[str]], now: datetime
) -> str:
    """The text of NAME.error.txt; one section for each route on which the file failed.

    `out` names, by message, the delivered files that left (or may have left) before the failure.
    """
    head = f"{escape_name(name)} was not delivered.\n"
    if not any(out.values()):
        head += "Nothing of it left this machine on the route(s) below.\n"
    return "\n".join([head, *(_section(message, fault, out.get(message.id, ()), now) for message, fault in failures)])


def _section(message: Message, fault: Fault, out: Sequence[str], now: datetime) -> str:
    lines = [
        ("Left before", ", ".join(map(escape_name, out))),
        ("Route", message.route),
        ("Message", str(message.id)),
        ("What", fault.what),
        ("Where", fault.where),
        ("Why", fault.why),
        ("What to do", _remedy(fault, message)),
        ("Received", f"{message.received_at:%Y-%m-%d %H:%M:%S} UTC, {message.size} bytes{_digest(message)}"),
        ("Failed", f"{now:%Y-%m-%d %H:%M:%S} UTC"),
    ]
    return "\n".join(f"{label + ':':<13}{text}" for label, text in lines if text) + "\n"


def _digest(message: Message) -> str:
    return f", SHA-256 {message.sha256}" if message.sha256 else ""


def _remedy(fault: Fault, message: Message) -> str:
    if message.payload is None:  # too large to be read: there is nothing to replay
        return f"{fault.remedy.rstrip('.')}. Then drop it here again."
    command = f"`cegid-daemon replay {message.id}`"
    if "replay" in fault.remedy:  # it is all that is to be done: a file dropped beside it would be sent twice
        return fault.remedy if command in fault.remedy else f"{fault.remedy.rstrip('.')}. The command: {command}."
    again = f"Then drop the repaired file again, or, if template, layout or settings were repaired, run {command}."
    return f"{fault.remedy.rstrip('.')}. {again}" if fault.remedy else again
