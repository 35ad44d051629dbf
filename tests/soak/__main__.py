"""`python -m tests.soak --minutes 30`: the real daemon in a storm, and the counts of what became of every file."""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

from tests.soak.run import soak


def main() -> int:
    """Runs the soak; 0 if every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the storm lasts (default 10)")
    parser.add_argument("--seed", type=int, default=20261127, help="of everything that is chosen at random")
    parser.add_argument(
        "--folder", type=Path, help="where to work; kept afterwards (default: a folder that is removed)"
    )
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        report = soak(folder.resolve(), arguments.minutes * 60, arguments.seed, say=print)
        sys.stdout.write(f"{report}\n")
        return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
