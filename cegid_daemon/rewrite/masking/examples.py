"""The texts a coverage quotes (places of remarks, skipped lines), as far as the route lets them be kept."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from cegid_daemon.coverage import Coverage, RemarkPlace
from cegid_daemon.rewrite.buffers import IGNORED
from cegid_daemon.rewrite.masking.fields import Fields, starred
from cegid_daemon.rewrite.remarks import NO_NUMBER

_KEYS = ("sku", "product")
_IGNORED = re.compile(rf"(line [0-9]+: ).*{re.escape(IGNORED)}", re.DOTALL)  # a note that quotes key and value
_LINES = ("lead", "title row", "trailer", "")  # "fields" whose value is a piece of the file itself


def masked_examples(
    coverage: Coverage, fields: Fields, *, kept: bool, keys_told: bool, buffers_told: bool = False
) -> Coverage:
    """The coverage without what may not be shown.

    `fields` are masked; with `keys_told` keys are made of one of them, with `buffers_told` the buffers that a file
    sets; lines of the file are masked whole where any field is. Not `kept`: the log keeps nothing of the message, so
    no text of the file stays.
    """
    any_masked = bool(fields.names or fields.attributes)

    def shown(kind: str, place: RemarkPlace) -> RemarkPlace:
        name = place.field.rpartition("/")[2]
        uncertain = name in _LINES or kind == NO_NUMBER  # a template may have put the value into a variable
        hidden = fields.masks(place.field) or (name in _KEYS and keys_told) or (uncertain and any_masked)
        return replace(place, value="" if not kept else starred(place.value)) if hidden or not kept else place

    remarks = tuple(
        replace(one, places=tuple(shown(one.kind, place) for place in one.places)) for one in coverage.remarks
    )
    skipped = tuple(
        replace(line, text=starred(line.text) if any_masked else line.text) for line in coverage.skipped if kept
    )
    notes = _unquoted(coverage.notes) if keys_told or buffers_told or not kept else coverage.notes
    return replace(coverage, remarks=remarks, skipped=skipped, notes=notes)


def _unquoted(notes: Mapping[str, int]) -> Mapping[str, int]:
    """The notes; those on buffers that are ignored say the line alone."""
    found: Counter[str] = Counter()
    for note, times in notes.items():
        found[_IGNORED.sub(rf"\g<1>{IGNORED}", note)] += times
    return found
