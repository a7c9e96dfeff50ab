"""The picture that stands first in a report: gains with intervals, and head against tail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from ltbench.page.drawing import FAINT, INK, MOST_ROWS, WIDTH, Figure, Looks, canvas, of_method, plain, stack
from ltbench.page.figures.ranks import methods_down
from ltbench.page.figures.spans import TONES, Span, span_of
from ltbench.ranking.board import Leaderboard, Row, Table
from ltbench.ranking.formats.text_tables import signed
from ltbench.stats.fixed_datasets import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

ENDS = {"many": ("o", INK), "few": ("D", "#0072B2")}
"""Marker and colour of the classes with many training images, and of those with few."""


def answer(board: Leaderboard, table: Table, looks: Looks) -> Figure:
    """Every method's gain over the reference with its interval; beside it, what head and tail gain."""
    rows = [row for row in table.rows if row.gain is not None and span_of(row.gain.test) is not None][:MOST_ROWS]
    shots = {row.label: _shots(row) for row in rows}
    lines, said = [], []
    for row in rows:
        gain = _gain(row)
        lines.append({"method": row.label, "gain": gain.mean, "low": gain.low, "high": gain.high}
                     | {f"{bucket}-shot gain": span.mean for bucket, span in shots[row.label].items()})  # fmt: skip
        ends = [f"{bucket}-shot {signed(span.mean)}" for bucket, span in shots[row.label].items()]
        said.append(f"{row.label} {gain.text}" + (f", {', '.join(ends)}" if ends else ""))
    tail = " Circles: classes with many training images (head); diamonds: those with few (tail)."
    with_ends, about = any(shots.values()), board.about(board.primary).title
    return Figure(
        "answer",
        f"Gain over {table.reference}, and who pays for it" if with_ends else f"Gain over {table.reference}",
        f"{about[:1].upper()}{about[1:]}, points over {table.reference}, with 95 % intervals. Green: better; red: "
        f"worse; blue and orange: smaller than ±{table.rope:g}; grey: undecided." + (tail if with_ends else ""),
        f"Gains over {table.reference}: {'; '.join(said)}.",
        partial(_drawn, table, rows, shots, looks, narrow=False),
        pd.DataFrame(lines),
        partial(_drawn, table, rows, shots, looks, narrow=True) if with_ends else None,
    )


def _gain(row: Row) -> Span:
    found = None if row.gain is None else span_of(row.gain.test)
    assert found is not None, "rows without a difference are left out"
    return found


def _shots(row: Row) -> dict[str, Span]:
    """Bucket -> gain, where both ends of the long tail are there."""
    found = {bucket: span_of(row.others[bucket].test) for bucket in ENDS if bucket in row.others}
    known = {bucket: span for bucket, span in found.items() if span is not None}
    return known if len(known) == len(ENDS) else {}


def _drawn(
    table: Table, rows: Sequence[Row], shots: Mapping[str, Mapping[str, Span]], looks: Looks, *, narrow: bool
) -> Drawing:
    height = 0.75 + 0.27 * len(rows)
    if not any(shots.values()):
        drawing, axes = canvas(WIDTH, height)
    elif narrow:
        drawing, axes = stack(WIDTH, [height, height])
    else:
        drawing, axes = canvas(2 * WIDTH, height, 2, sharey=True)
    _draw_gains(axes[0], table, rows, looks)
    if len(axes) > 1:
        _draw_ends(axes[1], rows, shots, looks)
    for axis in axes if narrow else axes[:1]:
        methods_down(axis, rows)
    for axis in axes:
        axis.set_xlabel(f"points over {plain(str(table.reference))}")
    return drawing


def _draw_gains(axis: Axes, table: Table, rows: Sequence[Row], looks: Looks) -> None:
    axis.axvspan(-table.rope, table.rope, color=FAINT, alpha=0.2, linewidth=0)
    axis.axvline(0, color=INK, linewidth=0.8)
    for y, row in enumerate(rows):
        gain, tone = _gain(row), TONES[row.gain.verdict if row.gain else Verdict.undecided]
        bar = axis.plot((gain.low, gain.high), [y, y], color=tone, linewidth=4, alpha=0.5, solid_capstyle="butt")
        dot = axis.plot(gain.mean, y, "o", color=tone, markersize=6)
        of_method(looks, row.label, f"{row.label}: {gain.text}", *bar, *dot)
    axis.set_title("all classes, with 95 % interval")


def _draw_ends(axis: Axes, rows: Sequence[Row], shots: Mapping[str, Mapping[str, Span]], looks: Looks) -> None:
    axis.axvline(0, color=INK, linewidth=0.8)
    for y, row in enumerate(rows):
        ends = shots[row.label]
        if not ends:
            continue
        artists = axis.plot([span.mean for span in ends.values()], [y] * len(ends), color=FAINT, linewidth=1.2)
        for bucket, span in ends.items():
            marker, colour = ENDS[bucket]
            artists += axis.plot(span.mean, y, marker, color=colour, markersize=6)
        told = ", ".join(f"{bucket}-shot {span.text}" for bucket, span in ends.items())
        of_method(looks, row.label, f"{row.label}: {told}", *artists)
    axis.set_title("head (●) against tail (◆)")
