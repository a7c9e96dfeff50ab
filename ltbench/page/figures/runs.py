"""Figures of what stands behind the claims: all of them, and those of calibration and training."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from ltbench.page.drawing import (
    FAINT,
    MOST_PANELS,
    Figure,
    Looks,
    grid,
    legend,
    looks_of,
    of_method,
    panels,
    plain,
    shown,
)
from ltbench.page.evidence import Evidence
from ltbench.page.figures.classes import class_counts, recalls
from ltbench.page.figures.cost import cost
from ltbench.page.figures.epochs import best_epoch
from ltbench.page.figures.prior import priors
from ltbench.ranking.board import Leaderboard, Table
from ltbench.ranking.selection import column_order
from ltbench.spec import Column

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def figures(board: Leaderboard, table: Table, evidence: Evidence) -> Iterator[Figure]:
    """All figures that need the records."""
    looks = looks_of(board)
    labels = [row.label for row in table.rows]
    first = shown(labels, table.reference)
    columns = [c for c in table.columns if c in evidence.classes]
    hardest = _hardest(table, columns)
    if hardest:
        yield class_counts(board, table, evidence, hardest)
        yield recalls(table, evidence, hardest, first, looks)
    if len(table.rows) > 1 and (other := priors(table, evidence, looks)) is not None:
        yield other
    calibrated = next((c for c in hardest if any((m, c) in evidence.reliability for m in first)), None)
    if calibrated is not None:
        yield reliability(table, evidence, calibrated, first, looks)
    names = {name for (m, c), found in evidence.curves.items() if m in first and c in hardest for name in found}
    for name in sorted(names):
        yield curves(table, evidence, name, hardest, first, looks)
    if (chosen := best_epoch(table, evidence, looks)) is not None:
        yield chosen
    if len(table.rows) > 1 and all(m in evidence.seconds for m in labels):
        yield cost(board, table, evidence, looks)


def _hardest(table: Table, columns: Sequence[Column]) -> list[Column]:
    """Per data set the column with the largest imbalance factor."""
    last = {c.dataset: c for c in sorted(columns, key=column_order)}
    last = {c.dataset: last[c.dataset] for c in columns}
    return list(last.values())[:MOST_PANELS]


def reliability(table: Table, evidence: Evidence, column: Column, labels: Sequence[str], looks: Looks) -> Figure:
    """Accuracy against confidence, a panel per method."""
    there = [m for m in labels if (m, column) in evidence.reliability][:MOST_PANELS]
    lines = [
        {"method": m, "bin": i + 1, "confidence": c, "accuracy": a}
        for m in there
        for i, (c, a) in enumerate(zip(*evidence.reliability[m, column], strict=True))
    ]
    row = {r.label: r.scores[column].metrics.get("ece") for r in table.rows}
    eces = ", ".join(f"{m} {found.mean:.1f}" for m in there if (found := row.get(m)) is not None)
    return Figure(
        "reliability",
        f"Calibration on {table.title(column)}",
        f"15 bins of equal mass over all seeds; below the diagonal is over-confident. ECE in %: {eces}.",
        f"Reliability diagrams. Expected calibration error: {eces}.",
        partial(_drawn_reliability, evidence, column, there, looks, 3),
        pd.DataFrame(lines),
        partial(_drawn_reliability, evidence, column, there, looks, 2) if len(there) > 2 else None,
    )


def _drawn_reliability(evidence: Evidence, column: Column, labels: Sequence[str], looks: Looks, across: int) -> Drawing:
    across, rows = min(across, len(labels)), -(-len(labels) // across)
    drawing, axes = grid(len(labels), across, (0.5 + 2.15 * across, 0.4 + 2.2 * rows))
    for axis, m in zip(axes, labels, strict=True):
        confidence, accuracy = evidence.reliability[m, column]
        axis.plot([0, 100], [0, 100], color=FAINT, linewidth=0.8)
        colour, marker = looks[m]
        drawn = axis.plot(confidence, accuracy, color=colour, marker=marker, markersize=3, clip_on=False)
        of_method(looks, m, m, *drawn)
        axis.set_title(plain(m))
        axis.set_aspect("equal")
        axis.set_xlim(0, 103)
        axis.set_ylim(0, 103)
    drawing.supylabel("accuracy, %", fontsize=9)
    drawing.supxlabel("confidence, %", fontsize=9)
    return drawing


def curves(
    table: Table, evidence: Evidence, name: str, columns: Sequence[Column], labels: Sequence[str], looks: Looks
) -> Figure:
    """A curve over training, a panel per data set."""
    there = [c for c in columns if any(name in evidence.curves.get((m, c), {}) for m in labels)]
    lines = [
        {"column": table.title(column), "method": m, "epoch": e, "mean": v, "lowest": a, "highest": b}
        for column in there
        for m in labels
        if (found := evidence.curves.get((m, column), {}).get(name)) is not None
        for e, v, a, b in zip(*found, strict=True)
    ]
    last = {line["method"]: line["mean"] for line in lines if line["column"] == table.title(there[0])}
    said = ", ".join(f"{m} {v:.3g}" for m, v in last.items())
    losses = " Losses of different methods are different quantities." if name == "train/loss" else ""
    draw = partial(_drawn_curves, table, evidence, name, there, labels, looks)
    return Figure(
        f"curve-{re.sub('[^A-Za-z0-9]+', '-', name)}",
        f"{called(name)} during training",
        f"Mean over seeds; the band is from the lowest to the highest seed.{losses}",
        f"{called(name)} at the end: {said}.",
        partial(draw, 3),
        pd.DataFrame(lines),
        partial(draw, 1) if len(there) > 1 else None,
    )


def called(name: str) -> str:
    """What a curve is called: `train/loss` is `Training loss`."""
    usual = {"train/loss": "Training loss", "lr": "Learning rate"}
    words = name.rpartition("/")[2].replace("_", " ").strip() or name
    return usual.get(name, words[:1].upper() + words[1:])


def _drawn_curves(
    table: Table,
    evidence: Evidence,
    name: str,
    columns: Sequence[Column],
    labels: Sequence[str],
    looks: Looks,
    across: int,
) -> Drawing:
    drawing, axes = panels(len(columns), across)
    for axis, column in zip(axes, columns, strict=True):
        for i, m in enumerate(labels):
            found = evidence.curves.get((m, column), {}).get(name)
            if found is None:
                continue
            epochs, mean, low, high = found
            colour, marker = looks[m]
            drawn = axis.plot(epochs, mean, color=colour, label=plain(m), marker=marker, markersize=4,
                              markevery=(0.02 * i, 0.2))  # fmt: skip
            band = axis.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
            of_method(looks, m, m, *drawn, band)
        axis.set_title(plain(table.title(column)))
        axis.set_xlabel("epoch")
    axes[0].set_ylabel(plain(called(name)))
    legend(drawing, axes[0], looks)
    return drawing
