"""Figures of gains: intervals, the trade-off of head and tail, accuracy by imbalance factor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from ltbench.metrics import metric_of
from ltbench.page import plots_ranks
from ltbench.page.drawing import FAINT, INK, MOST_PANELS, MOST_ROWS, Figure, canvas, look, panels, plain, shown
from ltbench.page.plots_ranks import methods_down
from ltbench.ranking.board import Leaderboard, Pair, Row, Table
from ltbench.ranking.formats.text_tables import signed
from ltbench.stats.fixed_datasets import ScopeATest, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

TONES = {
    Verdict.better: "#009E73",
    Verdict.slightly_better: "#56B4E9",
    Verdict.equivalent: "#56B4E9",
    Verdict.slightly_worse: "#E69F00",
    Verdict.worse: "#D55E00",
    Verdict.undecided: FAINT,
}
FEW = 6
"""Up to this many points are named where they lie, more in a legend."""


def figures(board: Leaderboard, table: Table) -> Iterator[Figure]:
    """All figures that a table alone can give."""
    if len(table.rows) < 2:
        return
    if table.reference is not None:
        yield intervals(board, table)
    yield plots_ranks.rank_intervals(table)
    if any({"many", "few"} <= row.others.keys() for row in table.rows):
        yield trade_off(table)
    if any(len(table.columns_of(d)) > 1 for d in table.datasets):
        yield by_imbalance(board, table)
    if table.profile is not None:
        yield plots_ranks.profile(table)
    if table.reference is not None and any(row.improvement is not None for row in table.rows):
        yield plots_ranks.improvement(table)
    if table.scope_b is not None and table.scope_b.critical_difference is not None:
        yield plots_ranks.critical_difference(table)


class Span(NamedTuple):
    """A mean with the ends of its interval, in points; both ends are the mean where there is no interval."""

    mean: float
    low: float
    high: float


def span_of(test: ScopeATest) -> Span | None:
    """Of a gain; None where there is no difference."""
    if test.diff is None:
        return None
    half = test.half or 0.0
    return Span(test.diff, test.diff - half, test.diff + half)


@dataclass(frozen=True)
class Panel:
    """One column of intervals: a span and its colour for every method, in the order of the lines."""

    title: str
    spans: Sequence[Span | None]
    colours: Sequence[str]

    @classmethod
    def of(cls, title: str, pairs: Sequence[Pair | None]) -> Panel:
        """Of gains, coloured by their verdicts."""
        spans = [span_of(pair.test) if pair else None for pair in pairs]
        return cls(title, spans, [TONES[pair.verdict] if pair else FAINT for pair in pairs])


def intervals(board: Leaderboard, table: Table) -> Figure:
    """Gains over the reference with their intervals, in the primary metric, as interquartile mean, and for the tail."""
    rows = [row for row in table.rows if row.gain is not None][:MOST_ROWS]
    columns = _panels(board, rows)
    data = pd.DataFrame(
        [
            {
                "method": row.label,
                **{
                    f"{panel.title}: {part}": value
                    for panel in columns
                    for part, value in zip(Span._fields, panel.spans[y] or [None] * 3, strict=True)
                },
            }
            for y, row in enumerate(rows)
        ]
    )
    gains = zip(rows, columns[0].spans, strict=True)
    said = "; ".join(f"{row.label} {signed(g.mean)} [{signed(g.low)}, {signed(g.high)}]" for row, g in gains if g)
    return Figure(
        "intervals",
        "Gains with intervals",
        f"95 % intervals of the gain over {table.reference}. Colour: green better, red worse, blue and orange smaller "
        "than the region of practical equivalence, grey "
        f"undecided (first, third and fourth panel); the grey band is the region of practical equivalence, "
        f"±{table.rope:g}. Bootstrap intervals are approximate and too short below 10 seeds.",
        f"Gains over {table.reference}: {said}.",
        _drawn_intervals(table, rows, columns),
        data,
    )


def _panels(board: Leaderboard, rows: Sequence[Row]) -> list[Panel]:
    found = [Panel.of(f"mean gain, {metric_of(board.primary).title}", [row.gain for row in rows])]
    middles = [
        None if e is None else Span(e.value, e.value if e.low is None else e.low, e.value if e.high is None else e.high)
        for e in (row.iqm for row in rows)
    ]
    found.append(Panel("interquartile gain (bootstrap)", middles, [FAINT] * len(rows)))
    for metric in ("few", "ece"):
        if any(metric in row.others for row in rows):
            about = metric_of(metric)
            title = f"{about.title} gain" + ("" if about.higher_is_better else " (lower ECE: right)")
            found.append(Panel.of(title, [row.others.get(metric) for row in rows]))
    return found


def _drawn_intervals(table: Table, rows: Sequence[Row], columns: Sequence[Panel]) -> Drawing:
    drawing, axes = canvas(3.0 + 2.1 * len(columns), 0.9 + 0.27 * len(rows), len(columns), sharey=True)
    for axis, panel in zip(axes, columns, strict=True):
        axis.axvline(0, color=INK, linewidth=0.8)
        for y, (span, colour) in enumerate(zip(panel.spans, panel.colours, strict=True)):
            if span is not None:
                ends = (span.low, span.high)
                axis.plot(ends, [y, y], color=colour, linewidth=3, alpha=0.55, solid_capstyle="butt")
                axis.plot(span.mean, y, "o", color=colour, markersize=5)
        axis.set_title(panel.title)
    axes[0].axvspan(-table.rope, table.rope, color=FAINT, alpha=0.15, linewidth=0)
    methods_down(axes[0], rows)
    axes[0].set_xlabel(f"points over {plain(str(table.reference))}")
    return drawing


class Trade(NamedTuple):
    """What a method gains on classes with many and with few training images; whether no other gains more in both."""

    label: str
    many: Span
    few: Span
    on_front: bool


def trade_off(table: Table) -> Figure:
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
        _drawn_trades(table, trades),
        data,
    )


def _trades(table: Table) -> list[Trade]:
    rows = [row for row in table.rows if {"many", "few"} <= row.others.keys()]
    spans = [(row.label, span_of(row.others["many"].test), span_of(row.others["few"].test)) for row in rows]
    known = [(label, many, few) for label, many, few in spans if many is not None and few is not None]
    front = pareto([*((many.mean, few.mean) for _, many, few in known), (0.0, 0.0)])
    return [Trade(label, many, few, i in front) for i, (label, many, few) in enumerate(known)]


def _drawn_trades(table: Table, trades: Sequence[Trade]) -> Drawing:
    drawing, (axis,) = canvas(6.2, 4.2 if len(trades) <= FEW else 5.0)
    colours = look([row.label for row in table.rows])
    for label, many, few, on_front in trades:
        colour, marker = colours[label]
        axis.plot((many.low, many.high), [few.mean] * 2, color=colour, linewidth=0.9, alpha=0.6)
        axis.plot([many.mean] * 2, (few.low, few.high), color=colour, linewidth=0.9, alpha=0.6)
        face = colour if on_front else "none"
        axis.plot(many.mean, few.mean, marker, color=colour, markersize=7, markerfacecolor=face, label=plain(label))
        if len(trades) <= FEW:
            place = (many.mean, few.mean)
            axis.annotate(plain(label), place, xytext=(6, 5), textcoords="offset points", fontsize=8)
    points = [*((t.many.mean, t.few.mean) for t in trades), (0.0, 0.0)]  # the reference gains nothing
    front = sorted(points[i] for i in pareto(points))
    axis.plot([x for x, _ in front], [y for _, y in front], color=INK, linewidth=0.8, linestyle=":")
    axis.plot(0, 0, "+", color=INK, markersize=10)
    name = plain(f"{table.reference} (reference)")
    axis.annotate(name, (0, 0), xytext=(6, -11), textcoords="offset points", fontsize=8)
    axis.set(xlabel="many-shot gain, points", ylabel="few-shot gain, points")
    axis.margins(0.15)
    if FEW < len(trades) <= MOST_ROWS:
        drawing.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return drawing


def pareto(points: Sequence[tuple[float, float]]) -> set[int]:
    """Positions of the points that no other is at least as good as in both coordinates and better in one."""
    return {i for i, (x, y) in enumerate(points) if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points)}


def by_imbalance(board: Leaderboard, table: Table) -> Figure:
    """Accuracy against imbalance factor, a panel per data set that has several."""
    several = [d for d in table.datasets if len(table.columns_of(d)) > 1][:MOST_PANELS]
    labels = shown([row.label for row in table.rows], table.reference)
    rows = [row for row in table.rows if row.label in labels]
    data = pd.DataFrame(
        [
            {
                "data set": dataset,
                "imbalance": c.imbalance,
                "method": row.label,
                "mean": estimate.mean if estimate else None,
                "±": estimate.half if estimate else None,
            }
            for dataset in several
            for row in rows
            for c in table.columns_of(dataset)
            for estimate in [row.scores[c].metrics[board.primary]]
        ]
    )
    lines = data.head(24).itertuples(index=False)
    ends = "; ".join(f"{method} on {dataset} {imbalance} {mean:.1f}" for dataset, imbalance, method, mean, _ in lines)
    return Figure(
        "by-imbalance",
        "By imbalance factor",
        "Mean over seeds with 95 % interval. Factors of one data set share their test images.",
        f"{metric_of(board.primary).title} by imbalance factor: {ends}.",
        _drawn_factors(board, table, several, rows),
        data,
    )


def _drawn_factors(board: Leaderboard, table: Table, several: Sequence[str], rows: Sequence[Row]) -> Drawing:
    drawing, axes = panels(len(several))
    colours = look([row.label for row in rows])
    for axis, dataset in zip(axes, several, strict=True):
        columns = table.columns_of(dataset)
        for i, row in enumerate(rows):
            found = [row.scores[c].metrics[board.primary] for c in columns]
            colour, marker = colours[row.label]
            axis.errorbar(
                np.arange(len(columns)) + 0.03 * (i - (len(rows) - 1) / 2),
                [f.mean if f else np.nan for f in found],
                yerr=[(f.half or 0.0) if f else 0.0 for f in found],
                color=colour,
                marker=marker,
                markersize=4,
                elinewidth=0.9,
                label=plain(row.label),
            )
        axis.set_xticks(range(len(columns)), [plain(c.imbalance) for c in columns])
        axis.set_title(plain(dataset))
    axes[0].set_ylabel(metric_of(board.primary).title)
    drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return drawing
