"""The figure of what the head pays for what the tail gains."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from ltbench.page.drawing import INK, MOST_ROWS, WIDTH, Figure, Looks, canvas, legend, of_method, plain
from ltbench.page.figures.spans import Span, span_of
from ltbench.ranking.board import Table
from ltbench.ranking.formats.text_tables import signed

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


class Trade(NamedTuple):
    """What a method gains on classes with many and with few training images; whether no other gains more in both."""

    label: str
    many: Span
    few: Span
    on_front: bool


def trade_off(table: Table, looks: Looks) -> Figure:
    """What the head pays for what the tail gains, with the methods that no other beats in both."""
    trades = _trades(table)
    heads = ["method", "many-shot gain", "low", "high", "few-shot gain", "low ", "high ", "on the front"]
    data = pd.DataFrame([(t.label, *t.many, *t.few, t.on_front) for t in trades], columns=heads)
    said = "; ".join(f"{t.label} {signed(t.many.mean)} many, {signed(t.few.mean)} few" for t in trades)
    return Figure(
        "trade-off",
        "What the head pays for the tail",
        f"Gains over {table.reference} where both buckets exist, with 95 % intervals over seeds. Filled, "
        "joined by the dotted line: no other method is better in both (Pareto front).",
        f"Many-shot against few-shot gains: {said}.",
        partial(_drawn_trades, table, trades, looks),
        data,
    )


def _trades(table: Table) -> list[Trade]:
    rows = [row for row in table.rows if {"many", "few"} <= row.others.keys()]
    spans = [(row.label, span_of(row.others["many"].test), span_of(row.others["few"].test)) for row in rows]
    known = [(label, many, few) for label, many, few in spans if many is not None and few is not None]
    front = pareto([*((many.mean, few.mean) for _, many, few in known), (0.0, 0.0)])
    return [Trade(label, many, few, i in front) for i, (label, many, few) in enumerate(known)]


def _drawn_trades(table: Table, trades: Sequence[Trade], looks: Looks) -> Drawing:
    drawing, (axis,) = canvas(WIDTH, 3.8 + 0.06 * min(len(trades), MOST_ROWS))
    for label, many, few, on_front in trades:
        colour, marker = looks[label]
        face = colour if on_front else "none"
        drawn = [
            *axis.plot((many.low, many.high), [few.mean] * 2, color=colour, linewidth=0.9, alpha=0.6),
            *axis.plot([many.mean] * 2, (few.low, few.high), color=colour, linewidth=0.9, alpha=0.6),
            *axis.plot(many.mean, few.mean, marker, color=colour, markersize=7, markerfacecolor=face,
                       label=plain(label)),
        ]  # fmt: skip
        of_method(looks, label, f"{label}: many-shot {many.text}, few-shot {few.text}", *drawn)
    points = [*((t.many.mean, t.few.mean) for t in trades), (0.0, 0.0)]  # the reference gains nothing
    front = sorted(points[i] for i in pareto(points))
    axis.plot([x for x, _ in front], [y for _, y in front], color=INK, linewidth=0.8, linestyle=":")
    axis.plot(0, 0, "+", color=INK, markersize=10, label=plain(f"{table.reference} (reference)"))
    axis.set(xlabel="many-shot gain, points", ylabel="few-shot gain, points")
    axis.margins(0.08)
    if len(trades) <= MOST_ROWS:
        legend(drawing, axis, looks)
    return drawing


def pareto(points: Sequence[tuple[float, float]]) -> set[int]:
    """Positions of the points that no other is at least as good as in both coordinates and better in one."""
    return {i for i, (x, y) in enumerate(points) if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points)}
