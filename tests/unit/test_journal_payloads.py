"""Payloads: once per content, whole or not at all, in bounded memory."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cegid_daemon.errors import JournalDamaged, JournalError, Refused
from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.frames import FRAME_SIZE, compress_frames, expand_frame
from cegid_daemon.journal.payloads import Payloads
from cegid_daemon.journal.reader import connect, read_payload


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    opened = Connection(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def payloads(connection: Connection) -> Payloads:
    return Payloads(connection)


def keep(connection: Connection, payloads: Payloads, content: bytes) -> int:
    staged = payloads.stage_bytes([content])
    with connection.transaction():
        return payloads.seal(staged)


def refer(connection: Connection, payload: int) -> None:
    connection.execute(
        "INSERT INTO message (uid, route, store, seq, state, folder, file_name, payload, sha256, size, logged, "
        "received_at) VALUES (?, 'r', 's', ?, 'done', '', 'n', ?, '', 0, 1, '')",
        (f"u{payload}", payload, payload),
    )


def counts(connection: Connection) -> tuple[int, int]:
    payload, chunk = (connection.one(f"SELECT count(*) FROM {table}") for table in ("payload", "payload_chunk"))
    assert payload is not None
    assert chunk is not None
    return payload[0], chunk[0]


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


LARGE = noise(3 * FRAME_SIZE + 17)


@pytest.mark.parametrize("size", [0, 1, FRAME_SIZE - 1, FRAME_SIZE, FRAME_SIZE + 1, 3 * FRAME_SIZE + 17])
def test_bytes_come_out_as_they_went_in(connection: Connection, payloads: Payloads, size: int) -> None:
    payload = keep(connection, payloads, LARGE[:size])
    assert b"".join(payloads.read(payload)) == LARGE[:size]
    assert payloads.size(payload) == size
    row = connection.one("SELECT sha256, sealed FROM payload WHERE id = ?", (payload,))
    assert row is not None
    assert tuple(row) == (hashlib.sha256(LARGE[:size]).hexdigest(), 1)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_frames_hold_the_chunks_whatever_their_lengths(chunks: list[bytes]) -> None:
    frames = list(compress_frames(chunks))
    assert b"".join(expand_frame(body) for _, body in frames) == b"".join(chunks)
    assert all(size <= FRAME_SIZE for size, _ in frames)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(offset=st.integers(0, len(LARGE) + 10), length=st.integers(0, 2 * FRAME_SIZE))
def test_a_slice_is_that_slice(connection: Connection, payloads: Payloads, offset: int, length: int) -> None:
    payload = keep(connection, payloads, LARGE)
    assert payloads.slice(payload, offset, length) == LARGE[offset : offset + length]


@pytest.mark.parametrize("content", [b"small", LARGE])
def test_the_same_content_is_kept_once(connection: Connection, payloads: Payloads, content: bytes) -> None:
    first = keep(connection, payloads, content)
    before = counts(connection)
    assert keep(connection, payloads, content) == first
    assert counts(connection) == before


def test_a_masked_copy_is_not_taken_for_the_content(connection: Connection, payloads: Payloads) -> None:
    plain = keep(connection, payloads, b"x")
    staged = payloads.stage_bytes([b"x"], redacted=True)
    with connection.transaction():
        assert payloads.seal(staged) != plain


@pytest.mark.parametrize("content", [b"small", LARGE])
def test_frames_of_a_worker_become_the_same_payload(connection: Connection, payloads: Payloads, content: bytes) -> None:
    frames = compress_frames([content])
    staged = payloads.stage_frames(frames, hashlib.sha256(content).hexdigest(), len(content))
    with connection.transaction():
        payload = payloads.seal(staged)
    assert b"".join(payloads.read(payload)) == content
    assert keep(connection, payloads, content) == payload


def test_frames_that_do_not_hold_what_was_announced_are_refused(connection: Connection, payloads: Payloads) -> None:
    with pytest.raises(ValueError, match="announced"):
        payloads.stage_frames(compress_frames([LARGE]), "0" * 64, 5)
    assert counts(connection) == (0, 0)


def test_a_source_that_breaks_off_leaves_nothing(connection: Connection, payloads: Payloads) -> None:
    def broken() -> Iterator[bytes]:
        yield LARGE
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        payloads.stage_bytes(broken())
    assert counts(connection) == (0, 0)


def test_a_crash_between_staging_and_sealing_is_swept_at_the_next_start(tmp_path: Path) -> None:
    first = Connection(tmp_path / "journal.sqlite")
    Payloads(first).stage_bytes([LARGE])
    first.close()
    second = Connection(tmp_path / "journal.sqlite")
    assert counts(second) == (1, 4)
    assert Payloads(second).drop_unsealed() == 1
    assert counts(second) == (0, 0)
    second.close()


def test_what_is_unsealed_cannot_be_read(connection: Connection, payloads: Payloads) -> None:
    staged = payloads.stage_bytes([LARGE])
    assert staged.payload_id is not None
    with pytest.raises(Refused, match="not kept"):
        list(payloads.read(staged.payload_id))


@pytest.mark.parametrize("content", [b"small", LARGE])
def test_a_claim_undone_can_be_tried_again(connection: Connection, payloads: Payloads, content: bytes) -> None:
    staged, twin = payloads.stage_bytes([content]), payloads.stage_bytes([content])
    with pytest.raises(ZeroDivisionError), connection.transaction():
        payloads.seal(staged)
        payloads.seal(twin)
        raise ZeroDivisionError
    with connection.transaction():
        payload = payloads.seal(twin)
    assert b"".join(payloads.read(payload)) == content
    payloads.discard(staged)
    assert counts(connection)[0] == 1


def test_sealing_what_was_discarded_says_so(connection: Connection, payloads: Payloads) -> None:
    staged = payloads.stage_bytes([LARGE])
    payloads.discard(staged)
    with pytest.raises(JournalError, match="no longer there"), connection.transaction():
        payloads.seal(staged)


def test_only_what_nobody_refers_to_is_forgotten(connection: Connection, payloads: Payloads) -> None:
    used, unused = keep(connection, payloads, b"used"), keep(connection, payloads, LARGE)
    refer(connection, used)
    assert payloads.forget([used, unused, 4711]) == 1
    assert counts(connection) == (1, 1)
    assert b"".join(payloads.read(used)) == b"used"
    with pytest.raises(Refused):
        next(payloads.read(unused))


def test_forgetting_in_a_transaction_that_is_undone_forgets_nothing(connection: Connection, payloads: Payloads) -> None:
    payload = keep(connection, payloads, LARGE)
    with pytest.raises(ZeroDivisionError), connection.transaction():
        payloads.forget([payload])
        raise ZeroDivisionError
    assert b"".join(payloads.read(payload)) == LARGE


def test_a_small_payload_is_gone_with_the_transaction_that_forgets_it(
    connection: Connection, payloads: Payloads
) -> None:
    payload = keep(connection, payloads, LARGE)
    with connection.transaction():
        payloads.forget([payload])
        assert counts(connection) == (0, 0)


def test_a_large_payload_is_lost_to_others_at_once_and_its_rows_go_after_the_transaction(
    connection: Connection, payloads: Payloads
) -> None:
    content = bytes(10 * FRAME_SIZE)
    payload = keep(connection, payloads, content)
    with connection.transaction():
        payloads.forget([payload])
        assert counts(connection) == (1, 10)
        assert payloads.seal(payloads.stage_bytes([b"x"])) != payload
        with pytest.raises(Refused):
            payloads.size(payload)
    assert counts(connection) == (1, 1)


def test_a_broken_chunk_is_told_as_damage(connection: Connection, payloads: Payloads) -> None:
    payload = keep(connection, payloads, LARGE)
    row = connection.one("SELECT body FROM payload_chunk WHERE payload = ? AND no = 1", (payload,))
    assert row is not None
    turned = bytearray(row["body"])
    turned[1000] ^= 1
    connection.execute("UPDATE payload_chunk SET body = ? WHERE payload = ? AND no = 1", (turned, payload))
    with pytest.raises(JournalDamaged, match="backup"):
        list(payloads.read(payload))
    connection.execute("DELETE FROM payload_chunk WHERE payload = ? AND no = 1", (payload,))
    with pytest.raises(JournalDamaged, match="not whole"):
        list(payloads.read(payload))


def test_another_process_reads_a_payload_with_a_connection_of_its_own(
    connection: Connection, payloads: Payloads
) -> None:
    payload = keep(connection, payloads, LARGE)
    raw = connect(connection.path, readonly=True)
    assert b"".join(read_payload(raw, payload)) == LARGE
    with pytest.raises(Refused):
        next(read_payload(raw, payload + 1))
    raw.close()


def test_the_journal_is_free_while_a_payload_is_being_read(connection: Connection, payloads: Payloads) -> None:
    reading = payloads.read(keep(connection, payloads, LARGE))
    next(reading)
    keep(connection, payloads, b"meanwhile")
    assert len(b"".join(reading)) == len(LARGE) - FRAME_SIZE


def test_a_large_payload_goes_in_and_out_in_bounded_memory(connection: Connection, payloads: Payloads) -> None:
    tracemalloc.start()
    staged = payloads.stage_bytes(noise(1 << 16, seed) for seed in range(400))  # 25 MB
    with connection.transaction():
        payload = payloads.seal(staged)
    size = sum(map(len, payloads.read(payload)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == 400 << 16
    assert peak < 8 << 20
