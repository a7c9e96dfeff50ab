"""Figures of order: rank intervals, profiles, probability of improvement, the critical-difference diagram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from ltbench.page.drawing import (
    FAINT,
    INK,
    MOST_ROWS,
    WIDTH,
    Figure,
    Looks,
    canvas,
    legend,
    of_method,
    plain,
    shown,
)
from ltbench.ranking.board import Profile, Row, ScopeB, Table
from ltbench.ranking.formats.text_tables import signed
from ltbench.ranking.pairs import ALPHA
from ltbench.stats.minimum import min_n
from ltbench.stats.random_datasets import SignedRank

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing


def methods_down(axes: Axes, rows: Sequence[Row]) -> None:
    """One line per method, best on top."""
    axes.set_yticks(range(len(rows)), [plain(row.label) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def rank_intervals(table: Table, looks: Looks) -> Figure:
    """Simultaneous rank intervals as bars."""
    rows = table.rows[:MOST_ROWS]
    data = pd.DataFrame([{"method": r.label, "lowest rank": r.rank[0], "highest rank": r.rank[1]} for r in rows])
    said = ", ".join(f"{row.label} {row.rank_label}" for row in rows)
    return Figure(
        "ranks",
        "Rank intervals",
        "With 95 % confidence all methods lie within their bars at once. Bars that do not overlap: a significant "
        "difference. Bars that overlap say nothing of the two methods: see the table of every pair.",
        f"Rank intervals: {said}.",
        partial(_drawn_ranks, rows, len(table.rows), looks),
        data,
    )


def _drawn_ranks(rows: Sequence[Row], methods: int, looks: Looks) -> Drawing:
    drawing, (axis,) = canvas(WIDTH, 0.8 + 0.27 * len(rows))
    for y, row in enumerate(rows):
        tone = "#009E73" if row.rank[0] == 1 else "#56B4E9"
        bar = axis.plot([row.rank[0] - 0.3, row.rank[1] + 0.3], [y, y], color=tone, linewidth=9, solid_capstyle="butt")
        text = axis.annotate(row.rank_label, (row.rank[1] + 0.3, y), xytext=(3, 0), textcoords="offset points",
                             va="center", fontsize=8)  # fmt: skip
        of_method(looks, row.label, f"{row.label}: rank {row.rank_label}", *bar, text)
    axis.set_xlim(0.5, 1.12 * methods + 0.7)
    axis.set_xlabel("rank")
    axis.locator_params(axis="x", integer=True)
    axis.set_xticks([tick for tick in axis.get_xticks() if 1 <= tick <= methods])
    methods_down(axis, rows)
    return drawing


def profile(table: Table, looks: Looks) -> Figure:
    """Share of runs whose gain exceeds a threshold."""
    found = table.profile
    assert found is not None
    labels = shown([row.label for row in table.rows if row.label != table.reference], None)
    columns: Mapping[str, Sequence[float]] = {"threshold": found.thresholds, **{m: found.share[m] for m in labels}}
    half = {
        m: next((t for t, s in zip(found.thresholds, found.share[m], strict=True) if s < 0.5), found.thresholds[-1])
        for m in labels
    }
    said = ", ".join(f"{m} {signed(t)}" for m, t in half.items())
    band = "Bands: pointwise 95 %, bootstrap." if found.low else f"No bands: they need {min_n('bootstrap')} seeds."
    return Figure(
        "profile",
        "Performance profile",
        f"For every threshold, the share of runs above it; data sets weigh the same. {band}",
        f"Half of the runs are above: {said}.",
        partial(_drawn_profile, found, labels, table.reference, looks),
        pd.DataFrame(columns),
    )


def _drawn_profile(found: Profile, labels: Sequence[str], reference: str | None, looks: Looks) -> Drawing:
    drawing, (axis,) = canvas(WIDTH, 3.6)
    for i, m in enumerate(labels):
        colour, marker = looks[m]
        drawn = axis.plot(found.thresholds, found.share[m], color=colour, label=plain(m), marker=marker, markersize=4,
                          markevery=(0.02 * i, 0.15))  # fmt: skip
        if found.low:
            share = axis.fill_between(found.thresholds, found.low[m], found.high[m], color=colour, alpha=0.15, lw=0)
            of_method(looks, m, m, share)
        of_method(looks, m, m, *drawn)
    axis.set_xlabel(f"gain over {plain(reference)}, points" if reference else "value")
    axis.set_ylabel("share of runs above")
    axis.set_ylim(-0.02, 1.02)
    legend(drawing, axis, looks)
    return drawing


def improvement(table: Table, looks: Looks) -> Figure:
    """Probability that a run is better than the reference's of the same seed."""
    rows = [row for row in table.rows if row.improvement is not None][:MOST_ROWS]
    data = pd.DataFrame([{"method": row.label, "P(better)": row.improvement} for row in rows])
    said = ", ".join(f"{row.label} {row.improvement:.2f}" for row in rows)
    return Figure(
        "improvement",
        "Probability of improvement",
        "Share of paired seeds on which the method is above the reference, averaged over data sets, ties "
        "counting half. It takes 29 paired runs to tell 0.75 from 0.5: descriptive.",
        f"Probability of improvement: {said}.",
        partial(_drawn_improvement, table, rows, looks),
        data,
    )


def _drawn_improvement(table: Table, rows: Sequence[Row], looks: Looks) -> Drawing:
    drawing, (axis,) = canvas(WIDTH, 0.8 + 0.27 * len(rows))
    axis.axvline(0.5, color=INK, linewidth=0.8)
    for y, row in enumerate(rows):
        value = float(row.improvement or 0.0)
        bar = axis.plot([0.5, value], [y, y], color="#0072B2", linewidth=3, alpha=0.5, solid_capstyle="butt")
        dot = axis.plot(value, y, "o", color="#0072B2", clip_on=False)
        of_method(looks, row.label, f"{row.label}: {value:.2f}", *bar, *dot)
    axis.set_xlim(-0.03, 1.03)
    axis.set_xlabel(f"share of paired seeds above {plain(str(table.reference))}")
    methods_down(axis, rows)
    return drawing


def critical_difference(table: Table, looks: Looks) -> Figure:
    """The familiar diagram: mean ranks over data sets on an axis, joined where the table's tests see no difference."""
    found = table.scope_b
    assert found is not None
    assert found.critical_difference is not None
    order = sorted(range(len(table.rows)), key=lambda i: found.friedman.mean_ranks[i])
    ranks = [found.friedman.mean_ranks[i] for i in order]
    bars = (
        "Bars join methods that the table's Wilcoxon tests (Holm) do not tell apart"
        if found.pairs
        else (f"No bars: {found.blocks} data sets are too few for the corrected tests, which need {found.needs}")
    )
    data = pd.DataFrame([{"method": table.rows[i].label, "mean rank": r} for i, r in zip(order, ranks, strict=True)])
    said = ", ".join(f"{table.rows[i].label} {r:.2f}" for i, r in zip(order, ranks, strict=True))
    return Figure(
        "critical-difference",
        "Critical difference diagram",
        f"Other data sets (scope B). {bars}. CD: Nemenyi's critical difference, for comparison with other papers.",
        f"Mean ranks: {said}.",
        partial(_drawn_difference, [row.label for row in table.rows], found, order, looks),
        data,
    )


def _drawn_difference(labels: Sequence[str], found: ScopeB, order: Sequence[int], looks: Looks) -> Drawing:
    assert found.critical_difference is not None
    ranks = [found.friedman.mean_ranks[i] for i in order]
    drawing, (axis,) = canvas(WIDTH, 1.0 + 0.26 * len(order))
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    for level, (i, mean) in enumerate(zip(order, ranks, strict=True)):
        line = axis.plot([mean, mean], [0, -1 - level], color=FAINT, linewidth=0.8)
        label = labels[i]
        place, side = (
            ((-3, 0), "right") if mean > (ranks[0] + ranks[-1]) / 2 else ((3, 0), "left")
        )  # where there is room
        text = axis.annotate(plain(f"{label}  {mean:.2f}"), (mean, -1 - level), xytext=place, va="center", ha=side,
                             textcoords="offset points", fontsize=8)  # fmt: skip
        of_method(looks, label, f"{label}: mean rank {mean:.2f}", *line, text)
    groups = cliques(found.pairs, order)
    for level, group in enumerate(groups):
        height = [0.4 + 0.35 * level] * len(group)
        axis.plot([ranks[i] for i in group], height, "o-", color=INK, linewidth=2, markersize=4)
    axis.plot([1, 1 + found.critical_difference], [1.0 + 0.35 * len(groups)] * 2, color=FAINT, linewidth=1.5)
    axis.text(1, 1.15 + 0.35 * len(groups), f"CD {found.critical_difference:.2f}", fontsize=8)
    axis.set_xlim(0.9, len(order) + 0.6)
    axis.set_ylim(-len(order) - 0.8, 2.0 + 0.35 * len(groups))
    axis.set_xlabel(f"mean rank over {found.blocks} data sets")
    return drawing


def cliques(pairs: Sequence[SignedRank], order: Sequence[int]) -> list[list[int]]:
    """Maximal groups in which no two methods differ significantly, as places in `order`; groups of one are left out.
    Maximal cliques of the graph of undecided pairs: a run of neighbours would hide that its ends differ."""
    import networkx

    place = {row: i for i, row in enumerate(order)}
    graph = networkx.Graph()
    graph.add_edges_from((place[p.a], place[p.b]) for p in pairs if p.p_holm is None or p.p_holm >= ALPHA)
    return sorted(sorted(group) for group in networkx.find_cliques(graph))
