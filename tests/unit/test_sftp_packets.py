"""SFTP packets: what is written is read back, replies find their requests, and nonsense is told as such."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cegid_daemon.endpoints.sftp_packets import Attributes, Kind, Status, WireError, packed, take_names, take_string
from cegid_daemon.endpoints.sftp_wire import Wire


class Channel:
    """A server's end: gives prepared packets, keeps what was sent."""

    def __init__(self, *packets: bytes, bits: int = 1 << 20) -> None:
        self.sent = bytearray()
        self.coming = b"".join(packets)
        self._bits = bits

    def send(self, s: bytes) -> int:
        taken = s[: self._bits]
        self.sent += taken
        return len(taken)

    def recv(self, nbytes: int) -> bytes:
        piece, self.coming = self.coming[: self._bits], self.coming[self._bits :]
        return piece


def packet(kind: int, body: bytes) -> bytes:
    return struct.pack(">IB", len(body) + 1, kind) + body


def reply(kind: int, number: int, body: bytes) -> bytes:
    return packet(kind, struct.pack(">I", number) + body)


def status(number: int, code: int, text: bytes = b"") -> bytes:
    return reply(Kind.STATUS, number, struct.pack(">I", code) + packed(text) + packed(b""))


VERSION = packet(Kind.VERSION, struct.pack(">I", 3))


@pytest.mark.parametrize("bits", [1, 7, 1 << 20])
def test_replies_find_their_requests_in_any_order_and_any_pieces(bits: int) -> None:
    channel = Channel(
        VERSION,
        reply(Kind.DATA, 2, packed(b"two")),
        reply(Kind.HANDLE, 1, packed(b"one")),
        status(3, 1),
        bits=bits,
    )
    wire = Wire(channel)
    first, second, third = wire.open(b"a", 1), wire.read(b"h", 0, 9), wire.read(b"h", 9, 9)
    assert (wire.handle(first), wire.body(second, 9), wire.body(third, 9)) == (b"one", b"two", b"")


def test_a_forgotten_reply_is_dropped_whether_it_came_or_not() -> None:
    channel = Channel(VERSION, status(1, 0), status(2, 4, b"Failure"), status(3, 0))
    wire = Wire(channel)
    early, late, last = wire.remove(b"a"), wire.remove(b"b"), wire.remove(b"c")
    wire.forget(early)
    wire.done(last)
    wire.forget(late)
    assert wire._replies == {}
    assert wire._forgotten == set()


def test_a_failure_is_told_with_code_and_text() -> None:
    wire = Wire(Channel(VERSION, status(1, 4, b"No space")))
    with pytest.raises(Status) as raised:
        wire.done(wire.remove(b"a"))
    assert (raised.value.code, raised.value.text) == (4, "No space")


def test_a_server_may_leave_out_the_text() -> None:
    wire = Wire(Channel(VERSION, reply(Kind.STATUS, 1, struct.pack(">I", 2))))
    with pytest.raises(Status) as raised:
        wire.done(wire.remove(b"a"))
    assert (raised.value.code, raised.value.text) == (2, "")


@pytest.mark.parametrize(
    "nonsense",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        packet(Kind.STATUS, b"\0\0\0\0"),
        struct.pack(">IB", 1 << 30, 2),
    ],
)
def test_a_greeting_that_is_none_is_told(nonsense: bytes) -> None:
    with pytest.raises(WireError):
        Wire(Channel(nonsense))


def test_a_session_that_ends_is_the_end() -> None:
    with pytest.raises(EOFError):
        Wire(Channel())
    wire = Wire(Channel(VERSION))
    with pytest.raises(EOFError):
        wire.done(wire.remove(b"a"))


def test_extensions_and_limits_are_taken_over() -> None:
    greeting = packet(
        Kind.VERSION, struct.pack(">I", 3) + b"".join(map(packed, (b"limits@openssh.com", b"1", b"x@y", b"2")))
    )
    limits = reply(Kind.EXTENDED_REPLY, 1, struct.pack(">QQQQ", 262144, 100_000, 0, 1000))
    wire = Wire(Channel(greeting, limits))
    assert wire.extensions == {b"limits@openssh.com": b"1", b"x@y": b"2"}
    assert (wire.read_length, wire.write_length) == (100_000, 32768)


def test_attributes_of_every_form_are_read() -> None:
    everything = struct.pack(">IQIIIIII", 0x8000000F, 5, 1, 2, 0o100644, 3, 77, 1) + packed(b"k") + packed(b"v")
    body = struct.pack(">I", 2) + packed(b"a") + packed(b"long") + everything + packed(b"b") + packed(b"") + b"\0" * 4
    assert list(take_names(body)) == [(b"a", Attributes(5, 77, 0o100644)), (b"b", Attributes())]
    assert Attributes().regular
    assert Attributes(mode=0o040755).folder
    assert not Attributes(mode=0o120777).regular


@given(st.binary(max_size=100), st.binary(max_size=20))
def test_a_string_is_read_back(text: bytes, after: bytes) -> None:
    assert take_string(packed(text) + after, 0) == (text, 4 + len(text))


def test_a_string_longer_than_its_packet_is_told() -> None:
    with pytest.raises(WireError):
        take_string(struct.pack(">I", 10) + b"short", 0)


def test_a_write_goes_out_whole_in_whatever_pieces_the_channel_takes() -> None:
    channel = Channel(VERSION, status(1, 0), bits=1000)
    wire = Wire(channel)
    channel.sent.clear()
    wire.done(wire.write(b"h", 7, b"x" * 50_000))
    body = packed(b"h") + struct.pack(">Q", 7) + packed(b"x" * 50_000)
    assert bytes(channel.sent) == packet(Kind.WRITE, struct.pack(">I", 1) + body)
