"""The tables of the configuration file: every key, its kind, its default and what it does.

Keys are declared here, in `layout_tables` and in `site_tables`; docs/configuration.md is generated from them. Owns
shapes only: what keys mean together is checked in `rules.py`, and `build.py` makes the frozen objects the daemon runs
on.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from cegid_daemon.addresses import PORTS, address_of, parted
from cegid_daemon.config.console_table import ConsoleTable
from cegid_daemon.config.faults import closest, refuse
from cegid_daemon.config.layout_tables import LayoutTable
from cegid_daemon.config.site_tables import SitesTable
from cegid_daemon.config.tables import Table, key, needed
from cegid_daemon.config.values import (
    AlertUrls,
    Authority,
    Days,
    Duration,
    Encoding,
    EndpointName,
    Expression,
    File,
    Folder,
    Kind,
    LayoutName,
    Masks,
    Name,
    NameTemplate,
    OutputCheck,
    SecretText,
    Size,
    StoreName,
    TemplateName,
    Temporary,
    Text,
    Texts,
    texts,
)
from cegid_daemon.model import LogPolicy, RejectsSpec, RetryPolicy, SourceSpec, TargetSpec

OPTIONS = {  # scheme -> the keys of an endpoint, beside url, that mean something to it
    "file": frozenset[str](),
    "ftp": frozenset({"password", "passive", "encoding", "timeout", "channels", "pace", "reconnect"}),
    "ftps": frozenset({"password", "passive", "encoding", "timeout", "channels", "pace", "reconnect", "ca"}),
    "ftps+implicit": frozenset({"password", "passive", "encoding", "timeout", "channels", "pace", "reconnect", "ca"}),
    "sftp": frozenset(
        {
            "password",
            "private_key",
            "passphrase",
            "known_hosts",
            "encoding",
            "timeout",
            "channels",
            "pace",
            "reconnect",
        }
    ),
    "https": frozenset({"token", "token_in", "ca", "timeout", "deadline", "max_answer", "pace"}),
    "http": frozenset({"token", "token_in", "timeout", "deadline", "max_answer", "pace"}),
}


ALERTS = ("failed", "held", "unsure", "refused", "rejected", "endpoint", "notice")
TEMPORARY = (
    "the name a file has until it is whole and renamed: a pattern with `{id}` (instance, message and part) and, if "
    'wanted, `{name}` (the final name), such as `"up_{id}"` or `"{id}.tmp"`; `"tmp/{id}"`: in a sub-folder of '
    '`folder`. `"none"`: straight under the final name, for receivers that see only whole uploads; what a kill or a '
    "lost answer interrupts is then `unsure` (see [endpoints](endpoints.md#temporary-names))"
)


def _url(value: str) -> str:
    scheme, colon, rest = value.partition(":")
    if not colon or scheme not in OPTIONS:
        remedy = closest(scheme, OPTIONS, "Write file:PATH.") if colon else "Write file:PATH."
        refuse("is no address of an endpoint", remedy=remedy)
    if scheme == "file" and (not rest or (rest.startswith("//") and not rest.startswith("///"))):
        refuse("names no folder of this machine", remedy="Write file:PATH, or file:///PATH from the root.")
    try:
        if scheme in PORTS:
            address_of(value)
        elif scheme != "file":
            parted(value)
    except ValueError as error:
        form = f"{scheme}://HOST/VERSION" if scheme not in PORTS else f"{scheme}://USER@HOST/PATH"
        refuse("is no address of a server", why=str(error), remedy=f"Write {form}.")
    return value


def _pace(value: str) -> str:
    if value and not re.fullmatch(r"[1-9]\d*/(s|min|h)", value):
        refuse("is no pace", remedy='Write files in a time, such as "20/min": s, min or h.')
    return value


def _method(value: str) -> str:
    if value and not re.fullmatch(r"[A-Z][A-Za-z0-9]*", value):
        refuse("is no method of the API", remedy='Write its name, such as "StockUpdate".')
    return value


class StoreTable(Table):
    """An Aurora store. All three are first values: what operators set since stands in the journal and wins."""

    stock_buffer: Annotated[int | None, Field(ge=0), Kind("whole number, 0 or more")] = key(
        None, "the store-level Stock Buffer in units", shown="not defined"
    )
    log_requests: bool = key(True, "whether the API Integration Log keeps the store's messages")
    enabled: bool = key(True, "a disabled store's files stay where they are, and its open messages wait")


class EndpointTable(Table):
    """A place files are taken from or put into."""

    url: Annotated[str, AfterValidator(_url), Kind("address")] = needed(
        "`file:PATH`; a relative path starts at the configuration's folder. `sftp://USER@HOST/PATH` (`/~/` is the "
        "home), `ftp:`, `ftps:` (explicit TLS) and `ftps+implicit:` (relative to the login folder, absolute with a "
        "second slash). `https://HOST/VERSION`: the Aurora API (`http:` on this machine only)"
    )
    password: SecretText | None = key(None, "the password of the login", shown="none")
    token: SecretText | None = key(None, "the token of the Aurora API", shown="none")
    token_in: Literal["header", "envelope", "both"] = key(
        "header", "where the token travels: as `X-AURORA-AUTH-TOKEN`, as `Header/AuthToken` of the envelope (on the "
        "wire only, never in the log), or both"
    )  # fmt: skip
    deadline: Duration | None = key(None, "how long one request to an API may take as a whole", shown='`"5m"`')
    max_answer: Size | None = key(None, "the largest answer of an API that is read", shown='`"256MiB"`')
    private_key: Annotated[File | None, Kind("file")] = key(None, "private key of the login", shown="none")
    passphrase: SecretText | None = key(None, "what the private key is locked with", shown="none")
    known_hosts: Annotated[File | None, Kind("file")] = key(None, "the host keys that are trusted", shown="none")
    ca: Annotated[Authority | None, Kind("file")] = key(None, "an own certificate authority", shown="the system's")
    passive: bool = key(True, "passive FTP")
    encoding: Encoding = key("utf-8", "encoding of file names")
    timeout: Duration | None = key(None, "how long a silent peer is waited for", shown="the adapter's")
    channels: Annotated[int | None, Field(ge=1), Kind("whole number")] = key(
        None, "connections or channels at once", shown="the adapter's"
    )
    pace: Annotated[str, AfterValidator(_pace), Kind("such as `20/min`")] = key("", "files in a time")
    reconnect: Duration | None = key(None, "the least time between two logins", shown="none")


class SourceTable(Table):
    """Where a route takes its files from, and when one counts as whole."""

    endpoint: EndpointName = needed("where")
    folder: Folder = key("", "which folder of it; sub-folders are never entered")
    match: Masks = key(SourceSpec("").match, "file names to take; case-sensitive", shown='`"*"`')
    ignore: Masks = key((), "file names to leave", shown="none")
    settle: Duration = key(SourceSpec("").settle, "how long a file must have been quiet to count as whole")
    settle_empty: Duration = key(
        SourceSpec("").settle_empty, "the same for a file without bytes, which may be about to be filled; one with its "
        "`marker`, or from a drop site of our own, is whole at once",
    )  # fmt: skip
    settle_open: bool = key(
        True, "a file of this machine that is known to be open for writing does not count as whole, however quiet it is"
    )
    marker: Text = key("", 'a suffix such as ".ok": NAME counts as whole when NAME.ok is there', shown="none")
    poll: Duration = key(SourceSpec("").poll, "how often the folder is listed, whatever events say")
    order: Literal["name", "oldest"] = key("name", "which file goes first")
    after: Literal["archive", "delete", "leave"] = key("archive", "what becomes of a file that is done")
    leave_changed: Literal["content", "any"] = key(
        "content", 'when a file left by `after = "leave"` is taken again: when its bytes are others than when it was '
        "last taken under its name, or whenever it was written, touched or replaced",
    )  # fmt: skip
    archive: Folder = key("", "where a done file goes, below the source folder", shown="`processed/YYYY-MM-DD` (UTC)")
    max_size: Size = key(2 * 10**9, "a larger file fails, and is not read; 0 = no bound", shown='`"2GB"`')
    unique: Expression = key("", "a record with a value already delivered on this route is left out", shown="none")
    request: TemplateName | None = key(
        None, "the endpoint is an API: this template makes the request it is asked with, over `now, interval, page, "
        "limit, route, store`; needs `unique`", shown="none",
    )  # fmt: skip
    overlap: Duration = key(SourceSpec("").overlap, "how far a request reaches back behind the last complete poll")
    reach: Duration = key(SourceSpec("").reach, "how far the first request reaches back")
    limit: Annotated[int, Field(ge=1), Kind("whole number")] = key(SourceSpec("").limit, "records in one page")
    owner_mark: bool | None = key(
        None, "whether the folder bears a mark of whose it is, so that a second daemon takes nothing from it",
        shown="true for a folder of this machine, false on servers",
    )  # fmt: skip


class OutputTable(Table):
    """How the rewritten text becomes bytes, and what is checked before anything leaves."""

    encoding: Encoding = key("utf-8", "a character outside it fails the message, naming record and field")
    transliterate: bool = key(False, "write such a character with others instead (é as e)")
    newline: Literal["keep", "lf", "crlf"] = key("keep", "line ends")
    bom: bool = key(False, "begin with a byte order mark")
    check: OutputCheck | None = key(
        None,
        "well-formed XML; valid by a schema; every row the same number of separators; nothing",
        shown='`"xml"` for `.xml.j2`, else `"none"`',
    )
    separator: Annotated[str, Field(min_length=1, max_length=1), Kind("one character")] = key(
        ";", 'what the check `"columns"` counts'
    )
    batch: Annotated[int, Field(ge=0), Kind("whole number")] = key(
        0, "records in a delivered part; the target's name must then hold `part`", shown="all in one"
    )


class ReplyTargetTable(Table):
    """Where the reply goes."""

    endpoint: EndpointName = needed("where")
    folder: Folder = key("", "which folder of it")
    name: NameTemplate = key(
        TargetSpec("").name, "the file's name: a template over `source, message, part, route, store, now`"
    )
    exists: Literal["replace", "version", "fail"] = key("version", "what to do when the name is taken")
    temporary: Temporary = key(TargetSpec("").temporary, TEMPORARY)


class ReplyTable(Table):
    """The file for CEGID that an answer of the API is turned into."""

    template: TemplateName = needed("what it is made with; a record is a `Response`, with `Key` and `KeyName` beside")
    target: ReplyTargetTable = needed("where it goes")
    layout: LayoutName = key("aurora-answer", "how the answer is laid out")
    output: OutputTable = key(OutputTable(), "the bytes of the reply")


class TargetTable(Table):
    """Where a route delivers to, and under which name."""

    endpoint: EndpointName = needed("where")
    folder: Folder = key("", "which folder of it")
    name: NameTemplate = key(
        TargetSpec("").name, "the delivered file's name: a template over `source, message, part, route, store, now`"
    )
    exists: Annotated[
        Literal["replace", "version", "fail"] | None, Kind('`"replace"`, `"version"` (`NAME.2.asc`) or `"fail"`')
    ] = key(None, "what to do when the name is taken", shown='`"replace"` for import, `"version"` for export')
    temporary: Temporary = key(TargetSpec("").temporary, TEMPORARY)
    method: Annotated[str, AfterValidator(_method), Kind("text")] = key(
        "", "the endpoint is an API: the method the file is posted with, such as `StockUpdate`", shown="none"
    )
    report: TemplateName | None = key(
        None, "asks for answers the API deferred; a template over `reports, now, route, store`",
        shown=f"`{TargetSpec('').report}`",
    )  # fmt: skip
    reply: ReplyTable | None = key(None, "turns the API's answer into a file for CEGID", shown="none")


class RejectsTable(Table):
    """Where CEGID puts the files it could not take: each is tied to the message it came from."""

    endpoint: EndpointName | None = key(None, "where", shown="that of the target")
    folder: Folder = needed("which folder of it")
    match: Masks = key(("*",), "the rejected files", shown='`"*"`')
    log: Masks = key(RejectsSpec("", "").log, "the log files beside them, named like the file", shown='`"*.log;*.LOG"`')
    settle: Duration = key(RejectsSpec("", "").settle, "how long both must have been quiet")
    poll: Duration = key(RejectsSpec("", "").poll, "how often the folder is listed")
    after: Literal["leave", "archive", "delete"] = key(
        "leave", "what becomes of both: left, moved to `processed/YYYY-MM-DD` below, or deleted"
    )


class RetryTable(Table):
    """When a message that has to wait is tried again: the pause doubles from `first` to `longest`."""

    first: Duration = key(RetryPolicy().first, "the first pause")
    longest: Duration = key(RetryPolicy().longest, "the longest pause")
    give_up: Duration = key(
        RetryPolicy().give_up,
        "after this time the message fails, if it was tried at least as often as half of it leaves room for",
    )
    unreadable: Duration = key(
        RetryPolicy().unreadable, "so long a file that cannot be read holds up the files behind it; then they go on"
    )


class LogTable(Table):
    """How long the journal keeps what. Open, held, unsure and failed messages are never pruned."""

    payload_days: Days = key(LogPolicy().payload_days, "the stored files")
    entry_days: Days = key(LogPolicy().entry_days, "the entries of the API Integration Log")
    redact: Texts = key((), "fields that are masked in the stored files once the message is closed", shown="none")


class RouteTable(Table):
    """One kind of message, one direction, one store.

    A route without `template` and `target` feeds buffers and catalogue; its layout then names `buffer`.
    """

    title: Text = key("", "the log's name for the message", shown="the route's name")
    direction: Literal["import", "export"] = key("import", '"import": from CEGID; "export": to CEGID')
    store: StoreName = needed("the store it belongs to")
    source: SourceTable = needed("where the files come from")
    layout: LayoutName = needed("how they are laid out: a preset, or a `[layout.NAME]` of this file")
    template: TemplateName | None = key(None, "what they are rewritten with", shown="none")
    target: TargetTable | None = key(None, "where the result goes", shown="none")
    output: OutputTable = key(OutputTable(), "the bytes of the result")
    retry: RetryTable = key(RetryTable(), "when to try again")
    log: LogTable = key(LogTable(), "what the log keeps")
    remarks: Literal["keep", "fail"] = key(
        "keep",
        "what is odd in a file but not wrong (docs/remarks.md) is counted and shown, or fails the message",
    )
    rejects: RejectsTable | None = key(None, "what CEGID says of the delivered files", shown="none")
    moved_from: Annotated[tuple[str, ...], BeforeValidator(texts), Kind("name of a route, or list of them")] = key(
        (), "routes that are no longer configured and whose messages this route takes over: the name it had before, "
        "or those it replaces", shown="none",
    )  # fmt: skip


class DefaultsTable(Table):
    """Values for all routes; a route's own value wins, key by key."""

    retry: RetryTable = key(RetryTable(), "when to try again")
    log: LogTable = key(LogTable(), "what the log keeps")


class AlertTable(Table):
    """Who is told when something needs a person. Each trouble is told once; many at a time are one message."""

    urls: AlertUrls = key((), "where to: addresses of Apprise (`mailto:`, `json:`, `slack:` …)", shown="none")
    events: Annotated[
        tuple[Literal["failed", "held", "unsure", "refused", "rejected", "endpoint", "notice"], ...],
        BeforeValidator(texts), Kind("list of texts"),
    ] = key(
        ALERTS, "what is told: messages that `failed`, are `held` or `unsure`, of which the API `refused` records, "
        "that CEGID `rejected`, an `endpoint` that does not answer, a `notice` (what a person should know that belongs "
        "to no message)",
        shown="all of them",
    )  # fmt: skip
    quiet: Duration = key(timedelta(minutes=15), "the least time between two alerts")


class Root(Table):
    """The configuration file."""

    state: Text = key("var", "the folder of the journal and the spool")
    templates: Text = key("templates", "the folder of own templates; the shipped ones stand behind it")
    console: ConsoleTable = key(ConsoleTable(), "the console in the browser")
    alert: AlertTable = key(AlertTable(), "who is told when something needs a person")
    site: SitesTable = key(SitesTable(), "drop sites of our own")
    defaults: DefaultsTable = key(DefaultsTable(), "values for all routes")
    store: dict[Name, StoreTable] = key({}, "the stores")
    endpoint: dict[Name, EndpointTable] = key({}, "the endpoints")
    route: dict[Name, RouteTable] = key({}, "the routes")
    layout: dict[Name, LayoutTable] = key({}, "own layouts")
