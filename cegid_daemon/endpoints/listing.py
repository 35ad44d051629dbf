"""What `Endpoint.list` may give besides entries: the lines of a server's listing that nobody understands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cegid_daemon.model import Listed


class Listing(list[Listed]):
    """The entries of a folder, and the lines that may be files and were not understood, as text for people."""

    def __init__(self, entries: Iterable[Listed] = (), unread: Sequence[str] = ()) -> None:
        super().__init__(entries)
        self.unread = tuple(unread)


def unread_lines(listing: Sequence[Listed]) -> tuple[str, ...]:
    """The lines of a listing that were not understood; none where the endpoint has no such lines."""
    return listing.unread if isinstance(listing, Listing) else ()
