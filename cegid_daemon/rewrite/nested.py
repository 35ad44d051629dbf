"""A field whose XML element holds elements of its own: it may be there, and may not be read.

Its text would be cut at the first of them, so that `<Physical><Value>12</Value></Physical>` counted 0. Owns the fault
that whoever reads it gets.
"""

from __future__ import annotations

from typing import Any, NoReturn

from cegid_daemon.errors import NOTHING, BadInput, Place


class NestedText(str):
    """The value of such a field: every use of it as a text or number raises `BadInput`."""

    __slots__ = ("field", "line", "record")

    field: str
    line: int
    record: int

    def __new__(cls, field: str, line: int, record: int) -> NestedText:
        made = super().__new__(cls)
        made.field, made.line, made.record = field, line, record
        return made

    def refuse(self, *_: Any, **__: Any) -> NoReturn:
        """Raises the fault of reading it."""
        raise BadInput(
            f"the field {self.field} holds elements, and is read as one text",
            where=Place(line=self.line, record=self.record, field=self.field),
            why="its text would be cut at the first of them, and a number would change in silence",
            remedy="Name the element inside it in the layout or template (r['FIELD/ELEMENT']), or write text = \"all\" "
            "in the layout, which takes all the text inside it.",
        ).quoting(NOTHING)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, NestedText):
            return (self.field, self.line, self.record) == (other.field, other.line, other.record)
        if isinstance(other, str):
            self.refuse()
        return NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return self.refuse()

    def __reduce__(self) -> tuple[Any, ...]:
        return NestedText, (self.field, self.line, self.record)


_OPERATORS = "str bool len iter contains getitem add radd mod rmod mul rmul lt le gt ge format"
for _name in (*_OPERATORS.split(), *(name for name in vars(str) if not name.startswith("_"))):
    setattr(NestedText, _name if hasattr(str, _name) else f"__{_name}__", NestedText.refuse)
