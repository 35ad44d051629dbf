"""Files of one batch looked at, renamed and removed together, in as few round trips as their endpoints can.

Owns the grouping by place and folder. Each file's failure is its own: it is collected, and the others go on. Decides
nothing about what is found and knows no journal.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

from cegid_daemon.endpoints.many import Looked, Move, remove_many, rename_many, stat_many
from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import Absent, CegidDaemonError, EndpointError, SourceChanged, Transient
from cegid_daemon.model import Listed

Name = tuple[str, str, str]  # place, folder, name
Looks = dict[Name, Looked]


class Places:
    """The endpoints by their place: one may bear another name in today's configuration."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._at = {endpoint.where: endpoint for endpoint in endpoints.values()}
        self._where = {name: endpoint.where for name, endpoint in endpoints.items()}

    def endpoint(self, place: str) -> Endpoint:
        """The endpoint there. Transient if none is configured any more."""
        if place not in self._at:
            raise _unconfigured(place)
        return self._at[place]

    def place(self, name: str) -> str:
        """Where the endpoint of this name is; blank if it holds no files."""
        return self._where.get(name, "")

    def look(self, names: Iterable[Name]) -> Looks:
        """What lies under these names now. Folders are asked in the order in which they first appear."""
        looks: Looks = {}
        for (place, folder), wanted in _by_folder(names).items():
            endpoint = self._at.get(place)
            found = stat_many(endpoint, folder, wanted) if endpoint else [_unconfigured(place)] * len(wanted)
            looks.update(zip(((place, folder, name) for name in wanted), found, strict=True))
        return looks

    def rename(self, ways: Iterable[tuple[Name, Name]], errors: list[CegidDaemonError]) -> set[Name]:
        """Renames within their places, replacing nothing. Returns the old names of what was renamed."""
        renamed: set[Name] = set()
        groups: dict[tuple[str, str, str], list[Move]] = {}
        for (place, folder, name), (_, to_folder, to_name) in ways:
            groups.setdefault((place, folder, to_folder), []).append(Move(name, to_name))
        for (place, folder, to_folder), moves in groups.items():
            with collecting(errors):
                outcomes = rename_many(self.endpoint(place), folder, to_folder, moves, replace=False)
                pairs = list(zip(moves, outcomes, strict=True))
                renamed.update((place, folder, move.name) for move, error in pairs if error is None)
                errors += [error for _, error in pairs if error is not None]
        return renamed

    def remove(self, names: Iterable[Name], errors: list[CegidDaemonError]) -> set[Name]:
        """Removes files, if they are there. Returns those with which that is not possible now."""
        failed: set[Name] = set()
        for (place, folder), wanted in _by_folder(names).items():
            outcomes = remove_many(self.endpoint(place), folder, wanted)
            for name, error in zip(wanted, outcomes, strict=True):
                if error is not None and not isinstance(error, Absent):
                    errors.append(error)
                    failed.add((place, folder, name))
        return failed

    def make_folders(self, folders: Iterable[tuple[str, str]]) -> dict[tuple[str, str], EndpointError | None]:
        """Makes what is missing of these; for each its error, None where it is there."""
        return {(place, folder): self._make_folder(place, folder) for place, folder in dict.fromkeys(folders)}

    def _make_folder(self, place: str, folder: str) -> EndpointError | None:
        try:
            self.endpoint(place).make_folder(folder)
        except EndpointError as error:
            return error
        return None


@contextlib.contextmanager
def collecting(errors: list[CegidDaemonError]) -> Iterator[None]:
    """Collects what goes wrong with a file instead of raising it."""
    try:
        yield
    except (EndpointError, SourceChanged) as error:
        errors.append(error)


def asked(look: Looked) -> Listed | None:
    """What lies there. Raises what the look did."""
    if isinstance(look, EndpointError):
        raise look
    return look


def found(look: Looked) -> Listed | None:
    """As `asked`, but nothing lies in a folder that is not there yet."""
    return None if isinstance(look, Absent) else asked(look)


def _by_folder(names: Iterable[Name]) -> dict[tuple[str, str], list[str]]:
    """Each name once, in order."""
    folders: dict[tuple[str, str], list[str]] = {}
    for place, folder, name in dict.fromkeys(names):
        folders.setdefault((place, folder), []).append(name)
    return folders


def _unconfigured(place: str) -> Transient:
    return Transient(
        f"{place} is no longer configured, and a file in it is not filed away",
        remedy="Configure an endpoint for it again and reload; or move the file yourself and `discard` its message.",
    )
