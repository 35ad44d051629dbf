"""Which files of a watched folder are being written, as far as events tell: written since a writer last closed them.

Owns the bookkeeping of one folder, in the order in which events come. Pure: knows no kernel and no thread; a single
thread adds events, any thread may ask.
"""

from __future__ import annotations


class OpenFiles:
    """The files of one folder that are open for writing. What was written before the first event is not known."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._moving: tuple[int, bool] = (0, False)  # the rename under way, and whether its file is being written

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def written(self, name: str) -> None:
        """Somebody wrote to the file."""
        self._names.add(name)

    def closed(self, name: str) -> None:
        """A writer closed the file; another one that still writes will be heard of."""
        self._names.discard(name)

    def moved_from(self, name: str, cookie: int) -> None:
        """The file lost its name."""
        self._moving = (cookie, name in self._names)
        self._names.discard(name)

    def moved_to(self, name: str, cookie: int) -> None:
        """A file got this name, from this folder (`cookie` says which) or from another one."""
        self._names.discard(name)
        if self._moving == (cookie, True):
            self._names.add(name)

    def removed(self, name: str) -> None:
        """The file is gone."""
        self._names.discard(name)

    def forget(self) -> None:
        """Events were lost: nothing is known any more."""
        self._names.clear()
