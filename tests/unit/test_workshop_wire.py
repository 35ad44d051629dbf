"""What goes over the wire and into the spool, without any process."""

import os
import pickle
import signal
import socket
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cegid_daemon.coverage import Coverage
from cegid_daemon.errors import BadInput, Place
from cegid_daemon.journal.frames import FRAME_SIZE, expand_frame
from cegid_daemon.rewrite.ports import PartMade, Rewritten
from cegid_daemon.workshop import Finished, Limits, PartFrames, Rows
from cegid_daemon.workshop.hiring import Cause, WorkerDied, _cause, _environment
from cegid_daemon.workshop.orders import Bench
from cegid_daemon.workshop.spool import KEPT_BYTES, KEPT_ROWS, SpoolSink, counted
from cegid_daemon.workshop.wire import Kind, Lost, receive_answer, receive_orders, send
from cegid_daemon.workshop.worker import _out_of_memory

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    theirs.settimeout(5)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_result_crosses_whole(pair):
    ours, theirs = pair
    made = PartMade(1, "a.xml", 2, 3, "f" * 64)
    rewritten = Rewritten(Coverage(2, 1, {"closed": 1}), (made,), ("A",))
    finished = Finished(rewritten, (PartFrames(1, ((3, b"x"),), Path("/spool/1")),), Rows((("a", "b"),)), Rows())
    send(theirs, Kind.RESULT, finished)
    assert receive_answer(ours) == (Kind.RESULT, finished)


def test_an_error_crosses_with_its_place_and_remedy(pair):
    ours, theirs = pair
    send(theirs, Kind.STOPPED, BadInput("bad", where=Place(file="a.csv", line=3), why="odd", remedy="Mend it."))
    kind, error = receive_answer(ours)
    assert (kind, type(error), str(error)) == (
        Kind.STOPPED, BadInput, "bad (file 'a.csv', line 3): odd. Mend it.",
    )  # fmt: skip


def test_a_sign_of_progress_has_no_body(pair):
    ours, theirs = pair
    send(theirs, Kind.PROGRESS)
    assert receive_answer(ours) == (Kind.PROGRESS, None)


class Hostile:
    def __reduce__(self):
        return os.system, ("true",)


class Sly:
    def __reduce__(self):
        return getattr, (BadInput, "mro")


@pytest.mark.parametrize("body", [Hostile(), Sly(), NOW, Cause.CPU], ids=["system", "getattr", "datetime", "own"])
def test_the_daemon_takes_nothing_but_results_from_a_worker(pair, body):
    ours, theirs = pair
    send(theirs, Kind.RESULT, body)
    with pytest.raises(Lost):
        receive_answer(ours)


@pytest.mark.parametrize(
    ("module", "name"),
    [("cegid_daemon.errors", "asdict"), ("cegid_daemon.workshop.orders", "json.loads"), ("builtins", "eval")],
)
def test_a_name_that_a_trusted_module_merely_imports_is_refused(pair, module, name):
    ours, theirs = pair
    body = pickle.PROTO + b"\x04" + pickle.SHORT_BINUNICODE + bytes([len(module)]) + module.encode()
    body += pickle.SHORT_BINUNICODE + bytes([len(name)]) + name.encode() + pickle.STACK_GLOBAL + pickle.STOP
    theirs.sendall(struct.pack("!QB", len(body), Kind.RESULT) + body)
    with pytest.raises(Lost):
        receive_answer(ours)


@pytest.mark.parametrize("sent", [b"\x00" * 9, b"\xff" * 9, struct.pack("!QB", 4, 3) + b"rubb", b"\x00\x00"])
def test_rubbish_from_a_worker_counts_as_its_end(pair, sent):
    ours, theirs = pair
    theirs.sendall(sent)
    theirs.close()
    with pytest.raises(Lost):
        receive_answer(ours)


def test_a_closed_end_is_the_end_of_orders_and_a_lost_worker(pair):
    ours, theirs = pair
    theirs.shutdown(socket.SHUT_WR)
    ours.shutdown(socket.SHUT_WR)
    assert receive_orders(theirs) is None
    with pytest.raises(Lost):
        receive_answer(ours)


@given(chunks=st.lists(st.binary(max_size=300), max_size=6), repeat=st.integers(1, 8_000))
def test_the_frames_of_a_part_are_its_bytes(tmp_path_factory, chunks, repeat):
    spool = tmp_path_factory.mktemp("spool")
    sink = SpoolSink(spool, 7, lambda _moved: None)
    writer = sink.part(1)
    for chunk in chunks:
        writer.write(chunk * repeat)
    writer.close()
    (part,), _, _ = sink.made()
    frames = list(part)
    assert b"".join(expand_frame(body) for _, body in frames) == b"".join(chunk * repeat for chunk in chunks)
    assert [size for size, _ in frames[:-1]] == [FRAME_SIZE] * (len(frames) - 1)
    assert all(0 < size <= FRAME_SIZE for size, _ in frames)


def test_a_part_goes_to_the_spool_when_it_is_large_and_can_be_read_twice(tmp_path):
    sink = SpoolSink(tmp_path, 7, lambda _moved: None)
    raw = os.urandom(FRAME_SIZE + KEPT_BYTES)
    small, large = sink.part(1), sink.part(2)
    small.write(b"a")
    large.write(raw)
    parts, _, _ = sink.made()
    assert [part.spooled for part in parts] == [None, tmp_path / "rewrite-7-2"]
    for _ in range(2):
        assert b"".join(expand_frame(body) for _, body in parts[1]) == raw


@pytest.mark.parametrize("count", [0, 1, KEPT_ROWS - 1, KEPT_ROWS, 2 * KEPT_ROWS + 1])
def test_rows_come_back_as_they_came(tmp_path, count):
    sink = SpoolSink(tmp_path, 7, lambda _moved: None)
    for number in range(count):
        sink.buffer("variation", f"é\n{number}", "\udc80", number)
    _, belongs, buffers = sink.made()
    assert list(buffers) == [("variation", f"é\n{number}", "\udc80", number) for number in range(count)]
    assert (bool(belongs), bool(buffers)) == (False, count > 0)
    assert (buffers.spooled is None) == (count < KEPT_ROWS)


def test_dropping_removes_the_files_of_this_message_only(tmp_path):
    (tmp_path / "rewrite-71-1").touch()
    sink = SpoolSink(tmp_path, 7, lambda _moved: None)
    sink.part(1).write(os.urandom(2 * FRAME_SIZE))
    sink.drop()
    assert [path.name for path in tmp_path.iterdir()] == ["rewrite-71-1"]


def test_bytes_read_and_written_are_counted(tmp_path):
    moved = []
    assert list(counted([b"ab", b"c"], moved.append)) == [b"ab", b"c"]
    SpoolSink(tmp_path, 7, moved.append).part(1).write(b"defg")
    assert moved == [2, 1, 4]


def test_a_large_file_may_take_longer():
    limits = Limits(seconds=30, seconds_per_mb=2)
    assert (limits.cpu_seconds(0), limits.cpu_seconds(10_000_000)) == (30, 50)


def test_a_worker_on_a_busy_machine_may_take_longer_than_its_cpu_time():
    limits = Limits(seconds=30)
    assert limits.deadline(0) == 10 * limits.cpu_seconds(0)
    assert limits.deadline(2_000_000_000) == limits.cpu_seconds(2_000_000_000) + 3600


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (77 << 8, Cause.MEMORY),
        (int(signal.SIGXCPU), Cause.CPU),
        (int(signal.SIGSEGV), Cause.OTHER),
        (None, Cause.NURSERY),
    ],
)
def test_a_wait_status_says_why_the_worker_ended(status, cause):
    assert _cause(status)[0] is cause


@pytest.mark.parametrize(
    ("cause", "fresh", "final"),
    [(Cause.DEADLINE, False, True), (Cause.CPU, False, True), (Cause.MEMORY, True, True), (Cause.MEMORY, False, False),
     (Cause.OTHER, True, False)],
)  # fmt: skip
def test_the_order_in_hand_is_blamed_only_for_certain(cause, fresh, final):
    assert WorkerDied(cause, "", fresh=fresh).final is final


def test_memory_that_ran_out_is_seen_through_other_errors():
    try:
        try:
            raise MemoryError
        except MemoryError as inner:
            raise ValueError("template") from inner
    except ValueError as outer:
        assert _out_of_memory(outer)
    assert _out_of_memory(OSError(12, "no memory"))
    assert not _out_of_memory(ValueError("template"))


def test_secrets_of_the_environment_stay_with_the_daemon(monkeypatch, tmp_path):
    monkeypatch.setenv("AURORA_TOKEN", "secret")
    monkeypatch.setenv("PYTHONUTF8", "1")
    known = _environment(Bench(tmp_path / "journal", tmp_path, Limits(), "a:b"))
    assert "AURORA_TOKEN" not in known
    assert known["PYTHONUTF8"] == "1"
    assert known["TMPDIR"] == str(tmp_path)
