"""Faults of a file as a route with `redact` may tell them: what and where, and no value that may be a masked one."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from cegid_daemon.errors import (
    ANYTHING,
    FIELD_VALUE,
    NOTHING,
    BadInput,
    BadOutput,
    LimitExceeded,
    MessageError,
    Place,
    TemplateFault,
)
from cegid_daemon.rewrite import layouts
from cegid_daemon.rewrite.expressions import compile_number
from cegid_daemon.rewrite.masking import tellable
from cegid_daemon.rewrite.masking.faults import NOT_SHOWN
from cegid_daemon.rewrite.recipe import Field, Layout, Recipe
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.tally import Tally

MARK = "Xq7"
REDACT = ("MAIL", "@mail")


def recipe(**layout: Any) -> Recipe:
    kind = layout.pop("kind", "delimited")
    return Recipe(title="t", layout=Layout("l", kind, **layout), templates=None, output=None)  # type: ignore[arg-type]


def fault_of(made: Recipe, content: str) -> MessageError:
    with pytest.raises(MessageError) as caught:
        list(layouts.read(made.layout, lambda: [content.encode()], Tally()))
    return caught.value


BROKEN = {
    "a row with too many columns": (recipe(), f"MAIL;A\n{MARK};1;2\n"),
    "titles that are values": (recipe(), f"{MARK};{MARK}\n1;2\n"),
    "a record where a title is skipped": (recipe(columns=("MAIL", "N"), header=True), f"{MARK};123456\nabc;654321\n"),
    "a line without its head": (
        recipe(kind="fixed", head="STK", fields=(Field("MAIL", 1, 9), Field("N", 10, 3))), f"{MARK}456789012\n"
    ),
    "an unknown record type": (recipe(kind="records", types={"CCM": ("MAIL",)}), f"{MARK};1\n"),
    "malformed XML": (recipe(kind="xml", record="R"), f"<A><R><MAIL>a<{MARK}@x</MAIL></R></A>"),
    "an entity": (recipe(kind="xml", record="R"), f"<A><R><MAIL>&{MARK};</MAIL></R></A>"),
    "a quoted row": (recipe(quote='"'), f'MAIL;A\n"{MARK}"{MARK};1\n'),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_told_without_what_stands_in_it(name):
    made, content = BROKEN[name]
    told = str(tellable(fault_of(made, content), made, REDACT))
    assert MARK not in told
    assert len(told) > 20


def no_number(field: str, value: str, expression: str) -> BadInput:
    with pytest.raises(BadInput) as caught:
        compile_number(expression, Layout("l", "delimited"))(Record({field: value, "MAIL": "1"}))
    return caught.value


def test_a_value_of_a_field_that_is_not_masked_is_quoted():
    error = no_number("STOCK", "many", "r.STOCK")
    assert "'many'" in str(tellable(error, recipe(), REDACT))


@pytest.mark.parametrize(
    ("field", "expression"),
    [("MAIL", "r.MAIL"), ("STOCK", "(r.STOCK ~ r.MAIL) * 1"), ("text", "r.text"), ("2", "r['2']")],
)
def test_a_value_that_is_masked_or_joined_with_one_is_not(field, expression):
    with pytest.raises(BadInput) as caught:
        compile_number(expression, Layout("l", "delimited"))(Record({"STOCK": "1", "MAIL": MARK, field: MARK}))
    told = tellable(caught.value, recipe(), REDACT)
    assert MARK not in str(told)
    assert told.why == NOT_SHOWN


@pytest.mark.parametrize("field", ["Customer/MAIL[2]", "MAIL/Work", "Order/@mail", "{urn:x}MAIL", "A, MAIL"])
def test_a_masked_field_is_known_by_its_path(field):
    error = BadInput("a value is no number", where=Place(field=field), why=MARK).quoting(FIELD_VALUE)
    assert MARK not in str(tellable(error, recipe(), REDACT))


def test_a_key_that_is_made_of_a_masked_field_is_masked():
    error = TemplateFault("a value is no EAN", where=Place(field="sku"), why=MARK).quoting(FIELD_VALUE)
    assert MARK in str(tellable(error, recipe(sku="r.CODE"), REDACT))
    assert MARK not in str(tellable(error, recipe(sku="r.MAIL[:5]"), REDACT))


def test_nothing_changes_for_a_route_that_masks_nothing():
    error = BadInput(f"{MARK} is wrong", why=MARK)
    assert tellable(error, recipe(), ()) is error


def test_what_an_error_does_not_say_of_itself_may_be_anything():
    for kind in (MessageError, BadInput, BadOutput, TemplateFault):
        assert kind("x").quotes == ANYTHING
    assert LimitExceeded("x").quotes == NOTHING


def test_what_an_error_quotes_comes_out_of_the_worker_with_it():
    error = BadInput("what", where=Place(line=3), why="why", remedy="remedy").quoting(FIELD_VALUE, "less")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.quotes, again.unquoted) == (str(error), FIELD_VALUE, "less")
