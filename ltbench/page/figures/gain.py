"""Figures of gains: intervals in several metrics, accuracy by imbalance factor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ltbench.page.drawing import (
    FAINT,
    INK,
    MOST_PANELS,
    MOST_ROWS,
    WIDTH,
    Figure,
    Looks,
    canvas,
    legend,
    looks_of,
    of_method,
    panels,
    plain,
    shown,
    stack,
)
from ltbench.page.figures import ranks
from ltbench.page.figures.answer import answer
from ltbench.page.figures.ranks import methods_down
from ltbench.page.figures.spans import TONES, Span, span_of
from ltbench.page.figures.trade import trade_off
from ltbench.ranking.board import Leaderboard, Row, Table
from ltbench.ranking.formats.text_tables import signed
from ltbench.ranking.pairs import Pair

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def figures(board: Leaderboard, table: Table) -> Iterator[Figure]:
    """All figures that a table alone can give."""
    if len(table.rows) < 2:
        return
    looks = looks_of(board)
    if table.reference is not None:
        yield answer(board, table, looks)
        yield intervals(board, table, looks)
    yield ranks.rank_intervals(table, looks)
    if any({"many", "few"} <= row.others.keys() for row in table.rows):
        yield trade_off(table, looks)
    if any(len(table.columns_of(d)) > 1 for d in table.datasets):
        yield by_imbalance(board, table, looks)
    if table.profile is not None:
        yield ranks.profile(table, looks)
    if table.reference is not None and any(row.improvement is not None for row in table.rows):
        yield ranks.improvement(table, looks)
    if table.scope_b is not None and table.scope_b.critical_difference is not None:
        yield ranks.critical_difference(table, looks)


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


def intervals(board: Leaderboard, table: Table, looks: Looks) -> Figure:
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
        "than the region of practical equivalence, grey undecided; the interquartile gain is not tested. The grey band "
        f"is the region of practical equivalence, ±{table.rope:g}. Bootstrap intervals are approximate and too short "
        "below 10 seeds.",
        f"Gains over {table.reference}: {said}.",
        partial(_drawn_intervals, table, rows, columns, looks, len(columns)),
        data,
        partial(_drawn_intervals, table, rows, columns, looks, 1),
    )


def _panels(board: Leaderboard, rows: Sequence[Row]) -> list[Panel]:
    found = [Panel.of(f"mean gain, {board.about(board.primary).title}", [row.gain for row in rows])]
    middles = [
        None if e is None else Span(e.value, e.value if e.low is None else e.low, e.value if e.high is None else e.high)
        for e in (row.iqm for row in rows)
    ]
    found.append(Panel("interquartile gain (bootstrap)", middles, [FAINT] * len(rows)))
    for metric in ("few", "ece"):
        if any(metric in row.others for row in rows):
            about = board.about(metric)
            title = f"{about.title} gain" + ("" if about.higher_is_better else " (lower ECE: right)")
            found.append(Panel.of(title, [row.others.get(metric) for row in rows]))
    return found


def _drawn_intervals(table: Table, rows: Sequence[Row], columns: Sequence[Panel], looks: Looks, across: int) -> Drawing:
    if across == 1:
        drawing, axes = stack(WIDTH, [0.9 + 0.27 * len(rows)] * len(columns))
    else:
        drawing, axes = canvas(3.0 + 2.1 * len(columns), 0.9 + 0.27 * len(rows), len(columns), sharey=True)
    for axis, panel in zip(axes, columns, strict=True):
        axis.axvline(0, color=INK, linewidth=0.8)
        for y, (span, colour) in enumerate(zip(panel.spans, panel.colours, strict=True)):
            if span is not None:
                bar = axis.plot((span.low, span.high), [y, y], color=colour, linewidth=3, alpha=0.55)
                dot = axis.plot(span.mean, y, "o", color=colour, markersize=5)
                of_method(looks, rows[y].label, f"{rows[y].label}: {span.text}", *bar, *dot)
        axis.set_title(panel.title)
    axes[0].axvspan(-table.rope, table.rope, color=FAINT, alpha=0.15, linewidth=0)
    for axis in axes if across == 1 else axes[:1]:
        methods_down(axis, rows)
    axes[0].set_xlabel(f"points over {plain(str(table.reference))}")
    return drawing


def by_imbalance(board: Leaderboard, table: Table, looks: Looks) -> Figure:
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
        f"{board.about(board.primary).title} by imbalance factor: {ends}.",
        partial(_drawn_factors, board, table, several, rows, looks, 3),
        data,
        partial(_drawn_factors, board, table, several, rows, looks, 1) if len(several) > 1 else None,
    )


def _drawn_factors(
    board: Leaderboard, table: Table, several: Sequence[str], rows: Sequence[Row], looks: Looks, across: int
) -> Drawing:
    drawing, axes = panels(len(several), across)
    for axis, dataset in zip(axes, several, strict=True):
        columns = table.columns_of(dataset)
        for i, row in enumerate(rows):
            found = [row.scores[c].metrics[board.primary] for c in columns]
            at = np.arange(len(columns)) + 0.03 * (i - (len(rows) - 1) / 2)
            means = np.array([f.mean if f else np.nan for f in found])
            halves = np.array([(f.half or 0.0) if f else 0.0 for f in found])
            colour, marker = looks[row.label]
            drawn = axis.plot(at, means, color=colour, marker=marker, markersize=4, label=plain(row.label))
            bars = axis.vlines(at, means - halves, means + halves, color=colour, linewidth=0.9)
            of_method(looks, row.label, f"{row.label}: {', '.join(f'{m:.1f}' for m in means)}", *drawn, bars)
        axis.set_xticks(range(len(columns)), [plain(c.imbalance) for c in columns])
        axis.set_title(plain(dataset))
    about = board.about(board.primary)
    axes[0].set_ylabel(f"{about.title}, {about.unit}" if about.unit else about.title)
    legend(drawing, axes[0], looks)
    return drawing
