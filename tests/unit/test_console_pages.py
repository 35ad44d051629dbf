"""What stands behind the console's pages: texts made visible, filters, plots, marks, addresses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cegid_daemon.console import texts
from cegid_daemon.console.address import Address
from cegid_daemon.console.alertpages import kind_of
from cegid_daemon.console.importpages import rows_of
from cegid_daemon.console.logpages import download, typed_moment
from cegid_daemon.console.machines import basic_password
from cegid_daemon.console.marking import Change, marks_of, masked, rejected, row_of
from cegid_daemon.console.plots import bars
from cegid_daemon.console.rendering import amount, environment, moment, prose, size, took, visible
from cegid_daemon.errors import Refused
from cegid_daemon.journal.words import HEAD, encoding_of
from cegid_daemon.pipeline.verdicts import Key, Refusal
from cegid_daemon.rewrite.masking.fields import Fields
from cegid_daemon.rewrite.recipe import Layout, Recipe

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_every_page_is_escaped_and_can_be_compiled():
    found = environment()
    assert found.autoescape is True
    for name in found.list_templates():
        found.get_template(name)


def test_hostile_text_is_escaped_and_what_cannot_be_seen_is_shown_by_its_number():
    assert str(visible("<b>&\"'")) == "&lt;b&gt;&amp;&#34;&#39;"
    assert "\u202e" not in visible("a\u202eb\x00\ud800\u200b")
    assert "\\u202e" in visible("a\u202eb")
    assert str(visible(None)) == ""


def test_code_in_our_own_sentences_is_marked_and_all_else_is_escaped():
    assert prose("Run `check <b>`, or `run`.") == "Run <code>check &lt;b&gt;</code>, or <code>run</code>."


def test_a_time_carries_its_utc():
    shown = str(moment("2026-11-23T12:00:00.000000Z"))
    assert 'datetime="2026-11-23T12:00:00.000000Z"' in shown
    assert 'title="2026-11-23 12:00:00 UTC"' in shown
    assert "–" in moment(None)


def test_numbers_are_written_for_people():
    assert amount(1234567) == "1\u202f234\u202f567"
    assert [size(0), size(999), size(1500), size(83_000_000)] == [
        "0\u00a0bytes",
        "999\u00a0bytes",
        "1.5\u00a0kB",
        "83.0\u00a0MB",
    ]
    assert [took(None), took(0.05), took(3), took(600), took(9000)] == [
        "–",
        "50\u00a0ms",
        "3.0\u00a0s",
        "10\u00a0min",
        "2.5\u00a0h",
    ]


def test_a_plot_has_no_bar_where_nothing_was_and_the_highest_reaches_the_top():
    starts = [NOON + timedelta(hours=number) for number in range(3)]
    plot = bars("Files an hour", starts, [0, 5, 10], "files")
    assert len(plot.bars) == 2
    assert plot.bars[1].y == 4
    assert plot.most == "10"
    assert bars("Time", starts, [None, None, None], "time").empty


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("2026-11-23T12:00", NOON),
        ("2026-11-23T13:00+01:00", NOON),
        ("yesterday", None),
        ("", None),
        ("0001-01-01T00:00+14:00", None),
        ("9999-12-31T23:59-14:00", None),
    ],
)
def test_a_typed_time_is_utc_unless_it_says_otherwise(typed, found):
    assert typed_moment(typed) == found


def test_a_download_is_never_shown_by_the_browser_whatever_its_name():
    headers = download(iter(()), 'a"\r\nset-cookie: x=1\udc80.html').headers
    assert headers["content-disposition"].startswith('attachment; filename="a___set-cookie__x_1_.html"')
    assert "filename*=UTF-8''a%22%0D%0Aset-cookie" in headers["content-disposition"]
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-security-policy"].startswith("sandbox")


def test_bytes_are_read_as_what_they_are():
    assert encoding_of("é".encode()) == "utf-8"
    assert encoding_of("é".encode("cp1252")) == "cp1252"
    assert encoding_of("a;b;c".encode("utf-16-le")) == "utf-16-le"
    assert encoding_of("a".encode("utf-16")) == "utf-16-le"
    assert encoding_of(b"a" * (HEAD - 1) + "é".encode()[:1]) == "utf-8"  # cut within a character
    assert texts.decoded(b"a\r\nb\xff", "utf-8") == "a\nb\ufffd"


def test_a_dump_shows_each_byte():
    lines = list(texts.dump(bytes(range(0x41, 0x53)), 4096))
    assert (lines[0].offset, lines[0].text) == ("00001000", "ABCDEFGHIJKLMNOP")
    assert lines[1].codes == "51 52"


def test_each_word_of_the_output_is_marked_with_its_cause():
    change = Change("A1", "P", "10", "8", "Store buffer 2", changed=True)
    piece = "<U><Ref>A1</Ref><Stock>8</Stock><Id>1</Id><Label>a &amp; b</Label></U>"
    marks = {
        mark.text: mark.kind for mark in marks_of(piece, {"A1", "a & b"}, [change], "t.xml.j2") if mark.kind != "markup"
    }
    assert marks == {"A1": "same", "8": "buffer", "1": "template", "a &amp; b": "same"}
    assert not list(marks_of("", set(), [], "t"))


def test_an_address_knows_whether_others_reach_it():
    assert Address.of("127.0.0.1:8470").loopback
    assert Address.of("[::1]:8470").loopback
    assert Address.of("localhost:8470").loopback
    assert not Address.of("0.0.0.0:8470").loopback
    assert Address.of("[::1]:8470").url == "http://[::1]:8470/"


@pytest.mark.parametrize("body", [b"", b"a,b\n1,2\n", b"\xff\xfe\x00", b"level,key,value\n"])
def test_a_file_that_is_no_table_of_buffers_is_refused(body):
    with pytest.raises(Refused):
        rows_of(body)


def test_a_table_of_buffers_is_read_with_its_lines_whatever_its_separator():
    wanted = [(2, "main", "store", "", "2"), (4, "main", "product", "P", "x")]
    assert list(rows_of("\ufeffstore,level,key,value\nmain,store,,2\n\nmain,product,P,x\n".encode())) == wanted
    assert list(rows_of(b"store;level;key;value\r\nmain;store;;2\r\n\r\nmain;product;P;x\r\n")) == wanted


@pytest.mark.parametrize(
    ("header", "password"),
    [("Basic bWU6bG9vaw==", "look"), ("basic bWU6YTpi", "a:b"), ("Bearer x", None), ("Basic ?", None), ("", None)],
)
def test_a_scraper_may_send_a_password(header, password):
    assert basic_password(header) == password


def test_masked_fields_are_stars_on_both_sides_of_a_pair_and_in_its_key():
    record = {
        "number": 1, "line": 2, "key": "ann@shop.example", "values": [], "left_out": "",
        "fields": {"Addresses/Address[2]/EmailAddress": "ann@shop.example", "Town": "Lyon", "@name": "Ann O'Hara"},
        "piece": "<E>ANN@SHOP.EXAMPLE</E><N>Ann O&#x27;Hara</N><T>Lyon</T>",
    }  # fmt: skip
    shown = masked(record, Fields.of(["Customer/EmailAddress", "@name"]))
    text = str(shown)
    assert "shop.example" not in text.lower()
    assert "Hara" not in text
    assert "<T>Lyon</T>" in shown["piece"]
    assert masked(record, Fields.of([])) is record


def record(**changed: Any) -> dict[str, Any]:
    """A record as its account tells it."""
    known = {"number": 1, "line": 2, "key": "A1", "fields": {}, "values": [], "left_out": "", "piece": ""}
    return {**known, **changed}


ARCHIVED = Refusal("7", Key("VariationReference", "A1"), "archived")


@pytest.mark.parametrize(
    ("refusal", "piece", "reason"),
    [
        (ARCHIVED, "<R><RequestID>7</RequestID><V>A1</V></R>", "archived"),
        (ARCHIVED, "<R><RequestID>8</RequestID><V>A1</V></R>", ""),  # the key once more, in another request
        (ARCHIVED, "A1;8", "archived"),
        (Refusal("7", Key("VariationReference", "B2"), "archived"), "<RequestID>7</RequestID>", ""),  # another part
        (Refusal("7", Key(), "no reason"), "<RequestID>7</RequestID>", "no reason"),
        (Refusal("7", Key(), "no reason"), "A1;8", ""),
    ],
)
def test_a_record_is_rejected_by_the_refusal_of_its_own_request(refusal, piece, reason):
    assert rejected(record(piece=piece), [refusal]) == reason
    value = {"sku": "A1", "product": "", "raw_stock": "5", "stock": "3", "buffer": "2", "buffer_level": "Store"}
    assert rejected(record(piece=piece, key="P", values=[value]), [refusal]) == reason


def test_fields_stand_with_their_element_and_blank_ones_are_counted():
    fields = {"ID": "1", "Address/Town": "Lyon", "Total": "9", "Address/County": " ", "Address/ISO": "FR"}
    row = row_of(record(fields=fields, piece="<T>Lyon</T>"), Recipe(Layout("x", "xml", stock="r.Total"), None))
    told = [(group.path, [(one.name, one.text, one.told) for one in group.values]) for group in row.groups]
    assert told == [
        ("", [("ID", "1", False), ("Total", "9", True)]),  # the stock is read from Total
        ("Address", [("Town", "Lyon", True), ("ISO", "FR", False)]),
    ]
    assert row.blank == 1


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("mailto://me:secret@shop.example", "mailto"),
        ("Slack://a/b", "slack"),
        ("secret", "other"),
        ("s" * 40 + ":", "other"),
    ],
)
def test_of_an_address_of_alerts_only_its_kind_is_told(address, kind):
    assert kind_of(address) == kind
