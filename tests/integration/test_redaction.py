"""Redaction from the configuration to the journal file: full bytes while a message is on its way, masked ones after."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cegid_daemon import once
from cegid_daemon.bootstrap import Installation, journal_path, utc_now
from cegid_daemon.config import Config, load
from cegid_daemon.desk import Desk
from cegid_daemon.errors import Refused
from cegid_daemon.housekeeping import Housekeeping
from cegid_daemon.journal import Journal
from cegid_daemon.journal.log import LogEntry
from tests.servers.aurora import FaultyApi, body, status

CONFIGURATION = """
state = "var"
[store.main]
stock_buffer = 2
[endpoint.inbox]
url = "file:inbox"
[endpoint.outbox]
url = "file:outbox"
[layout.customers]
kind = "delimited"
sku = "r.CODE"
[route.customers]
title = "Customers"
store = "main"
source = { endpoint = "inbox", folder = "customers", settle = "0s" }
layout = "customers"
template = "customers.csv.j2"
target = { endpoint = "outbox", folder = "customers", name = "{{ source.stem }}.csv" }
log = { redact = ["NAME", "MAIL"] }
[route.again]
title = "Customers again"
store = "main"
source = { endpoint = "inbox", folder = "customers", settle = "0s" }
layout = "customers"
template = "customers.csv.j2"
target = { endpoint = "outbox", folder = "again", name = "{{ source.stem }}.csv" }
log = { redact = ["CODE"] }
"""
TEMPLATE = "{% for r in records %}{{ r.CODE }};{{ r.NAME|upper }};{{ r.MAIL }}\n{% endfor %}"
CONTENT = "CODE;NAME;MAIL\n1001;Hélène Dupont;h.dupont@example.org\n1002;Bob;\n".encode()
ENVELOPE = (
    "<AuroraRequestEnvelope><Requests>{% for r in records %}<Request><Customer><Update>"
    "<RequestID>{{ r.CODE }}</RequestID><Name>{{ r.NAME }}</Name></Update></Customer></Request>"
    "{% endfor %}</Requests></AuroraRequestEnvelope>"
)
SENT = "1001;HÉLÈNE DUPONT;h.dupont@example.org\n1002;BOB;\n".encode()
SECRETS = (b"dupont", b"DUPONT", b"Dupont")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "customers.csv.j2").write_text(TEMPLATE)
    (tmp_path / "inbox" / "customers").mkdir(parents=True)
    return reloaded(tmp_path, CONFIGURATION.partition("[route.again]")[0])


def reloaded(folder: Path, text: str) -> Config:
    (folder / "cegid-daemon.toml").write_text(text)
    return load(folder / "cegid-daemon.toml")


def drop(config: Config, content: bytes = CONTENT, name: str = "C.csv") -> None:
    (config.folder / "inbox" / "customers" / name).write_bytes(content)


def carry(installation: Installation, config: Config) -> once.Outcome:
    crew = installation.crew(config, beat=lambda: None, stopping=lambda: False)
    try:
        return once.once(crew.sources, clock=utc_now, wait=lambda _seconds: False)
    finally:
        crew.close()


def keep_house(journal: Journal, config: Config, *, stopping: bool = False) -> None:
    policies = {name: route.log for name, route in config.routes.items()}
    house = Housekeeping(journal, policies, utc_now, lambda: stopping)
    while house.turn():
        pass


@contextmanager
def opened(config: Config) -> Iterator[Journal]:
    journal = Journal.open(journal_path(config))
    try:
        yield journal
    finally:
        journal.close()


def carried(config: Config, *, masked: bool = True) -> None:
    """One run of `once`; `masked=False` is a kill before the housekeeping came to it."""
    with Installation(config) as installation:
        carry(installation, config)
        if masked:
            keep_house(installation.journal, config)


def stored(journal: Journal, entry: LogEntry) -> bytes:
    return b"".join(journal.log.payload_of(entry))


def desk(journal: Journal, config: Config) -> Desk:
    return Desk(journal, config.routes, config.stores, config.recipes, who="test", clock=lambda: datetime.now(UTC))


def test_what_was_delivered_is_whole_and_what_is_kept_is_masked(config):
    drop(config)
    carried(config)
    assert (config.folder / "outbox" / "customers" / "C.csv").read_bytes() == SENT
    with opened(config) as journal:
        received, sent = journal.log.of_message(1)
        assert stored(journal, received) == CONTENT.replace("Hélène Dupont".encode(), b"*" * 13).replace(
            b"h.dupont@example.org", b"*" * 20
        ).replace(b"Bob", b"***")
        assert stored(journal, sent) == b"1001;*************;********************\n1002;BOB;\n"
        assert (received.size, received.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
        assert (sent.size, sent.sha256) == (len(SENT), hashlib.sha256(SENT).hexdigest())
        assert journal.log.message(1)["attempts"][-1]["detail"] == "2 stored copies masked"
    assert rows(config, "SELECT redacted FROM payload") == [(1,), (1,)]


def test_a_replay_of_a_masked_copy_says_why_it_cannot(config):
    drop(config)
    carried(config)
    with opened(config) as journal, pytest.raises(Refused, match="the stored copy is masked"):
        desk(journal, config).replay(1)


def test_a_kill_between_the_end_of_a_message_and_its_masking_only_delays_it(config):
    drop(config)
    carried(config, masked=False)
    with opened(config) as journal:
        assert stored(journal, journal.log.of_message(1)[0]) == CONTENT
        keep_house(journal, config, stopping=True)
        assert stored(journal, journal.log.of_message(1)[0]) == CONTENT
    carried(config)
    with opened(config) as journal:
        assert all(b"upont" not in stored(journal, entry) for entry in journal.log.of_message(1))
        assert journal.masking.owed() is None


def test_what_is_shared_stays_in_clear_only_for_the_message_that_still_needs_it(config):
    drop(config)
    carried(config, masked=False)
    with opened(config) as journal:
        again = desk(journal, config).replay(1)
        keep_house(journal, config)
        assert b"upont" not in stored(journal, journal.log.of_message(1)[0])
        assert stored(journal, journal.log.of_message(again)[0]) == CONTENT
    carried(config)
    with opened(config) as journal:
        assert b"upont" not in stored(journal, journal.log.of_message(again)[0])
        assert journal.connection.query("SELECT 1 FROM payload WHERE redacted = 0") == []


def test_each_route_masks_its_own_fields_of_a_file_they_share(config):
    config = reloaded(config.folder, CONFIGURATION)
    drop(config)
    carried(config)
    with opened(config) as journal:
        customers, again = journal.log.entries(route="customers"), journal.log.entries(route="again")
        assert b"Bob" not in stored(journal, customers[-1])
        assert stored(journal, again[-1]) == CONTENT.replace(b"1001", b"****").replace(b"1002", b"****")
        assert stored(journal, again[0]) == SENT.replace(b"1001", b"****").replace(b"1002", b"****")


def test_a_failed_message_keeps_its_bytes_until_its_replay_is_done(config):
    template = config.folder / "templates" / "customers.csv.j2"
    template.write_text("{{ nobody_knows }}")
    config = load(config.path)
    drop(config)
    carried(config)
    template.write_text(TEMPLATE)
    config = load(config.path)
    with opened(config) as journal:
        assert stored(journal, journal.log.of_message(1)[0]) == CONTENT
        again = desk(journal, config).replay(1)
    carried(config)
    with opened(config) as journal:
        for message in (1, again):
            assert b"upont" not in stored(journal, journal.log.of_message(message)[0])


def test_a_copy_that_cannot_be_masked_with_certainty_is_dropped_and_the_log_says_so(config, caplog):
    drop(config)
    carried(config, masked=False)
    with opened(config) as journal:
        journal.connection.execute("UPDATE message SET recipe = NULL")  # as a message that was never rewritten
        with caplog.at_level(logging.WARNING, "cegid_daemon.pipeline"):
            keep_house(journal, config)
        assert "cannot be masked with certainty and is dropped" in caplog.text
        assert [entry.payload for entry in journal.log.of_message(1)] == [None, None]
        assert journal.connection.query("SELECT 1 FROM payload") == []
        assert journal.log.message(1)["attempts"][-1]["detail"] == "0 stored copies masked, 2 dropped"


def test_fields_that_are_named_at_a_reload_count_for_what_is_still_open(config):
    (config.folder / "outbox").mkdir()
    plain = reloaded(config.folder, CONFIGURATION.partition("log = ")[0])
    drop(plain)
    with Installation(plain) as installation:
        carry(installation, plain)
        (config.folder / "outbox" / "customers").rename(config.folder / "outbox" / "away")
        drop(plain, name="D.csv")
        carry(installation, plain)  # waits: its target is gone
    (config.folder / "outbox" / "away").rename(config.folder / "outbox" / "customers")
    carried(reloaded(config.folder, CONFIGURATION.partition("[route.again]")[0]))
    with opened(config) as journal:
        assert stored(journal, journal.log.of_message(1)[0]) == CONTENT
        assert b"upont" not in stored(journal, journal.log.of_message(2)[0])


def test_keys_made_of_a_masked_field_are_not_indexed_and_others_are(config):
    drop(config)
    carried(config)
    with opened(config) as journal:
        assert {row[0] for row in journal.connection.query("SELECT key FROM search_key")} == {"C.csv", "1001", "1002"}
    config = reloaded(config.folder, CONFIGURATION.replace('redact = ["NAME", "MAIL"]', 'redact = ["CODE"]'))
    drop(config, CONTENT.replace(b"1001", b"2001"), name="E.csv")
    carried(config)
    with opened(config) as journal:
        assert not journal.connection.query("SELECT 1 FROM search_key WHERE key = '2001'")
        assert journal.connection.query("SELECT 1 FROM search_key WHERE key = 'E.csv'")


def test_nothing_of_the_full_text_lingers_in_the_file(config):
    drop(config, CONTENT + b"1003;" + b"Zyxwvut;" + b"q@example.org\n")
    carried(config, masked=False)
    frames = [bytes(row[0]) for row in rows(config, "SELECT body FROM payload_chunk")]
    assert all(frame in whole_file(config) for frame in frames)
    carried(config)
    assert not any(frame in whole_file(config) for frame in frames)


def rows(config: Config, sql: str) -> list[tuple[object, ...]]:
    with opened(config) as journal:
        return [tuple(row) for row in journal.connection.query(sql)]


def whole_file(config: Config) -> bytes:
    return b"".join(path.read_bytes() for path in config.state.glob("journal.sqlite*"))


def test_what_an_api_answered_is_not_kept_when_the_copies_are_masked(config):
    refusal = b"<Error>there is no customer h.dupont@example.org</Error>"
    with FaultyApi(token="") as api:
        api.plan = [status(400, refusal)]
        text = config.path.read_text().replace('"file:outbox"', f'"{api.url}"')
        text = text.replace('folder = "customers", name = "{{', 'method = "CustomerUpdate", name = "{{')
        (config.folder / "templates" / "customers.csv.j2").write_text(ENVELOPE)
        drop(config)
        config = reloaded(config.folder, text)
        carried(config)
        with opened(config) as journal:
            assert [row[0] for row in journal.connection.query("SELECT state FROM message")] == ["failed"]
            [answer] = [row[0] for row in journal.connection.query("SELECT answer FROM attempt WHERE answer NOT NULL")]
            assert b"".join(journal.payloads.read(answer)) == refusal, "kept for whoever repairs"
            desk(journal, config).replay(1)
        api.plan = [body(b"<R><Header><Summary><Ack>Success</Ack></Summary></Header></R>")]
        carried(config)
    with opened(config) as journal:
        assert journal.connection.query("SELECT 1 FROM attempt WHERE answer NOT NULL") == []
        held = [b"".join(journal.payloads.read(row[0])) for row in journal.connection.query("SELECT id FROM payload")]
        assert held
        assert not any(secret in payload for payload in held for secret in SECRETS)


REPEATING = (
    "<R><Responses><Response><RequestID>1001</RequestID><Ack>Failure</Ack><Error>no customer Hélène Dupont, "
    "HÉLÈNE DUPONT or (h.dupont@example.org)</Error></Response><Response><RequestID>1002</RequestID><Ack>Failure</Ack>"
    "<Error>nobody is called Bob here</Error></Response></Responses></R>"
)


def test_what_an_api_refuses_is_told_without_the_masked_values_it_repeats(config, caplog):
    caplog.set_level(logging.INFO, "cegid_daemon")
    with FaultyApi(token="") as api:
        api.plan = [body(REPEATING.encode())]
        text = config.path.read_text().replace('"file:outbox"', f'"{api.url}"')
        text = text.replace('folder = "customers", name = "{{', 'method = "CustomerUpdate", name = "{{')
        (config.folder / "templates" / "customers.csv.j2").write_text(ENVELOPE)
        drop(config)
        config = reloaded(config.folder, text)
        carried(config)
    with opened(config) as journal:
        details = [row[0] for row in journal.connection.query("SELECT detail FROM attempt WHERE step = 'answer'")]
        kept = [tuple(row) for row in journal.connection.query("SELECT error, coverage FROM message")]
    (rejects,) = config.folder.rglob("*.rejected.csv")
    told = repr([details, kept, caplog.text, rejects.read_text("utf-8")])
    assert not any(secret.decode() in told for secret in (*SECRETS, b"Bob"))
    assert "no customer *************" in told
    assert "nobody is called *** here" in told
