"""The tables of the configuration file: every key, its kind, its default and what it does.

The one place where keys are declared; docs/configuration.md is generated from here. Owns shapes only: what keys mean
together is checked in `rules.py`, and `build.py` makes the frozen objects the daemon runs on.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from cegid_daemon.config.faults import closest, refuse
from cegid_daemon.config.sites import Address, HashText, Ports, SiteListen
from cegid_daemon.config.values import (
    AlertUrls,
    AnyEncoding,
    Days,
    Duration,
    Encoding,
    EndpointName,
    Expression,
    Expressions,
    File,
    Folder,
    Kind,
    LayoutName,
    Listen,
    Masks,
    Name,
    NameTemplate,
    SecretText,
    Size,
    StoreName,
    TemplateName,
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
        {"password", "private_key", "known_hosts", "encoding", "timeout", "channels", "pace", "reconnect"}
    ),
    "https": frozenset({"token", "token_in", "ca", "timeout", "deadline", "max_answer", "pace"}),
    "http": frozenset({"token", "token_in", "timeout", "deadline", "max_answer", "pace"}),
}


ALERTS = ("failed", "held", "unsure", "rejected", "endpoint")


def key(default: Any, meaning: str, *, shown: str = "") -> Any:
    """A key that may be left out; `shown` is the default as the reference words it."""
    return Field(default, description=meaning, json_schema_extra={"shown": shown})


def needed(meaning: str) -> Any:
    """A key that must be there."""
    return Field(description=meaning)


def _url(value: str) -> str:
    scheme, colon, rest = value.partition(":")
    if not colon or scheme not in OPTIONS:
        remedy = closest(scheme, OPTIONS, "Write file:PATH.") if colon else "Write file:PATH."
        refuse("is no address of an endpoint", remedy=remedy)
    if scheme == "file" and (not rest or (rest.startswith("//") and not rest.startswith("///"))):
        refuse("names no folder of this machine", remedy="Write file:PATH, or file:///PATH from the root.")
    return value


class Table(BaseModel):
    """A table: unknown keys are refused and nothing is converted."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, arbitrary_types_allowed=True)


class StoreTable(Table):
    """An Aurora store. All three are first values: what operators set since stands in the journal and wins."""

    stock_buffer: Annotated[int | None, Field(ge=0), Kind("whole number, 0 or more")] = key(
        None, "the store-level Stock Buffer in units", shown="not defined"
    )
    log_requests: bool = key(True, "whether the API Integration Log keeps the store's messages")
    enabled: bool = key(True, "a disabled store's files stay where they are")


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
    known_hosts: Annotated[File | None, Kind("file")] = key(None, "the host keys that are trusted", shown="none")
    ca: Annotated[File | None, Kind("file")] = key(None, "an own certificate authority", shown="the system's")
    passive: bool = key(True, "passive FTP")
    encoding: Encoding = key("utf-8", "encoding of file names")
    timeout: Duration | None = key(None, "how long a silent peer is waited for", shown="the adapter's")
    channels: Annotated[int | None, Field(ge=1), Kind("whole number")] = key(
        None, "connections or channels at once", shown="the adapter's"
    )
    pace: Annotated[str, Field(pattern=r"^(\d+/(s|min|h))?$"), Kind("such as `20/min`")] = key("", "files in a time")
    reconnect: Duration | None = key(None, "the least time between two logins", shown="none")


class SourceTable(Table):
    """Where a route takes its files from, and when one counts as whole."""

    endpoint: EndpointName = needed("where")
    folder: Folder = key("", "which folder of it; sub-folders are never entered")
    match: Masks = key(SourceSpec("").match, "file names to take; case-sensitive", shown='`"*"`')
    ignore: Masks = key((), "file names to leave", shown="none")
    settle: Duration = key(SourceSpec("").settle, "how long a file must have been quiet to count as whole")
    marker: Text = key("", 'a suffix such as ".ok": NAME counts as whole when NAME.ok is there', shown="none")
    poll: Duration = key(SourceSpec("").poll, "how often the folder is listed, whatever events say")
    order: Literal["name", "oldest"] = key("name", "which file goes first")
    after: Literal["archive", "delete", "leave"] = key("archive", "what becomes of a file that is done")
    archive: Folder = key("", "where a done file goes, below the source folder", shown="`processed/YYYY-MM-DD` (UTC)")
    max_size: Size = key(0, "a larger file fails", shown="no bound")
    unique: Expression = key("", "a record with a value already delivered on this route is left out", shown="none")
    request: TemplateName | None = key(
        None, "the endpoint is an API: this template makes the request it is asked with, over `now, interval, page, "
        "limit, route, store`; needs `unique`", shown="none",
    )  # fmt: skip
    overlap: Duration = key(SourceSpec("").overlap, "how far a request reaches back behind the last complete poll")
    reach: Duration = key(SourceSpec("").reach, "how far the first request reaches back")
    limit: Annotated[int, Field(ge=1), Kind("whole number")] = key(SourceSpec("").limit, "records in one page")


class OutputTable(Table):
    """How the rewritten text becomes bytes, and what is checked before anything leaves."""

    encoding: Encoding = key("utf-8", "a character outside it fails the message, naming record and field")
    transliterate: bool = key(False, "write such a character with others instead (é as e)")
    newline: Literal["keep", "lf", "crlf"] = key("keep", "line ends")
    bom: bool = key(False, "begin with a byte order mark")
    check: Annotated[str | None, Kind('`"xml"`, `"xsd:FILE"`, `"columns"` or `"none"`')] = key(
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
    method: Annotated[str, Field(pattern=r"^([A-Z][A-Za-z0-9]*)?$"), Kind("text")] = key(
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
    give_up: Duration = key(RetryPolicy().give_up, "after this time the message fails")


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
    rejects: RejectsTable | None = key(None, "what CEGID says of the delivered files", shown="none")


class DefaultsTable(Table):
    """Values for all routes; a route's own value wins, key by key."""

    retry: RetryTable = key(RetryTable(), "when to try again")
    log: LogTable = key(LogTable(), "what the log keeps")


class ConsoleTable(Table):
    """The console in the browser."""

    listen: Listen = key(
        "", "address and port, such as `127.0.0.1:8470`; beyond this machine only with a password", shown="off"
    )
    password: SecretText | None = key(None, "the operators' password", shown="none: who is on this machine may edit")
    viewer_password: SecretText | None = key(None, "the password of those who only read", shown="none")
    hosts: Texts = key((), "names under which browsers reach it, beside its address and `localhost`", shown="none")
    https: bool = key(False, "browsers reach it through a proxy that speaks HTTPS: cookies are for HTTPS only")


class AlertTable(Table):
    """Who is told when something needs a person. Each trouble is told once; many at a time are one message."""

    urls: AlertUrls = key((), "where to: addresses of Apprise (`mailto:`, `json:`, `slack:` …)", shown="none")
    events: Annotated[
        tuple[Literal["failed", "held", "unsure", "rejected", "endpoint"], ...], BeforeValidator(texts),
        Kind("list of texts"),
    ] = key(
        ALERTS, "what is told: messages that `failed`, are `held` or `unsure`, that CEGID `rejected`, an `endpoint` "
        "that does not answer",
        shown="all of them",
    )  # fmt: skip
    quiet: Duration = key(timedelta(minutes=15), "the least time between two alerts")


class SiteUserTable(Table):
    """Who may log in to the drop site; sees one folder and nothing above it."""

    folder: Annotated[str, Field(min_length=1), Kind("folder")] = needed(
        "the folder that is all this user sees; a relative path starts at the configuration's folder"
    )
    password: HashText | None = key(
        None, "the password's hash, as `cegid-daemon hash-password` prints it", shown="none: by key only"
    )
    keys: Texts = key((), "public keys, as lines of authorized_keys (sftp)", shown="none")


class SiteTable(Table):
    """What both drop sites have."""

    listen: SiteListen = needed("address and port; beyond this machine ftp needs a certificate")
    users: dict[Name, SiteUserTable] = key({}, "who may log in", shown="**needed**")
    max_size: Size = key(2 * 10**9, "a larger file is refused; 0 = no bound", shown='`"2GB"`')
    connections: Annotated[int, Field(ge=1), Kind("whole number")] = key(20, "clients at the same time")
    attempts: Annotated[int, Field(ge=1), Kind("whole number")] = key(
        5, "failed logins after which an address is not listened to"
    )
    lockout: Duration = key(timedelta(minutes=10), "for how long")
    idle: Duration = key(timedelta(minutes=5), "a client that does nothing for so long is sent away")


class FtpSiteTable(SiteTable):
    """A drop site of our own, spoken to by FTP; off unless this table is there. docs/site.md tells how to use it."""

    certificate: Annotated[File | None, Kind("file")] = key(
        None, "PEM file with the certificate's chain and key; then TLS is demanded", shown="none: plain, on loopback"
    )
    passive_ports: Ports = key("", "ports of data connections, for a firewall", shown="any")
    public_address: Address = key("", "address that data connections are asked to, behind a router", shown="its own")
    key: Annotated[File | None, Kind("file")] = key(None, "PEM file with the key", shown="in `certificate`")


class SftpSiteTable(SiteTable):
    """A drop site of our own, spoken to by SFTP; off unless this table is there. docs/site.md tells how to use it."""

    host_key: Annotated[File, Kind("file")] = needed("the site's private host key, without passphrase")


class SitesTable(Table):
    """The drop sites of our own."""

    ftp: FtpSiteTable | None = key(None, "a site by FTP", shown="off")
    sftp: SftpSiteTable | None = key(None, "a site by SFTP", shown="off")


class FieldTable(Table):
    """A field of a fixed-width line."""

    name: Text = needed("its name")
    at: Annotated[int, Field(ge=1), Kind("whole number")] = needed("its first character, from 1 on the whole line")
    width: Annotated[int, Field(ge=1), Kind("whole number")] = needed("its characters")
    trim: bool = key(True, "remove blanks around it")


class StocksTable(Table):
    """A stock value that stands inside a record."""

    each: Text = key("", "the path of the elements that carry it", shown="the record itself")
    sku: Expression = key("", "its SKU", shown="none: the product's own stock")
    stock: Expression = needed("the stock")


class ProofTable(Table):
    """How a file shows that it is whole."""

    trailer: Text = key("", "how its last line begins", shown="none")
    count: Expression = key("", "how many records it declares", shown="none")


class LayoutTable(Table):
    """How a CEGID file is laid out. Expressions are Jinja expressions over the record `r`."""

    kind: Literal["delimited", "fixed", "records", "xml"] = needed("the geometry")
    encoding: AnyEncoding = key("auto", "of the file; `auto` looks for a BOM, NULs, UTF-8, then takes cp1252")
    delimiter: Annotated[str, Field(min_length=1), Kind("text")] = key(";", "between columns (delimited, records)")
    quote: Text = key("", "around values (delimited, records)", shown="none: CEGID does not quote")
    header: bool | None = key(None, "the first row names the columns (delimited)", shown="true unless `columns` is set")
    columns: Texts = key((), "the names of the columns (delimited)", shown="those of the header")
    decimal: Literal[".", ","] = key(".", "the decimal mark of numbers")
    fields: list[FieldTable] = key([], "where the fields stand on a line (fixed)", shown="none")
    head: Text = key("", "the record type in characters 1-3 (fixed)", shown="none")
    types: dict[str, Texts] = key({}, "the columns of each record type (records)", shown="none")
    record: Text = key("", "name of the record's element, or its path from the root (xml)", shown="none")
    root: Text = key("", "name of the root element; another one fails (xml)", shown="any")
    skip: Expressions = key((), "records to leave out, each counted by its own text", shown="none")
    sku: Expression = key("", "the SKU of a record", shown="none")
    product: Expression = key("", "the product of a record", shown="none")
    stock: Expression = key("", "the stock of a record", shown="none")
    stocks: list[StocksTable] = key([], "stock values inside a record (xml)", shown="none")
    sum_by: Text = key("", 'one record a SKU, stock summed: `"sku"`', shown="none")
    delta: bool = key(False, "the stock is a movement and is never buffered")
    proof: ProofTable | None = key(None, "how a file shows that it is whole", shown="none")
    untrimmed: Texts = key((), "fields whose blanks are part of them", shown="none")
    buffer: Expression = key("", "the buffer value of a record: the layout feeds the buffer book", shown="none")
    lead: Annotated[int, Field(ge=0), Kind("whole number")] = key(
        0, "lines ahead of the title row or the records, such as a counter (delimited, fixed, records)"
    )
    catalogue: bool = key(False, "a stock layout keeps the catalogue current, as product layouts do by themselves")


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
