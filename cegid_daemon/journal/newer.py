"""How many newer values of its route went out since a message: what sending it (again) now goes behind.

Only reads. A message is as old as its place in the order of its route (`seq`), a replay as old as what it replays, a
file that was taken late as old as when others overtook it (`age`).
"""

from __future__ import annotations

from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.rows import Message

MOST = 1000  # more are not counted
WENT_OUT = (  # wholly or in part; what feeds the buffers goes nowhere, and counts once it is done
    "(EXISTS (SELECT 1 FROM delivery d WHERE d.message = m.id AND d.state IN ('uploaded', 'delivered', 'unsure')) "
    "OR m.state IN ('delivered', 'done') AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.message = m.id) "
    "AND coalesce(json_extract(m.coverage, '$.sent'), 1) > 0)"
)


def age_of(message: Message) -> int:
    """Its place in the order of its route, by the age of its values."""
    return message.seq if message.age is None else message.age


def newer_sent(connection: Connection, route: str, age: int, before: int | None = None) -> int:
    """How many messages of a route with newer values went out; `before`: only those ahead of this `seq`."""
    found = connection.query(
        "SELECT 1 FROM message m WHERE m.route = ? AND m.seq > ? AND (? IS NULL OR m.seq < ?) "
        f"AND coalesce(m.age, m.seq) > ? AND {WENT_OUT} LIMIT {MOST}",
        (route, age, before, before, age),
    )
    return len(found)


def overtaken_by(connection: Connection, message: Message) -> int:
    """How many messages with newer values went out before a replay or a late file that goes out now."""
    if message.age is not None:
        return newer_sent(connection, message.route, message.age, message.seq)
    return newer_sent(connection, message.route, message.seq) if message.lets_pass else 0
