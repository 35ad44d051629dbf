"""What follows when a file says something else after it was taken: its whole content is a message of its own.

Owns the rule when such a message is held for a person: where records of an export could go out twice, or where newer
files have gone out since. Reads the journal, asks no endpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence

from cegid_daemon.journal import Journal
from cegid_daemon.journal.rows import Message, SourceFile
from cegid_daemon.model import Direction, Fault, Identity, Route, SourceState, location

_KIND = "Changed"
_REMEDY = "Look at it: `cegid-daemon release ID` sends the whole file, `cegid-daemon discard ID` closes it."


def hold_for_change(
    journal: Journal, file: SourceFile, messages: Sequence[Message], routes: Collection[Route], now: Identity
) -> Fault | None:
    """Why the message of a file that changed where it was filed away is held; None if it need not be."""
    sizes = f"it had {file.identity.size} bytes when it was taken and has {now.size} now"
    where = location(file.place, file.filed_folder, file.filed_name)
    if doubles := _sent_as_export(journal, messages, routes):
        why = f"{sizes}; its orders may have gone out with message {doubles}"
        return Fault(_KIND, "the file changed after it was taken", where, why, _REMEDY)
    newer = journal.ledger.delivered_after([route.name for route in routes], max(one.id for one in messages))
    if newer:
        why = f"{sizes}; {newer} newer message(s) went out before the change was seen"
        return Fault(_KIND, "the file changed after it was taken", where, why, _REMEDY)
    return None


def hold_for_growth(
    journal: Journal, earlier: SourceFile, routes: Collection[Route], now: Identity, start: StartDigest
) -> Fault | None:
    """Why the messages of a file are held that begins with what was taken under its name before, or that was changed in
    its place while those were on their way; None: they are not."""
    messages = journal.ledger.of_source(earlier.id)
    doubles = _sent_as_export(journal, messages, routes)
    if not doubles:
        return None
    if 0 < earlier.identity.size < now.size and start.hexdigest() == messages[0].sha256:
        fault, told = "the file grew after it was taken", ", and begins with the same; those orders"
    elif _is_changed_in_place(journal, earlier, now):
        fault, told = "the file changed after it was taken", "; its orders"
    else:
        return None
    where = location(earlier.place, earlier.folder, earlier.name)
    sizes = f"it had {earlier.identity.size} bytes then and has {now.size} now"
    return Fault(_KIND, fault, where, f"{sizes}{told} may have gone out with message {doubles}", _REMEDY)


def _is_changed_in_place(journal: Journal, earlier: SourceFile, now: Identity) -> bool:
    """Whether it is the file that was taken last under its name, written to before it could be filed away.

    A file that is left is overwritten by its next content as a rule, and servers do not tell.
    """
    same = bool(now.inode) and earlier.identity.inode == now.inode
    return same and earlier.state is not SourceState.LEFT and journal.sources.is_last(earlier)


def may_double(routes: Iterable[Route]) -> bool:
    """Whether a record that comes twice goes out twice."""
    return any(route.direction is Direction.EXPORT and not route.source.unique for route in routes)


def _sent_as_export(journal: Journal, messages: Sequence[Message], routes: Collection[Route]) -> int | None:
    """A message of an export without `unique` of which something left this machine, or that was held for that."""
    doubling = {route.name for route in routes if may_double([route])}
    mine = (one for one in messages if one.route in doubling)
    return next((one.id for one in mine if one.lets_pass or journal.outgoing.out_of_hand(one.id)), None)


class StartDigest:
    """Passes chunks on and hashes the first `size` bytes of them."""

    def __init__(self, chunks: Iterable[bytes], size: int) -> None:
        self._chunks = chunks
        self._left = size
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._digest.update(chunk[: self._left])
            self._left -= min(self._left, len(chunk))
            yield chunk

    def hexdigest(self) -> str:
        """Of what has passed; blank if that was less than was to be hashed."""
        return "" if self._left else self._digest.hexdigest()
