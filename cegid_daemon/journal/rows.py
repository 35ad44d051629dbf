"""What the ledger gives out: rows of the journal as frozen values, names unescaped, times as moments."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta

from cegid_daemon.clock import is_due
from cegid_daemon.model import (
    LONGEST_RETRY_AFTER,
    DeliveryState,
    Fault,
    Identity,
    RefusalExtent,
    SourceState,
    State,
    unescape_name,
    utc_moment,
)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file taken from an endpoint; the messages of all routes that share it point here."""

    id: int
    endpoint: str
    place: str
    folder: str
    name: str
    identity: Identity
    state: SourceState
    filed_folder: str
    filed_name: str


@dataclass(frozen=True, slots=True)
class Message:
    """One file (or one API answer) travelling a route: its whole state."""

    id: int
    uid: str
    route: str
    store: str
    seq: int
    state: State
    source: int | None
    folder: str
    file_name: str
    payload: int | None
    sha256: str
    size: int
    logged: bool
    recipe: int | None
    revision: int | None
    made_at: datetime | None
    rewrite_starts: int
    tries: int
    next_try_at: datetime | None
    first_failed_at: datetime | None
    wait_began_at: datetime | None
    replay_of: int | None
    received_at: datetime
    fault: Fault | None
    lets_pass: bool = False  # while it is held, those behind it go on
    refusal: RefusalExtent = RefusalExtent.NONE
    rewrite_since: datetime | None = None  # when the first start of its rewriting was made up for
    age: int | None = None  # its values are as old as those of the message with this `seq`; None: of its own

    @property
    def standing(self) -> str:
        """What people are shown: its state, or how much of it was refused where that is what came of it."""
        if self.refusal and self.state in (State.DELIVERED, State.DONE):
            return self.refusal
        return self.refusal if self.refusal is RefusalExtent.WHOLE and self.state is State.FAILED else self.state

    @property
    def outcome(self) -> str:
        """The same in the words of the log's column `outcome` on its Unmodified entry."""
        if (standing := self.standing) != self.state:
            return standing
        if self.state in (State.HELD, State.UNSURE):
            return self.state
        if self.state in (State.FAILED, State.DISCARDED):
            return "failed"
        return "ok" if self.state in (State.DELIVERED, State.DONE) else "waiting"

    def waits_until(self, now: datetime, longest: timedelta) -> datetime | None:
        """When it is tried again, if that is still to come; `longest` is the longest pause there is on its route.

        A wait that began later than now was begun by a clock that was ahead: it is over.
        """
        if self.next_try_at is None or (self.wait_began_at is not None and self.wait_began_at > now):
            return None
        return None if is_due(self.next_try_at, now, max(longest, LONGEST_RETRY_AFTER)) else self.next_try_at


@dataclass(frozen=True, slots=True)
class Delivery:
    """One part on its way to one endpoint."""

    id: int
    message: int
    no: int
    payload: int
    size: int
    endpoint: str
    place: str
    folder: str
    name: str
    temporary: str
    request_uid: str
    state: DeliveryState
    folder_mark: str = ""  # of the folder it was put aside in, where the endpoint can tell

    @property
    def is_direct(self) -> bool:
        """Whether it has no temporary name: blank before the first upload, the final name from then on."""
        return self.temporary in ("", self.name)

    @property
    def aside_folder(self) -> str:
        """The folder its temporary name is in."""
        return "/".join(part for part in (self.folder, self.temporary.rpartition("/")[0]) if part)

    @property
    def aside_name(self) -> str:
        """Its temporary name."""
        return self.temporary.rpartition("/")[2]


SOURCE_COLUMNS = "id, endpoint, place, folder, name, size, mtime_ns, inode, ctime_ns, state, filed_folder, filed_name"

MESSAGE_COLUMNS = (
    "id, uid, route, store, seq, state, source, folder, file_name, payload, sha256, size, logged, recipe, revision, "
    "made_at, rewrite_starts, tries, next_try_at, first_failed_at, wait_began_at, replay_of, received_at, error, "
    "lets_pass, refusal, rewrite_since, age"
)

DELIVERY_COLUMNS = (
    "d.id, d.message, p.no, p.payload, p.size, d.endpoint, d.place, d.folder, d.name, d.temporary, d.request_uid, "
    "d.state, d.folder_mark"
)

STANDING = (  # `Message.standing`
    "CASE WHEN refusal <> '' AND (state IN ('delivered', 'done') OR (state = 'failed' AND refusal = 'refused')) "
    "THEN refusal ELSE state END"
)


def source_file(row: sqlite3.Row) -> SourceFile:
    """A row of SOURCE_COLUMNS."""
    return SourceFile(
        row["id"], row["endpoint"], row["place"], unescape_name(row["folder"]), unescape_name(row["name"]),
        Identity(row["size"], row["mtime_ns"], row["inode"], row["ctime_ns"]), SourceState(row["state"]),
        unescape_name(row["filed_folder"]), unescape_name(row["filed_name"]),
    )  # fmt: skip


def message(row: sqlite3.Row) -> Message:
    """A row of MESSAGE_COLUMNS."""
    return Message(
        row["id"], row["uid"], row["route"], row["store"], row["seq"], State(row["state"]), row["source"],
        unescape_name(row["folder"]), unescape_name(row["file_name"]), row["payload"], row["sha256"], row["size"],
        bool(row["logged"]), row["recipe"], row["revision"], _moment(row["made_at"]), row["rewrite_starts"],
        row["tries"], _moment(row["next_try_at"]), _moment(row["first_failed_at"]), _moment(row["wait_began_at"]),
        row["replay_of"], utc_moment(row["received_at"]), _fault(row["error"]), bool(row["lets_pass"]),
        RefusalExtent(row["refusal"]), _moment(row["rewrite_since"]), row["age"],
    )  # fmt: skip


def delivery(row: sqlite3.Row) -> Delivery:
    """A row of DELIVERY_COLUMNS."""
    return Delivery(
        row["id"], row["message"], row["no"], row["payload"], row["size"], row["endpoint"], row["place"],
        unescape_name(row["folder"]), unescape_name(row["name"]), unescape_name(row["temporary"]), row["request_uid"],
        DeliveryState(row["state"]), row["folder_mark"],
    )  # fmt: skip


def _fault(text: str | None) -> Fault | None:
    if not text:
        return None
    told = json.loads(text)
    del told["text"]
    return Fault(**told)


def _moment(text: str | None) -> datetime | None:
    return utc_moment(text) if text else None
