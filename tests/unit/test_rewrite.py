"""A message rewritten end to end: parts, names, coverage, unique keys, search keys, and faults with their place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

import pytest

from cegid_daemon.errors import BadInput, BadOutput, ConfigurationError, TemplateFault
from cegid_daemon.rewrite import rewrite
from cegid_daemon.rewrite.ports import Job, Rewritten
from cegid_daemon.rewrite.recipe import Layout, Output, Recipe, Stocks, Templates
from cegid_daemon.rewrite.rewriting import UNPRINTED

NOW = datetime(2026, 11, 23, 7, 42, tzinfo=UTC)
ROWS = "{% for r in records %}\n{{ r.CODE }};{{ r.stock }}\n{% endfor %}\n"
LAYOUT = Layout("y2", "delimited", sku="r.CODE", stock="r.QTE")


class BufferBook:
    """A book of a store buffer and of keys that were delivered."""

    def __init__(self, store: str | None = None, owned: Collection[str] = ()) -> None:
        self.store = store
        self.owned = owned
        self.asked: list[int] = []

    def store_buffer(self) -> str | None:
        return self.store

    def variations(self, skus: Sequence[str]) -> Mapping[str, str]:
        return {}

    def products(self, products: Collection[str]) -> Mapping[str, str]:
        return {}

    def catalogue(self, skus: Sequence[str]) -> Mapping[str, str]:
        return {}

    def exported(self, keys: Sequence[str]) -> Collection[str]:
        self.asked.append(len(keys))
        return [key for key in keys if key in self.owned]


class Shelf:
    """A sink that keeps parts as bytes, and knows whether each was closed."""

    def __init__(self) -> None:
        self.parts: dict[int, bytes] = {}
        self.closed: list[int] = []
        self.members: list[tuple[str, str]] = []
        self.buffers: list[tuple[str, str, str, int]] = []

    def part(self, no: int) -> Leaf:
        self.parts[no] = b""
        return Leaf(self, no)

    def belongs(self, sku: str, product: str) -> None:
        self.members.append((sku, product))

    def buffer(self, level: str, key: str, value: str, line: int) -> None:
        self.buffers.append((level, key, value, line))


class Leaf:
    """One part on the shelf."""

    def __init__(self, shelf: Shelf, no: int) -> None:
        self.shelf, self.no = shelf, no

    def write(self, chunk: bytes) -> None:
        self.shelf.parts[self.no] += chunk

    def close(self) -> None:
        self.shelf.closed.append(self.no)


def recipe(text=ROWS, layout=LAYOUT, name="{{ source.stem }}.txt", main="a.csv.j2", unique="", **output) -> Recipe:
    return Recipe(layout, Templates(main, {main: text}), Output(**output), name, unique)


def run(made_with: Recipe, content: str | bytes, book: BufferBook | None = None) -> tuple[Rewritten, Shelf]:
    shelf = Shelf()
    job = Job(5, "Inventory Import", NOW, "S1.csv", "in", "inventory", "main", NOW)
    raw = content.encode() if isinstance(content, str) else content
    made = rewrite(made_with, job, lambda: iter([raw]), book or BufferBook(), shelf)
    assert made.coverage.explained
    return made, shelf


def file_of(*codes: str) -> str:
    return "CODE;QTE\n" + "".join(f"{code};9\n" for code in codes)


def test_a_stock_file_comes_out_buffered_in_one_part():
    made, shelf = run(recipe(), file_of("0012", "A3"), BufferBook("2"))
    assert shelf.parts == {1: b"0012;7\nA3;7\n"}
    (part,) = made.parts
    assert (part.no, part.name, part.records, part.size) == (1, "S1.txt", 2, 12)
    assert part.sha256 == hashlib.sha256(shelf.parts[1]).hexdigest()
    assert (made.coverage.read, made.coverage.sent) == (2, 2)
    assert made.keys == ("0012", "A3")
    assert shelf.closed == [1]


@pytest.mark.parametrize("content", ["", "CODE;QTE\n"])
def test_no_record_means_nothing_to_send(content):
    made, shelf = run(recipe(), content)
    assert made.parts == () and shelf.parts == {}


def test_batch_makes_a_part_for_so_many_records():
    made, shelf = run(recipe(name="S-{{ part }}.txt", batch=2), file_of("a", "b", "c", "d", "e"))
    assert shelf.parts == {1: b"a;9\nb;9\n", 2: b"c;9\nd;9\n", 3: b"e;9\n"}
    assert [(part.name, part.records) for part in made.parts] == [("S-1.txt", 2), ("S-2.txt", 2), ("S-3.txt", 1)]


def test_a_full_last_batch_makes_no_blank_part():
    made, _ = run(recipe(name="S-{{ part }}.txt", batch=2), file_of("a", "b", "c", "d"))
    assert [part.records for part in made.parts] == [2, 2]


def test_two_parts_of_one_name_are_refused():
    with pytest.raises(TemplateFault, match=r"part 2 would have the name of an earlier part, 'S1\.txt'"):
        run(recipe(batch=1), file_of("a", "b"))


def test_records_pass_once():
    _, shelf = run(recipe(ROWS + "--\n" + ROWS), file_of("a", "b"))
    assert shelf.parts == {1: b"a;9\nb;9\n--\n"}


@pytest.mark.parametrize("batch", [0, 2])
def test_what_the_template_does_not_read_is_accounted_for(batch):
    text = "{% for r in records %}{{ r.CODE }}{% break %}{% endfor %}"
    made, _ = run(recipe(text, name="{{ part }}", batch=batch), file_of("a", "b", "c", "d"))
    assert made.coverage.sent == (2 if batch else 1)
    assert made.coverage.left_out == {"not used by the template": 2 if batch else 3}


def test_what_was_delivered_already_or_comes_again_is_left_out():
    book = BufferBook(owned={"b"})
    made, shelf = run(recipe(unique="r.CODE"), file_of("a", "b", "a", "c"), book)
    assert shelf.parts == {1: b"a;9\nc;9\n"}
    assert made.unique_keys == ("a", "c")
    assert made.coverage.left_out == {"already delivered": 1, "repeated in this file": 1}


def test_a_file_of_records_delivered_already_opens_no_part():
    made, shelf = run(recipe(unique="r.CODE"), file_of("a"), BufferBook(owned={"a"}))
    assert made.parts == () and shelf.parts == {}


def test_unique_keys_are_asked_for_in_blocks_of_a_thousand():
    book = BufferBook()
    made, _ = run(recipe(unique="r.CODE"), file_of(*(f"k{no}" for no in range(2500))), book)
    assert book.asked == [1000, 1000, 500]
    assert len(made.unique_keys) == 2500


def test_a_record_the_template_did_not_read_is_not_taken_for_delivered():
    template = "{% for r in records %}{{ r.CODE }}{% break %}{% endfor %}"
    made, _ = run(recipe(template, unique="r.CODE"), file_of("a", "b"))
    assert made.unique_keys == ("a",)


def test_a_record_the_template_did_not_print_is_not_taken_for_delivered():
    template = "{% for r in records if r.CODE != 'a' %}{{ r.CODE }}{% endfor %}"
    made, _ = run(recipe(template, unique="r.CODE"), file_of("a", "b"))
    assert made.unique_keys == ("b",)
    assert (made.coverage.sent, made.coverage.left_out) == (1, {UNPRINTED: 1})


@pytest.mark.parametrize("unique", ["r.GONE", "r.CODE ~ '-' ~ r.GONE"])
def test_a_unique_key_of_a_column_that_is_not_there_fails_the_file(unique):
    with pytest.raises(BadInput, match="there is no column GONE"):
        run(recipe(unique=unique), file_of("a"))


def test_a_unique_key_may_be_the_sku():
    made, _ = run(recipe(unique="r.sku"), file_of("a", "b", "a"))
    assert made.unique_keys == ("a", "b")


def test_a_blank_unique_key_fails_the_file():
    with pytest.raises(BadInput, match="the unique key is blank") as caught:
        run(recipe(unique="r.CODE", layout=Layout("x", "delimited")), "CODE;QTE\na;1\n;2\n")
    assert (caught.value.where.record, caught.value.where.file) == (2, "S1.csv")


def test_beyond_five_thousand_search_keys_none_are_kept():
    assert len(run(recipe(), file_of(*map(str, range(5000))))[0].keys) == 5000
    assert run(recipe(), file_of(*map(str, range(5001))))[0].keys == ()


def test_keys_of_inner_records_are_search_keys():
    layout = Layout("x", "xml", record="P", product="r.Ref", stocks=(Stocks("V", "r.Code", "r.Stock"),))
    text = "{% for r in records %}{% for v in r.each('V') %}{{ v.sku }}={{ v.stock }} {% endfor %}{% endfor %}"
    content = "<F><P><Ref>p</Ref><V><Code>a</Code><Stock>5</Stock></V><V><Code>b</Code><Stock>1</Stock></V></P></F>"
    made, shelf = run(recipe(text, layout), content, BufferBook("2"))
    assert shelf.parts == {1: b"a=3 b=0 "}
    assert set(made.keys) == {"p", "a", "b"}


def test_a_layout_with_a_buffer_feeds_the_book_and_sends_nothing():
    layout = Layout("b", "delimited", sku="r.CODE", product="r.GROUP", buffer="r.BUF")
    fed = Recipe(layout, None)
    made, shelf = run(fed, "GROUP;CODE;BUF\nG;a;2\nG;;5\n")
    assert [entry[:3] for entry in shelf.buffers] == [("variation", "a", "2"), ("product", "G", "5")]
    assert made.parts == () and shelf.parts == {}


def test_values_that_define_no_buffer_are_told_with_their_line():
    layout = Layout("b", "delimited", sku="r.CODE", product="r.GROUP", buffer="r.BUF")
    made, _ = run(Recipe(layout, None), "GROUP;CODE;BUF\nG;a;2,0\nG;b;\nG;c;0\nG;;abc\n")
    unset = "not zero or a positive whole number: it unsets the buffer"
    assert made.coverage.notes == {f"line 2: a: '2,0': {unset}": 1, f"line 5: G: 'abc': {unset}": 1}
    assert (made.coverage.sent, made.coverage.explained) == (4, True)


def test_a_file_of_nothing_but_such_values_is_told_in_bounded_room():
    layout = Layout("b", "delimited", sku="r.CODE", buffer="r.BUF")
    made, _ = run(Recipe(layout, None), "CODE;BUF\n" + "".join(f"{no};x\n" for no in range(2500)))
    assert len(made.coverage.notes) == 1001
    assert sum(made.coverage.notes.values()) == 2500


def test_a_recipe_with_neither_template_nor_buffer_is_refused():
    with pytest.raises(ConfigurationError, match="neither a template"):
        run(Recipe(LAYOUT, None), file_of("a"))


def test_filters_read_numbers_with_the_decimal_mark_of_the_layout_and_count_in_the_notes():
    text = "{% for r in records %}{{ r.QTE|decimal(2) }};{{ r.CODE|flat(';')|fit(3, cut=true) }}{% endfor %}"
    made, shelf = run(recipe(text, Layout("x", "delimited", decimal=",")), "CODE;QTE\na\tbcd;1,5\n")
    assert shelf.parts == {1: b"1.50;a b"}
    assert made.coverage.notes == {"flattened: CODE": 1, "cut to 3: CODE": 1}


def test_transliterated_characters_are_notes():
    made, shelf = run(recipe(encoding="cp1252", transliterate=True), file_of("Łódź"))
    assert shelf.parts == {1: "Lódz;9\n".encode("cp1252")}
    assert made.coverage.notes == {"transliterated": 2}


def test_a_character_outside_the_encoding_names_record_and_field_far_into_a_file():
    codes = [f"c{no}" for no in range(3000)]
    codes[2345] = "Ω"
    with pytest.raises(BadOutput, match="cannot be written in cp1252") as caught:
        run(recipe(encoding="cp1252"), file_of(*codes))
    assert (caught.value.where.record, caught.value.where.field) == (2346, "CODE")


def test_a_refused_part_is_closed_and_its_error_names_the_route():
    shelf = Shelf()
    job = Job(5, "Inventory Import", NOW, "S1.csv", "in", "inventory", "main", NOW)
    bad = recipe("<a>{% for r in records %}{{ r.CODE }}{% endfor %}", main="a.xml.j2", check="xml")
    with pytest.raises(BadOutput, match="not well-formed") as caught:
        rewrite(bad, job, lambda: iter([file_of("a").encode()]), BufferBook(), shelf)
    assert (caught.value.where.route, caught.value.where.file) == ("inventory", "a.xml.j2")
    assert shelf.closed == [1]


def test_a_rewriting_with_the_stored_recipe_gives_the_same_bytes():
    made_with = recipe(check="columns", separator=";")
    from cegid_daemon.rewrite.recipe import recipe_from_json

    stored = recipe_from_json(json.loads(json.dumps(made_with.as_json())), made_with.texts().__getitem__)
    again = partial(run, content=file_of("a", "b"))
    assert stored == made_with
    assert again(stored)[0] == again(made_with)[0]
