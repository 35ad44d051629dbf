"""A rewriting in the command's own process has the bounds of a worker, and leaves none behind."""

from __future__ import annotations

import resource
import signal

import pytest

from cegid_daemon.cli.bounds import bounded
from cegid_daemon.errors import LimitExceeded, Place
from cegid_daemon.rewrite import templates
from cegid_daemon.rewrite.recipe import Templates
from cegid_daemon.workshop.orders import MIB, Limits

WHERE = Place(route="stock", file="S1.csv")
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = a * b %}{% endfor %}{% endfor %}"


def render(text: str) -> None:
    for _ in templates.compile(Templates("t.j2", {"t.j2": text})).render({}):
        pass


def limits_now() -> tuple[object, ...]:
    return (
        resource.getrlimit(resource.RLIMIT_DATA),
        resource.getrlimit(resource.RLIMIT_CPU),
        signal.getsignal(signal.SIGXCPU),
    )


@pytest.mark.parametrize(
    ("text", "limits", "what"),
    [
        ("{{ 'a' * 9999999999 }}", Limits(memory=1024 * MIB), "too much memory"),
        (ENDLESS, Limits(seconds=0.1), "too much CPU time"),
    ],
)
def test_a_template_without_end_costs_the_command_only(text: str, limits: Limits, what: str) -> None:
    before = limits_now()
    with pytest.raises(LimitExceeded, match=what) as caught, bounded(limits, 0, WHERE):
        render(text)
    assert (caught.value.where.route, caught.value.where.file) == ("stock", "S1.csv")
    assert limits_now() == before


def test_what_keeps_within_the_bounds_passes_and_they_are_lifted() -> None:
    before = limits_now()
    with bounded(Limits(memory=1024 * MIB), 0, WHERE):
        render("{{ 1 }}")
    assert limits_now() == before
