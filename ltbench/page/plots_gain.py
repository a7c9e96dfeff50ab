"""Figures of gains: intervals, the trade-off of head and tail, accuracy by imbalance factor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from ltbench.metrics import metric_of
from ltbench.page import plots_ranks
from ltbench.page.drawing import FAINT, INK, MOST_PANELS, MOST_ROWS, Picture, canvas, look, panels, plain, shown
from ltbench.page.plots_ranks import methods_down
from ltbench.ranking.board import Leaderboard, Table
from ltbench.stats.fixed_datasets import ScopeATest, Verdict

TONES = {
    Verdict.better: "#009E73",
    Verdict.slightly_better: "#56B4E9",
    Verdict.equivalent: "#56B4E9",
    Verdict.slightly_worse: "#E69F00",
    Verdict.worse: "#D55E00",
    Verdict.unresolved: FAINT,
}
FEW = 6
"""Up to this many points are named where they lie, more in a legend."""


def pictures(board: Leaderboard, table: Table) -> Iterator[Picture]:
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


def intervals(board: Leaderboard, table: Table) -> Picture:
    """Gains over the reference with their intervals, in the primary metric, as interquartile mean, and for the tail."""
    rows = [row for row in table.rows if row.gain is not None][:MOST_ROWS]
    panels: list[tuple[str, list[tuple[float, float, float] | None], list[str]]] = []
    gains = [_span(row.gain.test) if row.gain else None for row in rows]
    panels.append(
        (
            f"mean gain, {metric_of(board.primary).title}",
            gains,
            [TONES[row.gain.verdict] if row.gain else FAINT for row in rows],
        )
    )
    iqm = [
        None if e is None else (e.value, e.value if e.low is None else e.low, e.value if e.high is None else e.high)
        for e in (row.iqm for row in rows)
    ]
    panels.append(("interquartile gain (bootstrap)", iqm, [FAINT] * len(rows)))
    for metric in ("few", "ece"):
        if any(metric in row.others for row in rows):
            title = f"{metric_of(metric).title} gain" + (
                "" if metric_of(metric).higher_is_better else " (lower ECE: right)"
            )
            panels.append(
                (
                    title,
                    [_span(row.others[metric].test) if metric in row.others else None for row in rows],
                    [TONES[row.others[metric].verdict] if metric in row.others else FAINT for row in rows],
                )
            )
    figure, axes = canvas(3.0 + 2.1 * len(panels), 0.9 + 0.27 * len(rows), len(panels), sharey=True)
    for axis, (title, spans, tones) in zip(axes, panels, strict=True):
        axis.axvline(0, color=INK, linewidth=0.8)
        for y, (span, tone) in enumerate(zip(spans, tones, strict=True)):
            if span is not None:
                axis.plot(span[1:], [y, y], color=tone, linewidth=3, alpha=0.55, solid_capstyle="butt")
                axis.plot(span[0], y, "o", color=tone, markersize=5)
        axis.set_title(title)
    axes[0].axvspan(-table.rope, table.rope, color=FAINT, alpha=0.15, linewidth=0)
    methods_down(axes[0], rows)
    axes[0].set_xlabel(f"points over {plain(str(table.reference))}")
    data = pd.DataFrame(
        [
            {
                "method": row.label,
                **{
                    f"{title}: {part}": None if span[y] is None else span[y][i]  # type: ignore[index]
                    for title, span, _ in panels
                    for i, part in enumerate(("mean", "low", "high"))
                },
            }
            for y, row in enumerate(rows)
        ]
    )
    said = "; ".join(
        f"{row.label} {g[0]:+.1f} [{g[1]:+.1f}, {g[2]:+.1f}]" for row, g in zip(rows, gains, strict=True) if g
    )
    return Picture(
        "intervals",
        "Gains with intervals",
        f"95 % intervals of the gain over {table.reference}. Colour: green better, red worse, blue and orange smaller "
        "than the region of practical equivalence, grey not "
        f"resolved (first, third and fourth panel); the grey band is the region of practical equivalence, "
        f"±{table.rope:g}. Bootstrap intervals are approximate and too short below 10 seeds.",
        f"Gains over {table.reference}: {said}.",
        figure,
        data,
    )


def _span(test: ScopeATest) -> tuple[float, float, float] | None:
    if test.diff is None:
        return None
    half = test.half or 0.0
    return test.diff, test.diff - half, test.diff + half


def trade_off(table: Table) -> Picture:
    """What the head pays for what the tail gains, with the methods that no other beats in both."""
    rows = [row for row in table.rows if {"many", "few"} <= row.others.keys()]
    spans = [(row, _span(row.others["many"].test), _span(row.others["few"].test)) for row in rows]
    known = [(row, many, few) for row, many, few in spans if many is not None and few is not None]
    front = pareto([*((many[0], few[0]) for _, many, few in known), (0.0, 0.0)])
    figure, (axis,) = canvas(6.2, 4.2 if len(known) <= FEW else 5.0)
    colours = look([row.label for row in table.rows])
    for i, (row, many, few) in enumerate(known):
        colour, marker = colours[row.label]
        axis.plot(many[1:], [few[0]] * 2, color=colour, linewidth=0.9, alpha=0.6)
        axis.plot([many[0]] * 2, few[1:], color=colour, linewidth=0.9, alpha=0.6)
        face = colour if i in front else "none"
        axis.plot(many[0], few[0], marker, color=colour, markersize=7, markerfacecolor=face, label=plain(row.label))
        if len(known) <= FEW:
            axis.annotate(plain(row.label), (many[0], few[0]), xytext=(6, 5), textcoords="offset points", fontsize=8)
    points = sorted((known[i][1][0], known[i][2][0]) if i < len(known) else (0.0, 0.0) for i in front)
    axis.plot([x for x, _ in points], [y for _, y in points], color=INK, linewidth=0.8, linestyle=":")
    axis.plot(0, 0, "+", color=INK, markersize=10)
    name = plain(f"{table.reference} (reference)")
    axis.annotate(name, (0, 0), xytext=(6, -11), textcoords="offset points", fontsize=8)
    axis.set(xlabel="many-shot gain, points", ylabel="few-shot gain, points")
    axis.margins(0.15)
    if FEW < len(known) <= MOST_ROWS:
        figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    heads = ["method", "many-shot gain", "low", "high", "few-shot gain", "low ", "high ", "on the front"]
    data = pd.DataFrame([(r.label, *m, *f, i in front) for i, (r, m, f) in enumerate(known)], columns=heads)
    said = "; ".join(f"{row.label} {m[0]:+.1f} many, {f[0]:+.1f} few" for row, m, f in known)
    return Picture(
        "trade-off",
        "What the head pays for the tail",
        f"Gains over {table.reference} where both buckets exist, with 95 % intervals over seeds. Filled, "
        "joined by the dotted line: no other method is better in both (Pareto front).",
        f"Many-shot against few-shot gains: {said}.",
        figure,
        data,
    )


def pareto(points: Sequence[tuple[float, float]]) -> set[int]:
    """Positions of the points that no other is at least as good as in both coordinates and better in one."""
    return {i for i, (x, y) in enumerate(points) if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points)}


def by_imbalance(board: Leaderboard, table: Table) -> Picture:
    """Accuracy against imbalance factor, a panel per data set that has several."""
    several = [d for d in table.datasets if len(table.columns_of(d)) > 1][:MOST_PANELS]
    labels = shown([row.label for row in table.rows], table.reference)
    rows = [row for row in table.rows if row.label in labels]
    colours = look(labels)
    figure, axes = panels(len(several))
    lines = []
    for axis, dataset in zip(axes, several, strict=True):
        columns = table.columns_of(dataset)
        for i, row in enumerate(rows):
            found = [row.scores[c].metrics[board.primary] for c in columns]
            x = np.arange(len(columns)) + 0.03 * (i - (len(rows) - 1) / 2)
            colour, marker = colours[row.label]
            axis.errorbar(
                x,
                [f.mean if f else np.nan for f in found],
                yerr=[(f.half or 0.0) if f else 0.0 for f in found],
                color=colour,
                marker=marker,
                markersize=4,
                elinewidth=0.9,
                label=plain(row.label),
            )
            lines += [
                {
                    "data set": dataset,
                    "imbalance": c.imbalance,
                    "method": row.label,
                    "mean": f.mean if f else None,
                    "±": f.half if f else None,
                }
                for c, f in zip(columns, found, strict=True)
            ]
        axis.set_xticks(range(len(columns)), [plain(c.imbalance) for c in columns])
        axis.set_title(plain(dataset))
    axes[0].set_ylabel(metric_of(board.primary).title)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    ends = "; ".join(
        f"{line['method']} on {line['data set']} {line['imbalance']} {line['mean']:.1f}" for line in lines[:24]
    )
    return Picture(
        "by-imbalance",
        "By imbalance factor",
        "Mean over seeds with 95 % interval. Factors of one data set share their test images.",
        f"{metric_of(board.primary).title} by imbalance factor: {ends}.",
        figure,
        pd.DataFrame(lines),
    )
