"""What other systems said of what was sent: the API's answers, what it still owes one to, what CEGID refused.

Owns the tables `follow_up` and `rejected_file`, the answers kept with attempts, and the coverage of a message after it
was answered. Decides nothing; each method joins the caller's transaction or makes its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from cegid_daemon.coverage import Coverage
from cegid_daemon.errors import Refused
from cegid_daemon.journal import rows
from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.payloads import Payloads, Staged
from cegid_daemon.journal.rows import Delivery
from cegid_daemon.model import Fault, Listed, RefusalExtent, escape_name, utc_moment, utc_text

_SENT = (
    f"SELECT {rows.DELIVERY_COLUMNS} FROM delivery d JOIN part p ON p.id = d.part JOIN message m ON m.id = d.message "
    "WHERE m.route = ? AND d.state IN ('delivered', 'refused')"
)
_LOOKED_BACK = 10_000  # parts whose content is compared with that of a rejected file


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it is kept: its payload, and the same ready to be sealed into a message of its own."""

    payload: int
    staged: Staged


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A delivery that was acknowledged, and whose answer is to come by a report."""

    delivery: int
    message: int
    reports: tuple[str, ...]
    since: datetime
    tries: int


@dataclass(frozen=True, slots=True)
class RefusedRequests:
    """How many requests of a delivery its answers spoke of, and how many of them were refused."""

    requests: int
    refused: int


class Answers:
    """The room of answers."""

    def __init__(self, connection: Connection, payloads: Payloads) -> None:
        self._db = connection
        self._payloads = payloads

    # -- the API's answers ------------------------------------------------------------------------------------------

    def keep(self, message: int, delivery: int, staged: Staged, outcome: str, detail: str, now: datetime) -> None:
        """Keeps an answer with the attempt it came to, before anybody looks into it."""
        with self._db.transaction():
            self._db.execute(
                "INSERT INTO attempt (at, message, delivery, step, outcome, detail, answer) "
                "VALUES (?, ?, ?, 'answer', ?, ?, ?)",
                (utc_text(now), message, delivery, outcome, detail, self._payloads.seal(staged)),
            )

    def kept(self, message: int, delivery: int) -> Kept:
        """The last answer to a delivery of a message. Raises Refused if none is kept."""
        row = self._db.one(
            "SELECT y.id, y.sha256, y.size FROM attempt a JOIN payload y ON y.id = a.answer WHERE a.message = ? "
            "AND a.delivery = ? AND a.step = 'answer' ORDER BY a.id DESC LIMIT 1", (message, delivery),
        )  # fmt: skip
        if row is None:
            raise Refused(f"no answer to delivery {delivery} is kept", remedy="Release or discard its message.")
        return Kept(row["id"], Staged(row["sha256"], row["size"]))

    def drop(self, message: int, step: str) -> None:
        """Forgets what is kept with the attempts of one step: nobody needs it any more, and it was not to be logged."""
        held = self._db.query(
            "SELECT answer FROM attempt WHERE message = ? AND step = ? AND answer IS NOT NULL", (message, step)
        )
        self._db.execute("UPDATE attempt SET answer = NULL WHERE message = ? AND step = ?", (message, step))
        self._payloads.forget(row["answer"] for row in held)

    def tie(self, message: int, staged: Staged, now: datetime) -> None:
        """Keeps an answer with the keys of its requests beside the message made of it: what is rewritten."""
        self._db.execute(
            "INSERT INTO attempt (at, message, step, outcome, detail, answer) "
            "VALUES (?, ?, 'tie', 'ok', 'each response with the key of its request', ?)",
            (utc_text(now), message, self._payloads.seal(staged)),
        )

    def tied(self, message: int) -> int | None:
        """The payload that `tie` kept beside a message, or beside the one that it replays."""
        row = self._db.one(
            "WITH RECURSIVE chain (id, replay_of) AS (SELECT id, replay_of FROM message WHERE id = ? "
            "UNION SELECT m.id, m.replay_of FROM message m JOIN chain c ON m.id = c.replay_of) "
            "SELECT a.answer FROM attempt a JOIN chain c ON c.id = a.message "
            "WHERE a.step = 'tie' AND a.answer IS NOT NULL LIMIT 1", (message,),
        )  # fmt: skip
        return row["answer"] if row else None

    def overtaken(self, message: int) -> bool:
        """Whether something newer went out on the route of a message."""
        row = self._db.one(
            "SELECT 1 FROM message m JOIN message n ON n.route = m.route AND n.seq > m.seq JOIN delivery d "
            "ON d.message = n.id WHERE m.id = ? AND d.state NOT IN ('due', 'cancelled') LIMIT 1", (message,),
        )  # fmt: skip
        return row is not None

    def coverage(self, message: int) -> Coverage:
        """What became of the records of a message, as far as it is known."""
        row = self._db.one("SELECT coverage FROM message WHERE id = ?", (message,))
        return Coverage.from_json(json.loads(row["coverage"])) if row and row["coverage"] else Coverage()

    def refuse(self, delivery: Delivery, requests: int, refused: int) -> None:
        """Of the requests of a delivery, so many more were refused by the receiver; its message is judged anew."""
        known = self.refusals(delivery.message).get(delivery.id)
        if known is not None:
            requests = max(requests, known.requests)
            refused = min(refused + known.refused, requests)
        extent = RefusalExtent.WHOLE if refused >= requests else RefusalExtent.PART
        self._db.execute(
            "INSERT INTO refusal (delivery, message, requests, refused, extent) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (delivery) DO UPDATE SET requests = excluded.requests, refused = excluded.refused, "
            "extent = excluded.extent",
            (delivery.id, delivery.message, requests, refused, extent),
        )
        self.sum_up_refusals(delivery.message)

    def refusals(self, message: int) -> dict[int, RefusedRequests]:
        """What was refused of a message, by delivery."""
        found = self._db.query("SELECT delivery, requests, refused FROM refusal WHERE message = ?", (message,))
        return {row["delivery"]: RefusedRequests(row["requests"], row["refused"]) for row in found}

    def is_refused(self, delivery: Delivery) -> bool:
        """Whether all of a delivery was refused."""
        known = self.refusals(delivery.message).get(delivery.id)
        return known is not None and known.refused >= known.requests

    def sum_up_refusals(self, message: int) -> None:
        """Says of a message how much of it was refused; what was never sent does not count."""
        found = self._db.query(
            "SELECT DISTINCT coalesce(f.extent, '') FROM delivery d LEFT JOIN refusal f ON f.delivery = d.id "
            "WHERE d.message = ? AND d.state <> 'cancelled'",
            (message,),
        )
        extents = {RefusalExtent(row[0]) for row in found}
        if extents - {RefusalExtent.NONE}:
            extent = RefusalExtent.WHOLE if extents == {RefusalExtent.WHOLE} else RefusalExtent.PART
            self._db.execute("UPDATE message SET refusal = ? WHERE id = ?", (extent, message))

    def refused_requests(self, message: int, most: int, delivery: int | None = None) -> list[str]:
        """The first requests of a message, or of one delivery of it, that its answers refused, a text each."""
        found = self._db.query(
            "SELECT detail FROM attempt WHERE message = ? AND step = 'answer' AND outcome = 'refused' "
            "AND (? IS NULL OR delivery = ?) ORDER BY id LIMIT ?", (message, delivery, delivery, most),
        )  # fmt: skip
        return [str(row[0]) for row in found]

    def refused(self, message: int, reasons: Mapping[str, int]) -> None:
        """Of the records that were sent, so many were refused by the receiver."""
        known = self.coverage(message)
        rejected = dict(known.rejected)
        for reason, times in reasons.items():
            rejected[reason] = rejected.get(reason, 0) + times
        sent = known.sent - sum(reasons.values())
        text = json.dumps({**known.as_json(), "sent": sent, "rejected": rejected}, ensure_ascii=False)
        self._db.execute("UPDATE message SET coverage = ? WHERE id = ?", (text, message))

    def mark(self, message: int, fault: Fault) -> None:
        """Says of a message that is over what was found out about it since; its state stays."""
        text = json.dumps({**asdict(fault), "text": str(fault)}, ensure_ascii=True)
        self._db.execute("UPDATE message SET error = ? WHERE id = ?", (text, message))

    # -- deferred ---------------------------------------------------------------------------------------------------

    def owe(self, delivery: Delivery, reports: Sequence[str], now: datetime, next_at: datetime) -> None:
        """The answer to a delivery is to come by these reports."""
        self._db.execute(
            "INSERT OR REPLACE INTO follow_up (delivery, message, reports, since, next_at) VALUES (?, ?, ?, ?, ?)",
            (delivery.id, delivery.message, json.dumps(reports), utc_text(now), utc_text(next_at)),
        )

    def owed(self, route: str, now: datetime | None, longest: timedelta = timedelta(0)) -> list[FollowUp]:
        """What the API owes on a route and may be asked for now; None: everything it owes.

        A wait of more than `longest` was begun by a clock that was ahead: it is over.
        """
        found = self._db.query(
            "SELECT f.* FROM follow_up f JOIN message m ON m.id = f.message WHERE m.route = ? "
            "AND (? OR f.next_at <= ? OR f.next_at > ?) ORDER BY f.delivery",
            (route, now is None, now and utc_text(now), now and utc_text(now + longest)),
        )
        return [
            FollowUp(row["delivery"], row["message"], tuple(json.loads(row["reports"])), utc_moment(row["since"]),
                     row["tries"])
            for row in found
        ]  # fmt: skip

    def ask_again(self, owed: FollowUp, now: datetime, next_at: datetime) -> None:
        """The report is not there yet. An acknowledgement later than now counts as now."""
        self._db.execute(
            "UPDATE follow_up SET tries = tries + 1, since = ?, next_at = ? WHERE delivery = ?",
            (utc_text(min(owed.since, now)), utc_text(next_at), owed.delivery),
        )

    def settle(self, delivery: int) -> None:
        """Nothing is owed any more."""
        self._db.execute("DELETE FROM follow_up WHERE delivery = ?", (delivery,))

    # -- CEGID's rejects --------------------------------------------------------------------------------------------

    def looked_into(self, place: str, folder: str, file: Listed) -> bool:
        """Whether this very file was looked into before."""
        identity = file.identity
        row = self._db.one(
            "SELECT 1 FROM rejected_file WHERE place = ? AND folder = ? AND name = ? AND size = ? AND mtime_ns = ? "
            "AND inode = ?",
            (place, escape_name(folder), escape_name(file.name), identity.size, identity.mtime_ns, identity.inode),
        )
        return row is not None

    def look_into(self, place: str, folder: str, file: Listed, message: int | None, now: datetime) -> None:
        """Remembers a file of a rejects folder, and the message it came from."""
        identity = file.identity
        self._db.execute(
            "INSERT OR REPLACE INTO rejected_file VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                place, escape_name(folder), escape_name(file.name), identity.size, identity.mtime_ns, identity.inode,
                message, utc_text(now),
            ),
        )  # fmt: skip

    def sent_as(self, route: str, name: str) -> list[tuple[Delivery, str]]:
        """What was delivered on a route under a name, the newest first, each with the SHA-256 of its bytes."""
        return self._sent(f"{_SENT} AND d.name = ? ORDER BY d.id DESC LIMIT 100", (route, escape_name(name)))

    def sent_content(self, route: str, sha256: str) -> list[tuple[Delivery, str]]:
        """What was delivered on a route with this content, the newest first; only the latest parts are compared."""
        newest = f"SELECT * FROM ({_SENT} ORDER BY d.id DESC LIMIT {_LOOKED_BACK})"
        found = self._sent(newest, (route,))
        return [(delivery, content) for delivery, content in found if content == sha256]

    def is_arriving(self, route: str, name: str, sha256: str) -> bool:
        """Whether something is being delivered on a route under this name, or with this content, at this moment."""
        row = self._db.one(
            "SELECT 1 FROM delivery d JOIN part p ON p.id = d.part JOIN message m ON m.id = d.message "
            "WHERE d.state NOT IN ('delivered', 'refused', 'cancelled') AND d.state IN ('sending', 'uploaded') "
            "AND m.route = ? AND (d.name = ? OR p.sha256 = ?) LIMIT 1",
            (route, escape_name(name), sha256),
        )
        return row is not None

    def _sent(self, sql: str, params: Sequence[object]) -> list[tuple[Delivery, str]]:
        sql = sql.replace(rows.DELIVERY_COLUMNS, f"{rows.DELIVERY_COLUMNS}, p.sha256", 1)
        return [(rows.delivery(row), row["sha256"]) for row in self._db.query(sql, params)]
