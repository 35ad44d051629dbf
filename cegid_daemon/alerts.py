"""Alerts: who is told of what, once, and how it gets there.

Owns which troubles are new, that many become one message, and that none is repeated. What is wrong is found elsewhere
and comes in. Sending is the library's (Apprise), in a process of its own that ends afterwards: it is large, its servers
can hang, and the daemon must neither grow nor wait.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cegid_daemon.alert_channels import as_line, send
from cegid_daemon.clock import is_within
from cegid_daemon.errors import Transient

LISTED = 20  # troubles named in one message
_SENDER = (
    "from cegid_daemon.protection import protect_memory; protect_memory(); from cegid_daemon.alerts import main; main()"
)
_SENDING = 30.0  # seconds that all addresses together may take

Send = Callable[[str, str], None]
"""Sends a title and a text; raises Transient naming what did not work."""


@dataclass(slots=True)
class Told:
    """What people were told already, as the journal keeps it."""

    subjects: list[str] = field(default_factory=list)
    at: str = ""  # when the last message went out, ISO 8601; blank: never

    @classmethod
    def of(cls, text: str | None) -> Told:
        """As `as_text` wrote it."""
        return cls(**json.loads(text)) if text else cls()

    def as_text(self) -> str:
        """For keeping."""
        return json.dumps({"subjects": self.subjects, "at": self.at})


@dataclass(frozen=True, slots=True)
class Due:
    """A message to send, and what will have been told then."""

    title: str
    text: str
    told: Told


def due(now_wrong: Mapping[str, str], told: Told, quiet: timedelta, now: datetime) -> Due | None:
    """The message for troubles that nobody was told of, or for places that answer again; None: nothing to say yet.

    `now_wrong` is every trouble there is, by subject, with its words. A subject that heals is forgotten, so that it is
    told anew when it comes again.
    """
    known = set(told.subjects)
    new = [subject for subject in now_wrong if subject not in known]
    healed = sorted(subject for subject in known if subject not in now_wrong and subject.startswith("endpoint "))
    if not new and not healed:
        return None
    if told.at and is_within(datetime.fromisoformat(told.at), quiet, now):
        return None
    lines = [as_line(now_wrong[subject]) for subject in new[:LISTED]]
    lines += [f"and {len(new) - LISTED} more"] if len(new) > LISTED else []
    lines += [f"{subject} answers again" for subject in healed]
    return Due(_title(len(new)), "\n".join(lines), Told(sorted(now_wrong), now.isoformat()))


def _title(new: int) -> str:
    if not new:
        return "cegid-daemon: an endpoint answers again"
    return "cegid-daemon: something needs a person" if new == 1 else f"cegid-daemon: {new} things need a person"


def sender(urls: Sequence[str], *, where: str) -> Send:
    """Sends to every one of `urls`; `where` names the installation at the end of the text."""

    def send(title: str, text: str) -> None:
        order = json.dumps({"urls": list(urls), "title": title, "text": f"{text}\n\n{where}"})
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-c", _SENDER], input=order, text=True, capture_output=True, timeout=_SENDING,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as exc:
            raise Transient("an alert could not be sent", why=f"no answer within {_SENDING:.0f} s",
                            remedy="It is tried again.") from exc  # fmt: skip
        if done.returncode:
            why = done.stdout.strip() or f"its sender ended with status {done.returncode}"
            raise Transient(
                "an alert could not be sent", why=why, remedy="Look at `urls` of [alert]; it is tried again."
            )

    return send


def main() -> None:
    """The sender's process: an order on standard input; the addresses that did not take it on standard output."""
    order: dict[str, Any] = json.load(sys.stdin)
    failed = [_place(url) for url in order["urls"] if not _notify(url, order["title"], order["text"])]
    if failed:
        sys.stdout.write(f"not taken by {', '.join(failed)}\n")
        sys.exit(1)


def _notify(url: str, title: str, text: str) -> bool:
    from apprise import Apprise

    found = Apprise()
    if not found.add(url):
        return False
    taken = [send(one, title, text) for one in found]  # every one of them, whatever another says
    return all(taken)


def _place(url: str) -> str:
    """An address without anything secret: its kind alone."""
    return f"{url.partition(':')[0][:20]}:"
