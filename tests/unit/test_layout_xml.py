"""XML records: fields, attributes, paths, namespaces, hostile documents, bounded memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from cegid_daemon.errors import BadInput, ConfigurationError
from cegid_daemon.rewrite import layouts
from cegid_daemon.rewrite.expressions import compile_condition, compile_stock, compile_text
from cegid_daemon.rewrite.recipe import Layout, Proof
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.tally import Tally

PRODUCT = Layout("products", "xml", record="Product")


def read(body: str | bytes, layout: Layout = PRODUCT, step: int = 11) -> list[Record]:
    raw = body if isinstance(body, bytes) else body.encode()
    return list(layouts.read(layout, lambda: [raw[at : at + step] for at in range(0, len(raw), step)], Tally()))


def test_children_are_fields_and_attributes_have_an_at() -> None:
    found = read('<F>\n<Product id="7"><Code> A1 </Code><Stock/></Product>\n<Product><Code>A2</Code></Product></F>')
    assert found == [{"Code": "A1", "Stock": "", "@id": "7"}, {"Code": "A2"}]
    assert [(r.number, r.line) for r in found] == [(1, 2), (2, 3)]


def test_an_absent_child_is_undefined_and_blank_in_expressions() -> None:
    (r,) = read("<F><Product><Code>1</Code></Product></F>")
    with pytest.raises(KeyError):
        r["Stock"]
    assert compile_text("r.Stock", PRODUCT)(r) == ""
    assert compile_text("r['@id']", PRODUCT)(r) == ""
    assert not compile_condition("r.Stock is defined", PRODUCT)(r)
    assert compile_condition("r.Code is defined", PRODUCT)(r)


def test_of_repeated_children_the_first_is_the_field() -> None:
    (r,) = read("<F><Product><A>1</A><B>x</B><A>2</A></Product></F>")
    assert r == {"A": "1", "B": "x"}
    assert [a.element.text for a in r.each("A")] == ["1", "2"]


def test_inner_records_come_by_path_with_their_attributes_and_parent() -> None:
    (r,) = read('<F><Product><Vs><V default_only="1"><C>1</C></V><V><C>2</C></V></Vs><Vs><V/></Vs></Product></F>')
    inner = r.each("Vs/V")
    assert [v.get("C") for v in inner] == ["1", "2", None]
    assert inner[0]["@default_only"] == "1"
    assert inner[0].parent is r
    assert r.each("Vs/V") is inner
    assert list(r.each("No/Such")) == []


def test_a_path_reaches_the_first_text_inside() -> None:
    (r,) = read('<F><Product><Country><ISO> FR </ISO><Name lang="fr">France</Name></Country></Product></F>')
    assert r["Country/ISO"] == "FR"
    assert r["Country/Name/@lang"] == "fr"
    assert compile_text("r['Country/ISO'] ~ r['Country/None'] ~ r['Country/Name/@no']", PRODUCT)(r) == "FR"


def test_names_are_local_and_a_full_name_tells_namespaces_apart() -> None:
    (r,) = read(
        '<F xmlns="urn:a/b" xmlns:o="urn:o"><Product o:id="1"><o:Code>other</o:Code><Code>ours</Code></Product></F>'
    )
    assert (r["Code"], r["{urn:a/b}Code"], r["{urn:o}Code"], r["@id"]) == ("other", "ours", "other", "1")
    assert [c.element.text for c in r.each("{urn:a/b}Code")] == ["ours"]


def test_a_bare_record_name_matches_at_any_depth_and_a_path_from_the_root_only() -> None:
    body = (
        "<F><G><Product><C>1</C></Product></G><Product><C>2</C></Product><H><G><Product><C>3</C></Product></G></H></F>"
    )
    assert [r["C"] for r in read(body)] == ["1", "2", "3"]
    assert [r["C"] for r in read(body, Layout("x", "xml", record="F/G/Product"))] == ["1"]


def test_a_path_may_leave_the_root_out_but_for_one_that_begins_with_a_slash() -> None:
    body = "<F><A><P><N>1</N></P></A><P><N>2</N></P><B><A><P><N>3</N></P></A></B></F>"
    assert [r["N"] for r in read(body, Layout("x", "xml", record="A/P"))] == ["1"]
    assert [r["N"] for r in read(body, Layout("x", "xml", record="F/A/P"))] == ["1"]
    with pytest.raises(BadInput, match="holds no"):
        read(body, Layout("x", "xml", record="/A/P"))


def test_a_record_name_that_is_also_the_roots_or_a_fields_is_told_apart() -> None:
    stock = Layout("x", "xml", record="Item")
    body = "<Stock><Item><Stock>1</Stock></Item><Item><Stock>2</Stock></Item></Stock>"
    assert [r["Stock"] for r in read(body, stock)] == ["1", "2"]
    assert read("<Order><ID>1</ID></Order>", Layout("x", "xml", record="Order")) == [{"ID": "1"}]


def test_records_stay_whole_after_the_reading_has_gone_on() -> None:
    body = "<F>" + "".join(f"<Product><Vs><V><C>{n}</C></V></Vs></Product>" for n in range(300)) + "</F>"
    assert [r.each("Vs/V")[0]["C"] for r in read(body, step=64)] == [str(n) for n in range(300)]


@pytest.mark.parametrize("body", ["", "  \n", "<F/>", "<F></F>", "<F>\n  \n</F>", "<F><!-- none --></F>"])
def test_no_bytes_and_an_empty_root_are_nothing(body: str) -> None:
    assert read(body) == []


def test_a_document_without_records_fails_unless_its_root_is_declared() -> None:
    with pytest.raises(BadInput, match="holds no <Product>"):
        read("<F><Other/></F>")
    assert read("<F><Other/></F>", Layout("x", "xml", record="Product", root="F")) == []
    with pytest.raises(BadInput, match="root is <E>"):
        read("<E><Product/></E>", Layout("x", "xml", record="Product", root="F"))


@pytest.mark.parametrize(
    "body",
    ["<F><Product><Code>1</Code></Product>", "<F><Product></F>", "<F/><F/>", "<F>&nope;</F>", "hello", "<F a=1/>",
     "<F>\0</F>", "<F><Product>1</Product>"],
)  # fmt: skip
def test_malformed_xml_fails_with_line_and_column(body: str) -> None:
    with pytest.raises(BadInput, match="cannot be read") as caught:
        read("\n" + body)
    assert caught.value.where.line == 2
    assert caught.value.where.column > 0


@pytest.mark.parametrize(
    "body",
    [
        "<F><Product><A>é</A></Product></F>".encode("cp1252"),
        '<?xml version="1.0" encoding="utf-8"?><F><Product><A>é</A></Product></F>'.encode("cp1252"),
        b'<?xml version="1.0" encoding="utf-16"?><F><Product/></F>',
        b'<?xml version="1.0" encoding="klingon"?><F><Product/></F>',
    ],
)
def test_bytes_that_contradict_their_declaration_fail(body: bytes) -> None:
    with pytest.raises(BadInput):
        read(body)


@pytest.mark.parametrize(
    "body",
    [
        '<?xml version="1.0" encoding="windows-1252"?><F><Product><A>é€</A></Product></F>'.encode("cp1252"),
        "\ufeff<F><Product><A>é€</A></Product></F>".encode(),
        '<?xml version="1.0" encoding="utf-16"?><F><Product><A>é€</A></Product></F>'.encode("utf-16"),
    ],
)
def test_the_mark_or_the_declaration_decides_the_encoding(body: bytes) -> None:
    assert read(body) == [{"A": "é€"}]


def test_a_layout_may_name_the_encoding() -> None:
    body = "<F><Product><A>é</A></Product></F>".encode("cp1252")
    assert read(body, Layout("x", "xml", record="Product", encoding="cp1252")) == [{"A": "é"}]
    with pytest.raises(ConfigurationError):
        read(body, Layout("x", "xml", record="Product", encoding="klingon"))


BOMB = "<!ENTITY a0 'ha'>" + "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 12))


@pytest.mark.parametrize(
    "doctype",
    ["<!DOCTYPE F>", f"<!DOCTYPE F [{BOMB}]>", '<!DOCTYPE F SYSTEM "file:///etc/passwd">',
     '<!DOCTYPE F [<!ENTITY x SYSTEM "file:///etc/passwd">]>', "<!DOCTYPE F [<!ENTITY % p 'x'> %p;]>"],
)  # fmt: skip
def test_any_document_type_declaration_is_refused(doctype: str) -> None:
    with pytest.raises(BadInput, match="DTD"):
        read(f'<?xml version="1.0"?>{doctype}<F><Product><A>&a11;&x;</A></Product></F>')


def endless(start: bytes, part: bytes, times: int) -> Callable[[], Iterator[bytes]]:
    def chunks() -> Iterator[bytes]:
        yield start
        for _ in range(times):
            yield part

    return chunks


@pytest.mark.parametrize(
    "source",
    [
        endless(b"<F><Product><A>", b"x" * 65536, 1600),
        endless(b"<F>", b"x" * 65536, 1600),
        endless(b'<F><Product a="', b"x" * 65536, 1600),
        endless(b"<!--", b"x" * 65536, 1600),
        endless(b"<F><Product>", b"<a>" * 10_000, 1),
        endless(b"<" + b"F" * 1000, b"F" * 65536, 1600),
    ],
    ids=["text", "root-text", "attribute", "comment", "nesting", "name"],
)
def test_huge_texts_and_deep_nesting_are_refused_at_once(source: Callable[[], Iterator[bytes]]) -> None:
    with pytest.raises(BadInput):
        list(layouts.read(PRODUCT, source, Tally()))


MEASURE = """
import resource, sys
from cegid_daemon.rewrite import layouts
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.tally import Tally

def chunks(times):
    yield b"<F>"
    for _ in range(times):
        yield sys.argv[1].encode() * 1000
    yield b"</F>"

def peak(times):
    for _ in layouts.read(Layout("x", "xml", record="Product", root="F"), lambda: chunks(times), Tally()):
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

small = peak(20)
print(peak(600) - small)
"""


@pytest.mark.parametrize(
    "part",
    [
        "<Product><A>1</A><B>2</B></Product>\n",
        "<Other><A>1</A><B>2</B></Other>\n",
        "<G><Other><A>1</A><B>2</B></Other></G>\n",
        "<G><Product><A>1</A></Product></G>\n",
    ],
)
def test_memory_does_not_grow_with_the_document(part: str) -> None:
    run = subprocess.run([sys.executable, "-c", MEASURE, part], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 8 * 1024  # KiB; the elements of the larger document take some 500 MiB


def test_a_declared_count_is_checked_against_the_roots_attributes() -> None:
    layout = Layout("x", "xml", record="Product", proof=Proof(count="r['@count']"))
    assert len(read('<F count="1"><Product/></F>', layout)) == 1
    with pytest.raises(BadInput, match="not whole"):
        read('<F count="2"><Product/></F>', layout)


def test_a_root_that_declares_no_number_is_told_so() -> None:
    layout = Layout("products", "xml", record="Product", proof=Proof(count="r['@count']"))
    with pytest.raises(BadInput, match="it declares no number of records and holds 1"):
        read("<F><Product/></F>", layout)


@pytest.mark.parametrize(
    ("body", "why", "remedy"),
    [
        (b"<F><Product>\xe9</Product></F>", "Invalid bytes", "in the encoding it declares"),
        (b'<?xml version="1.0" encoding="utf-16"?><F/>', "", "in the encoding it declares"),
        (b'<?xml version="1.0" encoding="x-foo"?><F/>', "x-foo", "in the encoding it declares"),
        (b"<a>" * 300, "Excessive depth in document: 256", "Ask the sender what this file is"),
        (b"<F><Product>", "Premature end", "send it again where it was cut off"),
        (b"<F><Product></F>", "tag mismatch", "Have the sender correct the file"),
    ],
)
def test_the_remedy_is_that_of_the_fault(body: bytes, why: str, remedy: str) -> None:
    with pytest.raises(BadInput, match="the XML cannot be read") as caught:
        read(body, step=len(body))
    assert why in caught.value.why
    assert "XML_PARSE_HUGE" not in caught.value.why
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("step", [3, 100_000])
def test_a_dtd_is_refused_with_its_line(encoding: str, step: int) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n<!-- a -->\n<!DOCTYPE F>\n<F/>'
    with pytest.raises(BadInput, match="the document has a DTD") as caught:
        read(text.encode(encoding), step=step)
    assert caught.value.where.line == 3


@pytest.mark.parametrize("attributes", ['x:id="2" id="1"', 'id="1" x:id="2"'])
def test_of_two_attributes_of_a_local_name_the_one_without_a_namespace_is_the_field(attributes: str) -> None:
    text = f'<F xmlns:x="http://x/y"><Product {attributes}><V {attributes}/></Product></F>'
    (r,) = read(text)
    assert (r["@id"], r["V/@id"]) == ("1", "1")
    for name in ("@{http://x/y}id", "V/@{http://x/y}id"):
        assert r[name] == "2"
        assert compile_text(f"r['{name}']", PRODUCT)(r) == "2"
    assert compile_text("r['@{http://z}id']", PRODUCT)(r) == ""


def test_a_number_in_an_attribute_of_a_namespace_is_read_of_each_record() -> None:
    text = '<F xmlns:x="u"><Product x:q="1"/><Product x:q="2"/></F>'
    stock = compile_stock("r['@{u}q']", PRODUCT)
    assert [stock(r) for r in read(text)] == [1, 2]
