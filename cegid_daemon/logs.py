"""Where log lines go: readable lines on stderr, or structured fields where journald listens there.

Owns the format of lines and what may not stand in them: passwords inside addresses and authorization headers are
masked, control characters are escaped, so no file name can forge a line. Opens no file and decides no level for others.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

OURS = "cegid_daemon"
_LOUD = "paramiko"  # logs with a traceback what it raises as well, and what our own errors then say
_IDENTIFIER = "cegid-daemon"
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))  # as syslog counts
_DEBUG = 7
_ABOUT = {"route": "CEGID_ROUTE", "message_id": "CEGID_MESSAGE", "store": "CEGID_STORE"}  # `extra` -> journald field
_MASKED = (
    (re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/:@]*):[^\s/]*@"), r"\1:***@"),
    (re.compile(r"(?i)(\bauthorization\b['\"]?\s*[:=]\s*['\"]?(?:basic |bearer )?)[^\s'\",]+"), r"\1***"),
)
_UNSEEN = r"\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # invisible, or turning a text round
_CONTROL = re.compile(rf"[\x00-\x09\x0b-\x1f\x7f-\x9f{_UNSEEN}\ud800-\udfff]")


def masked(text: str) -> str:
    """The text without passwords in addresses and without credentials of authorization headers."""
    for pattern, instead in _MASKED:
        text = pattern.sub(instead, text)
    return text


def printable(text: str) -> str:
    """The text with characters escaped that control, cannot be seen or turn a text round; line ends stay."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


@contextmanager
def telling(level: int = logging.WARNING, *, without: Collection[str] = ()) -> Iterator[None]:
    """Sends what is logged to stderr, or to journald behind it, until the end of the block.

    `level` is for our own loggers, others are heard from WARNING on, paramiko from CRITICAL on; `without` names loggers
    that are not heard at all.
    """
    root, ours, loud = logging.getLogger(), logging.getLogger(OURS), logging.getLogger(_LOUD)
    before = root.handlers[:], root.level, ours.level, loud.level
    handler = _handler()
    handler.addFilter(lambda record: record.name not in without)
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    ours.setLevel(level)
    loud.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        root.handlers[:], level_of_root, level_of_ours, level_of_loud = before
        root.setLevel(level_of_root)
        ours.setLevel(level_of_ours)
        loud.setLevel(level_of_loud)
        handler.close()


def _handler() -> logging.Handler:
    if _journald_behind_stderr():
        try:
            return JournaldHandler()
        except OSError:  # its socket cannot be reached from here: lines reach it through stderr all the same
            pass
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    return handler


def _journald_behind_stderr() -> bool:
    """Whether stderr is the stream systemd connected to journald (systemd.exec(5), JOURNAL_STREAM)."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(sys.stderr.fileno())
        return (found.st_dev, found.st_ino) == (int(device), int(inode))
    except (OSError, ValueError):
        return False


class LineFormatter(logging.Formatter):
    """`2026-11-23 07:42:00Z warning text`; further lines of a text are indented."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback behind it where there is one."""
        moment = datetime.fromtimestamp(record.created, UTC)
        text = printable(masked("\n".join(filter(None, (record.getMessage(), _traceback(record))))))
        return f"{moment:%Y-%m-%d %H:%M:%S}Z {record.levelname.lower():<8} {text}".replace("\n", "\n  ")


class JournaldHandler(logging.Handler):
    """Sends records to journald with fields of their own: `journalctl -u cegid-daemon CEGID_ROUTE=inventory`."""

    def __init__(self, socket_path: str | None = None) -> None:
        from logging_journald import JournaldTransport

        super().__init__()
        self._transport = JournaldTransport(socket_path)

    def emit(self, record: logging.LogRecord) -> None:
        """Sends one record; where journald does not take it, the line goes to stderr."""
        try:
            self._transport.send(fields_of(record))
        except OSError:
            sys.stderr.write(LineFormatter().format(record) + "\n")

    def close(self) -> None:
        """Ends the connection."""
        self._transport.socket.close()
        super().close()


def fields_of(record: logging.LogRecord) -> list[tuple[str, Any]]:
    """A record as fields of journald."""
    fields: list[tuple[str, Any]] = [
        ("MESSAGE", _safe(record.getMessage())),
        ("PRIORITY", next((priority for level, priority in _PRIORITIES if record.levelno >= level), _DEBUG)),
        ("SYSLOG_IDENTIFIER", _IDENTIFIER),
        ("LOGGER", record.name),
        ("THREAD_NAME", record.threadName),
        ("CODE_FILE", record.pathname),
        ("CODE_LINE", record.lineno),
        ("CODE_FUNC", record.funcName),
    ]
    fields += [(name, _safe(str(getattr(record, key)))) for key, name in _ABOUT.items() if hasattr(record, key)]
    if told := _traceback(record):
        fields.append(("TRACEBACK", _safe(told)))
    return fields


def _safe(text: str) -> str:
    return printable(masked(text))


def _traceback(record: logging.LogRecord) -> str:
    return "".join(traceback.format_exception(*record.exc_info)).rstrip("\n") if record.exc_info else ""
