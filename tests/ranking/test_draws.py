"""`subset_seeds` of a data set: every row runs on each draw, and the draw is random in the intervals of a board."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ltbench.errors import UserError
from ltbench.ranking.build import build
from ltbench.ranking.formats.notes import notes
from ltbench.spec import Record, Result, Selection
from ltbench.suite.load import load_suite
from ltbench.workflow.prepare import Request, prepare
from tests.ranking.made import plan_of, record, spec

SUITE = {
    "suite": "draws", "extends": "quickstart",
    "datasets": [{"name": "digits", "imbalance": 20, "subset_seeds": [0, 4, 7]}],
    "methods": {"scratch": ["ce", "mixup"]},
}  # fmt: skip


def made(moves: float, seeds: int = 4) -> list[Record]:
    """Two methods on three draws of a data set, where a draw moves each by its own amount."""
    rng, found = np.random.default_rng(5), []
    for label in ("ce", "good"):
        for draw in (0, 1, 2):
            moved = moves * rng.normal()
            for seed in range(seeds):
                one = record(spec(label, "a" if draw == 0 else f"a+{draw}", seed=seed), 0.5)
                one = replace(one, spec=replace(one.spec, cell=replace(one.spec.cell, subset_seed=draw)))
                value = 50 + moved + (label == "good") + 0.2 * rng.normal()
                found.append(replace(one, metrics={**one.metrics, "balanced_accuracy": value}))
    return found


def test_a_suite_with_draws_has_a_data_set_for_each(tmp_path: Path) -> None:
    plan = prepare(Request(suite=SUITE, data=tmp_path)).plan
    cells = {t.cell.dataset: t.cell for t in plan.trials}
    assert {name: cell.subset_seed for name, cell in cells.items()} == {"digits": 0, "digits+4": 4, "digits+7": 7}
    assert len({cell.manifest for cell in cells.values()}) == 3
    assert plan.expectation().protocol["draws"] == {"digits+4": "digits", "digits+7": "digits"}
    once = prepare(Request(suite={**SUITE, "datasets": [{"name": "digits", "imbalance": 20}]}, data=tmp_path)).plan
    assert {t.key for t in once.trials} <= {t.key for t in plan.trials}, "the first draw has the keys of a single one"
    assert "draws" not in once.expectation().protocol


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"subset_seeds": [1, 1]}, "names a seed twice"),
        ({"subset_seeds": [1, 2], "subset_seed": 1}, "in place of `subset_seed`"),
        ({"subset_seeds": [1, 2], "profile": "native", "imbalance": None}, "nothing to draw"),
        ({"subset_seeds": []}, "subset_seeds"),
    ],
)
def test_draws_that_cannot_be_meant_are_refused(entry: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_suite({**SUITE, "datasets": [{"name": "digits", "imbalance": 20, **entry}]})


def test_a_name_that_a_draw_would_have_is_refused() -> None:
    both = [
        {"name": "digits", "imbalance": 20, "subset_seeds": [0, 1]},
        {"name": "digits+1", "kind": "digits", "imbalance": 20},
    ]
    with pytest.raises(UserError, match="makes a data set 'digits\\+1', and there is one"):
        load_suite({**SUITE, "datasets": both})


def test_draws_count_as_one_data_set_and_are_in_the_interval() -> None:
    kept = made(moves=3.0)
    (table,) = build([Result.of(r) for r in kept], plan_of(kept)).tables
    assert set(table.blocks.values()) == {"a"}
    gain = next(row for row in table.rows if row.label == "good").gain
    assert gain is not None
    x = {(r.spec.label, r.spec.cell.subset_seed, r.spec.seed): r.metrics["balanced_accuracy"] for r in kept}
    values = np.array([[[x[m, d, s] for s in range(4)] for d in range(3)] for m in ("good", "ce")], dtype=float)
    d = values[0] - values[1]
    expected = d.mean(axis=1).var(ddof=1) / 3 + d.mean(axis=0).var(ddof=1) / 4
    assert gain.test.se == pytest.approx(np.sqrt(expected))
    assert gain.test.df == 2


def test_the_board_says_how_far_another_draw_moves_things() -> None:
    kept = made(moves=3.0)
    board = build([Result.of(r) for r in kept], plan_of(kept))
    (found,) = board.tables[0].redrawn
    assert (found.block, found.draws) == ("a", 3)
    assert found.share is not None
    assert found.share > 0.8
    said = " ".join(notes(board))
    assert "a: 3 draws of the training images, random in every interval over all data sets. Re-drawing moves" in said
    assert "averaged and count as one data set" not in said


def test_two_draws_are_no_sample_of_draws() -> None:
    kept = [r for r in made(moves=3.0) if r.spec.cell.subset_seed < 2]
    board = build([Result.of(r) for r in kept], plan_of(kept))
    assert board.tables[0].redrawn == ()
    assert "a+1 is a with other training images: the two are averaged and count as one data set." in notes(board)


@pytest.mark.parametrize(
    ("asked", "found"),
    [(("digits",), {"digits", "digits+4", "digits+7"}), (("digits+4",), {"digits+4"})],
)
def test_a_data_set_that_is_asked_for_brings_its_further_draws(
    tmp_path: Path, asked: tuple[str, ...], found: set[str]
) -> None:
    plan = prepare(Request(suite=SUITE, data=tmp_path, chosen=Selection(datasets=asked))).plan
    assert {t.cell.dataset for t in plan.trials} == found


def test_a_board_of_a_data_set_is_of_all_its_draws() -> None:
    kept = made(moves=3.0)
    (table,) = build([Result.of(r) for r in kept], plan_of(kept), Selection(datasets=["a"])).tables
    assert table.datasets == ("a", "a+1", "a+2")
    (one,) = build([Result.of(r) for r in kept], plan_of(kept), Selection(datasets=["a+2"])).tables
    assert one.datasets == ("a+2",)


def test_orders_of_the_classes_are_a_factor_as_draws_are(tmp_path: Path) -> None:
    entry = {"name": "digits", "imbalance": 20, "class_orders": ["label", 1, 2]}
    request = Request(suite={**SUITE, "datasets": [entry]}, data=tmp_path, chosen=Selection(datasets=["digits"]))
    plan = prepare(request).plan
    orders = {t.cell.dataset: t.cell.class_order for t in plan.trials}
    assert orders == {"digits": "label", "digits+order-1": "1", "digits+order-2": "2"}
    assert plan.expectation().protocol["draws"] == {"digits+order-1": "digits", "digits+order-2": "digits"}
    once = prepare(Request(suite={**SUITE, "datasets": [{"name": "digits", "imbalance": 20}]}, data=tmp_path)).plan
    assert {t.key for t in once.trials} <= {t.key for t in plan.trials}, "the first order has the keys of a single one"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"class_orders": [1, 1]}, "names a seed twice"),
        ({"class_orders": [1, 2], "class_order": 1}, "in place of `class_order`"),
        ({"class_orders": [1, 2], "subset_seeds": [0, 1]}, "vary one of the two"),
    ],
)
def test_orders_that_cannot_be_meant_are_refused(entry: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_suite({**SUITE, "datasets": [{"name": "digits", "imbalance": 20, **entry}]})


def test_a_board_of_several_orders_says_how_far_another_one_moves() -> None:
    kept = []
    for one in made(moves=3.0):
        seed, cell = one.spec.cell.subset_seed, one.spec.cell
        name = "a" if seed == 0 else f"a+order-{seed}"
        cell = replace(cell, dataset=name, class_order=str(seed) if seed else "label", subset_seed=0)
        kept.append(replace(one, spec=replace(one.spec, cell=cell)))
    board = build([Result.of(r) for r in kept], plan_of(kept))
    (said,) = (note for note in notes(board) if note.startswith("a: "))
    assert "3 orders of the classes, random in every interval" in said
    assert "Another order moves a method's mean by" in said
    assert "orders carry" in said
