"""The figure of accuracy under other test distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ltbench.metric_names import RATIOS
from ltbench.page.drawing import FAINT, WIDTH, Figure, Looks, canvas, legend, of_method, plain, shown
from ltbench.page.evidence import Evidence
from ltbench.ranking.board import Table
from ltbench.stats.priors import prior_weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

PRIORS = (*(f"forward{r}" for r in reversed(RATIOS)), "uniform", *(f"backward{r}" for r in RATIOS))


def priors(table: Table, evidence: Evidence, looks: Looks) -> Figure | None:
    """Accuracy of every method as the test distribution goes from that of training to its reverse; None where a
    table of classes is not at hand."""
    labels = [row.label for row in table.rows]
    if not all((m, c) in evidence.recall for m in labels for c in table.columns):
        return None
    values = {m: [_mean(m, prior, table, evidence) for prior in PRIORS] for m in labels}
    drawn = shown(labels, table.reference)
    ends = ", ".join(f"{m} {values[m][0]:.1f} to {values[m][-1]:.1f}" for m in drawn)
    return Figure(
        "priors",
        "Accuracy under other test distributions",
        "If the test images were distributed as in training (F50: the most frequent class 50 times as often as the "
        "rarest), equally, or the other way round (B50). Computed from the recall of every class, averaged over seeds "
        "and columns; nothing is trained or tested again. A method that is told the test distribution could do better. "
        "To rank and test under one of them: ltbench leaderboard --prior forward50.",
        f"Accuracy from the most head-heavy to the most tail-heavy test distribution: {ends}.",
        partial(_drawn, {m: values[m] for m in drawn}, looks),
        pd.DataFrame(
            [(m, prior, v) for m in labels for prior, v in zip(PRIORS, values[m], strict=True)],
            columns=["method", "prior", "accuracy"],
        ),
    )


def _drawn(values: Mapping[str, Sequence[float]], looks: Looks) -> Drawing:
    drawing, (axis,) = canvas(WIDTH, 3.8)
    for m, found in values.items():
        colour, marker = looks[m]
        line = axis.plot(range(len(PRIORS)), found, marker=marker, markersize=4, color=colour, label=plain(m))
        of_method(looks, m, f"{m}: {found[0]:.1f} to {found[-1]:.1f}", *line)
    axis.axvline(PRIORS.index("uniform"), color=FAINT, linewidth=0.8, linestyle=":")
    axis.set_xticks(range(len(PRIORS)), [_short(prior) for prior in PRIORS])
    axis.set(xlabel="test images, from head-heavy (F) to tail-heavy (B)\nby imbalance factor", ylabel="accuracy, %")
    axis.tick_params(axis="x", labelsize=7.5, rotation=45)
    legend(drawing, axis, looks)
    return drawing


def _mean(method: str, prior: str, table: Table, evidence: Evidence) -> float:
    """Mean over the columns."""
    found = []
    for column in table.columns:
        weight = prior_weights(prior, evidence.classes[column].train_images)
        weight = np.where(evidence.classes[column].tested, weight, 0.0)
        found.append(float(weight @ evidence.recall[method, column] / weight.sum()))
    return float(np.mean(found))


def _short(prior: str) -> str:
    return {"f": "F", "b": "B"}.get(prior[0], "") + prior.removeprefix("forward").removeprefix("backward")
