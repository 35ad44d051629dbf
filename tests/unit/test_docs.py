"""What the pages say is so: links lead somewhere, commands exist with their options, queries on the journal work."""

from __future__ import annotations

import re
import shlex
import sqlite3
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cegid_daemon.cli.root import cegid_daemon
from cegid_daemon.journal import Journal

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "samples").glob("*.md")])
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CALL = re.compile(r"(?:(?<=bin/)|(?<![\w/@-]))(?<!-u )cegid-daemon[ \t]+([a-z][^`\n|#]*)")
LONG = 300  # lines; a page a person reads at once. What is looked up, not read, may be longer.
LOOKED_UP = {"cli.md", "configuration.md", "CHANGELOG.md"}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    return CODE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    heads = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_of_a_page_leads_somewhere(page):
    for link in LINK.findall(prose(page)):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link}: there is no such heading"


def test_each_file_of_tests_has_a_name_of_its_own():
    """pytest imports them by their names alone, so that a second one of a name ends the whole run."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, times in names.items() if times > 1] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_is_short_enough_to_be_read(page):
    if page.name not in LOOKED_UP:
        assert len(page.read_text(encoding="utf-8").splitlines()) <= LONG


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_a_page_names_exists_with_its_options(page):
    for call in calls(page):
        command, rest = resolved(call)
        known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help", "-h"}
        for word in rest:
            option = word.partition("=")[0].strip("[]")
            assert not re.fullmatch(r"--?[a-z][a-z-]*", option) or option in known, f"cegid-daemon {call}: {option}"


def calls(page: Path) -> Iterator[str]:
    for code in CODE.findall(page.read_text(encoding="utf-8")):
        for call in CALL.findall(code):
            yield re.split(r"\s{2,}|[;&>]|…|\.\.\.", call)[0].strip()


def resolved(call: str) -> tuple[click.Command, list[str]]:
    """The command a text names, and the words behind it."""
    try:
        words = shlex.split(call)
    except ValueError:
        words = call.split()
    command: click.Command = cegid_daemon
    while words and isinstance(command, click.Group) and words[0][0] not in "-[":
        name = words.pop(0)
        chosen = [command.commands.get(one) for one in name.split("/")]
        assert all(chosen), f"cegid-daemon {call}: there is no command {name!r}"
        command = chosen[0] or command
    return command, words


@pytest.fixture(scope="module")
def journal_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("journal") / "journal.sqlite"
    Journal.open(path).close()
    return path


def queries() -> list[str]:
    text = (ROOT / "docs" / "journal.md").read_text(encoding="utf-8")
    blocks = FENCED.findall(text)
    found = [body for kind, body in blocks if kind == "sql"]
    shell = "\n".join(body for kind, body in blocks if kind == "sh")
    return found + re.findall(r'"(SELECT [^"]+)"', shell)


@pytest.mark.parametrize("query", queries())
def test_every_query_of_the_journal_page_works(journal_file, query):
    raw = sqlite3.connect(f"file:{journal_file}?mode=ro", uri=True)
    try:
        assert raw.execute(query).description
    finally:
        raw.close()


def test_the_journal_page_names_every_table_and_every_column_of_the_log(journal_file):
    text = (ROOT / "docs" / "journal.md").read_text(encoding="utf-8")
    raw = sqlite3.connect(f"file:{journal_file}?mode=ro", uri=True)
    try:
        tables = {row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        columns = [row[0] for row in raw.execute("SELECT * FROM api_integration_log").description]
    finally:
        raw.close()
    ours = {name for name in tables if not name.startswith(("search_", "sqlite_", "_sqlite"))}
    assert [name for name in sorted(ours) if f"`{name}`" not in text] == []
    assert [name for name in columns if f"`{name}`" not in text] == []
    assert len(queries()) >= 6


def test_decisions_are_numbered_in_order_and_say_context_choice_and_cost():
    found = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [page.name[:4] for page in found] == [f"{number:03d}-" for number in range(1, len(found) + 1)]
    for page in found:
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {page.name[:3]} ")
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.M) == ["Context", "Choice", "Cost"]
        assert len(text.splitlines()) <= 10


def test_the_page_on_architecture_names_every_room_of_the_law() -> None:
    law = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][0]["layers"]
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = page[page.index("| floor | room") : page.index("The core in itself")]
    at = [
        max(table.find(f"`{room.removeprefix('cegid_daemon.')}{end}`") for end in ("/", ".py"))
        for floor in law
        for room in floor.split(" | ")
    ]
    assert -1 not in at
