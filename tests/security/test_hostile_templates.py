"""Templates and layouts that are written to fill memory or time: who checks and runs them stays small and quick."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.harness import Shop, environment, route_table, rows
from tests.security.service import Service, running

MEMORY = 1 << 30  # bytes of address space in which `check` must do
ENDLESS = {
    "power": "{{ 'x' * 9999999999 }}",
    "center": "{{ 'x'|center(9999999999) }}",
    "format": "{{ '%9999999999d'|format(1) }}",
    "method": "{{ '{:9999999999d}'.format(1) }}",
    "batch": "{{ [1]|batch(9999999999, 'x')|list }}",
    "list": "{{ [0] * 9999999999 }}",
    "double": "{% set ns = namespace(x='ab') %}{% for i in range(99999) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "recursion": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
}
FOLDED = [
    "r.A|default('x'|center(9999999999))", "r.A|default(['x']*9999999999)", "r.A in [1e999999999]",
    "r.A|replace('a', 'x'*9999999999)", "r.A|default('%9999999999d'|format(1))",
]  # fmt: skip


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A daemon with a route for each template."""
    folder = tmp_path_factory.mktemp("service") / "shop"
    (folder / "templates").mkdir(parents=True)
    routes = ""
    for name, text in ENDLESS.items():
        (folder / "templates" / f"{name}.txt.j2").write_text(text, "utf-8")
        (folder / "inbox" / name).mkdir(parents=True)
        routes += route_table(f"of-{name}", folder=name).replace("rows.txt.j2", f"{name}.txt.j2")
    with running(folder, extra=routes) as started:
        yield started


def test_templates_without_end_fail_their_message_and_hold_nothing_up(service: Service) -> None:
    inbox = service.shop.inbox.parent
    for name in ENDLESS:
        service.shop.drop("a.csv", rows("a"), inbox / name)
    service.deliver(40.0)
    for name in ENDLESS:
        told = inbox / name / "failed" / "a.csv.error.txt"
        service.daemon.wait_for(told.exists, f"{name} failed", 40.0)
        assert "fault of cegid-daemon" not in told.read_text("utf-8")
    assert service.growth() < 50_000_000


def test_checking_computes_nothing_that_a_layout_or_template_writes(tmp_path: Path) -> None:
    layouts = "".join(f'[layout.l{no}]\nkind = "delimited"\nsku = """{text}"""\n' for no, text in enumerate(FOLDED))
    shop = Shop(tmp_path, route_table("rows"), layouts)
    (tmp_path / "templates" / "rows.txt.j2").write_text(
        "{% include 'x'|center(9999999999) %}{{ 'x' * 9999999999 }}", "utf-8"
    )
    begun = time.monotonic()
    checked = subprocess.run(
        shop.command("check"), cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False, timeout=20,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )  # fmt: skip
    assert time.monotonic() - begun < 15
    assert checked.returncode not in (0, -9), checked
    assert "Traceback" not in checked.stderr, checked.stderr[-3000:]
    assert checked.stderr.count("cannot be") + checked.stdout.count("cannot be") >= len(FOLDED)
    assert "named by an expression" in checked.stderr + checked.stdout
