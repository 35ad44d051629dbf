"""The files messages are made of, and where each stands: lying, about to be filed away, filed, left.

Owns the table `source`; its first row comes with the claim of a message (`ledger`). Each method joins the caller's
transaction. Moves no file: the pipeline files away, this room remembers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from cegid_daemon.journal import rows
from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.payloads import Staged
from cegid_daemon.journal.rows import SourceFile
from cegid_daemon.model import Fault, Identity, Listed, SourceState, escape_name, unescape_name, utc_moment, utc_text

_OPEN = "m.closed_at IS NULL AND m.state <> 'delivered'"


@dataclass(frozen=True, slots=True)
class Taking:
    """A file that was read whole, or is too large to be, ready to be claimed by the routes that share its source."""

    endpoint: str
    place: str
    folder: str
    name: str
    identity: Identity
    staged: Staged | None  # None: it is larger than the route takes, and was not read
    raw: bytes | None  # the bytes, where they are few and at hand
    hold: Fault | None = None  # why its messages are held for a person; those behind them go on
    after_message: int | None = None  # of a late file: it is older than the messages behind this one
    filed_as: tuple[str, str] | None = None  # folder and name, if it was filed away before it was taken
    recheck_until: datetime | None = None  # how long it is looked at there

    @property
    def sha256(self) -> str:
        """Of the bytes; blank where they were not read."""
        return self.staged.sha256 if self.staged else ""


class Sources:
    """The source files."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def lying(self, place: str, folder: str) -> dict[str, SourceFile]:
        """The files of a folder that messages were made of and that still lie there or are being filed, by name."""
        found = self._db.query(
            f"SELECT {rows.SOURCE_COLUMNS} FROM source WHERE place = ? AND folder = ? AND state IN ('lying', 'filing')",
            (place, escape_name(folder)),
        )
        return {file.name: file for file in map(rows.source_file, found)}

    def left(self, place: str, folder: str) -> set[tuple[str, Identity]]:
        """The files of a folder that stay there by configuration, each as it was last taken under its name."""
        found = self._db.query(
            f"SELECT {rows.SOURCE_COLUMNS} FROM source WHERE id IN (SELECT max(id) FROM source "
            "WHERE place = ? AND folder = ? AND state = 'left' GROUP BY name)",
            (place, escape_name(folder)),
        )
        return {(file.name, file.identity) for file in map(rows.source_file, found)}

    def left_before(self, taking: Taking, *, touched: bool) -> bool:
        """Whether a left file has the bytes it was last taken with; its identity is then brought up to date.

        Without `touched` only if no more than its owner or rights changed; with it, even if it was written, touched or
        replaced since, unless every message of it failed: then nothing was sent, and its sender may try again.
        """
        identity = taking.identity
        same = (identity.size, identity.mtime_ns, identity.inode)
        return self._db.execute(
            "UPDATE source SET size = ?, mtime_ns = ?, inode = ?, ctime_ns = ? WHERE id = (SELECT max(id) FROM source "
            "WHERE place = ? AND folder = ? AND name = ? AND state = 'left') AND EXISTS (SELECT 1 FROM message "
            "WHERE source = source.id AND sha256 = ? AND (? AND message.state <> 'failed' "
            "OR (source.size = ? AND source.mtime_ns = ? AND source.inode = ?)))",
            (
                *same, identity.ctime_ns, taking.place, escape_name(taking.folder), escape_name(taking.name),
                taking.sha256, touched, *same,
            ),
        ).rowcount > 0  # fmt: skip

    def one(self, source: int) -> SourceFile:
        """One source file."""
        return rows.source_file(self._db.query(f"SELECT {rows.SOURCE_COLUMNS} FROM source WHERE id = ?", (source,))[0])

    def move(
        self, source: int, state: SourceState, filed_folder: str = "", filed_name: str = "",
        recheck_until: datetime | None = None,
    ) -> None:  # fmt: skip
        """Where the source file stands now; with `filing`, the new name it is about to get."""
        self._db.execute(
            "UPDATE source SET state = ?, filed_folder = ?, filed_name = ?, recheck_until = ? WHERE id = ?",
            (
                state, escape_name(filed_folder), escape_name(filed_name),
                utc_text(recheck_until) if recheck_until else None, source,
            ),
        )  # fmt: skip

    def rechecked(self, place: str, folder: str) -> list[tuple[SourceFile, datetime]]:
        """The files taken from a folder that are looked at where they were filed away, each with how long."""
        found = self._db.query(
            f"SELECT {rows.SOURCE_COLUMNS}, recheck_until FROM source "
            "WHERE place = ? AND folder = ? AND recheck_until IS NOT NULL ORDER BY id",
            (place, escape_name(folder)),
        )
        return [(rows.source_file(row), utc_moment(row["recheck_until"])) for row in found]

    def recheck_folders(self) -> list[tuple[str, str]]:
        """Place and folder of all files that are to be looked at again."""
        found = self._db.query(
            "SELECT DISTINCT place, folder FROM source INDEXED BY source_recheck WHERE recheck_until IS NOT NULL"
        )
        return [(row["place"], unescape_name(row["folder"])) for row in found]

    def end_recheck(self, sources: Collection[int]) -> None:
        """These files are looked at no more."""
        self._db.executemany("UPDATE source SET recheck_until = NULL WHERE id = ?", [(id_,) for id_ in sources])

    def update_identity(self, source: int, identity: Identity) -> None:
        """The file is the same, and looks otherwise now."""
        self._db.execute(
            "UPDATE source SET size = ?, mtime_ns = ?, inode = ?, ctime_ns = ? WHERE id = ?",
            (identity.size, identity.mtime_ns, identity.inode, identity.ctime_ns, source),
        )

    def earlier(self, place: str, folder: str, name: str) -> SourceFile | None:
        """The last file under this name that went out, or was held when it was taken, and was not filed away.

        It was left, or replaced by another one.
        """
        row = self._db.one(
            f"SELECT {rows.SOURCE_COLUMNS} FROM source WHERE place = ? AND folder = ? AND name = ? "
            "AND state IN ('left', 'gone') AND EXISTS (SELECT 1 FROM message m WHERE m.source = source.id "
            "AND (m.lets_pass = 1 OR EXISTS (SELECT 1 FROM delivery d WHERE d.message = m.id "
            "AND d.state IN ('uploaded', 'delivered', 'unsure', 'refused')))) ORDER BY id DESC LIMIT 1",
            (place, escape_name(folder), escape_name(name)),
        )
        return rows.source_file(row) if row is not None else None

    def is_last(self, file: SourceFile) -> bool:
        """Whether no file was taken under its name since."""
        found = self._db.one(
            "SELECT 1 FROM source WHERE id > ? AND place = ? AND folder = ? AND name = ? LIMIT 1",
            (file.id, file.place, escape_name(file.folder), escape_name(file.name)),
        )
        return found is None

    def unfiled(self, routes: Collection[str], at: tuple[str, str] | None = None) -> list[int]:
        """The files of messages of these routes that are not filed away although no message of theirs is on its way.

        `at`: only those taken from this place and folder.
        """
        marks = ", ".join("?" * len(routes))
        here = "AND s.place = ? AND s.folder = ? " if at else ""
        found = self._db.query(
            # CROSS JOIN: begin with the few files not filed away, never with all messages of a route.
            "SELECT DISTINCT s.id FROM source s INDEXED BY source_here CROSS JOIN message m ON m.source = s.id "
            f"WHERE s.state IN ('lying', 'filing') {here}AND m.route IN ({marks}) AND NOT EXISTS (SELECT 1 "
            "FROM message o WHERE o.source = s.id AND o.closed_at IS NULL AND o.state <> 'delivered' "
            "AND (o.state <> 'held' OR o.lets_pass = 0)) ORDER BY s.id",
            (*((at[0], escape_name(at[1])) if at else ()), *routes),
        )
        return [int(row[0]) for row in found]

    def left_over(self, routes: Collection[str]) -> list[int]:
        """The files not filed away none of whose messages is on its way, or of one of these routes."""
        marks = ", ".join("?" * len(routes))
        found = self._db.query(
            "SELECT s.id FROM source s INDEXED BY source_here WHERE s.state IN ('lying', 'filing') AND NOT EXISTS "
            "(SELECT 1 FROM message m WHERE m.source = s.id AND ((m.closed_at IS NULL AND m.state <> 'delivered') "
            f"OR m.route IN ({marks}))) ORDER BY s.id",
            tuple(routes),
        )
        return [int(row[0]) for row in found]

    def elsewhere(self, routes: Collection[str], at: tuple[str, str]) -> bool:
        """Whether files of these routes lie anywhere but here: the source was another when they were taken."""
        marks = ", ".join("?" * len(routes))
        return self._db.one(
            "SELECT 1 FROM source s INDEXED BY source_here CROSS JOIN message m ON m.source = s.id "
            f"WHERE s.state IN ('lying', 'filing') AND NOT (s.place = ? AND s.folder = ?) AND m.route IN ({marks}) "
            "LIMIT 1",
            (at[0], escape_name(at[1]), *routes),
        ) is not None  # fmt: skip

    def give_up(
        self, known: Mapping[str, SourceFile], listing: Iterable[Listed], routes: Collection[str]
    ) -> list[SourceFile]:
        """The known files that others have replaced and that only messages of other routes still need.

        Their names are free from now on.
        """
        files = [
            known[one.name]
            for one in listing
            if one.name in known and one.regular and not known[one.name].identity.same_file(one.identity)
        ]
        marks = ", ".join("?" * len(routes))
        return [
            file
            for file in files
            if self._db.execute(
                "UPDATE source SET state = 'gone' WHERE id = ? AND state = 'lying' AND NOT EXISTS "
                f"(SELECT 1 FROM message m WHERE m.source = source.id AND m.route IN ({marks}) AND {_OPEN}) AND "
                f"(EXISTS (SELECT 1 FROM message m WHERE m.source = source.id AND {_OPEN}) OR NOT EXISTS "
                f"(SELECT 1 FROM message m WHERE m.source = source.id AND m.route IN ({marks})))",
                (file.id, *routes, *routes),
            ).rowcount
        ]

    def folders(self, *, left: bool) -> list[tuple[str, str]]:
        """Place and folder of all files not filed away; with `left` also of those that stay by configuration."""
        found = self._db.query(
            "SELECT DISTINCT place, folder FROM source INDEXED BY source_here WHERE state IN ('lying', 'filing') "
            "UNION SELECT DISTINCT place, folder FROM source INDEXED BY source_left WHERE state = 'left' AND ?",
            (left,),
        )
        return [(row["place"], unescape_name(row["folder"])) for row in found]

    def kept_in(self, place: str, folder: str, *, left: bool) -> list[SourceFile]:
        """The files taken from a folder and not filed away, of each name the last; with `left` also those that stay."""
        found = self._db.query(
            f"SELECT {rows.SOURCE_COLUMNS} FROM source WHERE id IN (SELECT max(id) FROM source WHERE place = ? "
            "AND folder = ? AND (state IN ('lying', 'filing') OR (state = 'left' AND ?)) GROUP BY name)",
            (place, escape_name(folder), left),
        )
        return [rows.source_file(row) for row in found]

    def adopt(self, file: SourceFile, here: tuple[str, str], identity: Identity) -> None:
        """The file lies in this folder now; where it goes from there is chosen anew."""
        left = file.state is SourceState.LEFT
        self._db.execute(
            "UPDATE source SET place = ?, folder = ?, state = ?, filed_folder = ?, filed_name = ? WHERE id = ?",
            (
                here[0], escape_name(here[1]), SourceState.LEFT if left else SourceState.LYING,
                escape_name(here[1]) if left else "", escape_name(file.name) if left else "", file.id,
            ),
        )  # fmt: skip
        self.update_identity(file.id, identity)

    def rehome(self, place: str, folder: str) -> int:
        """Files known under another spelling of this folder are known under this one: how many.

        An endpoint whose url reaches higher or deeper than before, and a folder that makes up for it, are one place.
        """
        here = _address(place, folder)
        known = self._db.query(
            "SELECT DISTINCT place, folder FROM source WHERE state IN ('lying', 'filing') "
            "UNION SELECT DISTINCT place, folder FROM source WHERE state = 'left'"
        )
        spelled = [(row["place"], row["folder"]) for row in known]
        return sum(
            self._rehome(old, (place, folder))
            for old in spelled
            if old != (place, escape_name(folder)) and _address(old[0], unescape_name(old[1])) == here
        )

    def _rehome(self, old: tuple[str, str], new: tuple[str, str]) -> int:
        place, folder = new
        with self._db.transaction():
            found = self._db.query(
                f"SELECT {rows.SOURCE_COLUMNS} FROM source WHERE place = ? AND folder = ? "
                "AND state IN ('lying', 'filing', 'left')",
                old,
            )
            for file in map(rows.source_file, found):
                filed = f"{_address(file.place, file.filed_folder)}/".removeprefix(f"{place.rstrip('/')}/").rstrip("/")
                self._db.execute(
                    "UPDATE source SET place = ?, folder = ?, filed_folder = ? WHERE id = ?",
                    (place, escape_name(folder), escape_name(filed) if file.filed_name else "", file.id),
                )
        return len(found)

    def filing_names(self) -> set[tuple[str, str, str]]:
        """Place, folder and name that files are about to get."""
        found = self._db.query(
            "SELECT place, filed_folder, filed_name FROM source INDEXED BY source_here "
            "WHERE state IN ('lying', 'filing') AND state = 'filing'"
        )
        return {(row[0], unescape_name(row[1]), unescape_name(row[2])) for row in found}


def _address(place: str, folder: str) -> str:
    return f"{place.rstrip('/')}/{folder}".rstrip("/")
