"""An FTP server's folders as the endpoint sees them: paths, and what lies under a name, asked in few questions.

A reply 550 means many things, so what lies there is looked at; a server's MLSD may show a symlink as the file it leads
to, and LIST is read by habit. Every method works on a connection that is lent already, and raises what it raises.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from cegid_daemon.endpoints import ftp_listing
from cegid_daemon.endpoints.ftp_folders import FtpFolders, Wanted
from cegid_daemon.endpoints.ftp_link import FtpLink
from cegid_daemon.endpoints.ftp_list_formats import parse_list
from cegid_daemon.endpoints.ftp_times import Times
from cegid_daemon.endpoints.ftp_words import NOT_IMPLEMENTED, PLACE_FAILS, Refusal, speaks_of_rights
from cegid_daemon.endpoints.listing import Listing
from cegid_daemon.endpoints.paths import checked_name, folder_parts
from cegid_daemon.endpoints.remote import Server
from cegid_daemon.errors import Absent, EndpointError, Exists, Permanent, Place
from cegid_daemon.model import Identity, Listed

_AHEAD = 64  # commands sent before the reply to the first of them is read


class FtpPlace:
    """Paths and looks on one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._times = Times()
        self._ahead = _AHEAD
        self._tells_by_rename: bool | None = None  # whether RNFR is refused of a name that nothing has
        self._folders = FtpFolders(self._times, self.commands)

    def path(self, link: FtpLink, folder: str, name: str = "") -> str:
        """The absolute path as it goes over the line; blank for the server's root."""
        parts = [*folder_parts(folder), *([checked_name(name)] if name else [])]
        return "/".join([link.root, *map(link.said, parts)])

    def text(self, folder: str, name: str = "") -> str:
        """The same place for people."""
        folder_parts(folder)
        return "/".join(part for part in (self._server.where, folder, name) if part)

    def commands(self, link: FtpLink, lines: Sequence[str]) -> Iterator[str | Refusal]:
        """The replies to many commands, sent ahead; one by one once the server has kept silent to such."""
        try:
            yield from link.commands(lines, self._ahead)
        except TimeoutError:
            self._ahead = 1  # some servers drop what comes before they have answered
            raise

    def entries(self, link: FtpLink, folder: str, wanted: Wanted | None = None) -> Listing:
        """The entries of the folder the connection has changed into; those that are not wanted may lack their time."""
        return self._folders.read(link, folder, self.path(link, folder), wanted)

    def forget(self, folder: str, names: Iterable[str]) -> None:
        """Other files have these names now, or none."""
        for name in names:
            self._times.forget(folder, name.encode(self._server.encoding, "surrogateescape"))

    def has_mlst(self, link: FtpLink) -> bool:
        """Whether the server tells facts by the standard, and does so well enough."""
        return self._folders.has_mlst(link)

    def look_many(self, link: FtpLink, folder: str, names: Sequence[str]) -> list[Listed | None]:
        """As `look` for each. Raises Absent if the folder is not there."""
        paths = [self.path(link, folder, checked_name(name)) for name in names]
        found = self._of_facts_many(link, names, paths) if self.has_mlst(link) else []
        if not self.has_mlst(link):  # or not any more: MLST was refused as unknown
            found = self._of_sizes(link, folder, names, paths)
        if None in found and not link.accepts(f"CWD {self.path(link, folder) or '/'}"):
            raise Absent("the folder is not there", where=Place(file=self.text(folder)))
        return found

    def _of_facts_many(self, link: FtpLink, names: Sequence[str], paths: Sequence[str]) -> list[Listed | None]:
        replies = list(self.commands(link, [f"MLST {path}" for path in paths]))
        return [
            None if isinstance(reply, Refusal) else _of_facts(reply, name)
            for name, reply in zip(names, replies, strict=True)
        ]

    def _of_sizes(self, link: FtpLink, folder: str, names: Sequence[str], paths: Sequence[str]) -> list[Listed | None]:
        """Where there is no MLST: sizes, times and whether it is a folder for all, then a listing if need be."""
        replies = list(self.commands(link, [f"{word} {path}" for path in paths for word in ("SIZE", "MDTM", "CWD")]))
        found: list[Listed | None] = []
        shown: Mapping[bytes, ftp_listing.Entry] | None = None
        for name, at in zip(names, range(0, len(replies), 3), strict=True):
            size, time, entered = (_text_of(reply) for reply in replies[at : at + 3])
            said = link.said(name).encode("latin-1")
            mtime_ns = ftp_listing.time_ns(time.encode())
            if _is_size(size) and self._times.lists_as_file(folder, said):
                found.append(Listed(name, Identity(int(size), mtime_ns), regular=True))
            elif entered and not _is_size(size):
                found.append(Listed(name, Identity(0), regular=False))
            else:
                shown = self._shown(link, folder) if shown is None else shown
                listed = _of_listing(name, shown.get(said), replies[at], mtime_ns)
                found.append(listed or self._of_rename(link, folder, name))
        return found

    def _shown(self, link: FtpLink, folder: str) -> Mapping[bytes, ftp_listing.Entry]:
        """What LIST shows of a folder, by name. Nothing of a folder that is not there."""
        if not link.accepts(f"CWD {self.path(link, folder) or '/'}"):
            return {}
        try:
            return self._folders.entries(link)
        except Refusal as refusal:
            if refusal.code in PLACE_FAILS:  # it says nothing of what is there
                raise
            return {}

    def look(self, link: FtpLink, folder: str, name: str) -> Listed | None:
        """The entry, in few round trips; None also where the folder itself is not there."""
        path = self.path(link, folder, name)
        found = _of_mlst(link, name, path) if self.has_mlst(link) else None
        if self.has_mlst(link):
            return found
        identity = self.identity(link, folder, name)
        if identity is not None:
            return Listed(name, identity, self._is_file(link, folder, name))
        if link.accepts(f"CWD {path}") or _listed_alone(link, path):
            return Listed(name, Identity(0), regular=False)
        return self._of_rename(link, folder, name)

    def _of_rename(self, link: FtpLink, folder: str, name: str) -> Listed | None:
        """A name that nothing shows, but that the server would rename, is there all the same: its size is not known."""
        found = self._is_renamable(link, self.path(link, folder, name))
        return Listed(name, Identity(0), regular=True) if found else None

    def _is_renamable(self, link: FtpLink, path: str) -> bool:
        """What the server says to RNFR, if it does not say so to every name."""
        if not link.accepts(f"RNFR {path}"):
            return False
        if self._tells_by_rename is None:
            nobody = f"{path.rpartition('/')[0]}/cegid-daemon-nobody-{uuid.uuid4().hex}"
            self._tells_by_rename = not link.accepts(f"RNFR {nobody}")
        return self._tells_by_rename

    def written(self, link: FtpLink, folder: str, name: str, sent: int) -> Identity | None:
        """As `identity` of a file just uploaded: of `sent` bytes where the server tells no size; None if it is gone."""
        found = self.identity(link, folder, name)
        if found is None and self._is_renamable(link, self.path(link, folder, name)):
            return Identity(sent)
        return found

    def identity(self, link: FtpLink, folder: str, name: str) -> Identity | None:
        """Size and time of a file; None if the server has no file of that name."""
        path = self.path(link, folder, name)
        found = _of_mlst(link, name, path) if self.has_mlst(link) else None
        if self.has_mlst(link):
            return found.identity if found else None
        size = _asked(link, f"SIZE {path}")
        if isinstance(size, Refusal) and size.code in NOT_IMPLEMENTED:  # what LIST prints has to do
            shown = self._shown(link, folder).get(link.said(name).encode("latin-1"))
            return Identity(shown.identity.size, _time_of(link, path)) if shown is not None and shown.regular else None
        return Identity(int(text), _time_of(link, path)) if _is_size(text := _text_of(size)) else None

    def _is_file(self, link: FtpLink, folder: str, name: str) -> bool:
        """Of a name with a size: whether LIST calls it a file. A name that LIST does not show is believed."""
        said = link.said(name).encode("latin-1")
        if self._times.lists_as_file(folder, said):
            return True
        alone = _listed_alone(link, self.path(link, folder, name))
        if alone is not None:
            return alone.regular
        shown = self._shown(link, folder).get(said)
        return shown is None or shown.regular

    def taken(self, link: FtpLink, path: str) -> bool:
        """Whether something has the name, as far as few questions can tell."""
        reply = _asked(link, f"MLST {path}" if self.has_mlst(link) else f"SIZE {path}")
        if not isinstance(reply, Refusal) or link.accepts(f"CWD {path}"):
            return True
        return reply.code in NOT_IMPLEMENTED and (
            _listed_alone(link, path) is not None or self._is_renamable(link, path)
        )

    @contextmanager
    def explaining(self, link: FtpLink, what: str, folder: str, name: str, *, to: str = "") -> Iterator[None]:
        """As `telling`, but where the reply leaves open why, looks at what lies there."""
        text = self.text(folder, name)
        with link.telling(what, text):
            try:
                yield
            except Refusal as refusal:
                raise self._explained(link, refusal, what, folder, name, to) from refusal

    def _explained(self, link: FtpLink, refusal: Refusal, what: str, folder: str, name: str, to: str) -> EndpointError:
        place = Place(file=self.text(folder, name))
        if refusal.code in {450, 550, 553} or (to and refusal.code not in {421, 530}):
            if not link.accepts(f"CWD {self.path(link, folder) or '/'}"):
                return Absent(what, where=place, why="the folder is not there")
            found = self.look(link, folder, name)
            writing = what == "cannot write the file"
            if found is None and not writing:
                return Absent(what, where=place, why=refusal.reply)
            if to and not speaks_of_rights(refusal.reply) and self.taken(link, to):
                return Exists(f"{what}: the name is taken", where=place, why=refusal.reply)
            if to and not link.accepts(f"CWD {to.rpartition('/')[0] or '/'}"):
                return Absent(what, where=place, why="the new folder is not there")
            if found is not None and not found.regular:
                return Permanent(what, where=place, why="it is no regular file", remedy="Move it away.")
        return link.refused(refusal, what, place.file)


def _of_listing(
    name: str, entry: ftp_listing.Entry | None, size: str | Refusal, mtime_ns: int
) -> Listed | None:  # fmt: skip
    """What lies under a name, by the reply to SIZE and what LIST shows; a size without an entry is believed."""
    if _is_size(text := _text_of(size)):
        return Listed(name, Identity(int(text), mtime_ns), entry is None or entry.regular)
    if entry is None:
        return None
    if isinstance(size, Refusal) and size.code in NOT_IMPLEMENTED and entry.regular:
        return Listed(name, Identity(entry.identity.size, mtime_ns), regular=True)
    return Listed(name, Identity(0), regular=False)


def _of_mlst(link: FtpLink, name: str, path: str) -> Listed | None:
    try:
        return _of_facts(link.command(f"MLST {path}"), name)
    except Refusal:
        return None


def _of_facts(reply: str, name: str) -> Listed:
    facts = next((line.strip() for line in reply.splitlines()[1:-1] if "=" in line), "")
    entry = ftp_listing.mlst(facts.partition(" ")[0].encode("latin-1") + b" -")
    if entry is None:  # the folder itself
        return Listed(name, Identity(0), regular=False)
    return Listed(name, entry.identity, entry.regular)


def _is_size(text: str) -> bool:
    """Whether the server told a number of bytes that a file can have."""
    return ftp_listing.is_size(text.encode("latin-1", "replace"))


def _text_of(reply: str | Refusal) -> str:
    """What follows the code of a reply; blank for a refusal."""
    return "" if isinstance(reply, Refusal) else reply.partition(" ")[2].strip()


def _time_of(link: FtpLink, path: str) -> int:
    """Modification time in nanoseconds; 0 where the server does not tell."""
    return ftp_listing.time_ns(_text_of(_asked(link, f"MDTM {path}")).encode())


def _asked(link: FtpLink, line: str) -> str | Refusal:
    """The reply to a command, whatever it is."""
    try:
        return link.command(line)
    except Refusal as refusal:
        return refusal


def _listed_alone(link: FtpLink, path: str) -> ftp_listing.Entry | None:
    """What LIST says of one name, where it can be asked: servers read blanks, dashes and wildcards in it as orders."""
    wanted = path.rpartition("/")[2].encode("latin-1")
    if wanted.startswith(b"-") or any(sign in path for sign in " *?[]{}\\"):
        return None
    try:
        entries = parse_list(link.listing(f"LIST {path}")).entries
    except Refusal as refusal:
        if refusal.code in PLACE_FAILS:
            raise
        return None
    names = ((entry, (entry.name, *entry.other_names)) for entry in entries)
    return next((entry for entry, some in names if wanted in {name.rpartition(b"/")[2] for name in some}), None)
