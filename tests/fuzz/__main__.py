"""`python -m tests.fuzz [TARGET ...] [--inputs N] [--first N] [--seconds S]`: exit code 1 for a fault."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.target import run
from tests.fuzz.targets import TARGETS, share


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--inputs", type=int, default=100_000, help="of all targets together (default: 100,000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    chosen = parser.parse_args()
    names = chosen.targets or list(TARGETS)
    began = time.monotonic()
    outcomes = []
    for done, (name, inputs) in enumerate(share(names, chosen.inputs).items()):
        left = began + chosen.seconds - time.monotonic()
        until = time.monotonic() + left / (len(names) - done)
        with tempfile.TemporaryDirectory(prefix="ltbench-fuzz-") as folder:
            outcomes.append(run(name, TARGETS[name], Path(folder), range(chosen.first, chosen.first + inputs), until))
        print(outcomes[-1].line(), flush=True)
    for outcome in outcomes:
        for number, fault in list(outcome.faults.items())[:5]:
            print(f"\n{outcome.name} {number}\n{fault}")
    whole = sum(outcome.inputs for outcome in outcomes)
    faults = sum(len(outcome.faults) for outcome in outcomes)
    print(f"\n{whole:,} inputs, {faults} faults, {time.monotonic() - began:.0f} s")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
