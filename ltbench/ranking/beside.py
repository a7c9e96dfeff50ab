"""Published numbers beside a board's own: which rows of papers are about the same method on the same data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ltbench.ranking.board import Beside, Table
from ltbench.ranking.published import Judgement, find, judge
from ltbench.ranking.selection import Expectation

SHOTS = ("many", "medium", "few")
USUAL = {"many": 100, "few": 20}
"""The thresholds of the buckets in papers."""


def beside(tables: Sequence[Table], primary: str, expectation: Expectation | None) -> tuple[Beside, ...]:
    """All published rows that match, those of the same recipe first. Nothing without a plan: it says which method,
    hyper-parameters and recipe a row stands for, and which columns are the data that papers use."""
    if expectation is None or "as_published" not in expectation:
        return ()
    if primary in SHOTS and expectation["protocol"].get("shots", USUAL) != USUAL:
        return ()
    return tuple(line for table in tables for line in _of_table(table, primary, expectation))


def _of_table(table: Table, primary: str, expectation: Mapping[str, Any]) -> Iterator[Beside]:
    recipe = expectation["recipes"].get(table.recipe_name)
    if recipe is None:
        return
    for row in table.rows:
        method, hyperparameters = expectation["methods"][row.label]
        for column, score in row.scores.items():
            ours = score.metrics.get(primary)
            if ours is None or list(column[:2]) not in expectation["as_published"]:
                continue
            kind = expectation["kinds"][column[0]]
            rows = find(kind, column[1], method, hyperparameters, primary)
            lines = [Beside(table.recipe_name, row.label, column, p, ours, judge(p, ours, recipe)) for p in rows]
            yield from sorted(lines, key=lambda b: b.judgement is Judgement.OTHER_RECIPE)
