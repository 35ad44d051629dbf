"""Routes that could take the same file, or feed each other, are a fault."""

import pytest
from test_config import BASE, configured

from cegid_daemon.errors import ConfigurationError

MORE = '[endpoint.same]\nurl = "file:./inbox/"\n[endpoint.deep]\nurl = "file:inbox/a"\n'


def crossed(folder, *sources, target="{ endpoint = 'outbox' }"):
    text = BASE + MORE
    for number, source in enumerate(sources):
        text += f'[route.r{number}]\nstore = "main"\nlayout = "y2-stock-csv"\nsource = {{ {source} }}\n'
        text += f'template = "aurora/inventory-import.xml.j2"\ntarget = {target}\n'
    try:
        configured(folder, text)
    except ConfigurationError as error:
        return [str(fault) for fault in error.faults]
    return []


INBOX = 'endpoint = "inbox"'


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"{INBOX}, match = 'A*'", f"{INBOX}, match = '*B'"),
        (f"{INBOX}, folder = 'a'", "endpoint = 'deep', settle = '2s'"),
        (INBOX, "endpoint = 'same'"),
        (f"{INBOX}, match = '*.csv', ignore = 'STOCK1*'", f"{INBOX}, match = 'STOCK*.csv'"),
    ],
)
def test_sources_that_could_take_the_same_file_are_refused(tmp_path, one, other):
    (fault,) = crossed(tmp_path, one, other)
    assert "routes 'r0' and 'r1' can both take the same file" in fault


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"{INBOX}, match = 'A*'", f"{INBOX}, match = 'B*'"),
        (f"{INBOX}, folder = 'a'", f"{INBOX}, folder = 'b'"),
        (f"{INBOX}, match = 'A*'", f"{INBOX}, match = 'A*'"),
        (f"{INBOX}, match = 'A*'", f"{INBOX}, match = 'A*', unique = 'r.X'"),
        (f"{INBOX}, match = '*.csv', ignore = 'STOCK*'", f"{INBOX}, match = 'STOCK*.csv'"),
    ],
)
def test_sources_that_never_meet_or_are_equal_are_no_fault(tmp_path, one, other):
    assert crossed(tmp_path, one, other) == []


@pytest.mark.parametrize(
    ("taker", "giver"),
    [
        (f"{INBOX}, folder = 'a/processed'", f"{INBOX}, folder = 'a'"),
        (f"{INBOX}, folder = 'a/processed/2026-11-23'", f"{INBOX}, folder = 'a'"),
        (f"{INBOX}, folder = 'a/failed'", f"{INBOX}, folder = 'a'"),
        (f"{INBOX}, folder = 'a/old'", "endpoint = 'deep', archive = 'old'"),
    ],
)
def test_a_source_among_filed_files_is_refused(tmp_path, taker, giver):
    (fault,) = crossed(tmp_path, taker, giver)
    assert "route 'r0' would take the files that route 'r1' files away" in fault


@pytest.mark.parametrize(
    ("match", "name", "loops"),
    [
        ("*.csv", "{{ source.stem }}.xml", False),
        ("*", "{{ source.stem }}.xml", True),
        ("*.xml", "{{ source.stem }}.xml", True),
        ("STOCK*.xml", "OUT_{{ source.stem }}.xml", False),
        ("OUT_[a]*", "OUT_[a]{{ part }}", False),
    ],
)
def test_a_route_that_could_take_what_it_delivers_is_refused(tmp_path, match, name, loops):
    target = f"{{ endpoint = 'same', folder = 'a', name = '{name}' }}"
    found = crossed(tmp_path, f"{INBOX}, folder = 'a', match = '{match}'", target=target)
    assert [("would take what route 'r0' delivers" in fault) for fault in found] == [True] * loops


def test_ignoring_the_delivered_names_ends_the_loop(tmp_path):
    source = f"{INBOX}, match = '*.xml', ignore = '*.out.xml'"
    assert crossed(tmp_path, source, target="{ endpoint = 'inbox', name = '{{ source.stem }}.out.xml' }") == []


@pytest.mark.parametrize(
    ("target", "warned"),
    [
        ("{ endpoint = 'outbox' }", True),
        ("{ endpoint = 'outbox', name = '{{ source.stem }}.{{ part }}.xml' }", True),
        ("{ endpoint = 'outbox', name = '{{ route }}-{{ source.name }}' }", False),
        ("{ endpoint = 'outbox', name = '{{ source.stem }}.{{ store }}' }", False),
        ("{ endpoint = 'outbox', exists = 'version' }", False),
    ],
)
def test_routes_that_replace_what_the_other_makes_of_the_same_file_are_warned_of(tmp_path, target, warned):
    text = BASE
    for name in ("r0", "r1"):
        text += f'[route.{name}]\nstore = "main"\nlayout = "y2-stock-csv"\nsource = {{ {INBOX} }}\n'
        text += f'template = "aurora/inventory-import.xml.j2"\ntarget = {target}\n'
    warnings = configured(tmp_path, text).warnings
    assert [warning for warning in warnings if "'r0' and 'r1'" in warning] == list(warnings)
    assert len(warnings) == warned


def moved(folder, **routes):
    text = BASE
    for name, moved_from in routes.items():
        text += f'[route.{name}]\nstore = "main"\nlayout = "y2-stock-csv"\n{moved_from}\n'
        text += f'source = {{ endpoint = "inbox", folder = "{name}" }}\ntarget = {{ endpoint = "outbox" }}\n'
        text += 'template = "aurora/inventory-import.xml.j2"\n'
    try:
        return configured(folder, text)
    except ConfigurationError as error:
        return [str(fault) for fault in error.faults]


def test_a_route_takes_over_one_route_or_several(tmp_path):
    config = moved(tmp_path, a='moved_from = "old"', b='moved_from = ["older", "oldest"]', c="")
    assert [config.routes[name].moved_from for name in "abc"] == [("old",), ("older", "oldest"), ()]


def test_a_route_that_is_still_configured_cannot_be_taken_over(tmp_path):
    (fault,) = moved(tmp_path, a='moved_from = "b"', b="")
    assert "route 'b' is still configured" in fault
    assert "field route.a.moved_from" in fault
    (fault,) = moved(tmp_path, a='moved_from = "a"')
    assert "route 'a' is still configured" in fault


def test_a_route_is_taken_over_once(tmp_path):
    (fault,) = moved(tmp_path, a='moved_from = "old"', b='moved_from = ["new", "old"]')
    assert "the messages of route 'old' can go to one route only" in fault
    assert "route 'a' names it as well" in fault
    (fault,) = moved(tmp_path, a='moved_from = ["old", "old"]')
    assert "it stands here twice" in fault


TAKER = "endpoint = 'outbox', folder = '{}', match = '{}'"


@pytest.mark.parametrize(
    ("folder", "match", "temporary"),
    [("", "*.tmp", "{id}.tmp"), ("tmp", "*", "tmp/{id}"), ("a/b", "up_*", "a/b/up_{id}.{name}")],
)
def test_a_route_that_would_take_temporary_files_of_another_is_refused(tmp_path, folder, match, temporary):
    target = f"{{ endpoint = 'outbox', name = 'x.xml', temporary = '{temporary}' }}"
    faults = crossed(tmp_path, TAKER.format(folder, match), INBOX, target=target)
    assert any("route 'r0' would take the temporary files of route 'r1'" in fault for fault in faults)
    other = (
        f"{{ endpoint = 'outbox', name = 'x.xml', temporary = '{temporary.replace('tmp', 'new').replace('up', 'x')}' }}"
    )
    told = crossed(tmp_path, TAKER.format(folder, match), INBOX, target=other)
    assert not any("temporary files" in fault for fault in told)
