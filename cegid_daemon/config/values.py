"""The kinds of value a key can have, each with its reading and the words the reference uses for it.

Owns durations, sizes, days, masks, folders and the names that refer to other parts of the configuration. What a name
may refer to comes in as `Surroundings`, the context of the validation.
"""

from __future__ import annotations

import codecs
import ipaddress
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StringConstraints, ValidationInfo

from cegid_daemon.config.faults import closest, refuse
from cegid_daemon.config.names import refuse_unknown
from cegid_daemon.config.schemas import schema_named, try_schema
from cegid_daemon.config.secrets import Secret, holds_secret, read_secret
from cegid_daemon.errors import CegidDaemonError
from cegid_daemon.rewrite.expressions import compile_text
from cegid_daemon.rewrite.recipe import Layout, Templates
from cegid_daemon.rewrite.templates import freeze
from cegid_daemon.temporary import EXAMPLES, pattern_fault


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value looks like, for the reference."""

    text: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the values of one configuration file are checked against."""

    folder: Path  # of the configuration file: relative paths start here
    environment: Mapping[str, str]
    private: bool  # nobody but its owner can read the file
    names: Mapping[str, Collection[str]]  # "endpoint", "store", "layout" -> the names that exist
    freeze: Callable[[str], Templates]  # a template by its name; raises TemplateFault


_LISTEN = re.compile(r"(\[[0-9a-fA-F:.]+\]|[0-9.]+|localhost):([0-9]{1,5})", re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600), "d": Decimal(86400)}
_SIZE = re.compile(r"(\d+)(B|kB|KB|MB|GB|KiB|MiB|GiB)")
_BYTES = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def duration(value: Any) -> timedelta:
    """`"500ms"`, `"1.5s"`, `"30s"`, `"15m"`, `"24h"`, `"7d"`."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not found:
        refuse("is no duration", remedy='Write a number and a unit in quotes, such as "1.5s", "15m", "24h" or "7d".')
    try:
        return timedelta(microseconds=int(Decimal(found[1]) * _SECONDS[found[2]] * 1_000_000))
    except OverflowError:
        refuse("is longer than any clock counts", remedy='Write a shorter duration, such as "24h".')


def size(value: Any) -> int:
    """Bytes, as a whole number or as `"500MB"`, `"1GiB"`."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if not found:
        refuse("is no size", remedy='Write a number of bytes, or a text such as "500MB" or "1GiB".')
    return int(found[1]) * _BYTES[found[2]]


def days(value: Any) -> int | None:
    """A whole number of days, or `"forever"` (None)."""
    if value == "forever":
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        refuse("is no number of days", remedy='Write a whole number of days, or "forever".')
    return value


def masks(value: Any) -> tuple[str, ...]:
    """One glob, a list of globs, or masks joined by `;` as CEGID writes them."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        refuse("is no mask", remedy='Write "*.csv", "AE*;AE*.txt" or ["AE*", "AE*.txt"].')
    found = tuple(mask.strip() for text in texts for mask in text.split(";") if mask.strip())
    if any("/" in mask for mask in found):
        refuse("a mask is for file names and has no '/'", remedy="Put the folder into `folder`.")
    return found


def texts(value: Any) -> tuple[str, ...]:
    """One text or a list of texts."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        refuse("must be a text or a list of texts")
    return tuple(found)


def folder(value: str) -> str:
    """A folder below an endpoint's root, without `.` and doubled slashes."""
    parts = [part for part in value.split("/") if part not in ("", ".")]
    if value.startswith("/") or ".." in parts or "\0" in value or "\\" in value:
        refuse("a folder is below its endpoint: no leading '/', no '..', no '\\'", remedy="Put the rest into the url.")
    return "/".join(parts)


def encoding(value: str) -> str:
    """An encoding Python knows."""
    try:
        "".encode(codecs.lookup(value).name)  # refuses codecs that are none of text
    except LookupError:
        refuse(f"{value!r} is no encoding", remedy='Write "utf-8", "cp1252", "utf-16" …')
    return value


def encoding_or_auto(value: str) -> str:
    """An encoding Python knows, or `auto`."""
    return value if value == "auto" else encoding(value)


def listen(value: str) -> str:
    """`ADDRESS:PORT`; blank = off."""
    found = _LISTEN.fullmatch(value)
    if value and (not found or not _is_address(found[1]) or not 0 < int(found[2]) < 65536):
        refuse("is no address to listen on", remedy='Write an IP address and a port, such as "127.0.0.1:8470".')
    return value


def _is_address(host: str) -> bool:
    try:
        return host == "localhost" or bool(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return False


def _alert_urls(value: Any, info: ValidationInfo) -> tuple[Secret, ...]:
    urls = value if isinstance(value, list) else [value]
    around = _surroundings(info)
    return tuple(
        Secret(url) if isinstance(url, str) and url and not holds_secret(url)
        else read_secret(url, folder=around.folder, environment=around.environment, private=around.private)
        for url in urls
    )  # fmt: skip


def _reference(what: str) -> AfterValidator:
    def known(value: str, info: ValidationInfo) -> str:
        names = _surroundings(info).names[what]
        if value not in names:
            listed = f"Known: {', '.join(sorted(names))}." if names else f"Add a [{what}.{value}] table."
            refuse(f"there is no {what} {value!r}", remedy=closest(value, names, listed))
        return value

    return AfterValidator(known)


def _template(value: str, info: ValidationInfo) -> str:
    freeze = _surroundings(info).freeze
    _tried(lambda: freeze(value))
    return value


def _name_template(value: str) -> str:
    _tried(lambda: freeze("name", {"name": value}.get))
    refuse_unknown(value)
    return value


def temporary(value: str) -> str:
    """A pattern for temporary names, or `none`."""
    if why := pattern_fault(value):
        refuse(
            f"{value!r} is no pattern for temporary names", why=why, remedy=f"Write one such as {', '.join(EXAMPLES)}."
        )
    return value


def _expression(value: str) -> str:
    if value:
        _tried(lambda: compile_text(value, Layout("", "xml")))
    return value


def _output_check(value: str, info: ValidationInfo) -> str:
    name = schema_named(value)
    if name:
        try_schema(_surroundings(info).folder, name)
    elif value not in ("xml", "columns", "none"):
        refuse(f"there is no check {value!r}", remedy='Write "xml", "xsd:FILE", "columns" or "none".')
    return value


def _tried(attempt: Callable[[], object]) -> None:
    try:
        attempt()
    except CegidDaemonError as error:
        place = str(error.where)
        refuse(f"{error.what} ({place})" if place else error.what, why=error.why, remedy=error.remedy)


def _secret(value: Any, info: ValidationInfo) -> Secret:
    around = _surroundings(info)
    return read_secret(value, folder=around.folder, environment=around.environment, private=around.private)


def _readable_file(value: str, info: ValidationInfo) -> str:
    path = _surroundings(info).folder / value
    if not path.is_file():
        refuse(f"file {str(path)!r} is not there", remedy="Create it, or mend the path.")
    return str(path)


def _authority(value: str, info: ValidationInfo) -> str:
    import ssl  # few configurations name an authority of their own

    path = _readable_file(value, info)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        refuse("is no certificate of an authority", why=str(error), remedy="Give a PEM file with its certificate.")
    return path


def _surroundings(info: ValidationInfo) -> Surroundings:
    if not isinstance(info.context, Surroundings):
        raise TypeError("the configuration is validated with its Surroundings")
    return info.context


NAME = r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}$"
Name = Annotated[str, StringConstraints(pattern=NAME)]
Listen = Annotated[str, AfterValidator(listen), Kind("address and port")]
AlertUrls = Annotated[
    tuple[Secret, ...], BeforeValidator(_alert_urls), Kind("list of addresses, each a text or a secret")
]
Text = Annotated[str, Kind("text")]
Duration = Annotated[timedelta, BeforeValidator(duration), Kind("duration")]
Size = Annotated[int, BeforeValidator(size), Kind('bytes, or a size such as `"500MB"`')]
Days = Annotated[int | None, BeforeValidator(days), Kind('days, or `"forever"`')]
Masks = Annotated[tuple[str, ...], BeforeValidator(masks), Kind("glob, list of globs, or globs joined by `;`")]
Texts = Annotated[tuple[str, ...], BeforeValidator(texts), Kind("list of texts")]
Folder = Annotated[str, AfterValidator(folder), Kind("folder below the endpoint")]
Encoding = Annotated[str, AfterValidator(encoding), Kind("encoding")]
AnyEncoding = Annotated[str, AfterValidator(encoding_or_auto), Kind('encoding, or `"auto"`')]
File = Annotated[str, AfterValidator(_readable_file), Kind("file")]
Authority = Annotated[str, AfterValidator(_authority), Kind("file")]
EndpointName = Annotated[str, _reference("endpoint"), Kind("name of an endpoint")]
StoreName = Annotated[str, _reference("store"), Kind("name of a store")]
LayoutName = Annotated[str, _reference("layout"), Kind("name of a layout")]
TemplateName = Annotated[str, AfterValidator(_template), Kind("template file")]
Temporary = Annotated[str, AfterValidator(temporary), Kind('pattern with `{id}`, or `"none"`')]
NameTemplate = Annotated[str, AfterValidator(_name_template), Kind("name template")]
Expression = Annotated[str, AfterValidator(_expression), Kind("expression")]
Expressions = Annotated[
    tuple[Annotated[str, AfterValidator(_expression)], ...],
    BeforeValidator(texts),
    Kind("expression, or list of expressions"),
]
OutputCheck = Annotated[str, AfterValidator(_output_check), Kind('`"xml"`, `"xsd:FILE"`, `"columns"` or `"none"`')]
SecretText = Annotated[Secret, BeforeValidator(_secret), Kind("secret")]
