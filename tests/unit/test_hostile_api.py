"""An API that answers without end, packed to burst, or points elsewhere."""

from __future__ import annotations

import base64
import gzip
import time
import tracemalloc
import zlib
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import repeat

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cegid_daemon.config import Secret
from cegid_daemon.endpoints.aurora import AuroraApi
from cegid_daemon.endpoints.mime import unwrapped
from cegid_daemon.errors import CegidDaemonError, Permanent, Unsure
from cegid_daemon.model import EndpointSpec
from tests.servers.hostile_api import hostile_api
from tests.servers.places import HOST

ENVELOPE = b"<AuroraRequestEnvelope/>"
LARGEST = 60_000_000  # bytes of memory that any answer may take
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n"


def bomb(layers: int = 1, fill: bytes = b"a") -> bytes:
    """A gigabyte and more in few bytes."""
    packer = zlib.compressobj(9, wbits=31)
    packed = b"".join(packer.compress(fill * (1 << 20)) for _ in range(300)) + packer.flush()
    for _ in range(layers - 1):
        packed = gzip.compress(packed)
    return packed


BOMB = bomb()


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


def asked(pieces: Iterable[bytes], **options: object) -> bytes:
    """The body of what is answered."""
    with hostile_api(lambda: pieces) as server:
        given_options = {
            "token": Secret("the-token"), "max_answer": 50_000_000, "timeout": timedelta(seconds=10),
            "deadline": timedelta(seconds=20), **options,
        }  # fmt: skip
        api = AuroraApi(EndpointSpec("evil", f"http://{HOST}:{server.port}/1.4", given_options))
        with api.post("StockUpdate", [ENVELOPE], len(ENVELOPE), "id-1") as answer:
            return b"".join(answer.body)


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (OK + b"Content-Encoding: gzip\r\n\r\n", [BOMB]),
        (OK + b"Content-Encoding: deflate\r\n\r\n", [zlib.compress(bytes(300_000_000), 1)]),
        (OK + b"\r\n", [BOMB]),
        (OK + b"Content-Encoding: gzip\r\n\r\n", [bomb(fill=b" ")]),
        (OK + b"Content-Encoding: gzip\r\n\r\n", [bomb(2)]),
        (OK + b"Content-Transfer-Encoding: base64\r\n\r\n", [base64.b64encode(BOMB)]),
        (CHUNKED + b"\r\n", repeat(chunk(b"a" * 65536))),
        (CHUNKED + b"\r\n", repeat(chunk(b" " * 65536))),
        (CHUNKED + b"Content-Type: multipart/mixed; boundary=x\r\n\r\n", repeat(chunk(b"a" * 65536))),
        (OK + b"\r\n", repeat(b"a" * 65536)),
    ],
    ids=[
        "gzip",
        "deflate",
        "unannounced",
        "blanks",
        "nested",
        "base64",
        "chunked",
        "chunked blanks",
        "preamble",
        "raw",
    ],
)
def test_an_answer_that_bursts_or_never_ends_is_too_large(head: bytes, body: Iterable[bytes]) -> None:
    def pieces() -> Iterator[bytes]:
        yield head
        yield from body

    begun = time.monotonic()
    tracemalloc.start()
    with pytest.raises((Permanent, Unsure)) as raised:
        consume(pieces())
    grown = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "too large" in str(raised.value) or "cannot be read" in str(raised.value)
    assert grown < LARGEST
    assert time.monotonic() - begun < 30


def consume(pieces: Iterable[bytes]) -> None:
    with hostile_api(lambda: pieces) as server:
        options = {"max_answer": 20_000_000, "timeout": timedelta(seconds=10), "deadline": timedelta(seconds=20)}
        api = AuroraApi(EndpointSpec("evil", f"http://{HOST}:{server.port}/1.4", options))
        with api.post("StockUpdate", [ENVELOPE], len(ENVELOPE), "id-1") as answer:
            for _piece in answer.body:
                pass


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "x" * 1000])
def test_an_answer_packed_as_nobody_asked_is_unreadable(coding: str) -> None:
    with pytest.raises(Unsure, match="not asked for"):
        asked([OK + f"Content-Encoding: {coding}\r\n\r\n".encode(), b"xyz"])


@pytest.mark.parametrize(
    "pieces",
    [
        [OK, *(b"X-%d: y\r\n" % no for no in range(5000)), b"\r\n"],
        [OK, b"X: " + b"y" * 1_000_000],
        [b"HTTP/1.1 " + b"9" * 5000 + b" OK\r\n\r\n"],
        [b"x" * 1_000_000],
    ],
    ids=["many headers", "a long header", "a long status", "no HTTP"],
)
def test_headers_without_end_are_no_answer(pieces: list[bytes]) -> None:
    with pytest.raises(Unsure):
        asked(pieces)


@pytest.mark.parametrize(
    ("head", "line"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (CHUNKED + b"\r\n" + chunk(b"x") + b"0\r\n", b"X: y\r\n"),
        (CHUNKED + b"\r\n", chunk(b"x")),
        (CHUNKED + b"\r\n", b"1" + b";x" * 30_000 + b"\r\nx\r\n"),
    ],
    ids=["going on", "trailers", "chunks of a byte", "chunks with words"],
)
def test_lines_without_end_around_a_body_cost_no_time(head: bytes, line: bytes) -> None:
    def pieces() -> Iterator[bytes]:
        yield head
        yield from repeat(line * 100)

    begun = time.process_time()
    with pytest.raises(Unsure, match="lines without end"):
        consume(pieces())
    assert time.process_time() - begun < 10


def test_an_honest_answer_in_many_small_chunks_is_read() -> None:
    pieces = [b"HTTP/1.1 100 Continue\r\n\r\n", CHUNKED + b"\r\n", *[chunk(b"a" * 40)] * 50_000, b"0\r\nX: y\r\n\r\n"]
    assert asked(pieces) == b"a" * 2_000_000


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_wherever_it_leads(status: int) -> None:
    with hostile_api(lambda: [OK + b"\r\nstolen"]) as elsewhere:
        for scheme in ("http", "https", "ftp"):
            to = f"{scheme}://{HOST}:{elsewhere.port}/"
            said = f"HTTP/1.1 {status} Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()
            assert asked([said]) == b""
        assert elsewhere.requests == []


def test_a_part_whose_header_has_many_short_lines_takes_no_time() -> None:
    body = b"--x\r\n" + b"a:\n" * 21_000 + b"\n--x--"
    begun = time.process_time()
    with pytest.raises(Unsure):
        list(unwrapped({"Content-Type": "multipart/mixed; boundary=x"}, [body]))
    assert time.process_time() - begun < 5


HEADERS = st.dictionaries(
    st.sampled_from(["Content-Type", "Content-Transfer-Encoding"]),
    st.one_of(
        st.sampled_from(
            ["multipart/mixed; boundary=x", "multipart/mixed", "base64", "multipart/x; boundary*0*=utf-99''x"]
        ),
        st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=60),
    ),
)
BODIES = st.lists(
    st.one_of(
        st.sampled_from([b"--x\r\n", b"--x--", b"\r\n", b"MIME-Version: 1\n", b"H4sIAAAA", b"eJ", b"\x1f\x8b"]),
        st.binary(max_size=40),
    ),
    max_size=8,
)  # fmt: skip


@settings(deadline=None)
@given(HEADERS, BODIES)
@example({"Content-Type": 'multipart/mixed; boundary=""'}, [b"x"])
def test_whatever_comes_is_an_answer_or_unreadable(headers: dict[str, str], body: list[bytes]) -> None:
    try:
        list(unwrapped(headers, body))
    except CegidDaemonError as error:
        assert isinstance(error, Unsure)


def test_an_answer_in_drops_is_no_standstill_of_the_daemon() -> None:
    def drops() -> Iterator[bytes]:
        for byte in OK + b"Content-Length: 0\r\n\r\n":
            time.sleep(0.01)
            yield bytes([byte])

    beats: list[int] = []
    with hostile_api(drops) as server:
        api = AuroraApi(EndpointSpec("slow", f"http://{HOST}:{server.port}/1.4", {}), lambda: beats.append(1))
        with api.post("StockUpdate", [ENVELOPE], len(ENVELOPE), "id-1") as answer:
            assert b"".join(answer.body) == b""
    assert len(beats) > 20  # before the answer has a body, which shows by itself that it gets on
