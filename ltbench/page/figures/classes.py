"""Figures of classes: how many training images each has, and how well each is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ltbench.page.drawing import FAINT, MARKERS, PALETTE, WIDTH, Figure, Looks, canvas, legend, of_method, panels, plain
from ltbench.page.evidence import Evidence, Floats
from ltbench.ranking.beside import USUAL
from ltbench.ranking.board import Leaderboard, Table
from ltbench.spec import Column

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Drawing


def class_counts(board: Leaderboard, table: Table, evidence: Evidence, columns: Sequence[Column]) -> Figure:
    """Training images by class, the largest first: the long tail itself."""
    shots = board.config.get("shots", USUAL)
    lines, said = [], []
    counts: list[tuple[str, Floats]] = []
    for column in columns:
        images = np.sort(evidence.classes[column].train_images)[::-1]
        counts.append((table.title(column), images))
        lines += [{"column": table.title(column), "class": c + 1, "training images": n} for c, n in enumerate(images)]
        said.append(f"{table.title(column)} {images[0]:.0f} to {images[-1]:.0f}")
    return Figure(
        "class-counts",
        "Training images by class",
        f"The largest imbalance factor of each data set. Dotted: more than {shots['many']} images is many-shot, fewer "
        f"than {shots['few']} few-shot.",
        f"Training images from the largest to the smallest class: {'; '.join(said)}.",
        partial(_drawn_counts, counts, shots),
        pd.DataFrame(lines),
    )


def _drawn_counts(counts: Sequence[tuple[str, Floats]], shots: Mapping[str, int]) -> Drawing:
    """`counts`: title and images of every column, the largest class first."""
    drawing, (axis,) = canvas(WIDTH, 3.4)
    for i, (title, images) in enumerate(counts):
        share = 100 * (np.arange(len(images)) + 0.5) / len(images)
        axis.plot(share, images, color=PALETTE[i % len(PALETTE)], marker=MARKERS[i % len(MARKERS)], markersize=3,
                  markevery=max(1, len(images) // 20), label=plain(title))  # fmt: skip
    if min(images.min() for _, images in counts) > 0:
        axis.set_yscale("log")
        plain_ticks(axis.yaxis)
    for limit, name in ((shots["many"], "many-shot above"), (shots["few"], "few-shot below")):
        axis.axhline(limit, color=FAINT, linewidth=0.8, linestyle=":")
        axis.annotate(name, (100, limit), xytext=(0, 2), textcoords="offset points", ha="right", fontsize=7.5)
    axis.set(xlabel="classes, largest first, %", ylabel="training images of the class")
    drawing.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return drawing


def recalls(table: Table, evidence: Evidence, columns: Sequence[Column], labels: Sequence[str], looks: Looks) -> Figure:
    """Recall against training images, class by class, smoothed where classes are many."""
    lines = [
        {
            "column": table.title(column),
            "class": evidence.classes[column].names[c],
            "method": m,
            "training images": evidence.classes[column].train_images[c],
            "recall": recall[c],
        }
        for column in columns
        for m in labels
        if (recall := evidence.recall.get((m, column))) is not None
        for c in _order(evidence, column)
    ]
    tail = "; ".join(
        f"{m} {_of_rarest(evidence, m, columns[0]):.1f}" for m in labels if (m, columns[0]) in evidence.recall
    )
    return Figure(
        "classes",
        "Recall by class, from head to tail",
        "Mean over seeds, one point per class, the largest class on the left; with more than 20 classes the "
        "line is a moving average over a tenth of them. The largest imbalance factor of each data set.",
        f"Recall of the rarest class on {table.title(columns[0])}: {tail}.",
        partial(_drawn, table, evidence, columns, labels, looks, 3),
        pd.DataFrame(lines),
        partial(_drawn, table, evidence, columns, labels, looks, 1) if len(columns) > 1 else None,
    )


def _drawn(
    table: Table, evidence: Evidence, columns: Sequence[Column], labels: Sequence[str], looks: Looks, across: int
) -> Drawing:
    drawing, axes = panels(len(columns), across)
    for axis, column in zip(axes, columns, strict=True):
        images, order = evidence.classes[column].train_images, _order(evidence, column)
        for m in labels:
            recall = evidence.recall.get((m, column))
            if recall is None:
                continue
            colour, marker = looks[m]
            if len(order) > 20:
                drawn = axis.plot(images[order], smooth(recall[order]), color=colour, label=plain(m), marker=marker,
                                  markersize=4, markevery=0.15)  # fmt: skip
                drawn += axis.plot(images[order], recall[order], ".", color=colour, markersize=3, alpha=0.25)
            else:
                drawn = axis.plot(images[order], recall[order], color=colour, marker=marker, markersize=4,
                                  label=plain(m))  # fmt: skip
            of_method(looks, m, m, *drawn)
        if len(np.unique(images)) > 1:
            axis.set_xscale("log")
            plain_ticks(axis.xaxis)
        axis.invert_xaxis()
        axis.set_title(plain(table.title(column)))
        axis.set_xlabel("training images of the class")
    axes[0].set_ylabel("recall, %")
    legend(drawing, axes[0], looks)
    return drawing


def plain_ticks(axis: Axis) -> None:
    """Counts of images read as counts: 1, 2, 5, 10, 20, ... instead of powers."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.set_minor_formatter(NullFormatter())


def _order(evidence: Evidence, column: Column) -> NDArray[np.intp]:
    """Positions of the classes, the largest first."""
    return np.argsort(-evidence.classes[column].train_images, kind="stable")


def _of_rarest(evidence: Evidence, method: str, column: Column) -> float:
    return float(evidence.recall[method, column][np.argmin(evidence.classes[column].train_images)])


def smooth(values: Floats) -> Floats:
    """Moving average over a tenth of the places (at least 3), shorter at the ends."""
    width = max(3, len(values) // 10) | 1
    kernel = np.ones(width)
    return np.asarray(np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same"))
