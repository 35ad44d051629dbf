"""Names that uploads have until they are renamed: `temporary` of a target, such as `.{id}.part` or `tmp/{id}`.

Owns what such a pattern may be, the names it gives, and how such a name is recognized later. Pure; lengths are bytes as
file systems count them.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

DIRECT = "none"  # no temporary name: uploads go straight under their final name
DEFAULT = ".{id}.part"
EXAMPLES = (DEFAULT, "up_{id}", "{id}.tmp", "tmp/{id}", DIRECT)
LONGEST = 255  # bytes of a name
_LONGEST_ID = 40  # bytes: instance, message and part
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_ID, _NAME = "{id}", "{name}"


def upload_id(instance: str, message: int, part: int) -> str:
    """What `{id}` stands for: no two parts of any two journals have the same."""
    return f"{instance}-{message}-{part}"


def pattern_fault(text: str) -> str:
    """Why `text` cannot be a pattern; blank if it can."""
    if text == DIRECT:
        return ""
    folder, _, name = text.rpartition("/")
    unknown = [found for found in _PLACEHOLDER.findall(text) if found not in ("id", "name")]
    faults = (
        ("it begins with '/': it is below the target's folder", text.startswith("/")),
        ("'..' and '.' lead to another folder", bool({"..", "."} & set(text.split("/")))),
        ("a part of its path is blank", "" in text.split("/")),
        ("it has a control character or a backslash", re.search(r"[\x00-\x1f\x7f\\]", text) is not None),
        (f"it knows no {{{unknown[0]}}}" if unknown else "", bool(unknown)),
        ("it has a brace that belongs to no placeholder", any(sign in _PLACEHOLDER.sub("", text) for sign in "{}")),
        ("its folder has a placeholder", "{" in folder),
        ("without {id} two uploads could have the same name", _ID not in name),
        ("it has {id} or {name} twice", text.count(_ID) > 1 or text.count(_NAME) > 1),
        ("a name begins or ends with a blank", any(part != part.strip() for part in text.split("/"))),
        (f"its names are longer than {LONGEST} bytes", _is_too_long(folder, name)),
    )
    return next((why for why, holds in faults if holds), "")


def _is_too_long(folder: str, name: str) -> bool:
    own = _size(_PLACEHOLDER.sub("", name)) + _LONGEST_ID + (1 if _NAME in name else 0)
    return own > LONGEST or any(_size(part) > LONGEST for part in folder.split("/"))


@dataclass(frozen=True, slots=True)
class TemporaryPattern:
    """A pattern without fault. Paths are relative to the target's folder."""

    text: str = DEFAULT

    @property
    def folder(self) -> str:
        """The sub-folder its names are in; blank for the target's folder itself."""
        return self.text.rpartition("/")[0]

    def path(self, upload: str, name: str) -> str:
        """The path of an upload that is to become `name`; blank where there is none. `{name}` is cut to what fits."""
        if self.text == DIRECT:
            return ""
        folder, slash, pattern = self.text.rpartition("/")
        room = LONGEST - _size(pattern.replace(_NAME, "").replace(_ID, upload))
        return folder + slash + pattern.replace(_ID, upload).replace(_NAME, cut(name, room))

    def upload_in(self, instance: str, name: str) -> tuple[int, int] | None:
        """Message and part of a name in its folder that this pattern gave; None if it is none of this instance's."""
        if self.text == DIRECT:
            return None
        known = {_ID: rf"{re.escape(instance)}-(\d{{1,19}})-(\d{{1,9}})", _NAME: ".*"}
        pieces = re.split(r"(\{id\}|\{name\})", self.text.rpartition("/")[2])
        found = re.fullmatch(
            "".join(known.get(piece, re.escape(piece)) for piece in pieces), name, re.ASCII | re.DOTALL
        )
        return (int(found[1]), int(found[2])) if found else None


def cut(text: str, limit: int) -> str:
    """The longest start of `text` within `limit` bytes, never half a character."""
    raw = os.fsencode(text)
    if len(raw) <= limit:
        return text
    return raw[:limit].decode("utf-8", "ignore") if _is_utf8(raw) else os.fsdecode(raw[:limit])


def _size(text: str) -> int:
    return len(os.fsencode(text))


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
