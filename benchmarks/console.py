"""The console over a million log entries: how long lists and searches take a visitor, and what it weighs.

The journal is filled row by row with made-up messages (no real shop's), which takes a minute or two; then the real
daemon serves it.
"""

from __future__ import annotations

import http.client
import random
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from statistics import median
from urllib.parse import quote

from benchmarks.figures import MB, Figure
from benchmarks.installation import Installation, installed
from benchmarks.processes import memory
from cegid_daemon.journal import Journal
from cegid_daemon.journal.frames import compress_frames
from cegid_daemon.journal.words import EDITION
from cegid_daemon.model import utc_text

_ENTRIES = 1_000_000
_ROUTES = [f"stock-{number}" for number in range(9)] + ["orders"]
_SKUS = 200_000
_TRIES = 15
_SLICE = 200
_COMMON = ("stock", "product", "available", "main", "quantity", "xml", "version", "utf", "item", "items", "import")
_LISTS = {
    "newest": "/log",
    "largest": "/log?order=largest",
    "names of a route from a to z": "/log?order=a-z&route=orders",
    "names of a day from z to a": "/log?order=z-a&since=2026-03-01&until=2026-03-02",
    "smallest that failed": "/log?order=smallest&outcome=failed",
    "a route": "/log?route=orders",
    "a kind": "/log?kind=Response",
    "failed": "/log?outcome=failed",
    "ok and modified": "/log?outcome=ok&variant=Modified",
    "a store, oldest first": "/log?store=main&order=oldest&size=200",
    "an old day": "/log?since=2026-03-01&until=2026-03-02",
    "far back": "/log?behind=300000",
    "far back by size": "/log?order=smallest&behind=300000",
    "overview": "/",
    "a message": "/message/1000",
    "metrics": "/metrics",
}
_MESSAGE = """
    INSERT INTO message (id, uid, route, store, seq, state, folder, file_name, payload, sha256, size, logged,
    received_at, closed_at) VALUES (?, ?, ?, 'main', ?, ?, 'stock', ?, ?, '', 20, 1, ?, ?)
"""
_PARTS = """
    INSERT INTO part (id, message, no, payload, sha256, size, records) SELECT id, id, 1, id * 2, '', 20, 1 FROM message
"""
_DELIVERIES = """
    INSERT INTO delivery (id, part, message, endpoint, place, folder, name, temporary, request_uid, state, delivered_at)
    SELECT id, id, id, 'outbox', 'file:/outbox', 'stock', replace(file_name, 'csv', 'xml'), '', '',
    iif(state = 'done', 'delivered', 'cancelled'), closed_at FROM message
"""
_LOG = """
    INSERT INTO log_entry (id, logged_at, message, part, delivery, store, integration, route, kind, variant, name,
    endpoint, file_name, size, sha256, payload)
    SELECT id * 2 - iif(:v = 'Unmodified', 1, 0), received_at, id, {delivery}, {delivery}, store, 'CEGID', route,
    iif(route = 'orders', 'Response', 'Request'), :v, 'Inventory Import', 'inbox', file_name, 20, '',
    id * 2 - iif(:v = 'Unmodified', 1, 0) FROM message
"""


def console(scale: float) -> list[Figure]:
    """Pages and searches over a million entries, from request to the last byte."""
    messages = int(_ENTRIES * scale) // 2
    with installed("y2-stock-csv", routes=_ROUTES) as place:
        port = _listening(place)
        _fill(place, messages)
        with place.running() as pid:
            place.wait(lambda: _is_ready(port), 60)
            before = memory(pid)
            lists = {name: _times(port, path) for name, path in _LISTS.items()}
            searches = {name: _times(port, f"/log?q={quote(text)}") for name, text in _searches(messages).items()}
            searches["a word of all contents, by name"] = _times(port, "/log?order=a-z&q=available")
            held = memory(pid)
        words = _words_size(place)
    return [
        *(Figure(f"list: {name}, median", median(taken), "ms", at_most=100) for name, taken in lists.items()),
        *(Figure(f"search: {name}, median", median(taken), "ms", at_most=200) for name, taken in searches.items()),
        Figure("slowest of all", max(max(taken) for taken in [*lists.values(), *searches.values()]), "ms"),
        Figure("the index of words, a million contents", words / MB / (messages * 2) * 1_000_000, "MB"),
        Figure("memory of all processes (PSS) before the first page", before / MB, "MB"),
        Figure("memory after these pages", held / MB, "MB"),
    ]


def _searches(messages: int) -> dict[str, str]:
    return {
        "an order number": f"{1_000_000 + messages // 10 * 10 - 1}", "a SKU of many files": _sku(7),
        "a file name": "FILE_00004711.csv", "the beginning of a name": "FILE_0000", "the middle of a SKU": "77777",
        "what all names share": "FILE", "nothing": "no such thing", "a word of one content": "own4711",
        "a word of some contents": "word4711", "a word of all contents": "available", "two words": "product word4711",
        "the beginning of many words": "word1",
    }  # fmt: skip


def _words_size(place: Installation) -> int:
    with closing(sqlite3.connect(place.root / "var" / "journal.sqlite")) as raw:
        return int(raw.execute("SELECT sum(length(block)) FROM search_word_data").fetchone()[0])


def _sku(number: int) -> str:
    return f"20000{number * 7_919 % 100_000_000:08d}"


def _listening(place: Installation) -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    path = place.root / "cegid-daemon.toml"
    path.write_text(path.read_text().replace('listen = ""', f'listen = "127.0.0.1:{port}"'))
    return port


def _is_ready(port: int) -> bool:
    try:
        return _ask(port, "/health/ready") is not None
    except OSError:
        return False


def _times(port: int, path: str) -> list[float]:
    """Milliseconds of some requests, the first one left out: it warms the cache as a person's first page does."""
    _ask(port, path)
    taken = []
    for _ in range(_TRIES):
        begun = time.perf_counter()
        _ask(port, path)
        taken.append((time.perf_counter() - begun) * 1000)
    return taken


def _ask(port: int, path: str) -> bytes:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise OSError(f"{path} answered {answer.status}")
        return body


def _fill(place: Installation, messages: int) -> None:
    path = place.root / "var" / "journal.sqlite"
    path.parent.mkdir(mode=0o700)
    Journal.open(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("PRAGMA synchronous = OFF")
        raw.execute("BEGIN")
        _payloads(raw, messages * 2)
        raw.executemany(_MESSAGE, _messages(messages))
        raw.execute(_PARTS)
        raw.execute(_DELIVERIES)
        for variant, delivery in (("Unmodified", "NULL"), ("Modified", "id")):
            raw.execute(_LOG.format(delivery=delivery), {"v": variant})
        _index(raw, messages)
        raw.execute("COMMIT")
        _index_words(raw, messages * 2)


def _payloads(raw: sqlite3.Connection, count: int) -> None:
    body = next(compress_frames([b"twenty bytes of text"]))[1]
    numbers = range(1, count + 1)
    raw.executemany("INSERT INTO payload (id, sha256, size, sealed) VALUES (?1, ?1, 20, 1)", ((n,) for n in numbers))
    raw.executemany("INSERT INTO payload_chunk VALUES (?, 0, 0, ?)", ((n, body) for n in numbers))


def _index_words(raw: sqlite3.Connection, contents: int) -> None:
    """The words of contents of some forty words each, in slices as the daemon makes them."""
    chance = random.Random(11)
    raw.execute("INSERT OR REPLACE INTO about VALUES ('words', ?)", (EDITION,))
    for start in range(1, contents + 1, _SLICE):
        raw.execute("BEGIN")
        numbers = range(start, min(start + _SLICE, contents + 1))
        raw.executemany(
            "INSERT INTO search_word (rowid, words) VALUES (?, ?)", ((n, _words(chance, n)) for n in numbers)
        )
        raw.executemany("INSERT INTO search_word_content VALUES (?)", ((number,) for number in numbers))
        raw.execute("COMMIT")
        raw.execute("INSERT INTO search_word (search_word, rank) VALUES ('merge', 64)")


def _words(chance: random.Random, content: int) -> str:
    """Twelve that every content has, eighteen SKUs, a dozen others of a language, and one that is its own."""
    skus = (_sku(chance.randrange(_SKUS)) for _ in range(18))
    others = (f"word{min(50_000, int(chance.paretovariate(0.7)))}" for _ in range(12))
    return " ".join({*_COMMON, *skus, *others, f"own{content}"})


def _messages(count: int) -> Iterator[tuple[object, ...]]:
    now = datetime.now(UTC)
    apart = timedelta(days=300) / count
    for number in range(1, count + 1):
        at = utc_text(now - apart * (count - number))
        state = "failed" if number % 2_000 == 0 else "done"
        yield (
            number, f"u{number}", _ROUTES[number % 10], number // 10, state, f"FILE_{number:08d}.csv",
            number * 2 - 1, at, at,
        )  # fmt: skip


def _index(raw: sqlite3.Connection, messages: int) -> None:
    """Two file names and four SKUs a message, and an order number for every tenth."""
    chance = random.Random(7)
    raw.executemany("INSERT INTO search_key VALUES (?, ?)", ((number + 1, _sku(number)) for number in range(_SKUS)))
    names = _SKUS + 1
    raw.execute("INSERT INTO search_key SELECT ? + id * 2, file_name FROM message", (names,))
    raw.execute("INSERT INTO search_key SELECT ? + id * 2 + 1, name FROM delivery", (names,))
    orders = names + messages * 2 + 2
    raw.execute("INSERT INTO search_key SELECT ? + id, 1000000 + id FROM message WHERE id % 10 = 9", (orders,))
    for offset in (0, 1):
        raw.execute("INSERT INTO search_posting SELECT ? + id * 2 + ?, id FROM message", (names, offset))
    raw.execute("INSERT INTO search_posting SELECT ? + id, id FROM message WHERE id % 10 = 9", (orders,))
    postings = sorted({(chance.randrange(_SKUS) + 1, number) for number in range(1, messages + 1) for _ in range(4)})
    raw.executemany("INSERT INTO search_posting VALUES (?, ?)", postings)
    raw.execute("INSERT INTO search_key_fts (search_key_fts) VALUES ('rebuild')")
