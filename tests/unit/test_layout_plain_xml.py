"""XML read by pattern: the same records as read as a tree, whatever the document; and plain ones are not read twice."""

from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cegid_daemon.errors import BadInput
from cegid_daemon.rewrite.layouts import plain_xml, xml
from cegid_daemon.rewrite.recipe import Layout, Proof
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.tally import Tally

ITEM = Layout("stock", "xml", record="Item", sku="r.Code", stock="r.Qty")
PLAIN = """\ufeff<?xml version="1.0" encoding="UTF-8"?>
<!-- synthetic -->
<Stock day="1">
  <Item><Code>001</Code><Qty> 1,5\t</Qty></Item>
  <Item><Code>002</Code><Note/><Qty>2</Qty></Item>

  <Item><Code>é\u00a0</Code><Note>two
lines</Note><Qty></Qty></Item><Item><Code>004</Code><Qty>4</Qty></Item>
</Stock>

"""


def read(text, reader, layout=ITEM, step=7):
    """Everything a reader tells: the records with their places and the count, or its fault."""
    raw = text if isinstance(text, bytes) else text.encode()
    tally = Tally()
    try:
        found = list(reader(layout, lambda: [raw[at : at + step] for at in range(0, len(raw), step)], tally))
    except BadInput as error:
        return str(error)
    return [(list(r.items()), r.number, r.line) for r in found], tally.read, tally.remarks.all()


def by_pattern(layout, source, tally):
    """The records as this room reads them."""
    for sheet in plain_xml.read(layout, source, tally):
        yield from sheet.records(Record)


def read_plain(text, layout=ITEM, step=7):
    """The same, where reading it as a tree is not allowed."""
    with patch.object(xml, "read", side_effect=AssertionError("read as a tree")):
        return read(text, by_pattern, layout, step)


@pytest.mark.parametrize("step", [1, 7, 100_000])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_plain_document_is_read_by_pattern_alone(step, newline):
    text = PLAIN.replace("\n", newline)

    found = read_plain(text, step=step)

    assert found == read(text, xml.read)
    assert found[1] == 4


@pytest.mark.parametrize(
    "head",
    ["<Stock>", '<?xml version="1.0"?><Stock xmlns="urn:x">', "<?xml version='1.0' encoding='utf-8'?>\n<Stock\n>"],
)
@pytest.mark.parametrize("record", ["Item", "Stock/Item", "/Stock/Item", "{*}Item", "{urn:x}Item"])
def test_a_namespace_and_a_path_mean_what_they_mean_in_a_tree(head, record):
    layout = Layout("stock", "xml", record=record, root="Stock", sku="r.Code")
    text = f"{head}<Item><Code>1</Code></Item><Item><Code>2</Code></Item></Stock>"

    assert read(text, by_pattern, layout) == read(text, xml.read, layout)


@pytest.mark.parametrize("count", ["2", "3"])
def test_the_declared_count_is_compared(count):
    layout = Layout("stock", "xml", record="Item", sku="r.Code", proof=Proof(count="r['@n']"))
    text = f'<Stock n="{count}"><Item><Code>1</Code></Item><Item><Code>2</Code></Item></Stock>'

    assert read_plain(text, layout) == read(text, xml.read, layout)


@pytest.mark.parametrize("declared", ["encoding='latin1'", 'encoding = "latin1"', "encoding\t=\n'ISO-8859-1'"])
def test_another_encoding_is_seen_however_it_is_declared(declared):
    text = f'<?xml version="1.0"\n{declared}?><Stock><Item><Code>é</Code></Item></Stock>'

    assert read(text, by_pattern) == read(text, xml.read)


ODD = [
    "<Item id='1'><Code>1</Code></Item>", "<Item><Code t='x'>1</Code></Item>", "<Item/>", "<Item></Item>",
    "<Item><Code>1</Code><Code>2</Code></Item>", "<Item><Code>a&amp;b</Code></Item>",
    "<Item><Code>&#32;1</Code></Item>",
    "<Item><Code><![CDATA[1]]></Code></Item>", "<Item><!-- x --><Code>1</Code></Item>", "<!-- <Item></Item> -->",
    "<Item><Code>1<?pi?></Code></Item>", "<Item><Sub><Code>1</Code></Sub></Item>", "<Item>text<Code>1</Code></Item>",
    "<Item><Item><Code>1</Code></Item></Item>", "<Other>1</Other>", "text", "<Item><Code>a>b</Code></Item>",
    "<Item><Code>1]]></Code></Item>", "<Item><Code>1</Code ></Item>", "<Item><Code >1</Code></Item>",
    "<Item ><Code>1</Code></Item>", "<Item><Code>\x01</Code></Item>", "<Item><Code>\uffff</Code></Item>",
    "<Item><x:Code xmlns:x='u'>1</x:Code></Item>", "<Item xmlns='u'><Code>1</Code></Item>", "<Item><Code>1</Item>",
    "<Item><Code>1</Code>", "</Item>", "<Item><Code>&nbsp;</Code></Item>", "<Item><Co.de>1</Co.de><Qt-y/></Item>",
    "<Item><Qty>1<Unit/>2</Qty></Item>", "<Item><Code>1</Code><Code>2</Code></Item>",
    "<Item><Code />\n</Item>", "<Item><Code>1</Code></Item\n>",
]  # fmt: skip
ITEMS = st.sampled_from(["<Item><Code>7</Code><Qty>1</Qty></Item>", "<Item><Code>8</Code></Item>", "\n", *ODD])
ENDS = ["</Stock>", "</Stock>\n<!-- end -->", "</Stock>x", "</Stock><Stock/>", "", "</Stock ", "</Stock >"]


@given(st.lists(ITEMS, max_size=8), st.sampled_from(ENDS), st.integers(1, 60))
def test_whatever_the_document_it_reads_as_a_tree_does(items, end, step):
    text = f"<Stock>{''.join(items)}{end}"

    assert read(text, by_pattern, step=step) == read(text, xml.read, step=step)


@pytest.mark.parametrize("odd", ODD)
def test_records_before_something_odd_come_once(odd):
    text = f"<Stock>{'<Item><Code>7</Code></Item>' * 3}{odd}<Item><Code>9</Code></Item></Stock>"

    assert read(text, by_pattern) == read(text, xml.read)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b" \n", b"\xff\xfe", PLAIN.encode("utf-16"), b"<Stock><Item><Code>\xe9</Code></Item></Stock>",
        b"<?xml version='1.0' encoding='cp1252'?><Stock><Item><Code>\xe9</Code></Item></Stock>",
        b"<!DOCTYPE Stock><Stock><Item><Code>1</Code></Item></Stock>", b"<Stock/>", b"<Stock></Stock>",
        PLAIN.replace("\n", "\r").encode(), b"<Item><Code>1</Code></Item>",
        b"<Stock a='1' a='2'><Item><Code>1</Code></Item></Stock>",
        b"<?xml version='1.0'" + b" encoding='x'" * 50_000 + b"?><Stock><Item><Code>1</Code></Item></Stock>",
        b"<Stock a='>'><Item><Code>1</Code></Item></Stock>", b"<x:Stock><Item><Code>1</Code></Item></x:Stock>",
    ],
)  # fmt: skip
def test_a_document_that_is_not_plain_from_its_start_is_read_as_a_tree(raw):
    assert read(raw, by_pattern, step=65_536) == read(raw, xml.read, step=65_536)


def test_records_of_many_fields_are_read_as_a_tree():
    shapes = [f"<Item><Code>{n}</Code><F{n}>x</F{n}></Item>" for n in range(plain_xml.MOST_FIELDS + 3)]
    text = f"<Stock>{''.join(shapes)}</Stock>"

    assert read(text, by_pattern, step=10_000) == read(text, xml.read, step=10_000)


@pytest.mark.parametrize("others", ["<Qty>1</Qty><Code>2</Code>", "<Note>1</Note><Code>2</Code><Qty>3</Qty>"])
def test_fields_in_another_order_keep_it(others):
    text = f"<Stock><Item><Code>1</Code><Qty>1</Qty></Item><Item>{others}</Item></Stock>"

    assert read(text, by_pattern) == read(text, xml.read)


def test_blanks_ahead_of_the_declaration_are_a_fault():
    text = '\n<?xml version="1.0"?><Stock><Item><Code>1</Code></Item></Stock>'

    assert "only at the start" in read(text, by_pattern)


def test_what_never_ends_is_not_gathered():
    opened = iter([b"<Stock><Item><Code>"] + [b"x" * 65_536] * 100)
    taken = 0

    def chunks():
        nonlocal taken
        for chunk in opened:
            taken += 1
            yield chunk

    with patch.object(xml, "read", return_value=iter(())):
        assert list(plain_xml.read(ITEM, chunks, Tally())) == []
    assert taken < 20
