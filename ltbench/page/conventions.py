"""Shot conventions side by side, and calibration by shot: one compact table, from what finished trials left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ltbench.metric_names import BUCKETS, SHOTS, metric_of
from ltbench.page.evidence import Evidence
from ltbench.page.grids import PageCell, PageLine, PageTable
from ltbench.ranking.beside import USUAL
from ltbench.ranking.board import Leaderboard, Table

ALONE = ("worst_class", "harmonic_mean", "geometric_mean")
"""Other averages over classes that stand beside the shots."""


def conventions(board: Leaderboard, table: Table, evidence: Evidence) -> PageTable | None:
    """A line per method, a column per convention: many, medium and few as the suite has them and as others do; ECE and
    NLL of the three; and further averages over classes. Means over seeds, imbalance factors and data sets; an average
    is over the columns of the board that have such classes. None without records."""
    shots = board.config.get("shots") or USUAL
    groups: dict[str, tuple[str, ...]] = {f"many / medium / few (> {shots['many']}, < {shots['few']})": BUCKETS}
    others = {name: words for name, words in SHOTS.items() if name != "usual" or shots != USUAL}
    groups |= {words: tuple(f"{bucket}_{name}" for bucket in BUCKETS) for name, words in others.items()}
    groups |= {f"{metric_of(m).short} of these": tuple(f"{m}_{bucket}" for bucket in BUCKETS) for m in ("ece", "nll")}
    groups |= {metric_of(name).title: (name,) for name in ALONE}
    values = {row.label: {name: _mean(row.label, name, table, evidence) for names in groups.values() for name in names}
              for row in table.rows}  # fmt: skip
    there = {head: names for head, names in groups.items()
             if any(of[name] is not None for of in values.values() for name in names)}  # fmt: skip
    if not there:
        return None
    lines = [
        PageLine(row.label, [PageCell(row.name), *(_cell(values[row.label], names) for names in there.values())])
        for row in table.rows
    ]
    return PageTable(["method", *there], lines)


def _mean(label: str, name: str, table: Table, evidence: Evidence) -> float | None:
    """Over imbalance factors, then over data sets, where the metric is defined."""
    by_block: dict[str, list[float]] = {}
    for column in table.columns:
        value = evidence.conventions.get((label, column), {}).get(name)
        if value is not None:
            by_block.setdefault(table.blocks.get(column.dataset, column.dataset), []).append(value)
    return float(np.mean([np.mean(of) for of in by_block.values()])) if by_block else None


def _cell(values: Mapping[str, float | None], names: Sequence[str]) -> PageCell:
    """`71.2 / 44.0 / 12.3`, sorted by the last: the few."""
    digits = 2 if names[0].startswith("nll") else 1
    shown = ["-" if (value := values[name]) is None else f"{value:z.{digits}f}" for name in names]
    last = values[names[-1]]
    return PageCell(" / ".join(shown), None if last is None else round(last, digits) + 0.0)
