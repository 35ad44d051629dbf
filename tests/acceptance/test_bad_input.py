"""Bad input, and what it gets: the real daemon among odd files, odd folders, full disks and broken journals."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.harness import Shop, route_table, rows

XML = 'kind = "xml"\nrecord = "Item"\nroot = "Feed"\n'


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def xml_shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.configuration.write_text(shop.configuration.read_text("utf-8").replace('kind = "delimited"\n', XML), "utf-8")
    return shop


def once(shop: Shop, code: int) -> str:
    done = shop.call("once")
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stderr


BAD_ROWS = {
    "too few columns": (b"ID;N\na;1\nb\n", "line 3"),
    "too many columns": (b"ID;N\na;1;2\n", "line 2"),
    "no such column": (b"ID;M\na;1\n", "N"),
    "undecodable bytes": (b"\xff\xfeI\x00D\x00;\x00N\x00\n\x00a", "bad.csv"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_broken_row_is_failed_with_its_place_and_the_others_go_on(case: str, shop: Shop) -> None:
    body, place = BAD_ROWS[case]
    shop.drop("a.csv", rows("a"))
    shop.drop("bad.csv", body)
    shop.drop("c.csv", rows("c"))
    once(shop, 1)
    assert set(shop.out()) == {"a.txt", "c.txt"}
    text = shop.failed("bad.csv")
    assert place in text
    assert "What to do" in text
    assert (shop.inbox / "failed" / "bad.csv").read_bytes() == body
    shop.check_coverage()


def deep(depth: int) -> bytes:
    return b"<Feed><Item><ID>" + b"<a>" * depth + b"</a>" * depth + b"</ID><N>1</N></Item></Feed>"


BOMB = b"".join(
    [b'<!DOCTYPE Feed [<!ENTITY a "aaaaaaaaaa">', *(b'<!ENTITY a%d "%s">' % (n, b"&a;" * 10) for n in range(9)), b"]>",
     b"<Feed><Item><ID>&a;</ID></Item></Feed>"]
)  # fmt: skip
BAD_XML = {
    "truncated": b"<Feed><Item><ID>a</ID><N>1</N></Item>",
    "malformed": b"<Feed><Item><ID>a</N></Item></Feed>",
    "wrong root": b"<Other><Item><ID>a</ID><N>1</N></Item></Other>",
    "DTD": b"<!DOCTYPE Feed><Feed><Item><ID>a</ID><N>1</N></Item></Feed>",
    "external entity": b'<!DOCTYPE Feed [<!ENTITY e SYSTEM "file:///etc/hostname">]><Feed><Item><ID>&e;</ID></Item></Feed>',
    "entity bomb": BOMB,
    "10,000 deep": deep(10_000),
    "100 MB text node": b"<Feed><Item><ID>" + b"x" * 100_000_000 + b"</ID><N>1</N></Item></Feed>",
}


@pytest.mark.parametrize("case", BAD_XML)
def test_bad_xml_is_refused_and_the_others_go_on(case: str, xml_shop: Shop) -> None:
    good = b"<Feed><Item><ID>a</ID><N>1</N></Item></Feed>"
    xml_shop.drop("a.xml", good)
    xml_shop.drop("bad.xml", BAD_XML[case])
    xml_shop.drop("c.xml", good)
    once(xml_shop, 1)
    assert xml_shop.out() == {"a.txt": b"a;1\n", "c.txt": b"a;1\n"}
    assert "bad.xml" in xml_shop.failed("bad.xml")
    assert xml_shop.spool() == []
    xml_shop.check_coverage()


@pytest.mark.parametrize("body", [b"ID;N\n", b"ID;N\r\n\r\n"], ids=["header only", "blank line"])
def test_nothing_to_send_is_recorded_and_done(body: bytes, shop: Shop) -> None:
    shop.drop("a.csv", body)
    once(shop, 0)
    assert (shop.out(), shop.states()) == ({}, {"done": 1})
    shop.check_coverage()


def test_a_file_without_bytes_waits_to_be_filled(shop: Shop) -> None:
    shop.drop("a.csv", b"")
    assert "the file is empty and not taken yet" in once(shop, 1)
    assert (shop.out(), shop.states()) == ({}, {})


def test_an_empty_root_is_nothing_to_send(xml_shop: Shop) -> None:
    xml_shop.drop("a.xml", b"<Feed/>")
    once(xml_shop, 0)
    assert (xml_shop.out(), xml_shop.states()) == ({}, {"done": 1})


def test_an_undefined_name_fails_with_template_and_line_and_a_replay_after_the_fix_works(shop: Shop) -> None:
    template = shop.folder / "templates" / "rows.txt.j2"
    good = template.read_text("utf-8")
    template.write_text("head\n{% for r in records %}{{ r.NOPE }}{% endfor %}", "utf-8")
    shop.drop("a.csv", rows("a"))
    once(shop, 1)
    text = shop.failed("a.csv")
    assert "rows.txt.j2" in text
    assert "line 2" in text
    assert "then replay the message. The command: `cegid-daemon replay 1`." in text
    template.write_text(good, "utf-8")
    assert shop.call("replay", "1").returncode == 0
    once(shop, 0)
    assert shop.out() == {"a.txt": b"a;0\n"}
    assert shop.states() == {"failed": 1, "done": 1}


def test_output_that_is_not_well_formed_does_not_leave(shop: Shop) -> None:
    shop.configure(route_table("rows", extra='output = { check = "xml" }'))
    shop.drop("a.csv", rows("a"))
    once(shop, 1)
    assert shop.out() == {}
    assert "rows.txt.j2" in shop.failed("a.csv")


ODD = {
    "newline": b"a\nb.csv", "quotes": b"a'\"b.csv", "not UTF-8": b"caf\xe9.csv", "leading dash": b"-rf.csv",
    "255 bytes": b"x" * 251 + b".csv", "255 bytes without suffix": b"y" * 255, "blanks": b" a b .csv",
    "markup": b"<b>&amp;{{ 1 }}.csv", "backslash": b"a\\x41.csv", "wide": "é".encode() * 127 + b"z",
}  # fmt: skip


def test_files_with_odd_names_are_processed_like_any_other_twice_over(shop: Shop) -> None:
    shop.configure(route_table("rows", target=', name = "{{ message.id }}.txt"'))
    for turn in range(2):
        for number, name in enumerate(ODD.values()):
            shop.drop(name, rows(f"t{turn}n{number}"))
        once(shop, 0)
    assert sorted(shop.out().values()) == sorted(b"t%dn%d;0\n" % (t, n) for t in range(2) for n in range(len(ODD)))
    [day] = (shop.inbox / "processed").iterdir()
    filed = [os.fsencode(name) for name in os.listdir(day)]  # noqa: PTH208  # the names themselves, as bytes
    assert len(filed) == 2 * len(ODD)
    assert set(ODD.values()) <= set(filed)


@pytest.mark.parametrize("case", [case for case in ODD if case != "backslash"])
def test_the_delivered_name_may_be_as_odd_as_the_sources(case: str, shop: Shop) -> None:
    shop.configure(route_table("rows", target=', name = "{{ source.stem }}.txt"'))
    shop.drop(ODD[case], rows("a"))
    once(shop, 0)
    assert list(shop.out().values()) == [b"a;0\n"]


@pytest.mark.parametrize("case", ODD)
def test_a_bad_file_of_an_odd_name_is_explained_beside_it(case: str, shop: Shop) -> None:
    shop.drop(ODD[case], b"ID;N\nbroken\n")
    once(shop, 1)
    names = {os.fsencode(path.name) for path in (shop.inbox / "failed").iterdir()}
    assert ODD[case] in names
    assert len([name for name in names if name.endswith(b".error.txt")]) == 1


def test_what_is_no_regular_file_stays_and_is_told_once(shop: Shop) -> None:
    secret = shop.folder / "secret.csv"
    secret.write_bytes(rows("secret"))
    (shop.inbox / "link.csv").symlink_to(secret)
    os.mkfifo(shop.inbox / "pipe.csv")
    (shop.inbox / "folder.csv").mkdir()
    before = Path.cwd()
    os.chdir(shop.inbox)  # the path of a socket is short
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind("socket.csv")
        os.chdir(before)
        shop.drop("a.csv", rows("a"))
        with shop.run() as daemon:
            daemon.wait_for(shop.out, "a.txt")
            shop.drop("b.csv", rows("b"))
            daemon.wait_for(lambda: len(shop.out()) == 2, "b.txt")
        for name in ("link.csv", "pipe.csv", "folder.csv", "socket.csv"):
            assert daemon.said().count(f"{name}: not a regular file") == 1, daemon.said()
            assert os.path.lexists(shop.inbox / name)
    once(shop, 0)
    assert shop.states() == {"done": 2}


# -- places that fail for a while --------------------------------------------------------------------------------------


# Root reads everything: the daemon runs without that right, as it would as an ordinary user.
ORDINARY = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.getuid() == 0 else []


def test_an_unreadable_file_is_reported_and_holds_up_the_files_behind_it_until_it_is_read(shop: Shop) -> None:
    shop.drop("a.csv", rows("a")).chmod(0)
    shop.drop("b.csv", rows("b"))
    with shop.run(prefix=ORDINARY) as daemon:
        daemon.wait_for(lambda: "a.csv cannot be read" in daemon.said(), "the fault reported")
        daemon.wait_for(lambda: "notice (unreadable" in shop.call("status").stdout, "the notice")
        assert shop.out() == {}
        (shop.inbox / "a.csv").chmod(0o600)
        daemon.wait_for(lambda: len(shop.out()) == 2, "both files")
        assert "recovered" in daemon.said()
    assert shop.states() == {"done": 2}


def test_an_unreadable_file_is_passed_after_its_time_and_held_once_it_is_read(shop: Shop) -> None:
    shop.configure(route_table("rows", extra='retry = { unreadable = "1s", first = "1s", longest = "1s" }'))
    shop.drop("a.csv", rows("a")).chmod(0)
    shop.drop("b.csv", rows("b"))
    with shop.run(prefix=ORDINARY) as daemon:
        daemon.wait_for(lambda: "b.txt" in shop.out(), "the readable one")
        (shop.inbox / "a.csv").chmod(0o600)
        daemon.wait_for(lambda: shop.states() == {"done": 1, "held": 1}, "the late one held")
    assert list(shop.out()) == ["b.txt"]


def test_a_read_only_target_waits_is_told_and_goes_by_itself(shop: Shop) -> None:
    shop.outbox.chmod(0o500)
    shop.drop("a.csv", rows("a"))
    shop.configure(route_table("rows", extra='retry = { first = "1s", longest = "1s" }'))
    with shop.run(prefix=ORDINARY) as daemon:
        daemon.wait_for(lambda: shop.states() == {"waiting": 1}, "waiting")
        assert "Permission denied" in daemon.said()
        shop.outbox.chmod(0o700)
        daemon.wait_for(lambda: shop.states() == {"done": 1}, "done")
    assert shop.out() == {"a.txt": b"a;0\n"}


def test_a_target_folder_that_is_gone_is_waited_for_and_not_made_again(shop: Shop) -> None:
    shop.configure(route_table("rows", extra='retry = { first = "1s", longest = "1s" }'))
    once(shop, 0)
    shop.outbox.rmdir()
    for number in range(5):
        shop.drop(f"{number}.csv", rows(str(number)))
    with shop.run() as daemon:
        daemon.wait_for(lambda: shop.states()["waiting"] == 1, "waiting")
        assert not shop.outbox.exists()
        shop.outbox.mkdir()
        daemon.wait_for(lambda: shop.states() == {"done": 5}, "done")
    assert sorted(shop.out()) == [f"{number}.txt" for number in range(5)]


def test_a_source_folder_that_is_gone_is_told_and_waited_for(shop: Shop) -> None:
    shop.configure(route_table("rows", extra='retry = { first = "1s", longest = "1s" }'))
    once(shop, 0)
    shutil.rmtree(shop.inbox)
    assert "is not there" in once(shop, 1)
    with shop.run() as daemon:
        shop.inbox.mkdir()
        shop.drop("a.csv", rows("a"))
        daemon.wait_for(lambda: shop.states() == {"done": 1}, "done")


def limited_files() -> None:
    """The largest file this process may write: what a full disk looks like without being root."""
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))


def mounted(folder: Path, size: str) -> bool:
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], check=False,
                          capture_output=True)  # fmt: skip
    return done.returncode == 0


@pytest.fixture
def small_disk(shop: Shop) -> Iterator[Callable[[Path, str], None]]:
    """Mounts a small file system; where that is not allowed, the test cannot be made."""
    made: list[Path] = []

    def build(folder: Path, size: str) -> None:
        folder.mkdir(exist_ok=True, parents=True)
        if not mounted(folder, size):
            pytest.skip("mounting a small file system is not allowed here")
        made.append(folder)

    yield build
    for folder in made:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_full_target_disk_is_waited_for(shop: Shop, small_disk: Callable[[Path, str], None]) -> None:
    small_disk(shop.outbox, "256k")
    filler = shop.outbox / ".filler"
    filler.write_bytes(b"x" * 200_000)
    shop.configure(route_table("rows", extra='retry = { first = "1s", longest = "1s" }'))
    shop.drop("a.csv", rows("a" * 50, 3000))
    with shop.run() as daemon:
        daemon.wait_for(lambda: shop.states() == {"waiting": 1}, "waiting")
        assert "disk is full" in daemon.said()
        filler.unlink()
        daemon.wait_for(lambda: shop.states() == {"done": 1}, "done")
    assert [len(body.splitlines()) for body in shop.out().values()] == [3000]


def test_a_full_state_disk_is_waited_for(shop: Shop, small_disk: Callable[[Path, str], None]) -> None:
    small_disk(shop.folder / "var", "2m")
    with shop.run() as daemon:
        filler = shop.folder / "var" / "filler"
        with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
            while True:
                file.write(os.urandom(4096))
        shop.drop("a.csv", os.urandom(90_000).hex().encode())
        shop.drop("b.csv", rows("b", 20_000))
        daemon.wait_for(lambda: "journal cannot be" in daemon.said(), "the trouble told")
        assert shop.out() == {}
        filler.unlink()
        daemon.wait_for(shop.out, "delivered")
        daemon.wait_for(lambda: shop.states() == {"done": 2}, "done")
        assert "nobody foresaw" not in daemon.said()


def test_a_disk_that_takes_no_more_bytes_loses_nothing(shop: Shop) -> None:
    """The journal cannot grow any further: nothing is delivered that is not written down."""
    bodies = [b"ID;N\n" + b"".join(b"%s;1\n" % os.urandom(16).hex().encode() for _ in range(2500)) for _ in range(12)]
    for number, body in enumerate(bodies):
        shop.drop(f"{number:02}.csv", body)
    with shop.run(setup=limited_files) as daemon:
        daemon.wait_for(lambda: "cannot be" in daemon.said(), "the trouble told")
    once(shop, 0)
    assert len(shop.out()) == 12
    assert shop.states() == {"done": 12}


# -- the journal -------------------------------------------------------------------------------------------------------


def damaged_middle(journal: Path) -> None:
    body = bytearray(journal.read_bytes())
    body[8192 : 8192 * 6] = os.urandom(8192 * 5)
    journal.write_bytes(body)


def newer(journal: Path) -> None:
    with closing(sqlite3.connect(journal)) as db:
        db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('cegid_daemon', 'm999', '')"
        )
        db.commit()


BROKEN: dict[str, Callable[[Path], object]] = {
    "truncated": lambda journal: os.truncate(journal, 8192 * 3),
    "empty": lambda journal: os.truncate(journal, 0),
    "garbage": lambda journal: journal.write_bytes(os.urandom(100_000)),
    "damaged in the middle": damaged_middle,
    "newer": newer,
    "missing beside its marker": lambda journal: journal.unlink(),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_journal_that_cannot_be_trusted_is_refused_and_left_alone(case: str, shop: Shop) -> None:
    shop.drop("a.csv", rows("a"))
    once(shop, 0)
    BROKEN[case](shop.journal)
    before = shop.journal.read_bytes() if shop.journal.exists() else None
    shop.drop("b.csv", rows("b"))
    done = shop.call("run")
    assert done.returncode not in (0, 75), done
    assert "backup" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert (shop.journal.read_bytes() if shop.journal.exists() else None) == before
    assert list(shop.out()) == ["a.txt"]


def test_a_file_that_is_too_large_is_told_with_its_size_and_never_replayed_as_an_empty_one(tmp_path: Path) -> None:
    shop = Shop(tmp_path, route_table("rows", source=', max_size = "1KB"'))
    shop.drop("big.csv", rows("a", 1000))
    once(shop, 1)
    size = len(rows("a", 1000))
    assert f"{size} bytes\n" in shop.failed("big.csv")
    assert f"{size} bytes, not read" in shop.call("log", "show", "1").stdout
    assert shop.call("replay", "1").returncode == 1
    assert shop.states() == {"failed": 1}
