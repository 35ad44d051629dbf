"""Large XML files are read in a second process: nobody can tell from what comes out, and it outlives nobody."""

import os
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cegid_daemon.errors import BadInput, LimitExceeded, MessageError
from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.frames import expand_frame
from cegid_daemon.rewrite.ports import Job
from cegid_daemon.rewrite.recipe import Layout, Output, Recipe, Templates
from cegid_daemon.workshop import Finished, Limits, Order, Workshop

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
LAYOUT = Layout("stock", "xml", record="Item", sku="r.Code", product="r.Ref", stock="r.Qty", skip=("r.Closed == 'X'",))
PLAIN = "{% for r in records %}{{ r.sku }}|{{ r.stock }}|{{ r.raw.Qty }}|{{ r.line }}|{{ r.number }}\n{% endfor %}"
ALONE = 1 << 40
TOGETHER = 1


def items(count):
    rows = []
    for no in range(count):
        closed = "<Closed>X</Closed>" if no % 7 == 3 else ""
        code = "" if no % 11 == 5 else f"<Code>{no}</Code>"
        ref = f"<Ref>R\N{LATIN SMALL LETTER E WITH ACUTE}{no // 3}</Ref>" if no % 5 else ""
        rows.append(f'<Item id="{no}">{code}{ref}{closed}<Qty cur="e">{no}.5</Qty><Qty>1</Qty></Item>\n')
    return "<Stock>" + "".join(rows) + "</Stock>"


def plain(count):
    """Items of a plain document, which is read by pattern: no attributes, no field twice."""
    rows = []
    for no in range(count):
        closed = "<Closed>X</Closed>" if no % 7 == 3 else "<Closed/>"
        code = "" if no % 11 == 5 else f"<Code> {no}</Code>"
        ref = "" if no % 13 == 6 else f"\r\n  <Ref>R\N{LATIN SMALL LETTER E WITH ACUTE}{no // 3}</Ref>"
        rows.append(f"<Item>{code}{ref}{closed}<Qty>{no}.5</Qty></Item>\r\n")
    return '<?xml version="1.0"?>\n<Stock day="1">' + "".join(rows) + "</Stock>\n"


@pytest.fixture
def rewrite(tmp_path):
    Connection(tmp_path / "journal.sqlite").close()
    opened = []

    def run(text, template=PLAIN, *, small, seconds=20.0, unique=""):
        limits = Limits(small=small, seconds=seconds)
        opened.append(Workshop(tmp_path / "journal.sqlite", tmp_path / "spool", limits=limits))
        opened[-1].start()
        raw = text.encode()
        templates = Templates("t.txt.j2", {"t.txt.j2": template})
        recipe = Recipe(LAYOUT, templates, Output(check="none"), "{{ source.name }}", unique=unique)
        job = Job(1, "Stock", NOW, "S.xml", "in", "stock", "main", NOW)
        return opened[-1].rewrite([Order(recipe, job, "main", "stock", 0, 1, 0, raw, len(raw))])[0]

    yield run
    for workshop in opened:
        workshop.stop()


def told(outcome):
    """All there is to know of an outcome."""
    if isinstance(outcome, MessageError):
        return str(outcome)
    parts = [b"".join(expand_frame(body) for _, body in part) for part in outcome.parts]
    return outcome.rewritten, parts, list(outcome.belongs), list(outcome.buffers)


def below(pid):
    """The processes below one, by what /proc says."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = place.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found += [int(place.parent.name), *below(int(place.parent.name))]
    return found


@pytest.mark.parametrize("made", [items, plain])
@pytest.mark.parametrize("count", [0, 1, 999, 1000, 3500])
def test_a_file_read_apart_gives_what_it_gives_read_alone(rewrite, made, count):
    apart, alone = (rewrite(made(count), small=small) for small in (TOGETHER, ALONE))

    assert isinstance(alone, Finished)
    assert told(apart) == told(alone)


@pytest.mark.parametrize(
    "asked", ["r['Qty/@cur']", "r['/Qty']", "r['{}Qty']|default('-')", "r.each('Qty')|length", "r.raw['Qty/@cur']"]
)
def test_what_does_not_travel_is_asked_for_in_one_process(rewrite, asked):
    template = f"{{% for r in records %}}{{{{ {asked} }}}}\n{{% endfor %}}"

    apart, alone = (rewrite(items(1500), template, small=small) for small in (TOGETHER, ALONE))

    assert isinstance(alone, Finished)
    assert told(apart) == told(alone)


@pytest.mark.parametrize("unique", ["r.Code", "'same'"])
def test_unique_keys_are_the_same(rewrite, unique):
    text = items(1).replace("</Stock>", "<Item><Code>a</Code><Qty>1</Qty></Item></Stock>")

    assert told(rewrite(text, small=TOGETHER, unique=unique)) == told(rewrite(text, small=ALONE, unique=unique))


@pytest.mark.parametrize("made", [items, plain])
@pytest.mark.parametrize("cut", [0, 5, 70, 90_000, -3])
def test_a_broken_file_fails_with_the_same_place(rewrite, made, cut):
    text = made(3000)[:cut] or "<"

    apart = rewrite(text, small=TOGETHER)

    assert isinstance(apart, BadInput)
    assert told(apart) == told(rewrite(text, small=ALONE))


def test_a_fault_of_the_template_comes_before_a_fault_of_the_file_behind_it(rewrite):
    template = "{% for r in records %}{{ 1 // (r.number - 1200) }}{% endfor %}"
    text = items(60_000)[:-3]

    assert told(rewrite(text, template, small=TOGETHER)) == told(rewrite(text, template, small=ALONE))


def test_both_hands_end_at_the_deadline(rewrite):
    endless = f"{{% for r in records %}}{'{% for a in range(9999) %}' * 3}{'{% endfor %}' * 3}{{% endfor %}}"
    before = set(below(os.getpid()))

    assert isinstance(rewrite(items(50_000), endless, small=TOGETHER, seconds=1.0), LimitExceeded)

    nursery_alone = set(below(os.getpid())) - before
    assert len(nursery_alone) == 1


def test_a_second_hand_that_is_killed_costs_the_order_its_worker(rewrite):
    slow = "{% for r in records %}{% for a in range(9999) %}{% endfor %}{% endfor %}"
    over = threading.Event()

    def kill_readers():
        while not over.wait(0.02):
            for worker in (grand for child in below(os.getpid()) for grand in below(child)):
                for reader in below(worker):
                    os.kill(reader, signal.SIGKILL)

    killer = threading.Thread(target=kill_readers)
    killer.start()
    begun = time.monotonic()
    try:
        outcome = rewrite(items(50_000), slow, small=TOGETHER, seconds=60)
    finally:
        over.set()
        killer.join()

    assert isinstance(outcome, LimitExceeded)
    assert "SIGKILL" in str(outcome)
    assert time.monotonic() - begun < 30
