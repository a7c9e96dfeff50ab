"""What a trial costs beside its training: many all but empty trials through the real command."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple


class Overhead(NamedTuple):
    """Seconds: the whole command, the same for a few trials, and what each further trial added per worker."""

    few: float
    many: float
    per_trial: float


def measure(few: int = 10, many: int = 60) -> Overhead:
    """Two runs of the quickstart with all but no training, with few and with many seeds: the difference is what further
    trials cost, start-up apart, MLflow included; times two, as two workers share them."""
    with tempfile.TemporaryDirectory() as folder:
        _run(Path(folder) / "warm", 1)
        seconds = {n: _run(Path(folder) / str(n), n) for n in (few, many)}
        trained = _trained(Path(folder) / str(many)) - _trained(Path(folder) / str(few))
    workers = 2
    per_trial = (workers * (seconds[many] - seconds[few]) - trained) / (many - few)
    return Overhead(seconds[few], seconds[many], per_trial)


def _run(results: Path, seeds: int) -> float:
    command = [
        *(sys.executable, "-m", "ltbench", "run", "quickstart", "--results", str(results), "--only", "ce"),
        *(
            "--set",
            "datasets.0.imbalance=[20]",
            "--set",
            "recipes.scratch.epochs=0.1",
            "--set",
            "recipes.scratch.backbone=mlp",
        ),
        *("--seeds", ",".join(map(str, range(seeds)))),
    ]
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def _trained(results: Path) -> float:
    records = (results / "quickstart" / "records").glob("*.json")
    return float(sum(json.loads(r.read_text())["environment"]["train_seconds"] for r in records))
