"""The operator's desk: everything a person may decide about messages, one API for every face.

Writes decisions into the journal, with who and why; the pipeline acts on them. Works beside a running daemon. Raises
Refused with what to do instead where something cannot be done.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from cegid_daemon.errors import Refused
from cegid_daemon.journal import Journal
from cegid_daemon.journal.moves import ROUTE_GONE
from cegid_daemon.journal.rows import Message
from cegid_daemon.model import CLOSED, Fault, Route, SourceState, State, Store, answer_route
from cegid_daemon.rewrite.recipe import Recipe

_UNDECIDED = frozenset({State.HELD, State.UNSURE})


class Desk:
    """What one person decides; `who` is kept with every decision."""

    def __init__(
        self, journal: Journal, routes: Mapping[str, Route], stores: Mapping[str, Store], recipes: Mapping[str, Recipe],
        *, who: str, clock: Callable[[], datetime], places: Collection[str] | None = None,
    ) -> None:  # fmt: skip
        """`places`: where the endpoints of the configuration are; None: not known."""
        self._journal = journal
        self._routes = routes
        self._stores = stores
        self._recipes = recipes
        self._who = who
        self._clock = clock
        self._places = places

    def replay(self, message: int, *, reason: str = "") -> int:
        """Sends a done, failed or discarded message again, rewritten with today's template and buffers.

        Returns the id of the new message; it goes behind what is open on the route. What today's template is, is
        decided now: a daemon that has not been reloaded uses it too.
        """
        original = self._closed(message)
        route = self._route_of(original)
        if original.payload is None:
            raise Refused(f"the bytes of message {message} are no longer kept",
                          why='they were pruned, "Log Requests?" was off, or the file was too large',
                          remedy="Drop the original file again (see processed/ or failed/ of its route).")  # fmt: skip
        with self._journal.connection.transaction():
            original = self._closed(message)  # its copy may just have been masked
            if self._journal.masking.is_masked(original.payload):
                raise Refused(f"message {message} cannot be replayed", why="the stored copy is masked (`redact`)",
                              remedy="Drop the original file again (see processed/ of its route).")  # fmt: skip
            copy = self._journal.claims.claim_again(
                original,
                route,
                recipe=self._journal.recipes.keep(self._recipes[route.name]),
                logged=self._journal.book.settings.log_requests(self._stores[route.store]),
                now=self._clock(),
                replay_as="today",
            )
            self._decide("replay", message, reason)
            return copy

    def release(self, message: int, *, reason: str = "") -> None:
        """Lets a held or unsure message go: what is not known to have arrived is sent (again)."""
        with self._journal.connection.transaction():  # it may just be decided otherwise
            found = self._undecided(message)
            self._route_of(found)  # nothing carries a message of a route that is gone
            self._journal.outgoing.release(message)
            self._journal.ledger.set_state(message, State.REWRITTEN if found.made_at else State.RECEIVED)
            self._decide("release", message, reason)

    def discard(self, message: int, *, reason: str = "") -> None:
        """Closes a held, unsure or waiting message without sending what is left of it.

        The daemon may be carrying it at this very moment: what arrives all the same is told as delivered (see
        `pipeline.withdrawal`). Of a route that is gone, any open one: nothing else would ever become of it. One that
        was delivered, and whose file lies where no endpoint leads any more, is done.
        """
        now = self._clock()
        with self._journal.connection.transaction():
            found = self._found(message)
            if found.state is State.DELIVERED:
                self._forget_source(found, reason, now)
                return
            gone = self._is_gone(found.route)
            if found.state not in _UNDECIDED | {State.WAITING} and (not gone or found.state in CLOSED):
                raise Refused(
                    f"message {message} is {found.state}", remedy="Only a held, unsure or waiting one is discarded."
                )
            self._journal.outgoing.withdraw(message)
            fault = Fault(Refused.__name__, f"discarded by {self._who}", why=reason)
            self._journal.ledger.discard(message, fault, now)
            self._decide("discard", message, reason)
            self._settle_gone(found.route)

    def _forget_source(self, found: Message, reason: str, now: datetime) -> None:
        """A delivered message is done all the same where its file can never be filed away."""
        source = self._journal.sources.one(found.source) if found.source is not None else None
        if source is None or self._places is None or source.place in self._places:
            raise Refused(f"message {found.id} is delivered", why="its file is still to be filed away",
                          remedy="That is done by itself; `cegid-daemon status` says what keeps it.")  # fmt: skip
        self._journal.sources.move(source.id, SourceState.GONE)
        self._journal.ledger.close([found.id], State.DONE, now)
        self._decide("discard", found.id, reason)
        self._settle_gone(found.route)

    def _settle_gone(self, route: str) -> None:
        """What was told of a route that is gone holds no longer once nothing of it is open."""
        if self._is_gone(route) and not self._journal.ledger.open_routes().get(route):
            self._journal.notices.clear(ROUTE_GONE, route)

    def _route_of(self, message: Message) -> Route:
        """The route that carries it now: its own, or the one that its route was moved to."""
        own = self._routes.get(message.route)
        heir = (route for route in self._routes.values() if message.route in route.moved_from)
        if route := own or next(heir, None):
            return route
        old = message.route.removesuffix(answer_route(""))
        raise Refused(
            f"route {message.route} of message {message.id} is no longer configured",
            remedy=f'Write moved_from = "{old}" in the route that is to carry it, and reload'
            f"{'' if message.state in CLOSED else f', or close it: cegid-daemon discard {message.id}'}.",
        )

    def _is_gone(self, route: str) -> bool:
        return route not in self._routes and not any(route in one.moved_from for one in self._routes.values())

    def _found(self, message: int) -> Message:
        found = self._journal.ledger.message(message)
        if found is None:
            raise Refused(f"there is no message {message}", remedy="`cegid-daemon log list` shows the ids of messages.")
        return found

    def _closed(self, message: int) -> Message:
        found = self._found(message)
        if found.state not in CLOSED:
            raise Refused(f"message {message} is {found.state}", why="it is still on its way",
                          remedy="Wait for it, or `discard` it first.")  # fmt: skip
        return found

    def _undecided(self, message: int) -> Message:
        found = self._found(message)
        if found.state not in _UNDECIDED:
            raise Refused(f"message {message} is {found.state}", remedy="Only a held or unsure message is released.")
        return found

    def _decide(self, what: str, message: int, reason: str) -> None:
        self._journal.ledger.decide(what, message, who=self._who, reason=reason, now=self._clock())
