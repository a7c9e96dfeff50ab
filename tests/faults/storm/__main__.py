"""`python -m tests.faults.storm [--seeds N] [--kills N] [--seed N] [--minutes N]`: exit code 1 if something
was lost, doubled or unequal, or not all faults came."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.faults.storm.weather import storm


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.storm", description=__doc__)
    parser.add_argument("--seeds", type=int, default=4, help="twelve trials each, six a side (default: 4)")
    parser.add_argument("--kills", type=int, default=25, help="other faults come in proportion (default: 25)")
    parser.add_argument("--seed", type=int, default=0, help="of the storm itself")
    parser.add_argument("--minutes", type=float, default=30.0, help="after so long no more faults come (default: 30)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="storm-") as folder:
        report = storm(Path(folder), chosen.seeds, chosen.kills, chosen.seed, chosen.minutes)
    print(report)
    return int(bool(report.problems or report.left))


if __name__ == "__main__":
    sys.exit(main())
