"""The fuzzing of `make fuzz`: the properties on hostile input, over and over with seeds of their own, for some minutes.

Prints each seed before it is used. At the first failure it shows the example, how to see it again, and ends with 1;
what was found belongs into the file of properties as an `@example`, so that the ordinary tests keep it.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time

PROPERTIES = "tests/properties/test_hostile_input.py"
EXAMPLES = 400  # of each property and seed


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, help="this one only, once")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="of each property and seed")
    chosen = parser.parse_args()
    end = time.monotonic() + 60 * chosen.minutes
    seeds = [chosen.seed] if chosen.seed is not None else []
    runs = 0
    while seeds or (chosen.seed is None and (not runs or time.monotonic() < end)):
        seed = seeds.pop() if seeds else random.SystemRandom().randrange(1 << 32)
        print(f"seed {seed}", flush=True)
        if not _passes(seed, chosen.examples):
            print(f"\nfound with seed {seed}; again: python -m tests.fuzz --seed {seed} --examples {chosen.examples}")
            return 1
        runs += 1
    print(f"nothing found: {runs} seeds, {chosen.examples} examples of each property and seed")
    return 0


def _passes(seed: int, examples: int) -> bool:
    words = [sys.executable, "-m", "pytest", "-q", "-x", PROPERTIES, f"--hypothesis-seed={seed}"]
    ran = subprocess.run(
        words, env={**os.environ, "CEGID_DAEMON_FUZZ_EXAMPLES": str(examples)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if ran.returncode:
        print(ran.stdout[-20_000:], ran.stderr[-2_000:])
    return ran.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
