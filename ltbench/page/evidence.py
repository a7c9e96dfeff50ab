"""What stands behind a leaderboard, from the records: recalls by class, curves, calibration, and every run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ltbench.errors import reason_of
from ltbench.ranking.board import Leaderboard
from ltbench.ranking.images import Predictions, read_arrays
from ltbench.ranking.selection import belonging
from ltbench.ranking.views.derived import by_shot
from ltbench.spec import Column, Expectation, Record, Result

Floats = NDArray[np.float64]
Place = tuple[str, Column]
BINS = 15
TEST_CURVE = "curve/test_balanced_accuracy"


@dataclass(frozen=True)
class Classes:
    """A column's classes, in label order."""

    names: tuple[str, ...]
    train_images: Floats
    tested: NDArray[np.bool_]
    """Which have test images."""


@dataclass(frozen=True)
class Run:
    """One trial as a line of the report."""

    key: str
    method: str
    dataset: str
    imbalance: str
    seed: int
    status: str
    value: float | None
    """The primary metric."""
    seconds: float | None
    images_per_second: float | None
    peak_memory: float | None
    """Bytes."""
    device: str
    commit: str
    used: bool
    """It is on the board; else it belongs to an earlier plan."""
    error: str
    trained_by: str
    """The trial whose training it took over; empty: it trained itself."""


class Epochs(NamedTuple):
    """Balanced accuracy per seed, of the last epoch and of the best of the test passes during training; how many there
    were in each."""

    last: Floats
    best: Floats
    points: int


class Curve(NamedTuple):
    """Values over training, as the mean, the lowest and the highest of the seeds at every point."""

    epochs: Floats
    mean: Floats
    lowest: Floats
    highest: Floats


@dataclass(frozen=True)
class Evidence:
    """Everything that figures of single runs need."""

    classes: Mapping[Column, Classes]
    recall: Mapping[Place, Floats]
    """(classes,) mean over seeds, percent."""
    curves: Mapping[Place, Mapping[str, Curve]]
    """By name."""
    epochs: Mapping[Place, Epochs]
    """Where every seed has a learning curve on the test set."""
    reliability: Mapping[Place, tuple[Floats, Floats]]
    """Mean confidence and accuracy, percent, of 15 bins of equal mass, all seeds pooled."""
    seconds: Mapping[str, float]
    """Method -> mean seconds of a trial."""
    hours: Mapping[str, float]
    """Method -> mean hours of a trial, times the CPUs or the share of a GPU that it held."""
    on_gpus: bool
    """Those are hours of GPUs; else of CPUs."""
    shared: bool
    """Some of the training was another trial's; it is counted for both."""
    runs: tuple[Run, ...]
    conventions: Mapping[Place, Mapping[str, float]] = field(default_factory=dict)
    """By metric: other shot conventions, other averages over classes, calibration by shot; means over seeds."""


def gather(
    records: Sequence[Record], board: Leaderboard, expectation: Expectation | None, predictions: Predictions | None
) -> Evidence:
    """Evidence of the runs that the board is made of; all runs are listed, failures first."""
    results = {id(r): Result.of(r) for r in records}
    kept = {r.key for r in belonging(list(results.values()), expectation)[0]}
    ranked = {(row.label, column) for table in board.tables for row in table.rows for column in row.scores}
    places: dict[Place, list[Record]] = {}
    for record in records:
        r = results[id(record)]
        place = (r.label, r.column)
        if record.status == "ok" and r.key in kept and place in ranked and record.per_class:
            places.setdefault(place, []).append(record)
    classes = {column: _classes(rows[0]) for (_, column), rows in places.items()}
    calibration = {p: found for p, rows in places.items() if (found := _reliability(rows, predictions)) is not None}
    by_method: dict[str, list[float]] = {}
    held: dict[str, list[float]] = {}
    used = [run for rows in places.values() for run in rows]
    on_gpus = bool(used) and all(_number(run, "gpu_share") for run in used)
    for (label, _), rows in places.items():
        for run in rows:
            if (seconds := _number(run, "seconds")) is not None:
                seconds += _number(run, "shared_seconds") or 0.0  # a method costs its training, whoever did it
                by_method.setdefault(label, []).append(seconds)
                share = _number(run, "gpu_share" if on_gpus else "threads")
                held.setdefault(label, []).append(seconds * (1.0 if share is None else share) / 3600)
    return Evidence(
        classes=classes,
        recall={p: np.mean([r.per_class["recall"] for r in rows], axis=0) for p, rows in places.items()},
        curves={p: dict(_curves(rows)) for p, rows in places.items()},
        epochs={p: seen for p, rows in places.items() if (seen := _epochs(rows)) is not None},
        reliability=calibration,
        seconds={m: float(np.mean(s)) for m, s in by_method.items()},
        hours={m: float(np.mean(h)) for m, h in held.items()},
        on_gpus=on_gpus,
        shared=any("shared_seconds" in run.environment for run in used),
        conventions={p: _conventions(rows, predictions) for p, rows in places.items()},
        runs=tuple(sorted((_run(r, results[id(r)], board.primary, kept) for r in records), key=_failures_first)),
    )


def _conventions(rows: Sequence[Record], predictions: Predictions | None) -> dict[str, float]:
    """Mean over seeds of what every seed has."""
    found = [by_shot(record, predictions) for record in rows]
    values = {name: [of[name] for of in found] for name in found[0]}
    known = {name: [v for v in of if v is not None] for name, of in values.items()}
    return {name: float(np.mean(of)) for name, of in known.items() if of and len(of) == len(found)}


def _classes(record: Record) -> Classes:
    images = np.array(record.per_class["train_images"])
    names = record.environment.get("class_names") or [str(c) for c in range(len(images))]
    return Classes(tuple(str(n) for n in names), images, np.array(record.per_class["test_images"]) > 0)


def _curves(rows: Sequence[Record]) -> Iterator[tuple[str, Curve]]:
    """Curves that every seed has at the same epochs."""
    for name, points in rows[0].curves.items():
        epochs = [p[0] for p in points]
        same = [r.curves[name] for r in rows if [p[0] for p in r.curves.get(name, [])] == epochs]
        if epochs and len(same) == len(rows):
            values = np.array([[p[1] for p in curve] for curve in same])
            yield name, Curve(np.array(epochs), values.mean(axis=0), values.min(axis=0), values.max(axis=0))


def _epochs(rows: Sequence[Record]) -> Epochs | None:
    curves = [[value for _, value in record.curves.get(TEST_CURVE, [])] for record in rows]
    last = [record.metrics.get("balanced_accuracy") for record in rows]
    if not all(curves) or None in last:
        return None
    final = np.array(last, dtype=np.float64)
    return Epochs(final, np.maximum(final, [max(curve) for curve in curves]), min(map(len, curves)))


def _reliability(rows: Sequence[Record], predictions: Predictions | None) -> tuple[Floats, Floats] | None:
    confidence, right = [], []
    for record in rows:
        stored = predictions(record.key) if predictions is not None else None
        kept = read_arrays(stored, "confidence", "label", "truth")
        if kept is None:
            return None
        confidence.append(kept[0].astype(np.float64))
        right.append(kept[1] == kept[2])
    sure, hit = np.concatenate(confidence), np.concatenate(right)
    bins = np.array_split(np.argsort(sure, kind="stable"), min(BINS, len(sure)))
    return 100 * np.array([sure[b].mean() for b in bins]), 100 * np.array([hit[b].mean() for b in bins])


def _number(record: Record, name: str) -> float | None:
    value = record.environment.get(name)
    return float(value) if isinstance(value, int | float) else None


def _run(record: Record, result: Result, primary: str, kept: set[str]) -> Run:
    return Run(
        key=result.key,
        method=result.label,
        dataset=result.dataset,
        imbalance=result.imbalance,
        seed=result.seed,
        status=result.status,
        value=result.metrics.get(primary),
        seconds=_number(record, "seconds"),
        images_per_second=_number(record, "images_per_second"),
        peak_memory=_number(record, "peak_memory_bytes"),
        device=str(record.environment.get("device", "")),
        commit=str(record.environment.get("git_commit", ""))[:12],
        used=result.key in kept,
        error=reason_of(record.error, record.spec.method) if record.error else "",
        trained_by=str(record.environment.get("trained_by", "")),
    )


def _failures_first(run: Run) -> tuple[bool, bool, str, str, str, int]:
    return run.status == "ok", run.used, run.method, run.dataset, run.imbalance, run.seed
