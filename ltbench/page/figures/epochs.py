"""The figure of what choosing the epoch on the test set would have added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ltbench.page.drawing import FAINT, MOST_ROWS, WIDTH, Figure, Looks, canvas, of_method
from ltbench.page.evidence import Evidence, Floats
from ltbench.page.figures.ranks import methods_down
from ltbench.page.words import listed
from ltbench.ranking.board import Row, Table
from ltbench.spec import Column

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def best_epoch(table: Table, evidence: Evidence, looks: Looks) -> Figure | None:
    """Balanced accuracy of the last epoch beside that of the best one; None without learning curves on the test set.

    Most code of the field reports the best test epoch, which nobody knows who is given new images to classify.
    """
    rows = [row for row in table.rows if all((row.label, c) in evidence.epochs for c in table.columns)]
    if not rows:
        return None
    seen = {row.label: {c: evidence.epochs[row.label, c] for c in table.columns} for row in rows}
    last = {m: _mean(table, {c: found.last for c, found in by.items()}) for m, by in seen.items()}
    best = {m: _mean(table, {c: found.best for c, found in by.items()}) for m, by in seen.items()}
    most_in_one = {m: max(float((f.best - f.last).max()) for f in by.values()) for m, by in seen.items()}
    points = min(found.points for by in seen.values() for found in by.values())
    rows = sorted(rows, key=lambda row: -last[row.label])
    gaps = sorted((best[m] - last[m], m) for m in last)
    said = (
        f"Choosing the epoch on the test set would have added {gaps[0][0]:.1f} to {gaps[-1][0]:.1f} points "
        f"(most: {gaps[-1][1]}). {_order([row.label for row in rows], best)}"
    )
    data = [
        {
            "method": row.label,
            "last epoch": last[row.label],
            "best test epoch": best[row.label],
            "added": best[row.label] - last[row.label],
            "most in one run": most_in_one[row.label],
        }
        for row in rows
    ]
    return Figure(
        "best-epoch",
        "What the best test epoch would have added",
        f"{said} Balanced accuracy, means over seeds, imbalance factors and data sets; the best of {points} test "
        "passes during each training: of more, it would be better still. Every other number on this page is of the "
        "last epoch.",
        f"Last and best epoch: {', '.join(f'{m} {last[m]:.1f} and {best[m]:.1f}' for m in list(last)[:8])}.",
        partial(_drawn, rows[:MOST_ROWS], looks, last, best),
        pd.DataFrame(data),
    )


def _drawn(
    rows: Sequence[Row],
    looks: Looks,
    last: Mapping[str, float],
    best: Mapping[str, float],
) -> Drawing:
    drawing, (axis,) = canvas(WIDTH, 0.9 + 0.27 * len(rows))
    for y, m in enumerate(row.label for row in rows):
        colour, marker = looks[m]
        line = axis.plot([last[m], best[m]], [y, y], color=FAINT, linewidth=1.2, zorder=1)
        line += axis.plot(last[m], y, marker, color=colour)
        line += axis.plot(best[m], y, marker, color=colour, markerfacecolor="none")
        of_method(looks, m, f"{m}: last {last[m]:.1f}, best {best[m]:.1f}", *line)
    methods_down(axis, rows)
    axis.set_xlabel("balanced accuracy, %\nfilled: last epoch; open: best test epoch")
    return drawing


def _mean(table: Table, values: Mapping[Column, Floats]) -> float:
    """Over seeds, then over the imbalance factors of a data set, then over data sets, as the table's means."""
    of = [[float(values[c].mean()) for c in table.columns_of(d)] for d in table.datasets]
    return float(np.mean([np.mean(found) for found in of]))


def _order(now: Sequence[str], best: Mapping[str, float]) -> str:
    """Whether the methods would stand in another order."""
    then = sorted(now, key=lambda m: -best[m])
    if len(now) == 1:
        return ""
    return f"The order of the means would be {'the same' if list(now) == then else listed(then)}."
