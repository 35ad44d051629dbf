"""What an alert's text becomes on its way to a mail, a chat or a webhook, so that none of it is taken for markup.

File names, fields and a receiver's words come from outside: to a person they are text, whatever a channel makes of its
text otherwise. Owns which channel needs what. Escaping is the library's (Apprise) where it knows how; the services it
sends plain text to, and which read markup in it all the same, get it escaped here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cegid_daemon.logs import printable

if TYPE_CHECKING:
    from apprise import NotifyFormat

LONGEST_LINE = 1_000  # characters of one trouble

_MAILS = frozenset({
    "brevo", "email", "groundmail", "mailersend", "mailgun", "office365", "postmark", "resend", "sendgrid", "sendpulse",
    "ses", "smtp2go", "sparkpost",
})  # fmt: skip
_EXACT = _MAILS | {
    "custom_form",
    "custom_json",
    "custom_xml",
    "gotify",
    "mqtt",
    "ntfy",
    "pushover",
    "rsyslog",
    "syslog",
}
"""Services that nobody can be mentioned in: mails, webhooks, pushes. They are given the text as it is."""

_READ_MARKUP = frozenset({"discord", "fluxer", "guilded", "kook", "mattermost", "nextcloudtalk", "revolt", "ryver"})
"""Services that read Markdown in what the library sends them as plain text."""

_READ_TAGS = frozenset({"feishu", "lark", "synology"})
"""Services that read tags in plain text, `<at user_id="all">` or `<address|words>`, and know no way to escape one."""

_MARKUP = re.compile(r"[\\`*_\[\]()!|~<>#]")
_MENTION = re.compile(r"@(?=\S)")
_LINK = re.compile(r"\](?=\()")
_TAG = re.compile(r"<(?=\S)")
_JOINER = "\u2060"  # cannot be seen; what stands on both sides of it is not one word to a chat


def as_line(text: str) -> str:
    """A trouble on one line: characters that cannot be seen, or turn a text round, are shown by their numbers."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…"


def send(service: Any, title: str, text: str) -> bool:
    """Sends through one service of the library; whether it took it."""
    from apprise import Apprise, NotifyFormat

    name = type(service).__module__.split(".")[2]
    service.notify_format = NotifyFormat.TEXT if name in _MAILS else _format(type(service).notify_format)
    one = Apprise()
    return bool(one.add(service)) and bool(
        one.notify(body=harmless(name, text), title=as_line(title), body_format=NotifyFormat.TEXT)
    )


def _format(known: Any) -> NotifyFormat:
    """Plain text where a service takes it, else what the library escapes it for."""
    from apprise import NotifyFormat

    formats = known if isinstance(known, tuple) else (known,)
    wanted = (NotifyFormat.TEXT, NotifyFormat.HTML, NotifyFormat.MARKDOWN)
    return next((one for one in wanted if one in formats), NotifyFormat.TEXT)


def harmless(name: str, text: str) -> str:
    """A text that mentions nobody and marks nothing up where the service `name` shows it."""
    if name in _EXACT:
        return text
    if name in _READ_MARKUP:
        text = _MARKUP.sub(r"\\\g<0>", text)
    if name in _READ_TAGS:
        text = _TAG.sub(f"<{_JOINER}", text)
    return _LINK.sub(f"]{_JOINER}", _MENTION.sub(f"@{_JOINER}", text))
