"""How long it takes to read many records, and to print a leaderboard from a store with many runs."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ltbench.results.journal import Journal
from ltbench.spec import Cell, Record, TrialSpec

METRICS = ("accuracy", "balanced_accuracy", "many", "medium", "few", "worst_class")


class Reading(NamedTuple):
    """CPU seconds of `Journal.records()`, and of the whole command `ltbench leaderboard`, MLflow's import in it."""

    journal: float
    leaderboard: float


def measure(records: int = 100_000, trials: int = 2_000) -> Reading:
    """With made-up records of ten classes and forty epochs, 4 KB each as those of the quickstart."""
    with tempfile.TemporaryDirectory() as folder:
        return Reading(_journal(Path(folder) / "journal", records), _leaderboard(Path(folder) / "store", trials))


def made(count: int, methods: int = 10, datasets: int = 10) -> Iterator[Record]:
    """Records of a suite: every method on every data set, with as many seeds as it takes."""
    for i in range(count):
        method, dataset, seed = i % methods, i // methods % datasets, i // (methods * datasets)
        cell = Cell(dataset=f"d{dataset}", kind="digits", imbalance=100.0, manifest=f"manifest{dataset}")
        spec = TrialSpec(
            suite="many", cell=cell, label=f"m{method}", method=f"m{method}", hyperparameters={"alpha": 0.25},
            code="c0dec0dec0de", recipe_name="r", recipe={"epochs": 40.0, "optimizer": {"lr": 0.1}}, seed=seed,
        )  # fmt: skip
        value = 50.0 + method + (seed * 7919 % 101) / 50
        yield Record(
            spec=spec,
            status="ok",
            metrics=dict.fromkeys(METRICS, value),
            per_class={name: [value + c / 7 for c in range(10)] for name in ("recall", "precision", "n", "m")},
            curves={"train/loss": [[e + 1.0, 2.3 / (e + 1)] for e in range(40)]},
            environment={"started": 1.7e9 + i, "seconds": 12.25, "host": "h", "class_names": [*"abcdefghij"]},
        )


def _journal(folder: Path, count: int) -> float:
    folder.mkdir(parents=True)
    for record in made(count):  # not by Journal.write, which waits for the disk every time
        (folder / f"{record.key}.json").write_text(json.dumps(record.to_json(), indent=1))
    began = time.process_time()
    found = len(Journal(folder).records())
    seconds = time.process_time() - began
    assert found == count, f"{found} of {count} records were read"
    return seconds


def _leaderboard(results: Path, count: int) -> float:
    from ltbench.system.uris import default_uri
    from ltbench.tracking import mlflow_store

    store = mlflow_store.Store(default_uri(results), "many", None)
    journal = Journal(results / "many" / "records")
    for record in made(count):
        store.put(record, journal)
    command = [sys.executable, "-m", "ltbench", "leaderboard", "many", "--results", str(results)]
    before = os.times()
    subprocess.run(command, check=True, capture_output=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


class Board(NamedTuple):
    """Of `ltbench leaderboard --from FOLDER`, all of the command: CPU seconds, and the most memory it held, in MB."""

    seconds: float
    megabytes: float


def board(records: int = 100_000) -> Board:
    """A board of a folder of so many records."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "many" / "records"
        place.mkdir(parents=True)
        for record in made(records):
            (place / f"{record.key}.json").write_text(json.dumps(record.to_json(), indent=1))
        command = [sys.executable, "-m", "ltbench", "leaderboard", "--from", str(place.parent)]
        before = os.times()
        subprocess.run(command, check=True, capture_output=True)
        after, most = os.times(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return Board(seconds, most / 1024)
