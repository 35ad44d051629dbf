"""LIST of FTP servers, which has habits instead of a standard: lines in, entries and unread lines out.

Pure; names are bytes. Kind, size and name are read; the time is kept as the text that was printed, to be compared only:
without a year, a zone or an order of day and month nobody can tell which moment it is. Where columns leave open where
a name begins, the entry bears the other names it may have. A line that may be a file and is not understood is given
back, never dropped; totals, headings, folders and links are known and are no fault.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace

from cegid_daemon.endpoints.bounds import MAX_LINE_BYTES
from cegid_daemon.endpoints.ftp_listing import MAX_SIZE, Entry, Parsed, is_size, lines, mlst
from cegid_daemon.model import Identity

_GAP = rb"[ \t]{1,80}"
_CLOCK = rb"\d{1,2}:\d\d(?::\d\d)?"
_TIME = rb"\d{1,2}[:.h]\d\d(?:[:.]\d\d(?:[.,]\d{1,9}(?: [+-]\d{4})?)?)?(?:[AaPp]\.?[Mm]\.?)?"
_YEAR = rb"(?:19|20)\d\d(?:" + _GAP + _CLOCK + rb")?"
_MONTH = rb"(?:[A-Za-z\x80-\xff]{2,24}\.?\d{0,2}|\d{1,2}[\x80-\xff]{2,6})"  # a word of any language, or `11` and a sign
_DAY = rb"\d{1,2}(?:\.|[\x80-\xff]{2,6})?,?"
_NUMBERS = rb"\d{1,4}[-/.]\d{1,2}[-/.]\d{2,4}\.?"
_MOMENT = b"|".join((
    _MONTH + _GAP + _DAY + _GAP + b"(?:" + _TIME + b"|" + _YEAR + b")",
    _DAY + _GAP + _MONTH + _GAP + b"(?:" + _TIME + b"|" + _YEAR + b")",
    _NUMBERS + b"(?:(?:T|" + _GAP + b")" + _TIME + b")?",
    rb"\d{1,2}[-/.]\d{1,2}" + _GAP + b"(?:" + _TIME + b"|" + _YEAR + b")",
    rb"\d{1,2}[-/]" + _MONTH + rb"[-/]\d{2,4}(?:" + _GAP + _TIME + b")?",
    rb"\d{1,2}" + _GAP + rb"\d{1,2}" + _GAP + _TIME,
    rb"\d{1,2}[\x80-\xff]{2,6}\d{1,2}[\x80-\xff]{2,6}" + _GAP + b"(?:" + _TIME + b"|" + _YEAR + b")",
))  # fmt: skip

_CHECK_EVERY = 256  # lines
_MOST_BLANKS = 16  # a name is believed to begin with

# Kind and rights, as `ls` and NetWare print them; what stands before it are inode and blocks.
_RIGHTS = (
    rb"[ \t]{0,40}(?:\d{1,20}[ \t]+){0,2}(?:([-dlpscbDnPv])[-a-zA-Z]{9}[.+@]?|([-d])[ \t]?\[[-A-Za-z]{6,10}\])"
)  # fmt: skip
_UNIX = re.compile(
    _RIGHTS + rb"[ \t]*+(?:[^\r\n]{0,400}?[ \t])??(\d{1,20})" + _GAP + rb"(" + _MOMENT + rb")([ \t]+)(.+)", re.DOTALL
)
_NO_FILE = re.compile(
    rb"[ \t]{0,40}(?:\d{1,20}[ \t]+){0,2}(?:[dlpscbDnP][-a-zA-Z]{9}(?![a-zA-Z])|d[ \t]?\[[-A-Za-z]{6,10}\])"
)
_DIGITS = rb"\d{1,3}(?:(?:[.,']|\xc2?\xa0|\xe2\x80\xaf|\xff)\d{3})+|\d{1,20}"  # with a mark for thousands, or without
_DOS = re.compile(
    rb"[ \t]{0,40}(" + _NUMBERS + rb"[ \t]+\d{1,2}[:.]\d\d(?:[:.]\d\d)?(?:[ \t]?[AaPp]\.?[ \xa0]?[Mm]\.?)?)"
    rb"[ \t]+(?:(<[^<>]{2,12}>)|(" + _DIGITS + rb"))([ \t]+)(.+)", re.DOTALL,
)  # fmt: skip
_OS400 = re.compile(
    rb"[ \t]{0,40}\S+[ \t]+(?:(\d{1,20})[ \t]+(" + _NUMBERS + rb"[ \t]+\d{1,2}[:.]\d\d(?:[:.]\d\d)?)[ \t]+)?"
    rb"(\*[A-Z0-9]{2,10})([ \t]+)(.+)", re.DOTALL,
)  # fmt: skip
_OS400_FILES = {b"*STMF", b"*DOC", b"*FILE", b"*MEM", b"*MBR"}
_EPLF = re.compile(rb"\+([^\t]*)\t(.+)", re.DOTALL)
_FACTS = re.compile(rb"(?:[\w.-]+=[^;]*;)+ .+", re.DOTALL)  # MLSD's lines, which some servers print for LIST too
_LATE_YEAR = re.compile(rb"((?:19|20)\d\d)([ \t]+)(.+)", re.DOTALL)

_TOTAL = re.compile(rb"[A-Za-z\x80-\xff]+:?[ \t]+\d[\d.,]*[KMGTkmgt]?[Bb]?")  # `total 12` in any language
_HEADINGS = re.compile(
    rb"\s*|(?:grand )?total[ :].*|"
    rb"\s*\d[\d.,]* [a-z\x80-\xff]+\([a-z]{1,3}\),?[ \t]+\d.*|"  # 3 File(s)  927 bytes
    rb"\d+ (?:files?|entries|members?)(?: (?:found|listed|total))?\.?|"
    rb"(?:no|0) (?:such )?(?:files?|entries|members?)\b.*|(?:the )?(?:folder|directory) (?:is empty|of .*)|"
    rb"\s+(?:volume|directory) .*|.*<(?:DIR|JUNCTION|SYMLINKD?)>.*|ls: .*: no such file or directory",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Row:
    """One line: what is certain, and where its name may begin."""

    size: int
    regular: bool
    stamp: bytes
    column: Hashable  # rows of one column are padded alike
    gap: bytes  # the blanks between the last certain column and the rest
    rest: bytes
    is_link: bool = False


def parse_list(body: bytes, check: Callable[[], None] = lambda: None) -> Parsed:
    """The entries of a LIST listing, and the lines that may be files and are not understood.

    `check` is called now and then: lines that nobody prints may take long.
    """
    found: list[_Row | Entry] = []
    unread: list[bytes] = []
    for number, line in enumerate(lines(body)):
        if not number % _CHECK_EVERY:
            check()
        row = _entry(line) if len(line) <= MAX_LINE_BYTES else None
        if row is not None:
            found.append(row)
        elif not _is_known(line, first=number == 0):
            unread.append(line)
    padding = _padding(_late_years([one for one in found if isinstance(one, _Row)]))
    named = [_named(one, padding) if isinstance(one, _Row) else one for one in found]
    return Parsed([one for one in named if one.name not in {b".", b".."}], unread)


def _entry(line: bytes) -> _Row | Entry | None:
    row = _eplf(line) or _unix(line) or _dos(line) or _os400(line) or _facts(line)
    size = 0 if row is None else row.size if isinstance(row, _Row) else row.identity.size
    return row if size < MAX_SIZE else None


def chosen(entry: Entry, shown: Iterable[bytes]) -> Entry:
    """The entry under the first of its possible names that the server shows by NLST; as it is if it shows none."""
    names = set(shown)
    name = next((one for one in (entry.name, *entry.other_names) if one in names), entry.name)
    return replace(entry, name=name, other_names=())


def _is_known(line: bytes, *, first: bool) -> bool:
    """Whether a line that is no entry is certainly no file either."""
    if len(line) > MAX_LINE_BYTES:
        return False
    if first and _TOTAL.fullmatch(line.strip()):
        return True
    return bool(_NO_FILE.match(line) or _HEADINGS.fullmatch(line) or (_FACTS.fullmatch(line) and mlst(line) is None))


def _facts(line: bytes) -> Entry | None:
    return mlst(line) if _FACTS.fullmatch(line) else None


def _eplf(line: bytes) -> Entry | None:
    found = _EPLF.fullmatch(line)
    if found is None:
        return None
    facts, name = found.groups()
    said = {fact[:1]: fact[1:] for fact in facts.split(b",") if fact}
    if b"/" in said:
        return Entry(name, Identity(0), regular=False)
    if b"r" not in said or not is_size(said.get(b"s", b"")):
        return None
    return Entry(name, Identity(int(said[b"s"])), regular=True, stamp=said.get(b"m", b""))


def _unix(line: bytes) -> _Row | None:
    found = _UNIX.fullmatch(line)
    if found is None:
        return None
    kind, netware, size, stamp, gap, rest = found.groups()
    column = ("netware" if netware else "unix", len(stamp.split()[-1]))
    return _Row(int(size), (kind or netware) == b"-", stamp, column, gap, rest, kind == b"l")


def _dos(line: bytes) -> _Row | None:
    found = _DOS.fullmatch(line)
    if found is None:
        return None
    stamp, folder, size, gap, rest = found.groups()
    digits = re.sub(rb"\D", b"", size or b"0")
    return _Row(int(digits), folder is None, stamp, ("dos", folder), gap, rest)


def _os400(line: bytes) -> _Row | None:
    found = _OS400.fullmatch(line)
    if found is None:
        return None
    size, stamp, kind, gap, rest = found.groups()
    regular = kind in _OS400_FILES
    if regular and size is None:
        return None
    return _Row(
        int(size or 0), regular, stamp or b"", ("os400", len(kind)), gap, rest if regular else rest.rstrip(b"/")
    )


def _late_years(rows: list[_Row]) -> list[_Row]:
    """The rows of which the column of years behind the time is read as such: where every row of a column has one."""
    columns: dict[Hashable, list[_Row]] = {}
    for row in rows:
        columns.setdefault(row.column, []).append(row)
    return [
        _without_year(row) or row if all(map(_without_year, some)) else row
        for some in columns.values() for row in some
    ]  # fmt: skip


def _without_year(row: _Row) -> _Row | None:
    """The row as it reads if a year stands between time and name; None if it cannot."""
    found = _LATE_YEAR.fullmatch(row.rest)
    if found is None or b":" not in row.stamp.split(b" ")[-1] or not isinstance(row.column, tuple):
        return None
    year, gap, rest = found.groups()
    return replace(row, stamp=row.stamp + b" " + year, column=(*row.column, "year"), gap=gap, rest=rest)


def _padding(rows: Iterable[_Row]) -> dict[Hashable, int]:
    """How many blanks every row of a column has before its name: they are the server's, more are the name's."""
    padding: dict[Hashable, int] = {}
    for row in rows:
        padding[row.column] = min(len(row.gap), padding.get(row.column, len(row.gap)))
    return padding


def _suffixes(blanks: bytes) -> list[bytes]:
    """How many of these blanks may belong to a name: none, one, and so on."""
    return [blanks[len(blanks) - count :] for count in range(min(len(blanks), _MOST_BLANKS) + 1)]


def _named(row: _Row, padding: dict[Hashable, int]) -> Entry:
    late = _without_year(row)
    with_year = late is not None and late.column in padding
    readings = [one for one in ((late, row) if with_year else (row, late)) if one is not None]
    first = readings[0]
    names = [first.gap[padding[first.column] :] + first.rest]
    for one in readings:
        names += [blanks + one.rest for blanks in _suffixes(one.gap[1:])] + [one.rest.rstrip()]
    if row.is_link:
        return Entry(names[0].partition(b" -> ")[0], Identity(row.size), regular=False, stamp=row.stamp)
    others = tuple(name for name in dict.fromkeys(names[1:]) if name and name != names[0])
    return Entry(names[0], Identity(row.size), row.regular, first.stamp, others if row.regular else ())
