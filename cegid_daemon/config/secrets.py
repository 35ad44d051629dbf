"""Secrets: read at the edge, masked everywhere after it.

A secret is named in the configuration, not written there: `{ credential = }` (a file systemd or the operator puts into
`$CREDENTIALS_DIRECTORY`), `{ env = }` or `{ file = }`. A plain text is taken only from a configuration file that
nobody but its owner can read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from cegid_daemon.config.faults import refuse

_KINDS = re.compile(r"\b([a-z][a-z0-9+.-]*):(?=/)|^(mailtos?):", re.IGNORECASE)
_WITHOUT_TOKENS = frozenset({"mailto", "mailtos", "json", "jsons", "xml", "xmls", "form", "forms", "syslog", "rsyslog"})
_PASSWORD = re.compile(
    r"[:/][^\s/@:]*:(?!\d+(?:/|$))[^\s@]+@|[?&][^=&\s]*(?:pass|pw|token|key|secret|auth|sig)[^=&\s]*=", re.IGNORECASE
)
_WAYS = '{ credential = "NAME" }, { env = "NAME" } or { file = "PATH" }'


class Secret:
    """A password or token; only `reveal()` gives the text, and it cannot be pickled, printed or logged by accident."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself, for the one place that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: it would leave the process in the clear")


def read_secret(source: Any, *, folder: Path, environment: Mapping[str, str], private: bool) -> Secret:
    """The secret behind its configured source; `private`: nobody but its owner can read the configuration file.

    Raises a refusal that never holds the secret.
    """
    if isinstance(source, str):
        return _plain(source, private)
    if not isinstance(source, dict) or len(source) != 1 or not all(isinstance(one, str) for one in source.values()):
        refuse("a secret has exactly one source", remedy=f"Write {_WAYS}.")
    ((way, name),) = source.items()
    read = _READERS.get(way)
    if read is None:
        refuse(f"{way!r} is no source of a secret", remedy=f"Write {_WAYS}.")
    text = read(name, folder, environment)
    if not text:
        refuse(f"the secret in {way} {name!r} is empty")
    return Secret(text)


def holds_secret(address: str) -> bool:
    """Whether the address of an alert holds a password or a token: those of chats and services do, in their paths."""
    kinds = {(found[1] or found[2]).lower() for found in _KINDS.finditer(address)}
    return not kinds or bool(kinds - _WITHOUT_TOKENS) or bool(_PASSWORD.search(address))


def _plain(text: str, private: bool) -> Secret:
    if not private:
        refuse(
            "a secret stands in a file that others can read",
            remedy=f"Make the file private (chmod 600), or write {_WAYS}.",
        )
    return Secret(text)


def _credential(name: str, folder: Path, environment: Mapping[str, str]) -> str:
    directory = environment.get("CREDENTIALS_DIRECTORY")
    if not directory:
        refuse(
            f"credential {name!r} cannot be read: CREDENTIALS_DIRECTORY is not set",
            remedy="Add LoadCredential= to the unit, or set CREDENTIALS_DIRECTORY to a folder that holds it.",
        )
    if "/" in name or name in ("", ".", ".."):
        refuse(f"{name!r} is no name of a credential")
    return _file(str(Path(directory, name)), folder, environment)


def _env(name: str, _folder: Path, environment: Mapping[str, str]) -> str:
    if name not in environment:
        refuse(f"environment variable {name!r} is not set", remedy="Set it where the daemon is started.")
    return environment[name]


def _file(name: str, folder: Path, _environment: Mapping[str, str]) -> str:
    path = folder / name
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as exc:
        refuse(
            f"secret file {str(path)!r} cannot be read", why=exc.strerror or "", remedy="Create it, or mend the path."
        )
    except UnicodeDecodeError:
        refuse(f"secret file {str(path)!r} is not UTF-8 text")


_READERS: dict[str, Callable[[str, Path, Mapping[str, str]], str]] = {
    "credential": _credential,
    "env": _env,
    "file": _file,
}
