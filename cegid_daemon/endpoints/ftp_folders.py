"""A whole folder of an FTP server: MLSD where it works, else LIST with its names and times made sure of.

Owns what is asked besides the listing, and as seldom as is safe: NLST where columns leave open where a name begins,
MDTM for the times of the names that are wanted. A refusal that says that a folder is empty is an empty listing; the
caller has changed into the folder, so that it is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence

from cegid_daemon.endpoints.bounds import Deadline
from cegid_daemon.endpoints.ftp_link import FtpLink
from cegid_daemon.endpoints.ftp_list_formats import chosen, parse_list
from cegid_daemon.endpoints.ftp_listing import Entry, Parsed, parse_mlsd, time_ns
from cegid_daemon.endpoints.ftp_times import Times
from cegid_daemon.endpoints.ftp_words import NOT_IMPLEMENTED, PLACE_FAILS, Refusal, speaks_of_trouble
from cegid_daemon.endpoints.listing import Listing
from cegid_daemon.endpoints.paths import is_plain
from cegid_daemon.model import Listed, escape_name

Commands = Callable[[FtpLink, Sequence[str]], Iterator[str | Refusal]]
Wanted = Callable[[str], bool]
_MAX_SHOWN = 100  # lines kept for people
_LONGEST = 300  # characters of a line shown to people
_EMPTY = re.compile(
    r"\bno (?:such |matching )?(?:files?|entr|members?|objects?|items?)|not? .{0,40}\bfound|found no|\bempty\b"
    r"|\bnothing\b|\b0 (?:files|entries)|does(?: not|n't) exist"
    r"|\bkeine .*datei|\baucun|\bvide\b|\bnessun|\bvuot|\bning[uú]n|\bvac[ií]"
    r"|\bnenhum|\bgeen\b|\bleer\b|\bleeg\b|\bbrak\b|\bpust|\bingen\b",
    re.IGNORECASE,
)


class FtpFolders:
    """Reads folders of one server. Knows which names and times were made sure of at the last listing."""

    def __init__(self, times: Times, commands: Commands) -> None:
        self._times = times
        self._commands = commands
        self._mlsd_fails = False
        self._names: dict[str, dict[tuple[bytes, ...], bytes]] = {}

    def has_mlst(self, link: FtpLink) -> bool:
        """Whether the server tells facts by the standard, and does so well enough."""
        return link.has_mlst and not self._mlsd_fails

    def read(self, link: FtpLink, folder: str, path: str, wanted: Wanted | None) -> Listing:
        """The folder the connection has changed into; names that are not `wanted` may lack their time."""
        parsed = self._parsed(link)
        wants: Callable[[Entry], bool] = lambda entry: wanted is None or wanted(link.heard(entry.name))  # noqa: E731
        entries = self._with_names(link, folder, parsed.entries, wanted)
        if not self.has_mlst(link):
            entries = self._times.complete(folder, entries, lambda names: self._ask_times(link, path, names), wants)
        odd = [entry.name for entry in entries if entry.regular and not is_plain(link.heard(entry.name))]
        listed = [_listed(link, entry) for entry in entries if is_plain(link.heard(entry.name))]
        unread = (*parsed.unread, *odd)
        more = [f"… and {len(unread) - _MAX_SHOWN} more lines"] if len(unread) > _MAX_SHOWN else []
        return Listing(listed, [_shown(link, line) for line in unread[:_MAX_SHOWN]] + more)

    def entries(self, link: FtpLink) -> dict[bytes, Entry]:
        """What LIST shows of the folder the connection has changed into, under every name an entry may have."""
        found = parse_list(_body(link, "LIST"), Deadline.of_reading().check).entries
        return {name: entry for entry in reversed(found) for name in (*entry.other_names, entry.name)}

    def _parsed(self, link: FtpLink) -> Parsed:
        if self.has_mlst(link):
            try:
                parsed = parse_mlsd(_body(link, "MLSD"))
            except Refusal as refusal:
                if refusal.code not in NOT_IMPLEMENTED:
                    raise
            else:
                if parsed.has_sizes and not (parsed.unread and not parsed.entries):
                    return parsed
            self._mlsd_fails = True
        return parse_list(_body(link, "LIST"), Deadline.of_reading().check)

    def _with_names(
        self, link: FtpLink, folder: str, entries: Sequence[Entry], wanted: Wanted | None
    ) -> Sequence[Entry]:
        """The entries with sure names: NLST is asked once for those that were in doubt at no earlier listing."""
        doubtful = [one for one in entries if _may_be_wanted(link, one, wanted)]
        known = self._names.get(folder, {})
        if any(_names_of(one) not in known for one in doubtful):
            shown = _nlst(link)
            known = {_names_of(one): chosen(one, shown).name for one in doubtful}
            sure = {names: name for names, name in known.items() if name in shown or not shown}
        else:
            sure = {names: known[names] for names in map(_names_of, doubtful)}
        self._names[folder] = sure
        return [chosen(one, [known[_names_of(one)]]) if _names_of(one) in known else one for one in entries]

    def _ask_times(self, link: FtpLink, path: str, names: Sequence[bytes]) -> Sequence[int]:
        replies = self._commands(link, [f"MDTM {path}/{name.decode('latin-1')}" for name in names])
        return [0 if isinstance(one, Refusal) else time_ns(one.partition(" ")[2].strip().encode()) for one in replies]


def _names_of(entry: Entry) -> tuple[bytes, ...]:
    return (entry.name, *entry.other_names)


def _may_be_wanted(link: FtpLink, entry: Entry, wanted: Wanted | None) -> bool:
    """Whether the entry's name is in doubt, and it matters."""
    if not entry.other_names:
        return False
    return wanted is None or any(wanted(link.heard(name)) for name in _names_of(entry))


def _nlst(link: FtpLink) -> Collection[bytes]:
    """The names of the folder as NLST tells them; none where the server does not."""
    try:
        body = link.listing("NLST")
    except Refusal as refusal:
        if refusal.code in PLACE_FAILS:
            raise
        return set()
    return {line.rpartition(b"/")[2] for line in body.replace(b"\r\n", b"\n").split(b"\n")}


def _body(link: FtpLink, word: str) -> bytes:
    try:
        return link.listing(word)
    except Refusal as refusal:
        if refusal.code in {450, 550} and _means_empty(link, refusal):
            return b""
        raise


def _means_empty(link: FtpLink, refusal: Refusal) -> bool:
    """Whether a refusal to list a folder that is there says that it is empty; where the words leave it open, NLST."""
    if speaks_of_trouble(refusal.reply):
        return False
    if _EMPTY.search(refusal.reply):
        return True
    try:
        return not link.listing("NLST").strip()
    except Refusal as other:
        return bool(other.code in {450, 550} and not speaks_of_trouble(other.reply) and _EMPTY.search(other.reply))


def _listed(link: FtpLink, entry: Entry) -> Listed:
    name = link.heard(entry.name)
    return Listed(name, entry.identity, entry.regular and "\n" not in name and "\r" not in name)


def _shown(link: FtpLink, line: bytes) -> str:
    text = escape_name(link.heard(line.strip(b"\r\n")))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
