#!/usr/bin/env python3
"""ltbench itself on a GPU, with nothing installed but torch, torchvision, numpy, scipy, tabulate (and scikit-learn for
the digits, or --data with their packed copy): no ray, mlflow, pydantic, typer, rich, open_clip, platformdirs.

    python3 -m benchmarks.gpu.check [--repo REPO] [--device cuda] [--out FILE] PART...

Parts: imports, verify, twice, resume, step, methods, images, large, memory, loop, side. Each prints JSON lines; one
that fails does not end the others. `--share 0/4` takes every fourth method of `methods`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path

from benchmarks.gpu.common import BEGAN, Check, share_of
from benchmarks.gpu.images import images, large
from benchmarks.gpu.repeated import resume, twice, verify
from benchmarks.gpu.running import imports, loop, methods
from benchmarks.gpu.speed import memory, side, step

PARTS = {f.__name__: f for f in (imports, verify, twice, resume, step, methods, images, large, memory, loop, side)}


def main() -> int:
    """The exit code: 1 if a part failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--repo", type=Path, default=Path.cwd())
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", type=Path, help="data folder; default: a new one")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--share", default="0/1", metavar="I/N", help="of the methods, every N-th from the I-th on")
    args = parser.parse_args()
    data = args.data or Path(tempfile.mkdtemp(prefix="ltbench-data"))
    check, bad = Check(args.repo, args.device, data, args.trials, args.out, share_of(args.share)), 0
    for name in args.parts:
        if time.monotonic() - BEGAN > args.seconds:
            check.say(name, skipped="no time left")
            continue
        began = time.monotonic()
        try:
            PARTS[name](check)
        except BaseException as error:  # also SystemExit
            bad += 1
            check.say(name, error=f"{type(error).__name__}: {str(error)[:500]}", trace=traceback.format_exc()[-900:])
        check.say(name, ended=round(time.monotonic() - began, 1))
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
