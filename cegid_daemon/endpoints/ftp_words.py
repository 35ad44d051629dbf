"""FTP's words: what a refusal means, and what is to be done about it. Knows no connection."""

from __future__ import annotations

import ftplib
import re
from collections.abc import Iterator
from contextlib import contextmanager

from cegid_daemon.endpoints.bounds import shortened
from cegid_daemon.errors import Barred, EndpointError, Permanent, Transient

PLACE_FAILS = frozenset({421, 425, 426})  # the server goes, the data connection did not come or broke: no file's fault
NOT_IMPLEMENTED = frozenset({500, 502, 504})  # replies to a command the server does not know
_CODE = re.compile(r"[0-9]{3}")
_RIGHTS = (  # in the languages of our shops, as far as servers speak them
    r"denied|permission|privilege|not (?:allowed|permitted|authori[sz])|authori[sz]ation|forbidden|no access"
    r"|\brights?\b|verweiger|berechtig|zugriff|interdit|non autoris|denegad|negat|permess|permis|toegang|odmow|odep"
)
_TROUBLE = (
    r"|busy|locked|in use|try again|temporar|quota|error|fail|time.?out|abort|overload|refus|can.?not|can't|could not"
    r"|unable"
)
_OF_RIGHTS = re.compile(_RIGHTS, re.IGNORECASE)
_OF_TROUBLE = re.compile(_RIGHTS + _TROUBLE, re.IGNORECASE)


def speaks_of_rights(reply: str) -> bool:
    """Whether a refusal gives missing rights as its reason."""
    return _OF_RIGHTS.search(reply) is not None and "exist" not in reply.lower()


def speaks_of_trouble(reply: str) -> bool:
    """Whether a refusal speaks of missing rights or of something that went wrong, and not of what lies there."""
    return _OF_TROUBLE.search(reply) is not None


class Refusal(Exception):
    """The server answered a command with a failure; `code` is of three digits."""

    remedy = ""  # where it is known better than by the code

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.code = int(reply[:3]) if _CODE.match(reply) else 0
        self.reply = shortened(reply)


_OPEN_PASSIVE = (
    "Have the server allow passive mode: PASV or EPSV, with the ports of its data connections open in the firewall. "
)
_SAYS_PORT = {
    True: "It takes PORT: `passive = false` in the endpoint works where the server can reach this machine. ",
    False: "It takes no PORT either, so that `passive = false` would not help. ",
}
_OPEN_ACTIVE = "Remove `passive = false` from the endpoint, or have the server allow active mode: PORT or EPRT. "


class DataRefusal(Refusal):
    """The server opens no data connection, whichever way it is asked: a trouble of the server, whatever it replies."""

    def __init__(self, usual: str, other: str, *, passive: bool, takes_port: bool = False) -> None:
        replies = " / ".join(dict.fromkeys((usual, other)))
        mode = "passive" if passive else "active"
        super().__init__(f"the server refuses {mode} data connections: {replies}")
        self.code = 425
        remedy = _OPEN_PASSIVE + _SAYS_PORT[takes_port] if passive else _OPEN_ACTIVE
        self.remedy = f"{remedy}It goes on by itself afterwards."


@contextmanager
def replies() -> Iterator[None]:
    """Raises a failure the server replied as Refusal."""
    try:
        yield
    except (ftplib.error_temp, ftplib.error_perm, ftplib.error_reply) as error:
        raise Refusal(str(error)) from error


def meaning_of(code: int) -> tuple[type[EndpointError], str]:
    if code in {452, 552}:
        return (
            Transient,
            "The server's disk is full or the quota is used up: free space. It goes on by itself afterwards.",
        )
    if 400 <= code < 500:
        return Transient, "It is tried again by itself."
    if code in {530, 331, 332}:
        return Barred, "Check the user in the url and the password; the server's log says more."
    if code == 550:
        return Transient, "Give the user the right on the server. It goes on by itself afterwards."
    if code == 553:  # vsftpd says so whatever keeps it from making a file
        return Transient, (
            "Give the user the right on the server, or use a shorter or plainer name (`check --live` says which "
            "`temporary` works). It goes on by itself afterwards."
        )
    return Permanent, "The server does not do this; docs/endpoints.md says what a server needs."
