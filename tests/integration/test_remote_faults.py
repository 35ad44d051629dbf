"""Every remote endpoint on a bad line: cut at any byte, stalled, or its server gone. Nothing hangs.

A proxy stands between the endpoint and its server. Whatever happens to the line, each call ends as it should: as
Transient, or as Unsure where it cannot be known whether a rename happened; and the endpoint works again afterwards.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from cegid_daemon.endpoints import Endpoint, open_endpoint
from cegid_daemon.endpoints.many import Move, Small, put_many, read_many, remove_many, rename_many, stat_many
from cegid_daemon.errors import EndpointError, Interrupted, SourceChanged, Transient, Unsure
from tests.servers import ftp, sftp
from tests.servers.places import Place
from tests.servers.proxy import Line, proxy

LARGE = bytes(range(256)) * 8192  # 2 MiB
SERVERS = {
    "openssh": sftp.openssh,
    "asyncssh": sftp.in_process,
    "vsftpd": ftp.vsftpd,
    "vsftpd-tls": partial(ftp.vsftpd, scheme="ftps"),
    "pyftpdlib": ftp.in_process,
}


@dataclass
class Bench:
    """An endpoint behind a line that can be broken."""

    place: Place
    line: Line
    endpoint: Endpoint

    @property
    def root(self) -> Path:
        return self.place.root

    def lay(self, name: str, body: bytes) -> None:
        (self.root / name).write_bytes(body)
        (self.root / name).chmod(0o666)


@pytest.fixture(params=SERVERS, scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("server")
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)
    with SERVERS[request.param](folder) as place:
        yield place


@pytest.fixture
def bench(server: Place) -> Iterator[Bench]:
    for path in server.root.iterdir():
        path.unlink()
    port = int(server.url.split(":")[2].split("/")[0])
    with proxy(port) as line:
        place = _through(server, port, line)
        endpoint = open_endpoint(place.spec(timeout=timedelta(seconds=5)))
        yield Bench(place, line, endpoint)
        endpoint.close()


def _through(server: Place, port: int, line: Line) -> Place:
    """The same server by way of the proxy; FTP's data connections go past it."""
    options = dict(server.options)
    if "known_hosts" in options:
        hosts = Path(options["known_hosts"])
        mine = hosts.with_name(f"known_hosts_{line.port}")
        mine.write_text(hosts.read_text().replace(f"]:{port} ", f"]:{line.port} "))
        options["known_hosts"] = str(mine)
    return replace(server, url=server.url.replace(f":{port}/", f":{line.port}/"), options=options)


def read_all(endpoint: Endpoint, name: str) -> bytes:
    with endpoint.read("", name) as reading:
        return b"".join(reading)


CALLS: dict[str, Callable[[Endpoint], object]] = {
    "list": lambda endpoint: endpoint.list(""),
    "stat": lambda endpoint: endpoint.stat("", "there.csv"),
    "read": lambda endpoint: read_all(endpoint, "there.csv"),
    "put": lambda endpoint: endpoint.put("", "new.tmp", [LARGE]),
    "rename": lambda endpoint: endpoint.rename("", "there.csv", "", "renamed.csv", replace=False),
    "remove": lambda endpoint: endpoint.remove("", "there.csv"),
    "make_folder": lambda endpoint: endpoint.make_folder(""),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_line_that_stalls_ends_as_transient_or_unsure_within_the_deadline(bench: Bench, call: str) -> None:
    bench.lay("there.csv", LARGE)
    hasty = open_endpoint(bench.place.spec(timeout=timedelta(seconds=1)))
    hasty.list("")
    bench.line.stalled = True
    began = time.monotonic()
    with pytest.raises((Transient, Unsure)):
        CALLS[call](hasty)
    assert time.monotonic() - began < 6
    bench.line.heal()
    bench.line.cut()
    bench.endpoint.list("")
    hasty.close()


@pytest.mark.parametrize("call", ["list", "rename"])
def test_a_silent_server_at_login_ends_as_transient_within_the_deadline(bench: Bench, call: str) -> None:
    bench.line.stalled = True
    hasty = open_endpoint(bench.place.spec(timeout=timedelta(seconds=1)))
    began = time.monotonic()
    with pytest.raises(Transient):
        CALLS[call](hasty)
    assert time.monotonic() - began < 6
    bench.line.heal()
    hasty.close()


@pytest.mark.parametrize("call", CALLS)
def test_closing_ends_a_call_that_waits_for_a_silent_server(bench: Bench, call: str) -> None:
    bench.lay("there.csv", LARGE)
    bench.endpoint.list("")
    patient = open_endpoint(bench.place.spec(timeout=timedelta(seconds=60)))
    patient.list("")
    bench.line.stalled = True
    ended: list[object] = []

    def work() -> None:
        try:
            CALLS[call](patient)
        except EndpointError as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.3)
    patient.close()
    thread.join(5)
    assert not thread.is_alive()
    assert [type(one) for one in ended] in ([Transient], [Interrupted], [Unsure])
    bench.line.heal()
    bench.line.cut()


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("seed", range(6))
def test_a_delivery_cut_anywhere_is_known_by_its_temporary_file(bench: Bench, direction: str, seed: int) -> None:
    """Puts aside and renames, as the pipeline does, with the line cut at a byte of either direction."""
    chance = random.Random(f"{direction}{seed}{bench.place.url.partition(':')[0]}")
    whole = _traffic(bench, direction)
    at = chance.randrange(whole)
    bench.line.passed_up = bench.line.passed_down = 0
    setattr(bench.line, f"cut_{direction}", at)
    outcome = "delivered"
    step = "put"
    try:
        bench.endpoint.put("", "new.tmp", [LARGE])
        step = "rename"
        bench.endpoint.rename("", "new.tmp", "", "final.csv", replace=False)
    except Transient:
        outcome = "again"
    except Unsure:
        outcome = "look" if step == "rename" else "again"
    bench.line.heal()
    final = bench.root / "final.csv"
    if outcome == "again":
        assert not final.exists()
        bench.endpoint.put("", "new.tmp", [LARGE])
        bench.endpoint.rename("", "new.tmp", "", "final.csv", replace=False)
    elif outcome == "look" and bench.endpoint.stat("", "new.tmp") is not None:
        bench.endpoint.rename("", "new.tmp", "", "final.csv", replace=False)
    assert final.read_bytes() == LARGE
    assert [path.name for path in bench.root.iterdir()] == ["final.csv"]


def _traffic(bench: Bench, direction: str) -> int:
    """How many bytes a whole delivery with its login takes."""
    bench.endpoint.put("", "new.tmp", [LARGE])
    bench.endpoint.rename("", "new.tmp", "", "final.csv", replace=False)
    bench.endpoint.remove("", "final.csv")
    bench.endpoint.close()
    return bench.line.passed_up if direction == "up" else bench.line.passed_down


@pytest.mark.parametrize("seed", range(4))
def test_a_download_cut_anywhere_gives_the_bytes_or_says_so(bench: Bench, seed: int) -> None:
    bench.lay("there.csv", LARGE)
    assert read_all(bench.endpoint, "there.csv") == LARGE
    bench.endpoint.close()
    chance = random.Random(seed)
    bench.line.cut_down = chance.randrange(bench.line.passed_down)
    bench.line.passed_down = 0
    try:
        body = read_all(bench.endpoint, "there.csv")
    except (Transient, SourceChanged):
        bench.line.heal()
        body = read_all(bench.endpoint, "there.csv")
    assert body == LARGE


@pytest.mark.parametrize("server", ["openssh", "asyncssh"], indirect=True)  # FTP's data go past the proxy
def test_a_download_goes_on_where_it_broke(bench: Bench) -> None:
    body = LARGE * 16
    bench.lay("large.bin", body)
    with bench.endpoint.read("", "large.bin") as reading:
        chunks = iter(reading)
        got = [next(chunks)]
        bench.line.cut()
        got += list(chunks)
    assert b"".join(got) == body
    assert bench.line.connections == 2
    assert bench.line.passed_down < 1.5 * len(body)  # what was asked for ahead is lost with the line


@pytest.mark.parametrize("server", ["openssh", "asyncssh"], indirect=True)  # FTP's data go past the proxy
def test_a_file_that_changed_while_its_download_was_broken_off_has_changed(bench: Bench) -> None:
    bench.lay("large.bin", LARGE * 8)
    with bench.endpoint.read("", "large.bin") as reading:
        chunks = iter(reading)
        next(chunks)
        bench.line.cut()
        bench.lay("large.bin", LARGE * 9)
        with pytest.raises(SourceChanged):
            list(chunks)


def test_a_rename_whose_answer_is_lost_is_unsure(bench: Bench) -> None:
    """Cut after fewer and fewer bytes of the answers: delivered, then unsure, and never anything else before that."""
    outcome, bound = _rename_cut_after(bench, 1 << 20)
    assert outcome == "delivered"
    outcomes = []
    while "unsure" not in outcomes:
        bound -= 1
        outcomes.append(_rename_cut_after(bench, bound)[0])
    assert set(outcomes[:-1]) <= {"delivered"}
    assert (bench.root / "final.csv").exists()


def _rename_cut_after(bench: Bench, bound: int) -> tuple[str, int]:
    """How a rename ended, and after how many bytes from the server."""
    for path in bench.root.iterdir():
        path.unlink()
    bench.lay("there.tmp", b"x")
    bench.endpoint.list("")
    bench.line.passed_down, bench.line.cut_down = 0, bound
    try:
        bench.endpoint.rename("", "there.tmp", "", "final.csv", replace=False)
        outcome = "delivered"
    except Transient:
        outcome = "again"
        assert not (bench.root / "final.csv").exists()
    except Unsure:
        outcome = "unsure"
    passed = bench.line.passed_down
    bench.line.heal()
    bench.line.cut()
    bench.endpoint.close()
    return outcome, passed


def test_many_files_on_a_line_that_breaks_fail_each_for_itself(bench: Bench) -> None:
    for number in range(30):
        bench.lay(f"{number}.csv", b"x" * 5000)
    files = [entry for entry in bench.endpoint.list("") if entry.regular]
    bench.line.passed_down, bench.line.cut_down = 0, 600
    fetched = list(read_many(bench.endpoint, "", files))
    assert {type(one.fault) for one in fetched} <= {Transient, type(None)}
    assert all(one.body == b"x" * 5000 for one in fetched if one.fault is None)
    bench.line.heal()
    assert all(one.fault is None for one in read_many(bench.endpoint, "", files))
    bench.line.passed_down, bench.line.cut_down = 0, 60
    moves = [Move(file.name, f"{file.name}.done") for file in files]
    outcomes = rename_many(bench.endpoint, "", "", moves, replace=False)
    assert {type(one) for one in outcomes} <= {Transient, Unsure, type(None)}
    for move, outcome in zip(moves, outcomes, strict=True):
        if outcome is None:
            assert (bench.root / move.to_name).exists()
        if isinstance(outcome, Transient):
            assert (bench.root / move.name).exists()


def test_many_files_share_their_round_trips(bench: Bench) -> None:
    names = [f"{number:02}.csv" for number in range(50)]
    bench.endpoint.list("")
    bench.line.delay = 0.02  # else answers come while the client still speaks, and count as turns
    few = len(names) // 2

    def turns(work: Callable[[], Sequence[object]]) -> int:
        before = bench.line.turns
        outcomes = work()
        assert not any(isinstance(one, Exception) for one in outcomes)
        return bench.line.turns - before

    def put() -> Sequence[object]:
        return put_many(bench.endpoint, "", [Small(name, b"x" * 100) for name in names])

    def rename(old: str, new: str, *, replace: bool) -> Sequence[object]:
        moves = [Move(f"{name}{old}", f"{name}{new}") for name in names]
        return rename_many(bench.endpoint, "", "", moves, replace=replace)

    assert turns(put) < (few if bench.place.url.startswith("sftp") else 6 * len(names))
    assert turns(lambda: rename("", ".done", replace=False)) < few
    assert turns(lambda: rename(".done", "", replace=True)) < few
    assert turns(lambda: bench.endpoint.list("")) < few
    assert turns(lambda: stat_many(bench.endpoint, "", names)) < few
    assert turns(lambda: remove_many(bench.endpoint, "", names)) < few


TRIES = 5


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pyftpdlib forgets a file when cut
@pytest.mark.parametrize("bound", [500, 20_000, 60_000])
def test_many_long_names_on_a_line_that_breaks_while_they_are_sent_fail_each_for_itself(
    bench: Bench, bound: int
) -> None:
    names = [f"{number:02}{'n' * 240}" for number in range(64)]
    bench.endpoint.list("")
    bench.line.passed_up, bench.line.cut_up = 0, bound
    outcomes = put_many(bench.endpoint, "", [Small(name, b"x" * 2000) for name in names])
    assert all(isinstance(one, Transient | Unsure | None) for one in outcomes)
    for name, outcome in zip(names, outcomes, strict=True):
        if outcome is None:
            assert (bench.root / name).read_bytes() == b"x" * 2000
    bench.line.heal()
    for _ in range(TRIES):  # a connection that was made while the line was cut may still break
        outcomes = put_many(bench.endpoint, "", [Small(name, b"y" * 2000) for name in names])
        assert all(isinstance(one, Transient | Unsure | None) for one in outcomes)
        if not any(outcomes):
            break
    assert not any(outcomes)
    bench.line.passed_up, bench.line.cut_up = 0, bound
    moves = [Move(name, f"{name}.done") for name in names]
    for move, outcome in zip(moves, rename_many(bench.endpoint, "", "", moves, replace=True), strict=True):
        assert isinstance(outcome, Transient | Unsure | None)
        if outcome is None:
            assert (bench.root / move.to_name).exists()
        if isinstance(outcome, Transient):
            assert (bench.root / move.name).exists()
    bench.line.heal()
    left = [name for name in names if (bench.root / name).exists()]
    bench.line.passed_up, bench.line.cut_up = 0, bound
    assert all(isinstance(one, Transient | None) for one in remove_many(bench.endpoint, "", left))
    bench.line.heal()
