"""Published numbers beside a board's own: only for the same method, hyper-parameters and data, judged by the recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltbench.page.evidence import Epochs, gather
from ltbench.page.grids import published
from ltbench.ranking.board import Beside, Leaderboard
from ltbench.ranking.build import build
from ltbench.ranking.published import Judgement, find
from ltbench.spec import Plan, Record, Result, TrialSpec
from ltbench.suite.load import load_suite
from tests.ranking import made

SUITE = load_suite(str(Path(__file__).parents[2] / "suites" / "cifar_lt.yaml"))
CLASSIC = SUITE.recipes["scratch"].model_dump()
CAO = 70.36
"""Cross-entropy on CIFAR-10-LT, imbalance 100, where the recipe is the classic one."""
Make = Callable[..., Leaderboard]


def board(mean: float = CAO, *, seeds: int = 5, primary: str = "balanced_accuracy", shots: Any = None,
          cell: dict[str, Any] | None = None, **other: Any) -> Leaderboard:  # fmt: skip
    """Cross-entropy on CIFAR-10-LT around this mean, by a plan like cifar_lt's; `other` changes its trials."""
    fields = {"recipe": CLASSIC, "recipe_name": "scratch", "hyperparameters": {}, **other}
    base = made.spec("ce", "c10", 100.0).cell
    where = replace(base, **{"kind": "cifar10", **(cell or {})})
    trials = tuple(made.spec("ce", seed=s, **{**fields, "cell": where}) for s in range(seeds))
    protocol = {**made.PROTOCOL, "seeds": list(range(seeds)), "primary": primary}
    plan = Plan(suite="made", question="", trials=trials, skips=(), protocol={**protocol, **(shots or {})})
    rng = np.random.default_rng(1)
    results = [Result.of(record(t, mean + 0.1 * float(rng.normal()))) for t in trials]
    return build(results, plan.expectation())


def record(trial: TrialSpec, value: float) -> Record:
    metrics = dict.fromkeys(("accuracy", "balanced_accuracy", "many", "medium", "few"), value)
    return Record(spec=trial, status="ok", metrics=metrics)


def of_recipe(found: Leaderboard, group: str = "classic") -> list[Beside]:
    return [b for b in found.published if b.published.recipe == group]


def test_every_published_row_of_the_cell_is_shown_those_of_the_recipe_first() -> None:
    found = board().published
    assert [b.published for b in sorted(found, key=lambda b: b.published.value)] == sorted(
        find("cifar10", "IF100", "ce", {}, "balanced_accuracy"), key=lambda p: p.value
    )
    other = [b.judgement is Judgement.OTHER_RECIPE for b in found]
    assert other == sorted(other)
    assert {True, False} == set(other)


@pytest.mark.parametrize(
    ("mean", "judged"), [(CAO, Judgement.REPRODUCED), (CAO + 1.2, Judgement.REPRODUCED), (CAO - 4, Judgement.DIFFERS)]
)
def test_with_the_classic_recipe_a_number_is_reproduced_or_differs(mean: float, judged: Judgement) -> None:
    (ours,) = (b for b in of_recipe(board(mean)) if b.published.value == CAO)
    assert ours.judgement is judged
    assert ours.ours.mean == pytest.approx(mean, abs=0.2)
    assert ours.column[:2] == ("c10", "IF100")


def test_with_another_recipe_nothing_is_judged() -> None:
    found = board(recipe={**CLASSIC, "epochs": 10.0}).published
    assert found
    assert {b.judgement for b in found} == {Judgement.OTHER_RECIPE}


def test_two_seeds_judge_nothing() -> None:
    assert {b.judgement for b in of_recipe(board(seeds=2))} == {Judgement.TOO_FEW_SEEDS}


@pytest.mark.parametrize(
    "change",
    [
        {"cell": {"holdout_per_class": 10}},
        {"cell": {"class_order": "frequency"}},
        {"cell": {"imbalance": 37.0}},
        {"cell": {"kind": "digits"}},
        {"hyperparameters": {"gamma": 2.0}},
        {"method": "mine"},
        {"primary": "ece"},
    ],
    ids=str,
)
def test_other_data_methods_or_metrics_have_no_published_number(change: dict[str, Any]) -> None:
    assert board().published
    assert board(**change).published == ()


def test_a_data_set_of_another_name_is_known_by_its_kind() -> None:
    assert {b.column[0] for b in board().published} == {"c10"}


@pytest.mark.parametrize(("shots", "there"), [({"many": 100, "few": 20}, True), ({"many": 50, "few": 10}, False)])
def test_a_shot_bucket_is_compared_only_when_its_thresholds_are_the_papers(shots: Any, there: bool) -> None:
    cell = {"kind": "cifar100"}
    assert bool(board(35.0, primary="few", shots={"shots": shots}, cell=cell).published) is there
    assert board(38.0, shots={"shots": shots}, cell=cell).published


def test_without_a_plan_nothing_is_known_of_a_row() -> None:
    results = [Result.of(r) for r in made.records({"ce": 0.7}, {"cifar10": (100.0,)}, seeds=3)]
    assert build(results).published == ()


def test_the_page_shows_them_with_source_and_judgement() -> None:
    page = made.page_of(board())
    assert "Published beside ours" in page
    assert "reproduced" in page
    assert "70.36" in page or "70.4" in page


def test_numbers_of_a_val_list_stand_beside_none_of_the_test_set() -> None:
    assert board().published
    assert not board(cell={"options": {"tested_on": "val"}}).published


def test_the_page_shows_our_best_test_epoch_beside_papers_that_report_theirs() -> None:
    found = board()
    column = found.published[0].column
    kept = [
        replace(record(made.spec("ce", seed=seed), CAO), per_class=made.record(made.spec()).per_class)
        for seed in (0, 1)
    ]
    evidence = replace(
        gather(kept, found, None, None),
        epochs={("ce", column): Epochs(np.array([70.0, 71.0]), np.array([72.0, 73.0]), 20)},
    )
    grid = published(found, evidence)
    at = grid.heads.index("ours, best test epoch")
    assert {line.cells[at].text for line in grid.lines} == {"72.5"}
    assert "ours, best test epoch" not in published(found, replace(evidence, epochs={})).heads
    few = board(35.0, primary="few", cell={"imbalance": 10.0})
    assert "ours, best test epoch" not in published(few, evidence).heads
