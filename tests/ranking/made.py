"""Made-up records for reports: predictions by chance and what follows from them; nothing is trained."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltbench.fingerprints import fingerprint_of_files
from ltbench.metrics import Predictions, from_predictions
from ltbench.page.drawing import Figure
from ltbench.page.evidence import gather
from ltbench.page.html import page
from ltbench.page.write import figures_of, write_report
from ltbench.ranking.board import Leaderboard
from ltbench.ranking.build import build
from ltbench.spec import Cell, Expectation, Plan, Record, Result, TrialSpec

METHODS = {"ce": 0.5, "good": 0.7, "bad": 0.3, "twin": 0.5}
FACTORS: Mapping[str, Sequence[float | None]] = {"a": (10.0, 100.0), "b": (10.0, 100.0)}
PROTOCOL = {"primary": "balanced_accuracy", "report": ["balanced_accuracy", "many", "medium", "few"], "rope": 0.5,
            "reference": "ce", "seeds": [0, 1, 2, 3, 4]}  # fmt: skip
CODE = fingerprint_of_files([Path(__file__).parents[2] / "methods" / "ce.py"])
"""Of today, so that no row is stale."""
TRAIN = (400, 200, 101, 100, 60, 20, 19, 10, 5, 4)


def spec(
    label: str = "ce", dataset: str = "a", imbalance: float | None = 10.0, seed: int = 0, **other: Any
) -> TrialSpec:
    cell = Cell(dataset=dataset, kind="made", imbalance=imbalance, manifest=f"{dataset}{imbalance}")
    fields: dict[str, Any] = {
        "suite": "made", "cell": cell, "label": label, "method": "ce", "hyperparameters": {"name": label}, "code": CODE,
        "recipe_name": "r", "recipe": {"epochs": 4.0}, "seed": seed,
    }  # fmt: skip
    return TrialSpec(**{**fields, **other})


def npz(label: NDArray[Any], truth: NDArray[Any], confidence: NDArray[Any] | None = None) -> bytes:
    """Predictions as a trial keeps them."""
    sure = np.full(len(label), 0.6, np.float32) if confidence is None else confidence
    stream = io.BytesIO()
    np.savez_compressed(stream, label=label.astype(np.uint16), truth=truth.astype(np.uint16), confidence=sure)
    return stream.getvalue()


def record(of: TrialSpec, chance: float = 0.5, train: Sequence[int] = TRAIN, images: int = 8) -> Record:
    """A finished trial that is right on an image with this chance; test classes of unlike sizes."""
    classes = len(train)
    truth = np.repeat(np.arange(classes), [images + c % 3 for c in range(classes)])
    rng = np.random.default_rng([of.seed, *of.label.encode(), *of.cell.label.encode()])
    label = np.where(rng.random(len(truth)) < chance, truth, (truth + 1) % classes)
    sure = rng.uniform(0.3, 1.0, len(truth)).astype(np.float32)
    found = Predictions(label.astype(np.uint16), sure)
    metrics, per_class = from_predictions(found, truth, train, of.shots)
    loss = [[float(e), 2.0 / e + float(rng.random())] for e in range(1, 5)]
    environment = {"seconds": 10 + 100 * chance, "images_per_second": 1234.5, "peak_memory_bytes": 2**30,
                   "device": "cpu", "git_commit": "0123456789abcdef", "started": 1.7e9 + of.seed}  # fmt: skip
    return Record(spec=of, status="ok", metrics=metrics, per_class=per_class, curves={"train/loss": loss},
                  environment=environment, predictions=npz(label, truth, sure))  # fmt: skip


def records(
    methods: Mapping[str, float] = METHODS,
    datasets: Mapping[str, Sequence[float | None]] = FACTORS,
    seeds: int = 5,
    **other: Any,
) -> list[Record]:
    """All trials of a suite."""
    return [
        record(spec(m, d, i, s), chance, **other)
        for m, chance in methods.items()
        for d, factors in datasets.items()
        for i in factors
        for s in range(seeds)
    ]


def plan_of(kept: Sequence[Record], **protocol: Any) -> Expectation:
    """The expectation of a plan that is exactly these trials."""
    trials = tuple(r.spec for r in kept)
    seeds = sorted({t.seed for t in trials})
    asked = {**PROTOCOL, "seeds": seeds, **protocol}
    return Plan(suite="made", question="Which?", trials=trials, skips=(), protocol=asked).expectation()


def stored(kept: Sequence[Record]) -> Any:
    """The predictions of records, as a journal gives them."""
    return {r.key: r.predictions for r in kept}.get


def board_of(kept: Sequence[Record], plan: Expectation | None = None) -> Leaderboard:
    """The leaderboard of these records, whose predictions are at hand."""
    return build([Result.of(r) for r in kept], plan, predictions=stored(kept))


def drawn(board: Leaderboard, kept: Sequence[Record], plan: Expectation | None = None) -> list[Figure]:
    """Every figure of a report."""
    figures = figures_of(board, gather(kept, board, plan, stored(kept)))
    return [figure for of_table in figures for figure in (*of_table.claims, *of_table.behind)]


def html_of(kept: Sequence[Record], folder: Path, plan: Expectation | None = None) -> str:
    """The page as `ltbench report` writes it into `folder`."""
    files = write_report(board_of(kept, plan), kept, stored(kept), plan, folder)
    return files[0].read_text(encoding="utf-8")


def page_of(board: Leaderboard, kept: Sequence[Record] = (), plan: Expectation | None = None) -> str:
    """The page alone; the figures are not written as files."""
    evidence = gather(kept, board, plan, stored(kept))
    return page(board, evidence, figures_of(board, evidence))
