"""The owner's mark of a folder: a dot file on this machine, a folder with a file in it on a server.

Owns how the mark is read, made exclusively, changed and removed. Does not know what stands in it.
"""

from __future__ import annotations

from contextlib import suppress

from cegid_daemon.endpoints.protocol import Endpoint, Swapping
from cegid_daemon.errors import Absent, Exists, Place, SourceChanged, Transient
from cegid_daemon.masks import OWNER_MARK
from cegid_daemon.model import Listed

_MAX_BYTES = 1 << 16  # of a mark; ours have some hundred
_FILE = "owner.json"  # in the folder that is the mark on a server: a folder can be made exclusively by any protocol


class OwnerMark:
    """The mark of one folder."""

    def __init__(self, endpoint: Endpoint, folder: str) -> None:
        self._endpoint = endpoint
        self._folder = folder
        self._remote = endpoint.abilities.remote
        self._inside = f"{folder}/{OWNER_MARK}".lstrip("/")

    def read(self) -> bytes | None:
        """What stands in it; None: there is no mark, blank: it is just being made. Raises EndpointError."""
        where, name = (self._inside, _FILE) if self._remote else (self._folder, OWNER_MARK)
        try:
            with self._endpoint.read(where, name) as reading:
                if reading.identity.size > _MAX_BYTES:
                    raise Transient(
                        "the owner's mark is larger than any of ours",
                        where=Place(file=f"{self._endpoint.where}/{self._inside}".rstrip("/")),
                        why=f"it has {reading.identity.size} bytes",
                        remedy="Remove it (`claim` makes a new one) if no daemon takes files from this folder.",
                    )
                return b"".join(reading)
        except Absent:
            return b"" if self._remote and self.look() is not None else None
        except SourceChanged as error:
            raise Transient("the owner's mark cannot be read", why=str(error)) from error

    def look(self) -> Listed | None:
        """The mark as it lies there. Raises EndpointError."""
        return self._endpoint.stat(self._folder, OWNER_MARK)

    def swap(self, old: bytes | None, new: bytes | None) -> bool:
        """Makes, changes or removes it; False if it is not `old` any more. Raises EndpointError.

        On a server only making it is exclusive; between a look and a change another one may come.
        """
        if not self._remote:
            assert isinstance(self._endpoint, Swapping)
            return self._endpoint.swap(self._folder, OWNER_MARK, old, new)
        if self.read() != old:
            return False
        if new is None:
            with suppress(Absent):
                self._endpoint.remove(self._inside, _FILE)
            self._endpoint.remove_folder(self._inside)
            return True
        if old is None:
            try:
                self._endpoint.make_new_folder(self._inside)
            except Exists:
                return False
        self._endpoint.put(self._inside, _FILE, [new])
        return True
