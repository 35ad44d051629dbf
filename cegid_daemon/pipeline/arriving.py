"""Parts renamed to their final names, in order: the moment at which they arrive.

Owns what the answer to each rename means, and the look at what an earlier run put aside: still there → rename; gone →
it arrived. Small groups go together where the endpoint can; where not, nothing is renamed behind a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from cegid_daemon.endpoints.many import Looked, Move, rename_many, rename_one, stat_many, stat_one
from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import Absent, EndpointError, Exists, Permanent, Place, Transient, Unsure
from cegid_daemon.journal import Journal
from cegid_daemon.journal.rows import Delivery
from cegid_daemon.model import DeliveryState, Listed, Route
from cegid_daemon.pipeline.aside import Aside, Names, taken_aside
from cegid_daemon.pipeline.targets import Targets, is_same_folder, policy, runs

_TOGETHER = 64  # renames under way at once


class Arriving:
    """Renames what was put aside."""

    def __init__(self, journal: Journal, targets: Targets, aside: Aside, beat: Callable[[], None]) -> None:
        self._journal = journal
        self._targets = targets
        self._aside = aside
        self._beat = beat

    # -- what an earlier run put aside ------------------------------------------------------------------------------

    def look(self, deliveries: Sequence[Delivery]) -> dict[int, Looked]:
        """What lies under the temporary names of these, by delivery, where many can be asked in one go."""
        looks: dict[int, Looked] = {}
        for (endpoint, folder), some in self._targets.by_folder(deliveries, aside=True):
            if endpoint.abilities.together:
                found = stat_many(endpoint, folder, [one.aside_name for one in some])
                looks |= {one.id: look for one, look in zip(some, found, strict=True)}
        return looks

    def is_still_aside(self, delivery: Delivery, looks: Mapping[int, Looked], now: datetime) -> bool:
        """Whether a part that was put aside in an earlier run is still waiting there under its temporary name."""
        endpoint = self._targets.find(delivery)
        if endpoint is None:
            self._journal.outgoing.set_state([delivery.id], DeliveryState.UNSURE, now)
            raise Unsure(
                f"the endpoint {delivery.endpoint} was changed while {delivery.name!r} was on its way",
                where=Place(file=f"{delivery.place}/{delivery.folder}"),
                why=f"{delivery.temporary} was put aside there, and no endpoint is configured for that place any more",
                remedy="Configure an endpoint for the old place again, reload and `release` it; or look whether the "
                "file arrived there, then `release` (send it to the new place) or `discard` it.",
            )
        with self._aside.minding_the_folder(endpoint, delivery.aside_folder, delivery.name):
            asked = delivery.id in looks
            there = looks[delivery.id] if asked else endpoint.stat(delivery.aside_folder, delivery.aside_name)
            if isinstance(there, EndpointError):
                raise there
            known = delivery.state is not DeliveryState.UNSURE and is_same_folder(endpoint, delivery)
        if there is None and not known:
            self._journal.outgoing.set_state([delivery.id], DeliveryState.UNSURE, now)
            raise Unsure(
                f"it is unknown whether {delivery.name!r} arrived",
                where=Place(file=f"{delivery.place}/{delivery.folder}"),
                why=f"its folder was gone for a while, or is another one now, and {delivery.temporary} is not in it",
                remedy="If the folder belongs to a disk or share that is not mounted, mount it. Look whether the "
                "receiver got the file, then `release` (send it again) or `discard` it.",
            )
        return there is not None

    # -- renames ----------------------------------------------------------------------------------------------------

    def rename(
        self, route: Route, deliveries: Sequence[Delivery], untouched: dict[int, Delivery], now: datetime
    ) -> dict[int, EndpointError | None]:
        """Renames in order; what came of each, None where it arrived.

        Ends behind the first group with an error that is not for good: those without an outcome were not begun. A part
        is taken out of `untouched` before its rename is sent, and comes back where it was certainly not renamed.
        """
        outcomes: dict[int, EndpointError | None] = {}
        refused: set[int] = set()  # messages of which a part may never arrive: their other parts need not
        for run in runs(self._targets, deliveries, _TOGETHER, self._doubtful(route, deliveries)):
            self._beat()
            wanted = [one for one in run if one.message not in refused]
            found = self._rename_run(route, wanted, untouched, now) if wanted else {}
            outcomes |= found
            refused |= {one.message for one in wanted if isinstance(found[one.id], Permanent)}
            if any(error is not None and not isinstance(error, Permanent) for error in found.values()):
                break
        return outcomes

    def _doubtful(self, route: Route, deliveries: Sequence[Delivery]) -> set[int]:
        """Those whose names something has already: a folder, or a file that its reader holds. None goes before them."""
        doubtful: set[int] = set()
        for (endpoint, folder), some in self._targets.by_folder(deliveries):
            if endpoint.abilities.together and self._replaces(route, some[0]):
                looks = zip(some, stat_many(endpoint, folder, [one.name for one in some]), strict=True)
                doubtful |= {one.id for one, look in looks if isinstance(look, Listed)}
        return doubtful

    def _rename_run(
        self, route: Route, run: Sequence[Delivery], untouched: dict[int, Delivery], now: datetime
    ) -> dict[int, EndpointError | None]:
        endpoint, replace = self._targets.endpoint(run[0]), self._replaces(route, run[0])
        first = {one.id for one in run if untouched.pop(one.id, None) is not None}
        moves = [Move(one.aside_name, one.name) for one in run]
        errors = rename_many(endpoint, run[0].aside_folder, run[0].folder, moves, replace=replace)
        outcomes: dict[int, EndpointError | None] = {}
        for one, error in zip(run, errors, strict=True):
            told = error and self._explained(route, one, error)
            if isinstance(told, _Gone) and one.id in first:
                told = self._missing(endpoint, one, told, now)
            if isinstance(told, _NotRenamed):
                untouched[one.id] = one
            outcomes[one.id] = told
        if None in outcomes.values():  # the line lives, so what became of the others can be asked
            outcomes |= dict.fromkeys([one.id for one in run if _has_arrived(endpoint, one, outcomes[one.id])], None)
        return outcomes

    def _missing(self, endpoint: Endpoint, one: Delivery, told: _Gone, now: datetime) -> EndpointError:
        """A temporary that was just written is gone, and no rename of it was sent before: it did not arrive so."""
        look = stat_one(endpoint, one.aside_folder, one.aside_name)
        if look is None:
            self._journal.outgoing.set_state([one.id], DeliveryState.UNSURE, now)
            return taken_aside(endpoint, one, "it was written whole, and was gone when its rename was asked for")
        if isinstance(look, Listed | Absent):
            return _NotRenamed(told.what, where=told.where, why=told.why, remedy=told.remedy)
        self._journal.outgoing.set_state([one.id], DeliveryState.SENDING, now)
        return told

    def _replaces(self, route: Route, delivery: Delivery) -> bool:
        return policy(route) == "replace" and self._targets.endpoint(delivery).abilities.replaces

    def _explained(self, route: Route, delivery: Delivery, error: EndpointError) -> EndpointError | None:
        """What an error of a rename means; None if the part arrived after all, under another number."""
        endpoint = self._targets.endpoint(delivery)
        match error:
            case Exists() if not self._replaces(route, delivery):
                return self._rename_to_the_next(route, delivery)
            case Unsure():
                return Transient(
                    error.what, where=error.where, why=error.why,
                    remedy="It is looked at soon: the temporary file tells whether it arrived.",
                )  # fmt: skip
            case Absent():
                return _Gone(
                    f"{delivery.temporary} cannot be renamed in {endpoint.where}/{delivery.folder}: it is gone",
                    why=f"it was put aside there, to become {delivery.name!r}; {error.why or error.what}",
                    remedy="Leave files with that name alone; make the folder again if it is missing. "
                    "The message is then sent by itself.",
                )
        return error

    def _rename_to_the_next(self, route: Route, delivery: Delivery) -> EndpointError | None:
        """Somebody else has taken the name since it was chosen."""
        endpoint = self._targets.endpoint(delivery)
        try:
            name = self._aside.final_name(endpoint, policy(route), delivery, Names())
        except EndpointError as error:
            return error
        self._journal.outgoing.rename(delivery.id, name, endpoint.where)
        move = Move(delivery.aside_name, name)
        failed = rename_one(endpoint, delivery.aside_folder, delivery.folder, move, replace=False)
        return failed and self._explained(route, delivery, failed)


def _has_arrived(endpoint: Endpoint, one: Delivery, error: EndpointError | None) -> bool:
    """Whether it was renamed though an error came back: its temporary is gone."""
    if error is None or isinstance(error, Permanent | Unsure | _NotRenamed):
        return False
    return stat_one(endpoint, one.aside_folder, one.aside_name) is None


class _Gone(Transient):
    """A temporary is gone. An earlier rename, whose answer was lost, may have come late: the next look tells."""


class _NotRenamed(Transient):
    """It certainly did not arrive: it is still there, or its folder is gone with it."""
