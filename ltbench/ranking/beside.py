"""Published numbers beside a board's own: which rows of papers are about the same method on the same data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ltbench.ranking.board import Beside, Table
from ltbench.ranking.published import Judgement, find, judge
from ltbench.spec import Expectation

SHOTS = ("many", "medium", "few")
USUAL = {"many": 100, "few": 20}
"""The thresholds of the buckets in papers."""


def beside(tables: Sequence[Table], primary: str, expectation: Expectation | None) -> tuple[Beside, ...]:
    """All published rows that match, those of the same recipe first. Nothing without a plan: it says which method,
    hyper-parameters and recipe a row stands for, and which columns are the data that papers use."""
    if expectation is None or (primary in SHOTS and expectation.protocol.get("shots", USUAL) != USUAL):
        return ()
    return tuple(line for table in tables for line in _of_table(table, primary, expectation))


def _of_table(table: Table, primary: str, plan: Expectation) -> Iterator[Beside]:
    recipe = (plan.recipes or {}).get(table.recipe_name)
    if recipe is None or plan.methods is None or plan.kinds is None:
        return
    for row in table.rows:
        method, hyperparameters = plan.methods.get(row.label, (None, {}))  # None: from elsewhere
        for column, score in row.scores.items():
            ours = score.metrics.get(primary)
            kind = plan.kinds.get(column.dataset)
            if ours is None or method is None or kind is None or column[:2] not in (plan.as_published or ()):
                continue
            rows = find(kind, column.imbalance, method, hyperparameters, primary)
            lines = [Beside(table.recipe_name, row.label, column, p, ours, judge(p, ours, recipe)) for p in rows]
            yield from sorted(lines, key=lambda b: b.judgement is Judgement.OTHER_RECIPE)
