"""Parts and deliveries: what a rewriting made and where each piece stands on its way out.

Owns the tables `part`, `delivery`, `exported` and the Modified rows of `log_entry`. The steps of a delivery are those
of the crash table in docs/architecture.md: due → (sending) → uploaded → delivered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ulid import ULID

from cegid_daemon.journal import rows
from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.payloads import Payloads, Staged
from cegid_daemon.journal.rows import Delivery, Message
from cegid_daemon.model import INTEGRATION, DeliveryState, Route, TargetSpec, escape_name, utc_text

_MESSAGE_OPEN = "EXISTS (SELECT 1 FROM message m WHERE m.id = delivery.message AND m.closed_at IS NULL)"


@dataclass(frozen=True, slots=True)
class PartReady:
    """A part whose bytes are staged, and where it goes."""

    no: int
    records: int
    staged: Staged
    place: str  # Endpoint.where of the target
    name: str
    temporary: str


@dataclass(frozen=True, slots=True)
class Making:
    """What a rewriting was made with, and what became of the records."""

    recipe: int
    revision: int
    made_at: datetime
    coverage: str  # model.Coverage as JSON
    remarks: int = 0  # how many it has


class Outgoing:
    """Parts and deliveries."""

    def __init__(self, connection: Connection, payloads: Payloads) -> None:
        self._db = connection
        self._payloads = payloads

    def record(
        self, message: Message, route: Route, making: Making, parts: Sequence[PartReady], log_name: str, now: datetime
    ) -> bool:
        """Records what was made of a message: from here on the pair is durable. Joins the caller's transaction.

        False, and nothing is recorded, if a person closed the message meanwhile.
        """
        changed = self._db.execute(
            "UPDATE message SET state = 'rewritten', recipe = ?, revision = ?, made_at = ?, coverage = ?, remarks = ?, "
            "error = NULL, next_try_at = NULL, tries = 0 WHERE id = ? AND closed_at IS NULL",
            (
                making.recipe, making.revision, utc_text(making.made_at), making.coverage, making.remarks, message.id,
            ),
        ).rowcount  # fmt: skip
        for part in parts if changed else ():
            self._record_part(message, route, part, log_name, now)
        return bool(changed)

    def own(self, message: Message, keys: Iterable[str]) -> None:
        """Notes that the records with these keys are exported by this message. A replay takes them over."""
        self._db.executemany(
            "INSERT INTO exported (route, key, message) VALUES (?, ?, ?) "
            "ON CONFLICT (route, key) DO UPDATE SET message = excluded.message",
            [(message.route, key, message.id) for key in keys],
        )

    def _record_part(self, message: Message, route: Route, ready: PartReady, log_name: str, now: datetime) -> None:
        payload = self._payloads.seal(ready.staged)
        part = self._db.execute(
            "INSERT INTO part (message, no, payload, sha256, size, records) VALUES (?, ?, ?, ?, ?, ?)",
            (message.id, ready.no, payload, ready.staged.sha256, ready.staged.size, ready.records),
        ).lastrowid
        delivery = self._insert_delivery(message, route.target, part, ready) if route.target is not None else None
        if message.logged:
            target = route.target or route.source  # what is delivered nowhere stays with where it came from
            self._db.execute(
                "INSERT INTO log_entry (logged_at, message, part, delivery, store, integration, route, kind, variant, "
                "name, endpoint, file_name, size, sha256, payload) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'Modified', ?, ?, ?, ?, ?, ?)",
                (
                    utc_text(now), message.id, part, delivery, message.store, INTEGRATION, route.log_route, route.kind,
                    log_name, target.endpoint, escape_name(ready.name), ready.staged.size, ready.staged.sha256, payload,
                ),
            )  # fmt: skip

    def _insert_delivery(self, message: Message, target: TargetSpec, part: int | None, ready: PartReady) -> int | None:
        return self._db.execute(
            "INSERT INTO delivery (part, message, endpoint, place, folder, name, temporary, request_uid, state) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'due')",
            (
                part, message.id, target.endpoint, ready.place, escape_name(target.folder), escape_name(ready.name),
                escape_name(ready.temporary), str(ULID()),
            ),
        ).lastrowid  # fmt: skip

    def of_message(self, message: int) -> list[Delivery]:
        """The deliveries of a message, in the order of its parts."""
        found = self._db.query(
            f"SELECT {rows.DELIVERY_COLUMNS} FROM delivery d JOIN part p ON p.id = d.part "
            "WHERE d.message = ? ORDER BY p.no, d.id",
            (message,),
        )
        return [rows.delivery(row) for row in found]

    def set_state(self, deliveries: Collection[int], state: DeliveryState, now: datetime) -> None:
        """Moves deliveries on; when one arrived stays known, whatever the receiver says of it later."""
        moment = utc_text(now) if state is DeliveryState.DELIVERED else None
        self._db.executemany(
            "UPDATE delivery SET state = ?, delivered_at = coalesce(?, delivered_at) WHERE id = ?",
            [(state, moment, id_) for id_ in deliveries],
        )

    def uploaded(self, marks: Mapping[int, str]) -> Collection[int]:
        """These deliveries lie under their temporary names, in folders with these marks: they may be renamed.

        Returns those of which that may be said: the others were cancelled by a person meanwhile.
        """
        changed = self._db.executemany(
            "UPDATE delivery SET state = 'uploaded', folder_mark = ? WHERE id = ? AND state IN ('due', 'sending')",
            [(mark, id_) for id_, mark in marks.items()],
        ).rowcount
        if changed == len(marks):
            return marks.keys()
        return [
            id_ for id_ in marks if self._db.one("SELECT 1 FROM delivery WHERE id = ? AND state = 'uploaded'", (id_,))
        ]

    def begin_sending(self, delivery: int) -> bool:
        """A request is about to leave; False if a person closed its message meanwhile: then it must not."""
        changed = self._db.execute(
            f"UPDATE delivery SET state = 'sending' WHERE id = ? AND {_MESSAGE_OPEN}", (delivery,)
        ).rowcount
        return bool(changed)

    def set_back(self, deliveries: Collection[int]) -> None:
        """These were put aside and are certainly not renamed: their temporaries are written anew."""
        self._db.executemany(
            "UPDATE delivery SET state = 'due' WHERE id = ? AND state = 'uploaded'", [(id_,) for id_ in deliveries]
        )

    def withdraw(self, message: int) -> None:
        """A person closed the message: what was never sent is cancelled, what may have arrived is unsure.

        What lies under its temporary name, or was answered, stays `uploaded`: `pipeline.withdrawal` finds out.
        """
        self._db.execute(
            "UPDATE delivery SET state = CASE state WHEN 'due' THEN 'cancelled' ELSE 'unsure' END "
            "WHERE message = ? AND state IN ('due', 'sending')",
            (message,),
        )

    def of_discarded(self, routes: Collection[str]) -> list[Delivery]:
        """The deliveries that were on their way when a person discarded their messages, of these routes."""
        found = self._db.query(
            f"SELECT {rows.DELIVERY_COLUMNS} FROM delivery d JOIN part p ON p.id = d.part "
            "JOIN message m ON m.id = d.message WHERE d.state NOT IN ('delivered', 'refused', 'cancelled') "
            f"AND d.state <> 'unsure' AND m.state = 'discarded' AND m.route IN ({', '.join('?' * len(routes))})",
            tuple(routes),
        )
        return [rows.delivery(row) for row in found]

    def discarded_routes(self) -> set[str]:
        """The routes that have such deliveries."""
        found = self._db.query(
            "SELECT DISTINCT m.route FROM delivery d JOIN message m ON m.id = d.message WHERE "
            "d.state NOT IN ('delivered', 'refused', 'cancelled') AND d.state <> 'unsure' AND m.state = 'discarded'"
        )
        return {str(row[0]) for row in found}

    def rename(self, delivery: int, name: str, place: str) -> None:
        """The name (a version of it) and place a delivery really goes to; the log's view shows this one."""
        self._db.execute("UPDATE delivery SET name = ?, place = ? WHERE id = ?", (escape_name(name), place, delivery))

    def redirect(self, delivery: Delivery, log_name: str | None = None) -> None:
        """Stores where a delivery goes now; `log_name`: and how the log calls it, where that is another place."""
        folder, temporary = escape_name(delivery.folder), escape_name(delivery.temporary)
        with self._db.transaction():
            self._db.execute(
                "UPDATE delivery SET endpoint = ?, place = ?, folder = ?, temporary = ? WHERE id = ?",
                (delivery.endpoint, delivery.place, folder, temporary, delivery.id),
            )
            if log_name is not None:
                self._db.execute(
                    "UPDATE log_entry SET endpoint = ?, name = ? WHERE delivery = ?",
                    (delivery.endpoint, log_name, delivery.id),
                )

    def begin_direct(self, delivery: int, name: str, place: str) -> bool:
        """An upload straight under the final name begins: durable before the first byte is sent.

        False if a person closed its message meanwhile: then it must not.
        """
        changed = self._db.execute(
            "UPDATE delivery SET state = 'sending', name = ?, temporary = ?, place = ? "
            f"WHERE id = ? AND {_MESSAGE_OPEN}",
            (escape_name(name), escape_name(name), place, delivery),
        ).rowcount
        return bool(changed)

    def release(self, message: int) -> None:
        """What is not known to have arrived is due again; one without a temporary name gets its final name anew."""
        self._db.execute(
            "UPDATE delivery SET state = 'due', temporary = CASE WHEN temporary = name THEN '' ELSE temporary END "
            "WHERE message = ? AND state = 'unsure'",
            (message,),
        )

    def doubt(self, place: str, folder: str) -> None:
        """The folder is gone: of what was put aside in it, nobody can tell later whether it was renamed."""
        found = self._db.query(
            f"SELECT {rows.DELIVERY_COLUMNS} FROM delivery d JOIN part p ON p.id = d.part "
            "WHERE d.place = ? AND d.state = 'uploaded'",
            (place,),
        )
        gone = [one.id for one in map(rows.delivery, found) if one.aside_folder == folder]
        self._db.executemany("UPDATE delivery SET state = 'unsure' WHERE id = ?", [(id_,) for id_ in gone])

    def has_renamed(self, place: str, folder: str) -> bool:
        """Whether a delivery ever arrived in a folder by its rename: a place that takes uploads at once allows none."""
        found = self._db.query(
            "SELECT 1 FROM delivery WHERE place = ? AND folder = ? AND state = 'delivered' "
            "AND temporary <> '' AND temporary <> name LIMIT 1",
            (place, escape_name(folder)),
        )
        return bool(found)

    def out_of_hand(self, message: int) -> list[str]:
        """The names under which parts of a message were delivered, or may have been; those refused were sent too."""
        doubtful = (DeliveryState.DELIVERED, DeliveryState.UPLOADED, DeliveryState.UNSURE, DeliveryState.REFUSED)
        return [one.name for one in self.of_message(message) if one.state in doubtful]

    def temporaries(self, place: str, folder: str) -> set[str]:
        """The temporary names that open deliveries have in a folder: those that clean-up must leave alone."""
        found = self._db.query(
            f"SELECT {rows.DELIVERY_COLUMNS} FROM delivery d JOIN part p ON p.id = d.part "
            "JOIN message m ON m.id = d.message WHERE d.place = ? AND (d.state IN ('due', 'sending', 'uploaded') "
            "OR (d.state = 'unsure' AND m.closed_at IS NULL))",
            (place,),
        )
        return {one.aside_name for one in map(rows.delivery, found) if one.aside_folder == folder}

    def has_part(self, message: int, no: int) -> bool:
        """Whether this journal knows a part: clean-up leaves names of ours alone that it does not know."""
        return bool(self._db.query("SELECT 1 FROM part WHERE message = ? AND no = ?", (message, no)))
