"""The marks of a board, explained once; what `?` leaves open; why one result can carry two different marks."""

from __future__ import annotations

import math

from ltbench.ranking.board import Leaderboard, Table
from ltbench.ranking.pairs import ALPHA, Pair
from ltbench.ranking.ranking import ALL_PAIRS
from ltbench.stats.fixed_datasets import ScopeATest, Verdict
from ltbench.stats.minimum import seeds_to_resolve
from ltbench.stats.paired import PairTest

MARKS = {"better": "^", "worse": "v", "undecided": "?", "reference": ""}
"""`Score.verdict` -> its mark."""
OVERALL = {
    Verdict.better: "^",
    Verdict.worse: "v",
    Verdict.slightly_better: "^~",
    Verdict.slightly_worse: "v~",
    Verdict.equivalent: "=",
    Verdict.undecided: "?",
}
"""Verdict over all data sets -> its mark."""
_MOST_SEEDS = 100
_SHOWN = 4


def legend(board: Leaderboard) -> str:
    """What the marks mean."""
    small = "/".join(f"{r:g}" for r in sorted({t.rope for t in board.tables}))
    return f"^ better  v worse  ~ but by less than {small}  = equivalent within {small}  ? undecided (p >= 0.05)"


def marks_explained(table: Table) -> list[str]:
    """What the marks of this table leave open, and what looks like a contradiction in them."""
    lines = _undecided(table)
    if _intervals_alone(table):
        lines.append(
            "p-values are adjusted for the number of comparisons (Holm), intervals are not. So an interval can exclude "
            "0 while the verdict is still ?."
        )
    return lines + _two_marks(table)


def _undecided(table: Table) -> list[str]:
    """For undecided gains: how many seeds would settle them, were the difference and its spread to stay."""
    wanted: dict[str, str] = {}
    for row in table.rows:
        if row.gain and row.gain.verdict is Verdict.undecided and row.gain.test.se and row.gain.test.diff is not None:
            last = ALPHA if table.standing is None else table.standing.looks.levels[-1]
            seeds = seeds_that_would_do(row.gain, len(table.pairs), last)
            wanted[row.label] = f"About {seeds} seeds" if seeds else f"More than {_MOST_SEEDS} seeds"
    if not wanted:
        return []
    if table.redrawn:  # seeds are not what is scarce
        few = " and ".join(f"{found.draws} of {found.block}" for found in table.redrawn)
        return [
            f"Undecided against {table.reference}: {', '.join(wanted)}. Draws are random here, and there are {few}: "
            f"more draws settle more than more seeds."
        ]
    if len(wanted) == 1:
        ((label, seeds_text),) = wanted.items()
        return [
            f"Undecided: {label} against {table.reference}. {seeds_text} would settle it if the difference stays this "
            f"large."
        ]
    seeds_each = ", ".join(f"{label} {_count(text)}" for label, text in wanted.items())
    return [
        f"Undecided against {table.reference}: {', '.join(wanted)}. Seeds that would settle each if its difference "
        f"stays this large: {seeds_each}."
    ]


def _count(seeds: str) -> str:
    return seeds.removesuffix(" seeds").lower()


def seeds_that_would_do(pair: Pair, pairs: int, alpha: float = ALPHA) -> int | None:
    """Seeds at which this difference would be significant, were it and its spread to stay, more than there are; None
    beyond 100. The part of the variance that the test images carry does not shrink with more seeds."""
    test = pair.test
    assert test.se is not None
    assert test.diff is not None
    by_seeds = math.sqrt(max(test.se**2 - test.images_se**2, 0.0) * test.seeds)
    floor, df = test.images_se, test.images_df or math.inf
    found = seeds_to_resolve(test.diff, by_seeds, pairs, alpha, most=_MOST_SEEDS, floor=floor, floor_df=df)
    return None if found is None else max(found, test.seeds + 1)


def _intervals_alone(table: Table) -> bool:
    """Whether a reader sees an interval without 0 whose verdict is undecided."""
    shown: list[tuple[ScopeATest | PairTest | None, float | None]]
    shown = [(row.gain.test, row.gain.p_holm) for row in table.rows if row.gain is not None]
    shown += [(s.gain, s.p_holm) for row in table.rows for s in row.scores.values()]
    return any(
        test is not None and test.diff is not None and test.half is not None and abs(test.diff) > test.half
        and p_holm is not None and p_holm >= ALPHA
        for test, p_holm in shown
    )  # fmt: skip


def _two_marks(table: Table) -> list[str]:
    """A method that is undecided over all data sets and better or worse on a column, with the reason."""
    found = [
        f"{row.label} ({MARKS[score.verdict]} on {table.title(column)})"
        for row in table.rows
        if row.gain is not None and row.gain.verdict is Verdict.undecided
        for column, score in row.scores.items()
        if score.verdict in ("better", "worse")
    ]
    if not found:
        return []
    all_pairs = f"all {len(table.pairs)} pairs" if len(table.pairs) > 1 else "the one pair"
    pairs = all_pairs if len(table.rows) <= ALL_PAIRS else f"{table.comparisons} gains"
    asked = "asks about the mean over all data sets and " if len(table.columns) > 1 else ""
    shown = ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
    return [
        f"Undecided (?) in the main table but not in a column: {shown}. The main table {asked}adjusts p for "
        f"{pairs}; a column adjusts p for its {table.comparisons} gain{'s' * (table.comparisons > 1)} alone."
    ]
