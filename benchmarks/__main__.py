"""Runs the benchmarks and prints what they measured: python -m benchmarks [NAME…] [--quick] [--json].

Each stands beside its peer in the same run, as the same machine is slower at other times. Exit code 1: a bound was
missed. docs/benchmarks.md says how each is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict

from benchmarks import large, many, waiting
from benchmarks.console import console
from benchmarks.figures import Figure, table

BENCHMARKS: dict[str, Callable[[float], list[Figure]]] = {
    "large": large.beside_xsltproc,
    "million": large.million,
    "many": many.many,
    "latency": waiting.latency,
    "idle": waiting.idle,
    "console": console,
}
_QUICK = 0.1  # of the full size


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("name", nargs="*", help=f"of {', '.join(BENCHMARKS)}; all without one")
    parser.add_argument("--quick", action="store_true", help="a tenth of the size: for trying out, not for figures")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    chosen = parser.parse_args()
    if unknown := set(chosen.name) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    found: dict[str, list[Figure]] = {}
    for name in chosen.name or BENCHMARKS:
        found[name] = BENCHMARKS[name](_QUICK if chosen.quick else 1.0)
        if not chosen.json:
            print(f"{name}: {BENCHMARKS[name].__doc__}\n{table(found[name])}", flush=True)
    if chosen.json:
        print(json.dumps({name: [asdict(one) for one in figures] for name, figures in found.items()}, indent=2))
    return 0 if all(one.met for figures in found.values() for one in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
