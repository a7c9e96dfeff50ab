"""Figures of what stands behind the claims: classes, calibration, training, cost."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ltbench.page.drawing import FAINT, MOST_PANELS, Figure, canvas, look, panels, plain, shown
from ltbench.page.evidence import Evidence, Floats
from ltbench.page.plots_cost import cost
from ltbench.page.plots_epochs import best_epoch
from ltbench.page.plots_prior import priors
from ltbench.ranking.board import Leaderboard, Table
from ltbench.ranking.selection import column_order
from ltbench.spec import Column

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def figures(board: Leaderboard, table: Table, evidence: Evidence) -> Iterator[Figure]:
    """All figures that need the records."""
    labels = [row.label for row in table.rows]
    first = shown(labels, table.reference)
    columns = [c for c in table.columns if c in evidence.classes]
    hardest = _hardest(table, columns)
    if hardest:
        yield classes(table, evidence, hardest, first)
    if len(table.rows) > 1 and (other := priors(table, evidence)) is not None:
        yield other
    calibrated = next((c for c in hardest if any((m, c) in evidence.reliability for m in first)), None)
    if calibrated is not None:
        yield reliability(table, evidence, calibrated, first)
    names = {name for (m, c), found in evidence.curves.items() if m in first and c in hardest for name in found}
    for name in sorted(names):
        yield curves(table, evidence, name, hardest, first)
    if (chosen := best_epoch(table, evidence)) is not None:
        yield chosen
    if len(table.rows) > 1 and all(m in evidence.seconds for m in labels):
        yield cost(board, table, evidence)


def _hardest(table: Table, columns: Sequence[Column]) -> list[Column]:
    """Per data set the column with the largest imbalance factor."""
    last = {c.dataset: c for c in sorted(columns, key=column_order)}
    last = {c.dataset: last[c.dataset] for c in columns}
    return list(last.values())[:MOST_PANELS]


def classes(table: Table, evidence: Evidence, columns: Sequence[Column], labels: Sequence[str]) -> Figure:
    """Recall against training images, class by class, smoothed where classes are many."""
    colours = look(labels)
    drawing, axes = panels(len(columns))
    lines = []
    for axis, column in zip(axes, columns, strict=True):
        images = evidence.classes[column].train_images
        order = np.argsort(-images, kind="stable")
        for m in labels:
            recall = evidence.recall.get((m, column))
            if recall is None:
                continue
            colour, marker = colours[m]
            if len(order) > 20:
                axis.plot(images[order], recall[order], ".", color=colour, markersize=3, alpha=0.25)
                axis.plot(images[order], smooth(recall[order]), color=colour, label=plain(m))
            else:
                axis.plot(images[order], recall[order], color=colour, marker=marker, markersize=4, label=plain(m))
            lines += [
                {
                    "column": table.title(column),
                    "class": evidence.classes[column].names[c],
                    "method": m,
                    "training images": images[c],
                    "recall": recall[c],
                }
                for c in order
            ]
        if len(np.unique(images)) > 1:
            axis.set_xscale("log")
            _plain_ticks(axis)
        axis.invert_xaxis()
        axis.set_title(plain(table.title(column)))
        axis.set_xlabel("training images of the class")
    axes[0].set_ylabel("recall, %")
    drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    tail = "; ".join(
        f"{m} {_of_rarest(evidence, m, columns[0]):.1f}" for m in labels if (m, columns[0]) in evidence.recall
    )
    return Figure(
        "classes",
        "Recall by class, from head to tail",
        "Mean over seeds, one point per class, the largest class on the left; with more than 20 classes the "
        "line is a moving average over a tenth of them. The largest imbalance factor of each data set.",
        f"Recall of the rarest class on {table.title(columns[0])}: {tail}.",
        drawing,
        pd.DataFrame(lines),
    )


def _plain_ticks(axis: Axes) -> None:
    """Counts of images read as counts: 1, 2, 5, 10, 20, ... instead of powers."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def _of_rarest(evidence: Evidence, method: str, column: Column) -> float:
    return float(evidence.recall[method, column][np.argmin(evidence.classes[column].train_images)])


def smooth(values: Floats) -> Floats:
    """Moving average over a tenth of the places (at least 3), shorter at the ends."""
    width = max(3, len(values) // 10) | 1
    kernel = np.ones(width)
    return np.asarray(np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same"))


def reliability(table: Table, evidence: Evidence, column: Column, labels: Sequence[str]) -> Figure:
    """Accuracy against confidence, a panel per method."""
    there = [m for m in labels if (m, column) in evidence.reliability][:MOST_PANELS]
    drawing, axes = canvas(0.8 + 1.9 * len(there), 2.5, len(there), sharey=True)
    lines = []
    for axis, m in zip(axes, there, strict=True):
        confidence, accuracy = evidence.reliability[m, column]
        axis.plot([0, 100], [0, 100], color=FAINT, linewidth=0.8)
        axis.plot(confidence, accuracy, color="#0072B2", marker="o", markersize=3)
        axis.set_title(plain(m))
        axis.set_aspect("equal")
        axis.set_xlim(0, 102)
        axis.set_ylim(0, 102)
        lines += [
            {"method": m, "bin": i + 1, "confidence": c, "accuracy": a}
            for i, (c, a) in enumerate(zip(confidence, accuracy, strict=True))
        ]
    axes[0].set_ylabel("accuracy, %")
    drawing.supxlabel("confidence, %", fontsize=9)
    row = {r.label: r.scores[column].metrics.get("ece") for r in table.rows}
    eces = ", ".join(f"{m} {found.mean:.1f}" for m in there if (found := row.get(m)) is not None)
    return Figure(
        "reliability",
        f"Calibration on {table.title(column)}",
        f"15 bins of equal mass over all seeds; below the diagonal is over-confident. ECE in %: {eces}.",
        f"Reliability diagrams. Expected calibration error: {eces}.",
        drawing,
        pd.DataFrame(lines),
    )


def curves(table: Table, evidence: Evidence, name: str, columns: Sequence[Column], labels: Sequence[str]) -> Figure:
    """A curve over training, a panel per data set."""
    there = [c for c in columns if any(name in evidence.curves.get((m, c), {}) for m in labels)]
    colours = look(labels)
    drawing, axes = panels(len(there))
    lines = []
    for axis, column in zip(axes, there, strict=True):
        for m in labels:
            found = evidence.curves.get((m, column), {}).get(name)
            if found is None:
                continue
            epochs, mean, low, high = found
            axis.plot(epochs, mean, color=colours[m][0], label=plain(m))
            axis.fill_between(epochs, low, high, color=colours[m][0], alpha=0.15, linewidth=0)
            lines += [
                {"column": table.title(column), "method": m, "epoch": e, "mean": v, "lowest": a, "highest": b}
                for e, v, a, b in zip(epochs, mean, low, high, strict=True)
            ]
        axis.set_title(plain(table.title(column)))
        axis.set_xlabel("epoch")
    axes[0].set_ylabel(plain(name))
    drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    last = {line["method"]: line["mean"] for line in lines if line["column"] == table.title(there[0])}
    said = ", ".join(f"{m} {v:.3g}" for m, v in last.items())
    losses = " Losses of different methods are different quantities." if name == "train/loss" else ""
    return Figure(
        f"curve-{re.sub('[^A-Za-z0-9]+', '-', name)}",
        f"Training: {name}",
        f"Mean over seeds; the band is from the lowest to the highest seed.{losses}",
        f"{name} at the end: {said}.",
        drawing,
        pd.DataFrame(lines),
    )
