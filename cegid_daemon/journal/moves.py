"""Routes that were renamed, replaced or removed: what of them is still open, and who takes it over.

Owns the table `route_move`, and the change of a route's name wherever the journal goes by it. Log entries keep the name
they were written under: they say what was, and are never changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.newer import WENT_OUT
from cegid_daemon.model import Route, answer_route, unescape_name, utc_text

ROUTE_GONE = "route gone"  # the kind of a notice; its subject is the route
_NAMED = 5  # messages and files that a text names one by one
# A key stays with the new route's message unless that one has delivered nothing and never will.
_KEYS = """
    INSERT INTO exported (route, key, message) SELECT ?, key, message FROM exported WHERE route = ?
    ON CONFLICT (route, key) DO UPDATE SET message = excluded.message
    WHERE (SELECT state FROM message WHERE message.id = exported.message) IN ('failed', 'discarded')
"""
_MESSAGES = "UPDATE message SET route = ? WHERE route = ?"
_PATTERNS = """
    INSERT INTO temporary_pattern (route, place, folder, pattern)
    SELECT ?, place, folder, pattern FROM temporary_pattern WHERE route = ? ON CONFLICT DO NOTHING
"""
# Where the new route has messages of its own, all are numbered anew in the order in which they came. First below zero:
# two open messages of a route never have the same number. An age is a number too, and is the message's id meanwhile.
_NUMBERS = (
    "UPDATE message SET age = -(SELECT max(o.id) FROM message o WHERE o.route = message.route AND o.seq = message.age) "
    "WHERE route IN (:old, :new) AND age > 0",
    "UPDATE message SET seq = -seq, route = :new WHERE route = :old",
    "UPDATE message SET seq = -1000000000 - numbered.number FROM (SELECT id, row_number() OVER (ORDER BY id) AS number "
    "FROM message WHERE route = :new) AS numbered WHERE numbered.id = message.id",
    "UPDATE message SET seq = -1000000000 - seq WHERE route = :new",
    "UPDATE message SET age = (SELECT o.seq FROM message o WHERE o.id = -message.age) WHERE route = :new AND age < 0",
)


@dataclass(frozen=True, slots=True)
class GoneRoute:
    """A route that is no longer configured, and what of it is still open."""

    name: str
    messages: tuple[int, ...]
    files: tuple[str, ...]  # sources that were not filed away, each with its place and folder

    def __str__(self) -> str:
        count = len(self.messages)
        ids = [str(message) for message in self.messages]
        text = f"route {self.name!r} is no longer configured, but {count} message{'s' * (count > 1)} of it "
        text += f"{'are' if count > 1 else 'is'} open ({_some(ids)})"
        if self.files:
            text += f", made of {_some(self.files)}"
        old = self.name.removesuffix(answer_route(""))
        text += f'. Write moved_from = "{old}" in the route that is to carry them, or close them: '
        return f"{text}cegid-daemon discard {' '.join(ids[:_NAMED])}{' …' * (count > _NAMED)}"


class RouteMoves:
    """What became of routes."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def gone(self, routes: Mapping[str, Route]) -> list[GoneRoute]:
        """The routes with open messages that are not among `routes`, and that none of these takes over."""
        kept = {*routes, *(old for route in routes.values() for old in route.moved_from)}
        found = self._db.query("SELECT DISTINCT route FROM message WHERE closed_at IS NULL ORDER BY route")
        return [self._gone(row["route"]) for row in found if row["route"] not in kept]

    def delivered_routes(self, routes: Collection[str]) -> list[str]:
        """The routes not among these that have delivered messages whose files are not filed away."""
        found = self._db.query("SELECT DISTINCT route FROM message WHERE state = 'delivered' AND closed_at IS NULL")
        return [row["route"] for row in found if row["route"] not in routes]

    def _gone(self, route: str) -> GoneRoute:
        found = self._db.query(
            "SELECT m.id, s.place, s.folder, s.name FROM message m LEFT JOIN source s ON s.id = m.source "
            "AND s.state IN ('lying', 'filing') WHERE m.route = ? AND m.closed_at IS NULL ORDER BY m.seq",
            (route,),
        )
        files = [f"{row['place']}/{row['folder']}".rstrip("/") + f"/{row['name']}" for row in found if row["place"]]
        return GoneRoute(route, tuple(row["id"] for row in found), tuple(dict.fromkeys(files)))

    def take_over(self, route: Route, now: datetime) -> int:
        """Gives a route everything of those it moved from; how many open messages that were. Harmless when repeated."""
        return sum(self._take_over(route, old, now) for old in route.moved_from if self._is_known(old))

    def overtaken(self, route: Route) -> list[int]:
        """Open messages a route is about to take over, and that newer ones of its own went out before.

        Not replays: whoever asked for one knew that it is old.
        """
        marks = ", ".join("?" * len(route.moved_from))
        found = self._db.query(
            f"SELECT o.id FROM message o WHERE o.route IN ({marks}) AND o.closed_at IS NULL AND o.replay_of IS NULL "
            "AND o.state IN ('received', 'rewritten', 'waiting') AND EXISTS (SELECT 1 FROM message m "
            f"WHERE m.route = ? AND coalesce(m.replay_of, m.id) > o.id AND {WENT_OUT}) ORDER BY o.id",
            (*route.moved_from, route.name),
        )
        return [int(row[0]) for row in found]

    def _is_known(self, route: str) -> bool:
        row = self._db.one(
            "SELECT EXISTS (SELECT 1 FROM message WHERE route = ?) OR EXISTS (SELECT 1 FROM exported WHERE route = ?)",
            (route, route),
        )
        return bool(row and row[0])

    def _take_over(self, route: Route, old: str, now: datetime) -> int:
        with self._db.transaction():
            taken = self._db.execute(
                "INSERT INTO attempt (at, message, step, outcome, detail) SELECT ?, id, 'take', 'ok', ? FROM message "
                "WHERE route = ? AND closed_at IS NULL",
                (utc_text(now), f"taken over by route {route.name} from route {old}", old),
            ).rowcount
            self._db.execute(  # what it waited for may be mended by the change
                "UPDATE message SET next_try_at = NULL WHERE route = ? AND closed_at IS NULL AND state = 'waiting'",
                (old,),
            )
            if self._db.one("SELECT 1 FROM message WHERE route = ? LIMIT 1", (route.name,)) is None:
                self._db.execute(_MESSAGES, (route.name, old))
            else:
                for statement in _NUMBERS:
                    self._db.execute(statement, {"new": route.name, "old": old})
            self._db.execute(_KEYS, (route.name, old))
            self._db.execute("DELETE FROM exported WHERE route = ?", (old,))
            self._db.execute(_PATTERNS, (route.name, old))
            self._db.execute("DELETE FROM temporary_pattern WHERE route = ?", (old,))
            self._db.execute(
                "INSERT INTO route_move (old, new, at) VALUES (?, ?, ?) "
                "ON CONFLICT (old) DO UPDATE SET new = excluded.new, at = excluded.at",
                (old, route.name, utc_text(now)),
            )
        return taken

    def update_store(self, route: Route, now: datetime) -> int:
        """Open messages that were not rewritten yet go the way their route goes now: to its store."""
        with self._db.transaction():
            moved = [
                row["id"]
                for row in self._db.query(
                    "SELECT id FROM message WHERE route = ? AND closed_at IS NULL AND made_at IS NULL AND store <> ?",
                    (route.name, route.store),
                )
            ]
            for message in moved:
                self._db.execute("UPDATE message SET store = ? WHERE id = ?", (route.store, message))
                self._db.execute(
                    "INSERT INTO attempt (at, message, step, outcome, detail) VALUES (?, ?, 'take', 'ok', ?)",
                    (utc_text(now), message, f"goes to store {route.store}, as its route does now"),
                )
        return len(moved)

    def old_names(self, routes: Collection[str]) -> dict[str, str]:
        """Names that these routes had before, however often they were renamed since: each with the name of today."""
        moves = {row["old"]: row["new"] for row in self._db.query("SELECT old, new FROM route_move")}
        found: dict[str, str] = {}
        for old in moves.keys() - set(routes):
            name, met = old, {old}
            while name not in routes and name in moves and moves[name] not in met:
                name = moves[name]
                met.add(name)
            if name in routes:
                found[old] = name
        return found


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(unescape_name(name) for name in names[:_NAMED]) + more
