"""The checks refuse what is not fit to leave, with its place, however the bytes are cut into chunks."""

from __future__ import annotations

import pytest

from cegid_daemon.errors import BadOutput, ConfigurationError
from cegid_daemon.rewrite.checks import check, xml_schema
from cegid_daemon.rewrite.recipe import Output

SCHEMA = """
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:element name="Stock"><xs:complexType><xs:sequence>
  <xs:element name="Level" type="xs:int" maxOccurs="unbounded"/>
</xs:sequence></xs:complexType></xs:element></xs:schema>"""


def run(output: Output, content: bytes, codec: str = "utf-8", step: int = 7) -> None:
    checking = check(output, codec, "a.xml.j2")
    for at in range(0, len(content), step):
        checking.feed(content[at : at + step])
    checking.close()


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_well_formed_xml_passes_in_any_chunks(step):
    run(Output(check="xml"), "<a>\n<b x='1'>é</b></a>".encode(), step=step)


@pytest.mark.parametrize(
    ("content", "line", "why"),
    [
        (b"<a>\n<b></a>", 2, "tag mismatch"),
        (b"<a>", 1, "Premature end"),
        (b"<a>\n\n<x:b/></a>", 3, "prefix x"),
        (b"<a>&eacute;</a>", 1, "Entity"),
        (b"<a>\x01</a>", 1, "invalid Char"),
        (b"<a/><b/>", 1, "Extra content"),
        (b"<a>caf\xe9</a>", 1, ""),
    ],
)
def test_malformed_xml_is_refused_with_its_place(content, line, why):
    with pytest.raises(BadOutput, match="not well-formed") as caught:
        run(Output(check="xml"), content)
    assert (caught.value.where.file, caught.value.where.line) == ("a.xml.j2", line)
    assert why in caught.value.why


@pytest.mark.parametrize("content", [b"", b" \n "])
def test_empty_output_is_no_xml(content):
    with pytest.raises(BadOutput, match="empty"):
        run(Output(check="xml"), content)


def test_a_document_type_declaration_is_refused():
    with pytest.raises(BadOutput, match="document type"):
        run(Output(check="xml"), b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>")


@pytest.mark.parametrize(
    ("declaration", "codec", "good"),
    [
        ("", "utf-8", True),
        ("", "cp1252", False),
        ("<?xml version='1.0'?>", "utf-8", True),
        ("<?xml version='1.0' encoding='UTF-8'?>", "utf-8", True),
        ("<?xml version='1.0' encoding='UTF-8'?>", "cp1252", False),
        ("<?xml version='1.0' encoding='windows-1252'?>", "cp1252", True),
        ("<?xml version='1.0' encoding='ISO-8859-1'?>", "cp1252", False),
        ("<?xml version='1.0' encoding='nonsense'?>", "utf-8", False),
    ],
)
def test_the_declared_encoding_must_be_the_one_written(declaration, codec, good):
    content = f"{declaration}<a>é</a>".encode(codec)
    if good:
        run(Output(check="xml"), content, codec)
        return
    with pytest.raises(BadOutput, match="declares"):
        run(Output(check="xml"), content, codec)


@pytest.mark.parametrize("declared", ["UTF-16", "utf-16le"])
def test_utf_16_with_its_mark_may_be_declared_either_way(declared):
    content = f"\ufeff<?xml version='1.0' encoding='{declared}'?><a>é</a>".encode("utf-16-le")
    run(Output(check="xml"), content, "utf-16-le")
    wrong = "\ufeff<?xml version='1.0' encoding='utf-8'?><a>é</a>".encode("utf-16-le")
    with pytest.raises(BadOutput, match="declares utf-8, but is written in utf-16-le"):
        run(Output(check="xml"), wrong, "utf-16-le")


def test_a_schema_passes_what_is_valid_and_refuses_the_rest_near_its_line():
    output = Output(check="xsd", schema=SCHEMA, schema_name="stock.xsd")
    run(output, b"<Stock>" + b"<Level>1</Level>\n" * 500 + b"</Stock>", step=10_000)
    with pytest.raises(BadOutput, match="not valid under its schema") as caught:
        run(output, b"<Stock>" + b"<Level>1</Level>\n" * 500 + b"<Level>few</Level></Stock>", step=10_000)
    assert "'few'" in caught.value.why
    assert 460 <= caught.value.where.line <= 501


def test_a_schema_that_cannot_stand_alone_or_be_read_is_refused():
    elsewhere = (
        '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:include schemaLocation="/etc/x.xsd"/></xs:schema>'
    )
    with pytest.raises(ConfigurationError, match="stands on another file"):
        xml_schema(elsewhere, "a.xsd")
    with pytest.raises(ConfigurationError, match=r"the schema b\.xsd cannot be used"):
        xml_schema("<nonsense/>", "b.xsd")


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("codec", ["cp1252", "utf-16-le"])
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_columns_counts_the_separators_of_every_row(newline, codec, step):
    rows = ["é;b;c"] * 5
    run(Output(check="columns"), (newline.join(rows) + newline).encode(codec), codec, step)
    run(Output(check="columns"), newline.join(rows).encode(codec), codec, step)
    rows[3] = "a;b;c;d"
    with pytest.raises(BadOutput, match="row 4 of the output has 3 separators, the first row 2") as caught:
        run(Output(check="columns"), newline.join(rows).encode(codec), codec, step)
    assert caught.value.where.line == 4


def test_columns_counts_the_separator_of_the_output():
    run(Output(check="columns", separator="\t"), b"a;\tb\nc\td;;\n")
    run(Output(check="columns"), b"")
