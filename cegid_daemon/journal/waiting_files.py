"""Files that were seen in a source and cannot be taken yet: empty, unreadable, open for writing, without their marker.

Owns the table `waiting_file`. Kept across restarts, so that a file that is taken late is known to be late: messages
that were claimed after it was first seen have overtaken it. Decides nothing; asks no endpoint.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from cegid_daemon.clock import BootTime
from cegid_daemon.journal.connection import Connection
from cegid_daemon.model import Identity, WaitReason, escape_name, unescape_name, utc_moment, utc_text

_COLUMNS = (
    "place, folder, name, size, mtime_ns, inode, reason, detail, first_seen, after_message, overtaken, "
    "boot, boot_seconds"
)
_UNKNOWN = BootTime("", 0.0)


@dataclass(frozen=True, slots=True)
class WaitingFile:
    """A file of a source that was seen and cannot be taken yet."""

    place: str
    folder: str
    name: str
    identity: Identity  # as it was last seen; without ctime
    reason: WaitReason
    detail: str  # the error, or what it waits for
    first_seen: datetime
    after_message: int  # the newest message when it was first seen, or overtaken: later ones overtook it
    overtaken: bool = False  # whether a file behind it in the order of its source was claimed first
    waits_since: BootTime = _UNKNOWN  # `first_seen` by the boot clock, or when it was first seen in this boot


class WaitingFiles:
    """The files that wait to be taken."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def see(
        self, place: str, folder: str, name: str, identity: Identity, reason: WaitReason, detail: str, now: datetime,
        boot: BootTime = _UNKNOWN,
    ) -> WaitingFile:  # fmt: skip
        """Notes that a file waits; when it was first seen, and behind which message, stays as it was."""
        self._db.execute(
            f"INSERT INTO waiting_file ({_COLUMNS}) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT coalesce(max(id), 0) FROM message), 0, ?, ?) "
            "ON CONFLICT (place, folder, name) DO UPDATE SET size = excluded.size, mtime_ns = excluded.mtime_ns, "
            "inode = excluded.inode, reason = excluded.reason, detail = excluded.detail",
            (
                place, escape_name(folder), escape_name(name), identity.size, identity.mtime_ns, identity.inode,
                reason, detail.encode("utf-8", "backslashreplace").decode(), utc_text(now), boot.boot,
                boot.seconds,
            ),
        )  # fmt: skip
        return self._one(place, folder, name)

    def overtake(self, place: str, folder: str, name: str) -> WaitingFile:
        """Notes that a file behind this one in the order of their source is claimed now, for the first time."""
        self._db.execute(
            "UPDATE waiting_file SET overtaken = 1, after_message = (SELECT coalesce(max(id), 0) FROM message) "
            "WHERE place = ? AND folder = ? AND name = ? AND overtaken = 0",
            (place, escape_name(folder), escape_name(name)),
        )
        return self._one(place, folder, name)

    def restart(self, place: str, folder: str, names: Collection[str], boot: BootTime) -> None:
        """The machine was started since: how long these files have waited is counted from now."""
        self._db.executemany(
            "UPDATE waiting_file SET boot = ?, boot_seconds = ? WHERE place = ? AND folder = ? AND name = ?",
            [(boot.boot, boot.seconds, place, escape_name(folder), escape_name(name)) for name in names],
        )

    def forget(self, place: str, folder: str, names: Collection[str]) -> None:
        """These files wait no longer: they were taken, or are gone."""
        if names:
            self._db.executemany(
                "DELETE FROM waiting_file WHERE place = ? AND folder = ? AND name = ?",
                [(place, escape_name(folder), escape_name(name)) for name in names],
            )

    def of_folder(self, place: str, folder: str) -> dict[str, WaitingFile]:
        """The waiting files of a folder, by name."""
        return {file.name: file for file in self._files("WHERE place = ? AND folder = ?", place, escape_name(folder))}

    def _one(self, place: str, folder: str, name: str) -> WaitingFile:
        """Of thousands that may wait in a folder, this one."""
        return self._files(
            "WHERE place = ? AND folder = ? AND name = ?", place, escape_name(folder), escape_name(name)
        )[0]

    def all(self) -> list[WaitingFile]:
        """Every waiting file, the longest waiting first."""
        return self._files("")

    def _files(self, where: str, *params: object) -> list[WaitingFile]:
        found = self._db.query(f"SELECT {_COLUMNS} FROM waiting_file {where} ORDER BY first_seen, name", params)
        return [
            WaitingFile(
                row["place"], unescape_name(row["folder"]), unescape_name(row["name"]),
                Identity(row["size"], row["mtime_ns"], row["inode"]), WaitReason(row["reason"]), row["detail"],
                utc_moment(row["first_seen"]), row["after_message"], bool(row["overtaken"]),
                BootTime(row["boot"], row["boot_seconds"]),
            )
            for row in found
        ]  # fmt: skip
