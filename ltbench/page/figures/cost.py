"""The figure of cost beside accuracy."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from ltbench.metric_names import COSTS
from ltbench.page.drawing import INK, MOST_ROWS, WIDTH, Figure, Looks, canvas, legend, of_method, plain
from ltbench.page.evidence import Evidence
from ltbench.page.figures.trade import pareto
from ltbench.ranking.board import Leaderboard, Row, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


UNITS = (("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))


def cost(board: Leaderboard, table: Table, evidence: Evidence, looks: Looks) -> Figure:
    """What a point of accuracy costs: time of a trial against the mean, and the methods that none beats in both."""
    better = 1.0 if board.about(board.primary).higher_is_better else -1.0
    hours = {row.label: evidence.hours[row.label] for row in table.rows}
    unit, scale = _unit(evidence, max(hours.values()))
    spent = {label: found * scale for label, found in hours.items()}
    front = pareto([(-hours[row.label], better * row.mean) for row in table.rows])
    data = pd.DataFrame([_cost_line(row, table, evidence, (unit, scale), i in front)
                         for i, row in enumerate(table.rows)])  # fmt: skip
    said = ", ".join(f"{row.label} {evidence.seconds[row.label]:.3g} s" for row in table.rows[:MOST_ROWS])
    best = ", ".join(table.rows[i].label for i in sorted(front))
    held = "share of a GPU" if evidence.on_gpus else "CPUs"
    return Figure(
        "cost",
        "Cost beside accuracy",
        f"Mean {unit} of a trial, start-up included: its wall time times the {held} it held, on the machines that ran "
        "it (see the runs); other trials beside it slow it down."
        + (" Training that another trial did is counted as if it were its own." if evidence.shared else "")
        + " Filled, joined by the dotted line: no other method is "
        f"both cheaper and better (Pareto front). {unit} per point gained: what a trial costs beyond one of the "
        "reference, by point gained." + _search(board),
        f"Seconds per trial: {said}. No method is both cheaper and better than: {best}.",
        partial(_drawn, board, table, spent, unit, front, looks),
        data,
    )


def _unit(evidence: Evidence, most: float) -> tuple[str, float]:
    """The unit in which the most expensive trial is at least 1, and how many of it an hour has."""
    name, seconds = next(((n, s) for n, s in UNITS if most * 3600 >= s), UNITS[-1])
    return f"{'GPU' if evidence.on_gpus else 'CPU'}-{name}", 3600 / seconds


def _drawn(
    board: Leaderboard, table: Table, spent: Mapping[str, float], unit: str, front: Collection[int], looks: Looks
) -> Drawing:
    drawing, (axis,) = canvas(WIDTH, 3.6 + 0.06 * min(len(table.rows), MOST_ROWS))
    for i, row in enumerate(table.rows):
        colour, marker = looks[row.label]
        half, x = row.half or 0.0, spent[row.label]
        face = colour if i in front else "none"
        bar = axis.plot([x] * 2, [row.mean - half, row.mean + half], color=colour, linewidth=0.9)
        dot = axis.plot(x, row.mean, marker, color=colour, markerfacecolor=face, label=plain(row.label))
        of_method(looks, row.label, f"{row.label}: {x:.3g} {unit}, {row.mean:.1f}", *bar, *dot)
    ends = sorted((spent[table.rows[i].label], table.rows[i].mean) for i in front)
    axis.plot([x for x, _ in ends], [y for _, y in ends], color=INK, linewidth=0.8, linestyle=":")
    axis.set(xlabel=f"{unit} per trial", ylabel=board.about(board.primary).title)
    axis.margins(0.1)
    axis.set_xlim(left=-0.03 * max(spent.values()))
    if len(table.rows) <= MOST_ROWS:
        legend(drawing, axis, looks)
    return drawing


def _search(board: Leaderboard) -> str:
    searched = (board.config.get("search") or {}).get("chosen")
    return " What the search of hyper-parameters cost comes on top: a trial per setting and cell." if searched else ""


def _cost_line(row: Row, table: Table, evidence: Evidence, unit: tuple[str, float], on_front: bool) -> dict[str, Any]:
    name, scale = unit
    before = evidence.hours.get(table.reference or "")
    more = None if before is None else (evidence.hours[row.label] - before) * scale
    gained = None if row.gain is None or row.gain.test.diff is None else row.gain.test.diff
    paid = more is not None and gained is not None and gained > 0 and row.label != table.reference
    return {
        "method": row.label,
        "seconds per trial": evidence.seconds[row.label],
        **{COSTS[name].title: row.budget[name] for name in COSTS if name in row.budget and "hours" not in name},
        f"{name} per trial": evidence.hours[row.label] * scale,
        "mean": row.mean,
        "gain": gained,
        f"{name} per point gained": more / gained if paid and more is not None and gained else None,
        "on the front": on_front,
    }
