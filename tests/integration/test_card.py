"""What `check --live` finds out of real servers, and that `run` notices when one is no longer what it was."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from cegid_daemon.acquaintance import Acquaintance, changes
from cegid_daemon.cli.root import cegid_daemon as program
from cegid_daemon.endpoints import open_endpoint
from cegid_daemon.endpoints.card import card_of, facts_of
from cegid_daemon.endpoints.folder import FolderEndpoint
from cegid_daemon.journal import Journal
from cegid_daemon.model import EndpointSpec
from tests.servers.dropsite import PASSWORD, dropsite
from tests.servers.ftp import vsftpd
from tests.servers.places import HOST, Hidden, Place
from tests.servers.sftp import known_hosts, openssh

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(params=["vsftpd", "vsftpd-tls", "openssh"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Place]]:
    if request.param == "openssh":
        with openssh(tmp_path) as found:
            yield request.param, found
    else:
        with vsftpd(tmp_path, "ftps" if request.param.endswith("tls") else "ftp") as found:
            yield request.param, found


def test_a_card_shows_what_a_real_server_can_and_leaves_nothing_behind(place: tuple[str, Place]) -> None:
    kind, found = place
    with closing(open_endpoint(found.spec())) as endpoint:
        card = card_of(endpoint, "", now)
        assert endpoint.list("") == []
        assert facts_of(endpoint) == card.facts
    assert card.tried == {"write": "yes", "read": "yes", "rename": "yes", "replace": "yes", "remove": "yes"}
    assert card.measured["clock"] == "as ours"
    assert card.measured["latency"].endswith(" ms")
    if kind == "openssh":
        assert card.facts["host key"].startswith("ssh-ed25519 SHA256:")
        assert card.facts["posix-rename"] == "yes"
        assert "OpenSSH" in card.facts["software"]
    else:
        assert (card.facts["MLSD"], card.facts["MDTM"]) == ("no", "yes")
        assert card.facts.get("session reuse") == ("yes" if kind.endswith("tls") else None)


def test_a_folder_that_may_not_be_written_is_said_and_is_no_failure(tmp_path: Path) -> None:
    class Sealed(FolderEndpoint):
        def put(self, folder, name, chunks):  # type: ignore[no-untyped-def]
            from cegid_daemon.errors import Transient

            raise Transient("cannot write the file", why="Permission denied")

    assert card_of(Sealed(str(tmp_path)), "", now).tried == {"write": "no (Permission denied)"}


def test_our_own_site_is_told_apart_from_another_server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal.open(tmp_path / "journal.sqlite")
    with closing(journal), dropsite("sftp", tmp_path / "one") as site:
        url = f"sftp://cegid@{HOST}:{site.port}/"
        hosts = known_hosts(tmp_path, site.port, site.keys / "host_key.pub")
        options = {"password": Hidden(PASSWORD), "known_hosts": str(hosts), "timeout": timedelta(seconds=10)}
        with closing(open_endpoint(EndpointSpec("cegid", url, options))) as endpoint:
            assert isinstance(endpoint.where, str)
            task = Acquaintance("cegid", endpoint, journal, lambda: NOON)  # type: ignore[arg-type]
            with caplog.at_level(logging.WARNING, "cegid_daemon.acquaintance"):
                assert task.run() == NOON + timedelta(days=1)
                assert task.run() == NOON + timedelta(days=1)
                assert caplog.messages == []
                kept = journal.cards.card(endpoint.where)
                assert kept is not None
                journal.cards.keep(endpoint.where, {**kept.facts, "software": "SSH-2.0-other"}, None, NOON)
                task.run()
            (warning,) = caplog.messages
            assert "software was 'SSH-2.0-other', is 'SSH-2.0-cegid-daemon'" in warning
            assert journal.cards.card(endpoint.where) == kept


def test_a_server_that_does_not_answer_is_asked_again_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Journal.open(tmp_path / "journal.sqlite")) as journal:
        spec = EndpointSpec("cegid", "ftp://127.0.0.1:9/", {"timeout": timedelta(seconds=1)})
        with closing(open_endpoint(spec)) as endpoint:
            task = Acquaintance("cegid", endpoint, journal, lambda: NOON)  # type: ignore[arg-type]
            assert NOON < task.run() < NOON + timedelta(days=1)
            assert journal.cards.card(endpoint.where) is None
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_changes_name_what_was_and_what_is() -> None:
    assert changes({"a": "1", "b": "2"}, {"b": "3", "c": "4"}) == [
        "a was '1', is 'not told'", "b was '2', is '3'", "c was 'not told', is '4'",
    ]  # fmt: skip


def test_check_live_prints_the_card_of_each_endpoint_and_keeps_it(tmp_path: Path) -> None:
    with dropsite("ftp", tmp_path) as site:
        (tmp_path / "password").write_text(PASSWORD)
        (tmp_path / "out").mkdir()
        (site.root / "orders").mkdir()
        configuration = tmp_path / "cegid-daemon.toml"
        configuration.write_text(f"""
[store.main]
[endpoint.in]
url = "ftp://cegid@{HOST}:{site.port}/"
password = {{ file = "password" }}
[endpoint.out]
url = "file:out"
[route.orders]
store = "main"
source = {{ endpoint = "in", folder = "orders" }}
layout = "y2-stock-csv"
template = "aurora/inventory-import.xml.j2"
target = {{ endpoint = "out" }}
""")
        runner = CliRunner()
        shown = runner.invoke(program, ["check", "--live", "--config", str(configuration)])
        assert shown.exit_code == 0, shown.output
        assert "in orders: write yes, read yes, rename yes, replace yes, remove yes" in shown.output
        assert "MLSD yes" in shown.output
        assert PASSWORD not in shown.output
        assert runner.invoke(program, ["once", "--config", str(configuration)]).exit_code == 0
        found = runner.invoke(program, ["check", "--live", "--json", "--config", str(configuration)])
        endpoints = {one["endpoint"]: one for one in json.loads(found.stdout)["endpoints"]}
        assert endpoints["in"]["card"]["facts"]["resume"] == "yes"
        assert endpoints["out"]["card"]["tried"]["."]["replace"] == "yes"
        with closing(Journal.open(tmp_path / "var" / "journal.sqlite", readonly=True)) as journal:
            kept = journal.cards.card(endpoints["in"]["place"])
        assert kept is not None
        assert kept.facts == endpoints["in"]["card"]["facts"]
        assert kept.tried["orders: rename"] == "yes"
        assert list((site.root / "orders").iterdir()) == []
