"""Two sets of results side by side: what moved, what is the same within the ROPE, and what differs in the trials."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel

from ltbench.errors import UserError
from ltbench.ranking.formats.moves_text import moves_table, moves_text
from ltbench.ranking.views.moved import Finding, Moves, Side, moves
from ltbench.results.journal import Journal
from ltbench.spec import Record, Result
from tests.ranking.made import plan_of, record, spec

Run = Callable[..., tuple[int, str, str]]


def side(records: list[Record]) -> Side:
    return Side(tuple(Result.of(r) for r in records), {r.key: r.spec for r in records})


def shifted(records: list[Record], by: float, noise: float = 0.0, **change: object) -> list[Record]:
    rng = np.random.default_rng(3)
    return [
        replace(
            r, spec=replace(r.spec, **change),
            metrics={m: None if v is None else v + by + noise * rng.normal() for m, v in r.metrics.items()},
        ) for r in records
    ]  # fmt: skip


A = [record(spec("ce", seed=s), 0.5) for s in range(5)]
OTHER = {"recipe": {"epochs": 8.0}}


def found(b: list[Record], **options: float) -> Moves:
    return moves(side(A), side(b), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("by", "noise", "finding"),
    [(0.0, 0.0, Finding.identical), (0.1, 0.05, Finding.equivalent), (3.0, 0.2, Finding.moved),
     (-3.0, 0.2, Finding.moved), (0.3, 0.01, Finding.moved_slightly), (1.0, 3.0, Finding.undecided),
     (0.2, 0.0, Finding.equivalent), (2.0, 0.0, Finding.moved)],
)  # fmt: skip
def test_a_cell_moved_or_is_the_same_within_the_rope(by: float, noise: float, finding: Finding) -> None:
    (cell,) = found(shifted(A, by, noise)).cells
    assert cell.finding is finding


def test_the_difference_is_the_paired_t_test() -> None:
    b = shifted(A, 1.0, 0.5)
    (cell,) = found(b).cells
    x, y = ([r.metrics["balanced_accuracy"] for r in records] for records in (A, b))
    assert cell.test.p == pytest.approx(ttest_rel(y, x).pvalue)
    assert cell.test.diff == pytest.approx(np.mean(y) - np.mean(x))


def test_what_differs_between_trials_is_named() -> None:
    (cell,) = found(shifted(A, 0.0, **OTHER)).cells
    assert cell.changes == ("recipe.epochs: 4.0 -> 8.0",)
    (cell,) = found(A).cells
    assert cell.changes == ()
    without = Side(side(shifted(A, 0.0, **OTHER)).results, {})
    (cell,) = moves(side(A), without).cells
    assert any(line.startswith("recipe: ") for line in cell.changes)


def test_what_only_one_has_is_listed_and_not_compared() -> None:
    b = [*A[:3], record(spec("good"), 0.7)]
    moved = found(b)
    assert [p.title for p in moved.only_b] == ["good a IF10"]
    assert (moved.cells[0].test.seeds, moved.cells[0].other_seeds) == (3, 2)
    with pytest.raises(UserError, match="no row, column and seed in common"):
        found([record(spec("good"), 0.7)])
    with pytest.raises(UserError, match="--primary fscore"):
        moves(side(A), side(A), primary="fscore")


def test_p_is_adjusted_over_all_cells() -> None:
    a = [record(spec(label, seed=s), 0.5) for label in ("ce", "good") for s in range(5)]
    both = moves(side(a), side(shifted(a, 1.0, 1.0)))
    smallest = min(c.test.p for c in both.cells if c.test.p is not None)
    assert min(c.p_holm for c in both.cells if c.p_holm is not None) == pytest.approx(min(1.0, 2 * smallest))


def test_the_text_has_the_cells_and_the_changes() -> None:
    text = moves_text(found(shifted(A, 3.0, 0.2, **OTHER)), "old", "new")
    assert "A: old\nB: new\nbalanced accuracy, %; B - A paired by seed" in text
    assert "recipe.epochs: 4.0 -> 8.0  (all 1 cells)" in text
    assert text.endswith("1 cells: 1 moved\n")
    table = moves_table(found(A))
    assert [line[list(table.columns).index("finding")] for line in table.lines] == ["identical"]


def test_the_command_compares_folders_and_says_by_its_exit_code_whether_a_cell_moved(
    ltbench: Run, tmp_path: Path
) -> None:
    for name, records in (("old", A), ("same", A), ("new", shifted(A, 3.0, 0.2, **OTHER))):
        journal = Journal(tmp_path / name / "made" / "records")
        for one in records:
            journal.write(one)
        (tmp_path / name / "made" / "plan.json").write_text(json.dumps(plan_of(records).to_json()))
    old, same, new = (str(tmp_path / name) for name in ("old", "same", "new"))
    assert ltbench("diff", old, same)[0] == 0
    code, out, _ = ltbench("diff", old, f"{new}/made", "--out", str(tmp_path / "cells.csv"))
    assert code == 1
    assert "1 cells: 1 moved" in out
    assert "moved" in (tmp_path / "cells.csv").read_text()
    code, _, err = ltbench("diff", old, str(tmp_path / "none"))
    assert code == 2
    assert "none: no such folder of results" in err
