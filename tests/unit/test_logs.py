"""Log lines: readable, structured for journald, without secrets and without forged lines."""

from __future__ import annotations

import logging
import os
import socket
import sys
from pathlib import Path

import pytest

from cegid_daemon import logs

OURS = logging.getLogger("cegid_daemon.test")


def test_lines_carry_time_level_and_text_and_indent_what_follows(capsys: pytest.CaptureFixture[str]) -> None:
    with logs.telling(logging.INFO):
        OURS.info("first\nsecond")
    line, following = capsys.readouterr().err.splitlines()
    assert line[19:] == "Z info     first"
    assert following == "  second"


def test_debug_lines_and_those_of_libraries_below_warning_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    with logs.telling(logging.INFO):
        OURS.debug("detail")
        logging.getLogger("asyncssh").info("chatter")
        logging.getLogger("asyncssh").warning("trouble")
    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == ["trouble"]


def test_paramiko_is_not_heard_for_what_it_raises_and_as_before_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger("paramiko").level
    with logs.telling(logging.DEBUG):
        logging.getLogger("paramiko.transport").error("Traceback (most recent call last):")
    assert capsys.readouterr().err == ""
    assert logging.getLogger("paramiko").level == before


def test_named_loggers_are_not_heard(capsys: pytest.CaptureFixture[str]) -> None:
    with logs.telling(without=["cegid_daemon.test"]):
        OURS.error("told elsewhere")
    assert capsys.readouterr().err == ""


def test_passwords_in_addresses_and_authorization_headers_are_masked() -> None:
    assert logs.masked("sftp://shop:p@ss:w0rd@host:22/x") == "sftp://shop:***@host:22/x"
    assert logs.masked("Authorization: Bearer abc.def") == "Authorization: Bearer ***"
    assert logs.masked("file:/srv/in at 07:42") == "file:/srv/in at 07:42"


def test_a_file_name_cannot_forge_a_line_or_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with logs.telling():
        OURS.warning("odd name %s", "a\r2026 forged\x1b[2J\udcff")
    assert capsys.readouterr().err.endswith("odd name a\\r2026 forged\\x1b[2J\\udcff\n")


def test_a_traceback_stands_below_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    with logs.telling():
        try:
            raise RuntimeError("sftp://a:secret@b failed")
        except RuntimeError:
            OURS.exception("a bug")
    told = capsys.readouterr().err
    assert "\n  Traceback (most recent call last)" in told
    assert "secret" not in told


def test_what_was_set_up_before_is_back_afterwards() -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.getLogger(logs.OURS).level
    with logs.telling(logging.DEBUG):
        assert root.handlers != before[0]
    assert (root.handlers, root.level, logging.getLogger(logs.OURS).level) == before


def test_journald_gets_fields_to_filter_by() -> None:
    record = logging.LogRecord("cegid_daemon.pipeline", logging.ERROR, __file__, 1, "message %d failed", (7,), None)
    record.__dict__.update({"route": "inventory", "message_id": 7, "store": "main"})
    fields = dict(logs.fields_of(record))
    assert fields["MESSAGE"] == "message 7 failed"
    assert fields["PRIORITY"] == 3
    assert (fields["CEGID_ROUTE"], fields["CEGID_MESSAGE"], fields["CEGID_STORE"]) == ("inventory", "7", "main")


def test_records_reach_the_socket_of_journald(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(tmp_path / "socket"))
        handler = logs.JournaldHandler(str(tmp_path / "socket"))
        handler.handle(logging.LogRecord("cegid_daemon", logging.WARNING, __file__, 1, "two\nlines", None, None))
        handler.close()
        sent = journald.recv(65536)
    assert b"PRIORITY=4\n" in sent
    assert b"MESSAGE\n" + (9).to_bytes(8, "little") + b"two\nlines\n" in sent


def test_only_the_stream_systemd_connected_counts_as_journald(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    found = os.fstat(sys.__stderr__.fileno())  # type: ignore[union-attr]
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)
    for value, expected in ((f"{found.st_dev}:{found.st_ino}", True), ("1:2", False), ("", False), ("x:y", False)):
        monkeypatch.setenv("JOURNAL_STREAM", value)
        assert logs._journald_behind_stderr() is expected
