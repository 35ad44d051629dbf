"""Masking changes the named fields and nothing else, or raises."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from cegid_daemon.errors import BadInput
from cegid_daemon.rewrite import masking
from cegid_daemon.rewrite.masking import Fields, Values
from cegid_daemon.rewrite.masking.values import Index
from cegid_daemon.rewrite.recipe import Field, Layout, Output, Proof, Recipe, Templates

CSV = Layout("stock", "delimited")
QUOTED = Layout("quoted", "delimited", quote='"')
XML = Layout("orders", "xml", record="Order")


def mask(layout: Layout, content: bytes, *names: str, values: Values | None = None, cut: int = 7) -> bytes:
    """The file masked, read in chunks of `cut` bytes."""
    chunks = [content[at : at + cut] for at in range(0, len(content), cut)]
    return b"".join(masking.received(layout, Fields.of(names), lambda: chunks, values or Values()))


def made(content: bytes, values: Iterable[str], *names: str, output: Output | None = None) -> bytes:
    """A part masked."""
    known = Values()
    for value in values:
        known.add(value)
    template = "a.asc.j2" if output is None or output.check == "none" else "a.xml.j2"
    recipe = Recipe(CSV, Templates(template, {}), output or Output())
    return b"".join(masking.made(recipe, Fields.of(names), known, lambda: [content]))


# -- text layouts ---------------------------------------------------------------------------------------------------


def test_a_column_is_found_by_the_title_row_and_blanks_line_ends_and_other_cells_stay():
    before = b"SKU;EMAIL;QTY\r\n1; a@b.fr ;2\r\n\r\n3;;4\n5;x;6"
    assert mask(CSV, before, "EMAIL") == b"SKU;EMAIL;QTY\r\n1; ****** ;2\r\n\r\n3;;4\n5;*;6"


def test_a_column_is_found_by_the_layouts_own_names_behind_lead_lines_and_before_the_trailer():
    layout = Layout("l", "delimited", columns=("SKU", "NAME"), header=False, lead=1, proof=Proof(trailer="END"))
    assert mask(layout, b"SKU;NAME\n1;Jean Dupont\nEND;1\n", "NAME") == b"SKU;NAME\n1;***********\nEND;1\n"


def test_quotes_stay_around_what_they_held_separators_and_line_breaks_included():
    before = b'"SKU";NAME\r\n1;"Du;p\r\nont ""X"""\r\n2;Bob"by\r\n"3";""\r\n'
    assert mask(QUOTED, before, "NAME") == b'"SKU";NAME\r\n1;"*************"\r\n2;******\r\n"3";""\r\n'


def test_fixed_fields_are_masked_by_place_and_short_lines_as_far_as_they_go():
    layout = Layout("l", "fixed", fields=(Field("SKU", 1, 4), Field("NAME", 5, 8), Field("CITY", 13, 5)))
    assert mask(layout, b"0001Jean D  PARIS\r\n0002Bo", "NAME") == b"0001******  PARIS\r\n0002**"


def test_record_types_have_their_own_columns():
    layout = Layout("l", "records", types={"CCM": ("ID", "NAME"), "ADR": ("NAME", "STREET")})
    before = b"CCM;7;Dupont\nADR;Dupont;12 rue X\n"
    assert mask(layout, before, "NAME") == b"CCM;7;******\nADR;******;12 rue X\n"
    assert mask(layout, before, "STREET") == b"CCM;7;Dupont\nADR;Dupont;********\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])
def test_the_encoding_and_its_mark_are_kept_and_a_character_is_one_star(encoding):
    before = "SKU;NAME;NOTE\n" + "1;Hélène;été €\n" * 3
    assert mask(CSV, before.encode(encoding), "NAME").decode(encoding) == before.replace("Hélène", "******")


@pytest.mark.parametrize(
    ("layout", "content"),
    [
        (CSV, b"SKU;NAME\n1;Jean;Dupont\n"),
        (CSV, b"SKU;NAME\n1\n"),
        (QUOTED, b'SKU;NAME\n1;"Jean\n'),
        (Layout("l", "records", types={"CCM": ("NAME",)}), b"XXX;Jean\n"),
        (Layout("l", "delimited", delimiter="*"), b"SKU*NAME\n1*Jean\n"),
        (Layout("l", "delimited", encoding="utf-7"), b"SKU;NAME\n1;+AGEAYg-\n"),
    ],
)
def test_a_file_in_which_the_field_may_stand_elsewhere_is_refused(layout, content):
    with pytest.raises(BadInput):
        mask(layout, content, "NAME")


# -- XML ------------------------------------------------------------------------------------------------------------

ORDER = """<?xml version="1.0" encoding="{encoding}"?>
<!-- Jean <Email>no</Email> -->
<a:Orders xmlns:a='u'>
 <Order id = "7"   ref='Jean'><a:Email  kind="x>y">jean@b.fr</a:Email ><Name> Du&amp;p&#233;t </Name><Empty/>
  <Customer vip="yes" xmlns:b="v"><First>Éva</First><!-- Eva --><b:Last><![CDATA[D<x>]]></b:Last></Customer>
 </Order>
</a:Orders>
"""


@pytest.mark.parametrize("encoding", ["utf-8", "iso-8859-1", "utf-16"])
def test_elements_are_masked_by_local_name_and_the_rest_stays_byte_for_byte(encoding):
    before = ORDER.format(encoding=encoding)
    after = before.replace("x>y", "***").replace("jean@b.fr", "*" * 9).replace("Du&amp;p&#233;t", "*" * 6)
    assert mask(XML, before.encode(encoding), "Email", "Name") == after.encode(encoding)


def test_an_element_is_masked_with_all_it_holds():
    before = ORDER.format(encoding="utf-8")
    after = before.replace('"yes"', '"***"').replace("Éva", "***").replace("<!-- Eva -->", "<!-- *** -->")
    assert mask(XML, before.encode(), "Customer") == after.replace("[D<x>]", "[****]").encode()


def test_attributes_are_masked_by_name_and_of_paths_the_last_name_counts():
    before = b"<O><Order id='7' ref=\"J&lt;n\"><C><Email>a</Email></C></Order></O>"
    assert mask(XML, before, "@ref") == before.replace(b"J&lt;n", b"***")
    assert mask(XML, before, "Order/@id", "C/{u}Email") == before.replace(b"7", b"*").replace(b">a<", b">*<")


def test_an_xml_that_ends_too_early_or_has_a_dtd_is_refused():
    for content in (b"<O><Email>a", b"<O><Email>a</O", b"<!DOCTYPE O [<!ENTITY e 'x'>]><O>&e;</O>"):
        with pytest.raises(BadInput):
            mask(XML, content, "Email")


# -- what was made of it --------------------------------------------------------------------------------------------


def test_values_are_those_of_at_least_four_characters_without_blanks_and_unescaped():
    values = Values()
    mask(
        XML, b"<O><Order><Name> D&amp;pont </Name><Name>Bob</Name><City>Paris</City></Order></O>", "Name", values=values
    )
    index = values.index()
    assert (index.holds("D&pont"), index.holds("Bob"), index.holds("Paris")) == (True, False, False)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("CC;Jean Dupont;7", "CC;***********;7"),
        ("CC JEAN DUPONT   7", "CC ***********   7"),
        ("Jean Dupont-Durand, Jean", "***********-Durand, Jean"),
        ("Jean Dupontel", "Jean Dupontel"),
        ("xJean Dupont", "xJean Dupont"),
        ("tel. +33612345678.", "tel. ************."),
        ("+336123456789", "+336123456789"),
        ("rue X Paris", "*****" + " Paris"),
    ],
)
def test_values_are_masked_where_they_stand_as_words(text, masked):
    values = ["Jean Dupont", "+33612345678", "rue\r\nX"]
    assert made(text.encode(), values) == masked.encode()


def test_of_two_values_that_begin_alike_the_longer_one_is_masked():
    assert Index(["Jean", "Jean Dupont"]).mask("Jean Dupont Jean") == "*********** ****"


def test_a_part_in_xml_is_masked_by_its_own_elements_and_by_whole_texts_and_attributes():
    before = b'<r><T_MAIL>x</T_MAIL><N a="D&amp;pont">D&amp;pont </N><M>Mr D&amp;pont</M></r>'
    after = before.replace(b'"D&amp;pont"', b'"******"').replace(b">D&amp;pont <", b">****** <").replace(b">x<", b">*<")
    assert made(before, ["D&pont"], "T_MAIL", output=Output(check="xml")) == after


def test_what_an_output_spells_in_ascii_is_found():
    output = Output(encoding="ascii", transliterate=True)
    assert made(b"7;Helene Lodz;8", ["Hélène Łódź"], output=output) == b"7;***********;8"


def test_without_the_values_no_part_is_masked():
    values = Values(most=2)
    for value in ("aaaa", "bbbb", "cccc"):
        values.add(value)
    with pytest.raises(BadInput, match="too many"):
        b"".join(masking.made(Recipe(CSV, None), Fields.of(()), values, lambda: [b"x"]))


def test_keys_that_read_a_masked_field_are_told_from_those_that_do_not():
    recipe = Recipe(Layout("l", "delimited", sku="r.CODE", product="r.ART"), None, unique="r['Order/@id'] ~ r.EMAILS")
    assert [masking.tells(recipe, Fields.of([name])) for name in ("CODE", "ART", "@id", "EMAIL")] == [
        True, True, True, False,
    ]  # fmt: skip
