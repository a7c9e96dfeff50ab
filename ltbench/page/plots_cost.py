"""The figure of cost beside accuracy."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ltbench.metrics import COSTS
from ltbench.page.drawing import INK, MOST_ROWS, Figure, canvas, look, plain
from ltbench.page.evidence import Evidence
from ltbench.page.plots_gain import pareto
from ltbench.ranking.board import Leaderboard, Row, Table


def cost(board: Leaderboard, table: Table, evidence: Evidence) -> Figure:
    """What a point of accuracy costs: hours of a trial against the mean, and the methods that none beats in both."""
    unit, held = ("GPU-hours", "share of a GPU") if evidence.on_gpus else ("CPU-hours", "CPUs")
    better = 1.0 if board.about(board.primary).higher_is_better else -1.0
    hours = {row.label: evidence.hours[row.label] for row in table.rows}
    front = pareto([(-hours[row.label], better * row.mean) for row in table.rows])
    drawing, (axis,) = canvas(6.2, 3.8)
    colours = look([row.label for row in table.rows])
    for i, row in enumerate(table.rows):
        colour, marker = colours[row.label]
        half = row.half or 0.0
        face = colour if i in front else "none"
        axis.plot([hours[row.label]] * 2, [row.mean - half, row.mean + half], color=colour, linewidth=0.9)
        axis.plot(hours[row.label], row.mean, marker, color=colour, markerfacecolor=face, label=plain(row.label))
    ends = sorted((hours[table.rows[i].label], table.rows[i].mean) for i in front)
    axis.plot([x for x, _ in ends], [y for _, y in ends], color=INK, linewidth=0.8, linestyle=":")
    axis.set(xlabel=f"{unit} per trial", ylabel=board.about(board.primary).title)
    axis.margins(0.1)
    axis.set_xlim(left=0)
    if len(table.rows) <= MOST_ROWS:
        drawing.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    data = pd.DataFrame([_cost_line(row, table, evidence, unit, i in front) for i, row in enumerate(table.rows)])
    said = ", ".join(f"{row.label} {evidence.seconds[row.label]:.3g} s" for row in table.rows[:MOST_ROWS])
    best = ", ".join(table.rows[i].label for i in sorted(front))
    return Figure(
        "cost",
        "Cost beside accuracy",
        f"Mean {unit} of a trial, start-up included: its wall time times the {held} it held, on the machines that ran "
        "it (see the runs); other trials beside it slow it down."
        + (" Training that another trial did is counted as if it were its own." if evidence.shared else "")
        + " Filled, joined by the dotted line: no other method is "
        "both cheaper and better (Pareto front). Hours per point: what a trial costs beyond one of the reference, by "
        "point gained." + _search(board),
        f"Seconds per trial: {said}. No method is both cheaper and better than: {best}.",
        drawing,
        data,
    )


def _search(board: Leaderboard) -> str:
    searched = (board.config.get("search") or {}).get("chosen")
    return " What the search of hyper-parameters cost comes on top: a trial per setting and cell." if searched else ""


def _cost_line(row: Row, table: Table, evidence: Evidence, unit: str, on_front: bool) -> dict[str, Any]:
    before = evidence.hours.get(table.reference or "")
    more = None if before is None else evidence.hours[row.label] - before
    gained = None if row.gain is None or row.gain.test.diff is None else row.gain.test.diff
    paid = more is not None and gained is not None and gained > 0 and row.label != table.reference
    return {
        "method": row.label,
        "seconds per trial": evidence.seconds[row.label],
        f"{unit} per trial": evidence.hours[row.label],
        **{COSTS[name].title: row.budget[name] for name in COSTS if name in row.budget and "hours" not in name},
        "mean": row.mean,
        "gain": gained,
        f"{unit} per point gained": more / gained if paid and more is not None and gained else None,
        "on the front": on_front,
    }
