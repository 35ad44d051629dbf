"""Files that a sender laid out to hold up or fill the service: each ends as a failed message, and the others go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.harness import route_table
from tests.security.service import Service, running

XML = """\
[layout.items]
kind = "xml"
record = "P"
[layout.quoted]
kind = "delimited"
quote = '"'
[layout.groups]
kind = "records"
[layout.groups.types]
H = ["A"]
L = ["A"]
"""
QUICK = 20.0  # seconds until the last of them has failed, on a busy machine too

FILES: dict[str, tuple[str, bytes, str]] = {
    "attributes.xml": (
        "items", b"<F><P %s/></F>" % b" ".join(b"a%d=''" % no for no in range(200_000)), "too many attributes"
    ),
    "laughs.xml": ("items", b'<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><F><P>&d;</P></F>', "has a DTD"),
    "external.xml": ("items", b'<!DOCTYPE F SYSTEM "file:///etc/passwd"><F><P/></F>', "has a DTD"),
    "deep.xml": ("items", b"<x>" * 100_000, "Excessive depth"),
    "separators.csv": ("rows", b"ID;N\n" + b";" * 1_000_000, "too many columns"),
    "titles.csv": ("rows", b";".join(b"c%d" % no for no in range(200_000)), "title row has too many columns"),
    "line.csv": ("rows", b"ID;N\n" + b"x" * 5_000_000, "a line never ends"),
    "nul.csv": ("rows", b"ID;N\n1;\0\n", "a NUL stands in the text"),
    "open.csv": ("quoted", b'ID;N\n"' + b"x\n" * 1_000_000, "a quoted row is broken"),
    "endless.csv": ("quoted", b"ID;N\n" + b'"%s\n";' % (b"x" * 99) * 50_000, "a quoted row never ends"),
    "group.csv": ("groups", b"H;1\n" + b"L;1\n" * 150_000, "too many rows"),
}  # fmt: skip


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A daemon with a route for each kind of file."""
    routes = "".join(
        route_table(f"of-{layout}", folder=layout).replace('layout = "rows"', f'layout = "{layout}"')
        for layout in ("items", "quoted", "groups")
    )
    folder = tmp_path_factory.mktemp("service") / "shop"
    for layout in ("items", "quoted", "groups"):
        (folder / "inbox" / layout).mkdir(parents=True)
    with running(folder, extra=XML + routes) as started:
        yield started


def test_hostile_files_fail_with_their_reasons_and_hold_nothing_up(service: Service) -> None:
    inbox = service.shop.inbox.parent
    begun = time.monotonic()
    for name, (layout, body, _) in FILES.items():
        service.shop.drop(name, body, inbox / ("in" if layout == "rows" else layout))
    service.deliver()
    told = {name: _said(inbox / ("in" if layout == "rows" else layout), name) for name, (layout, *_) in FILES.items()}
    for name in FILES:
        service.daemon.wait_for(told[name].exists, f"{name} failed", QUICK)
    assert time.monotonic() - begun < 2 * QUICK
    for name, (_, _, reason) in FILES.items():
        text = told[name].read_text("utf-8")
        assert reason in text, text
        assert "worker" not in text, text


def _said(folder: Path, name: str) -> Path:
    return folder / "failed" / f"{name}.error.txt"
