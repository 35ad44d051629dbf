"""One owner of each source folder: its mark is made, minded and taken away; a second daemon takes nothing.

Owns what a mark means for a source of ours. Files of an owner whose names ours can never have are its own affair. A
folder that cannot be marked is worked with all the same, and that is told.
"""

from __future__ import annotations

from cegid_daemon.ownership.claims import FolderClaim, MarkedSource, address, folder_claims, look_into
from cegid_daemon.ownership.foreign_marks import ForeignMark, foreign_mark
from cegid_daemon.ownership.judging import Identification, judge
from cegid_daemon.ownership.old_marks import OldMarks
from cegid_daemon.ownership.owners import Owner

__all__ = [
    "FolderClaim", "ForeignMark", "Identification", "MarkedSource", "OldMarks", "Owner", "address", "folder_claims",
    "foreign_mark", "judge", "look_into",
]  # fmt: skip
