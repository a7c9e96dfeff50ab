"""Published numbers: the file's shape, spot values, which recipes match, and when a number counts as reproduced."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from ltbench.metric_names import METRICS
from ltbench.ranking.published import RECIPES, TOLERANCE, Judgement, Published, find, judge, published, recipe_matches
from ltbench.registry import Registry
from ltbench.spec import Cell
from ltbench.stats.intervals import Interval, mean_interval
from ltbench.suite.load import load_suite

ROOT = Path(__file__).parents[2]
LDAM_DRW = {"beta": 0.9999, "defer": 0.8, "max_margin": 0.5, "scale": 30.0}


@pytest.fixture(scope="module")
def classic() -> dict[str, Any]:
    """The recipe of the suite that comes with ltbench, as a trial carries it."""
    return load_suite(str(ROOT / "suites" / "cifar_lt.yaml")).recipes["scratch"].model_dump()


def row(value: float = 40.0, kind: str = "cifar100", recipe: str = "classic") -> Published:
    return Published(
        dataset=kind, imbalance="IF100", method="ce", hyperparameters={}, assumed={}, metric="balanced_accuracy",
        value=value, recipe=recipe, source="a paper",
    )  # fmt: skip


def spread(mean: float, sd: float, n: int = 5) -> Interval:
    return Interval(mean, sd, 0.0, n)


# -- the file ----------------------------------------------------------------------------------------------------------


def test_every_row_names_a_method_of_ours_with_hyperparameters_it_takes() -> None:
    registry = Registry()
    for one in published():
        cls = registry.get(one.method)
        assert cls.complete(one.hyperparameters) == one.identity, one
        assert not set(one.hyperparameters) & set(one.assumed), one


def test_every_row_is_complete() -> None:
    assert len(published()) > 200
    for one in published():
        assert one.dataset in TOLERANCE
        assert one.metric in METRICS
        assert 0 < one.value < 100
        assert one.recipe in RECIPES
        assert one.source.strip() == one.source != ""
        assert one.note.strip() == one.note


def test_imbalances_are_written_as_cells_write_them() -> None:
    labels = {
        Cell(dataset="c", kind="c", imbalance=factor, profile=profile).imbalance_label
        for factor in (1.0, 10.0, 20.0, 50.0, 100.0, 200.0)
        for profile in ("exp", "step")
    }
    lists = {Cell(dataset="i", kind="i", imbalance=None, profile="native").imbalance_label}
    assert {one.imbalance for one in published() if one.dataset.startswith("cifar")} <= labels
    assert {one.imbalance for one in published() if not one.dataset.startswith("cifar")} == lists


def test_no_run_is_listed_twice() -> None:
    runs = Counter(
        (o.dataset, o.imbalance, o.method, str(sorted(o.identity.items())), o.metric, o.source) for o in published()
    )
    assert [run for run, times in runs.items() if times > 1] == []


def test_copies_of_a_run_are_left_out() -> None:
    """Two sources with one number for one cell is what a copied row looks like."""
    numbers = Counter(
        (o.dataset, o.imbalance, o.method, str(sorted(o.identity.items())), o.metric, o.value) for o in published()
    )
    assert [number for number, times in numbers.items() if times > 1] == []


def test_every_recipe_group_is_used_and_says_where_it_is_from() -> None:
    assert {one.recipe for one in published()} == set(RECIPES)
    assert all(group.title and group.source for group in RECIPES.values())


def test_the_file_is_part_of_the_installed_package() -> None:
    assert files("ltbench.ranking").joinpath("published.csv").is_file()
    assert '"ltbench.ranking" = ["published.csv"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


# -- spot values, read from the sources --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "imbalance", "method", "values", "source", "expected"),
    [
        ("cifar10", "IF100", "ce", {}, "Cui", 70.36),
        ("cifar100", "IF10", "ce", {}, "Cui", 55.71),
        ("cifar100", "IF100step", "ce", {}, "Cao", 38.55),
        ("cifar10", "IF100", "ldam_drw", LDAM_DRW, "Cao", 77.03),
        ("cifar100", "IF10step", "ldam_drw", LDAM_DRW, "Cao", 59.46),
        ("cifar10", "IF100", "ldam_drw", {**LDAM_DRW, "beta": 0.0}, "Cao", 73.35),
        ("cifar100", "IF100", "ce_drw", {"beta": 0.9999, "defer": 0.8}, "Cao", 40.66),
        ("cifar100", "IF50", "mixup", {"alpha": 1.0}, "BBN", 44.99),
        ("cifar100", "IF100", "focal", {"gamma": 1.0}, "Cui", 38.41),
        ("cifar100", "IF100", "logit_adjusted_loss", {"tau": 1.0}, "Menon", 43.89),
        ("cifar10", "IF100", "logit_adjustment", {"tau": 1.0}, "google-research", 77.32),
        ("cifar100", "IF50", "balanced_softmax", {}, "BagofTricks", 46.55),
        ("cifar10", "IF50", "tau_norm", {"tau": 1.0}, "BagofTricks", 79.78),
        ("cifar10", "IF100", "crt", {"classifier_share": 0.13}, "BagofTricks", 74.99),
        ("cifar100", "IF100", "remix", {"alpha": 1.0, "kappa": 3.0, "tau": 0.5}, "Chou", 41.94),
        ("cifar100", "IF50", "cb_reweight", {"weighting": "effective_number", "beta": 0.9}, "BagofTricks", 43.78),
    ],
)
def test_values_are_those_of_the_sources(
    kind: str, imbalance: str, method: str, values: dict[str, Any], source: str, expected: float
) -> None:
    found = [one.value for one in find(kind, imbalance, method, values, "balanced_accuracy") if source in one.source]
    assert found == [expected]


def test_accuracy_on_a_balanced_test_set_is_balanced_accuracy() -> None:
    assert find("cifar10", "IF100", "ce", {}, "accuracy") == find("cifar10", "IF100", "ce", {}, "balanced_accuracy")
    assert [one.value for one in find("cifar100", "IF100", "ce", {}, "few")] == [10.6]


def test_other_hyperparameters_find_nothing() -> None:
    assert find("cifar10", "IF100", "ldam_drw", LDAM_DRW, "balanced_accuracy")
    for changed in ({**LDAM_DRW, "defer": 0.5}, {**LDAM_DRW, "scale": 16.0}, {}, {**LDAM_DRW, "new": 1}):
        assert find("cifar10", "IF100", "ldam_drw", changed, "balanced_accuracy") == []
    assert find("digits", "IF100", "ce", {}, "balanced_accuracy") == []
    assert find("cifar10", "IF100", "ce", {}, "ece") == []


def test_every_default_row_of_the_suite_that_was_published_is_found() -> None:
    registry = Registry()
    without = {
        entry.method
        for entry in load_suite(str(ROOT / "suites" / "cifar_lt.yaml")).methods["scratch"]
        if not find("cifar100", "IF100", entry.method, registry.get(entry.method).complete({}), "balanced_accuracy")
    }
    assert without == {"text_guided_mixup"}, "its tables were not found"


@pytest.mark.parametrize(
    ("kind", "method", "values", "metric", "source", "expected"),
    [
        ("imagenet_lt", "ce", {}, "balanced_accuracy", "classifier-balancing", [44.40]),
        ("imagenet_lt", "cb_sampling", {"sampling": "square_root"}, "few", "classifier-balancing", [17.00]),
        ("imagenet_lt", "balanced_softmax", {}, "balanced_accuracy", "TPAMI 2023", [50.80, 51.20]),
        ("imagenet_lt", "clip_zero_shot", {}, "medium", "LIFT", [67.10]),
        ("places_lt", "focal", {"gamma": 1.0}, "few", "Ren", [22.40]),
        ("inaturalist2018", "ldam_drw", LDAM_DRW, "balanced_accuracy", "Cao", [68.00]),
        ("inaturalist2018", "ldam_drw", LDAM_DRW, "balanced_accuracy", "BBN", [64.58, 66.12]),
    ],
)
def test_values_on_large_data_are_those_of_the_sources(
    kind: str, method: str, values: dict[str, Any], metric: str, source: str, expected: list[float]
) -> None:
    assert [one.value for one in find(kind, "native", method, values, metric) if source in one.source] == expected


def test_the_imagenet_suite_trains_by_the_recipe_of_kang() -> None:
    recipes = load_suite(str(ROOT / "suites" / "imagenet_lt.yaml")).recipes
    matched = {name: [g for g in RECIPES if recipe_matches(r.model_dump(), g)] for name, r in recipes.items()}
    assert matched == {"resnext50": ["kang_imagenet"], "resnet50": [], "resnet10": []}
    ours = recipes["resnext50"].model_dump()
    for change in ({"schedule.floor": 0.1}, {"budget": "images"}, {"pretrained": "IMAGENET1K_V1"}, {"epochs": 100.0}):
        assert not recipe_matches(changed(ours, change), "kang_imagenet"), change


@pytest.mark.parametrize(("suite", "points"), [("tgm_alpha", 11), ("tgm_tau", 7)])
def test_every_row_of_an_ablation_of_text_guided_mixup_has_its_published_number(suite: str, points: int) -> None:
    read, registry = load_suite(str(ROOT / "suites" / f"{suite}.yaml")), Registry()
    entries = [entry for rows in read.methods.values() for entry in rows if entry.method == "tgm_clip"]
    given = [registry.get("tgm_clip").complete(entry.hyperparameters) for entry in entries]
    found = [find("cifar100", "IF100", "tgm_clip", values, "balanced_accuracy") for values in given]
    assert len(found) == points
    assert all(suite in [one.recipe for one in rows] for rows in found), "one point is in both sweeps"
    matched = [g for g in RECIPES for r in read.recipes.values() if recipe_matches(r.model_dump(), g)]
    assert matched == []


# -- recipes -----------------------------------------------------------------------------------------------------------


def test_the_suite_trains_by_the_classic_recipe_and_by_no_other(classic: dict[str, Any]) -> None:
    assert [group for group in RECIPES if recipe_matches(classic, group)] == ["classic"]


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 1.0},
        {"epochs": 400.0},
        {"batch_size": 256},
        {"backbone": "resnet56"},
        {"augment": "flip"},
        {"optimizer.name": "adamw"},
        {"optimizer.lr": 0.05},
        {"optimizer.momentum": 0.0},
        {"optimizer.nesterov": True},
        {"optimizer.weight_decay": 5e-4},
        {"schedule.name": "cosine"},
        {"schedule.gamma": 0.1},
        {"schedule.warmup": 0.0},
        {"schedule.milestones": [0.6, 0.8]},
        {"schedule.milestones": [0.8]},
    ],
    ids=str,
)
def test_any_difference_makes_it_another_recipe(classic: dict[str, Any], change: dict[str, Any]) -> None:
    assert not recipe_matches(changed(classic, change), "classic")


def changed(recipe: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    copy = {key: dict(value) if isinstance(value, dict) else value for key, value in recipe.items()}
    for path, value in change.items():
        *outer, key = path.split(".")
        (copy[outer[0]] if outer else copy)[key] = value
    return copy


@pytest.mark.parametrize("change", [{"precision": "bf16"}, {"schedule.warmup_stairs": 0}], ids=str)
def test_what_papers_do_not_state_is_not_compared(classic: dict[str, Any], change: dict[str, Any]) -> None:
    assert recipe_matches(changed(classic, change), "classic")


@pytest.mark.parametrize(
    ("change", "group"),
    [
        ({"schedule.milestones": [0.6, 0.8]}, "bbn"),
        ({"schedule.gamma": 0.1}, "mislas"),
        ({"optimizer.nesterov": True, "optimizer.weight_decay": 5e-4}, "ride"),
        ({"epochs": 400.0, "schedule.warmup": 0.0125}, "bagoftricks_400"),
    ],
)
def test_a_suite_can_be_written_for_another_group(classic: dict[str, Any], change: dict[str, Any], group: str) -> None:
    assert [name for name in RECIPES if recipe_matches(changed(classic, change), name)] == [group]


def test_fractions_may_be_rounded(classic: dict[str, Any]) -> None:
    assert recipe_matches(changed(classic, {"schedule.milestones": [0.801, 0.899]}), "classic")
    assert not recipe_matches(changed(classic, {"schedule.milestones": [0.805, 0.9]}), "classic")


def test_an_unknown_group_is_a_bug(classic: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        recipe_matches(classic, "nothing")


# -- judgements --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "tolerance"), [("cifar10", 1.5), ("cifar100", 1.0)])
@pytest.mark.parametrize("sign", [1, -1])
def test_quiet_seeds_leave_the_tolerance_of_the_subset(
    classic: dict[str, Any], kind: str, tolerance: float, sign: int
) -> None:
    one = row(38.32, kind)
    assert judge(one, spread(38.32 + sign * tolerance, 0.01), classic) is Judgement.REPRODUCED
    assert judge(one, spread(38.32 + sign * (tolerance + 0.01), 0.01), classic) is Judgement.DIFFERS


@pytest.mark.parametrize("n", [3, 5, 10])
def test_loud_seeds_allow_a_new_run(classic: dict[str, Any], n: int) -> None:
    half = stats.t.ppf(0.975, n - 1) * 2.0 * math.sqrt(1 + 1 / n)
    assert half > 1.5
    assert judge(row(40.0), spread(40 + half - 0.001, 2.0, n), classic) is Judgement.REPRODUCED
    assert judge(row(40.0), spread(40 + half + 0.001, 2.0, n), classic) is Judgement.DIFFERS


def test_fewer_than_three_seeds_judge_nothing(classic: dict[str, Any]) -> None:
    for values in ([40.0], [40.0, 40.1]):
        assert judge(row(40.0), mean_interval(values), classic) is Judgement.TOO_FEW_SEEDS
    assert judge(row(40.0), mean_interval([40.0, 40.1, 40.2]), classic) is Judgement.REPRODUCED


def test_another_recipe_comes_before_everything_else(classic: dict[str, Any]) -> None:
    short = changed(classic, {"epochs": 1.0})
    assert judge(row(40.0), mean_interval([40.0]), short) is Judgement.OTHER_RECIPE
    assert judge(row(40.0, recipe="balms"), spread(40.0, 0.1), classic) is Judgement.OTHER_RECIPE


def test_more_seeds_never_make_the_same_spread_easier_to_reproduce(classic: dict[str, Any]) -> None:
    judged = [judge(row(40.0), spread(44.0, 1.5, n), classic) for n in range(3, 40)]
    assert all(not (a is Judgement.DIFFERS and b is Judgement.REPRODUCED) for a, b in pairwise(judged))
    assert {*judged} == {Judgement.REPRODUCED, Judgement.DIFFERS}


def test_a_row_without_a_tolerance_is_a_bug(classic: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        judge(replace(row(), dataset="digits"), spread(40.0, 0.1), classic)
