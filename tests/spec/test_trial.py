"""A trial: what is part of its key and what is not, and its way into JSON and back."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltbench.errors import UserError
from ltbench.spec import SAFE_NAME, Cell, Record, Result, TrialSpec

# Written out by hand, so that nothing can change a trial's identity, and with it every record, without being noticed.
SPEC = TrialSpec(
    suite="pinned",
    cell=Cell(
        dataset="tens", kind="cifar10", imbalance=100.0, profile="exp", subset_seed=0, class_order="label",
        holdout_per_class=0, options={"size": 32}, manifest="0123456789abcdef",
    ),
    label="row",
    method="mixup",
    hyperparameters={"alpha": 0.5},
    code="aaaabbbbcccc",
    recipe_name="scratch",
    recipe={"backbone": "mlp", "epochs": 2.0, "optimizer": {"name": "sgd", "lr": 0.1}},
    seed=3,
    text="ddddeeeeffff",
    text_origin="somewhere",
    numerics=1,
)  # fmt: skip
PINNED_KEY = "9ba35bea98b1"
"""Checked against the SHA-256 of the JSON text {"cell":{"class_order":"label",...},...} typed in by hand."""


# -- identity ----------------------------------------------------------------------------------------------------------


def test_the_key_of_a_trial_is_pinned() -> None:
    """If this fails, records of every earlier version are stale: bump NUMERICS and say so in the changelog, or undo."""
    assert SPEC.key == PINNED_KEY


IDENTITY: dict[str, Any] = {
    "method": "ce", "hyperparameters": {"alpha": 0.6}, "code": "x", "recipe": {"backbone": "mlp"}, "seed": 4,
    "text": None, "role": "search", "numerics": 2, "test_prior": "uniform",
}  # fmt: skip
CELL_IDENTITY: dict[str, Any] = {
    "kind": "cifar100", "imbalance": None, "profile": "step", "subset_seed": 1, "class_order": "frequency",
    "holdout_per_class": 5, "options": {"size": 16}, "manifest": "f" * 16,
}  # fmt: skip
NAMES: dict[str, Any] = {
    "suite": "x", "label": "x", "recipe_name": "x", "text_origin": "x", "shots": {"many": 5, "few": 2},
    "curves": "test",
}  # fmt: skip


@pytest.mark.parametrize("field", IDENTITY)
def test_the_key_follows_what_can_change_a_number(field: str) -> None:
    assert replace(SPEC, **{field: IDENTITY[field]}).key != SPEC.key


@pytest.mark.parametrize("field", CELL_IDENTITY)
def test_the_key_follows_everything_that_shapes_the_data(field: str) -> None:
    assert replace(SPEC, cell=replace(SPEC.cell, **{field: CELL_IDENTITY[field]})).key != SPEC.key


@pytest.mark.parametrize("field", NAMES)
def test_the_key_does_not_follow_names_and_views(field: str) -> None:
    assert replace(SPEC, **{field: NAMES[field]}).key == SPEC.key


def test_the_key_does_not_follow_the_name_of_a_data_set() -> None:
    assert replace(SPEC, cell=replace(SPEC.cell, dataset="other")).key == SPEC.key


def test_every_field_is_known_to_be_identity_or_not() -> None:
    """A new field must be put on one of the two sides above."""
    assert {f.name for f in fields(TrialSpec)} == {*IDENTITY, *NAMES, "cell"}
    assert {f.name for f in fields(Cell)} == {*CELL_IDENTITY, "dataset"}


def test_the_key_does_not_follow_the_order_in_which_a_mapping_was_written() -> None:
    turned = dict(reversed(SPEC.recipe.items()))
    assert list(turned) != list(SPEC.recipe)
    assert replace(SPEC, recipe=turned).key == SPEC.key


# -- JSON --------------------------------------------------------------------------------------------------------------


numbers = st.integers(-5, 10**6) | st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    numbers | st.booleans() | st.text(max_size=5) | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
mappings = st.dictionaries(st.text(max_size=4), plain, max_size=3)
specs = st.builds(
    replace,
    st.just(SPEC),
    suite=st.from_regex(SAFE_NAME, fullmatch=True),
    label=st.from_regex(SAFE_NAME, fullmatch=True),
    hyperparameters=mappings,
    recipe=mappings,
    seed=st.integers(0, 2**31),
    text=st.none() | st.text(max_size=4),
    cell=st.builds(replace, st.just(SPEC.cell), imbalance=st.none() | st.floats(1, 1e6), options=mappings),
)


@given(specs)
def test_a_spec_comes_back_from_json_equal_and_with_its_key(spec: TrialSpec) -> None:
    back = TrialSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert back == spec
    assert back.key == spec.key


@given(specs, st.sampled_from(["ok", "failed"]), st.dictionaries(st.text(max_size=4), st.none() | numbers, max_size=3))
def test_a_record_comes_back_from_json_equal(spec: TrialSpec, status: Any, metrics: Any) -> None:
    record = Record(spec=spec, status=status, metrics=metrics, error="boom" if status == "failed" else None)
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_a_result_tells_of_a_record_what_a_leaderboard_needs() -> None:
    result = Result.of(Record(spec=SPEC, status="ok", metrics={"few": None}))
    assert (result.key, result.variant, result.recipe_id) == (SPEC.key, SPEC.variant, SPEC.recipe_id)
    assert (result.dataset, result.imbalance, result.seed, result.metrics) == ("tens", "IF100", 3, {"few": None})


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        ({}, "tens IF100"),
        ({"imbalance": 2.5}, "tens IF2.5"),
        ({"profile": "step"}, "tens IF100step"),
        ({"profile": "exp:1000"}, "tens IF100exp1000"),
        ({"imbalance": None, "profile": "native"}, "tens native"),
    ],
)
def test_a_cell_is_labelled_by_data_set_and_imbalance(cell: dict[str, Any], label: str) -> None:
    assert replace(SPEC.cell, **cell).label == label


@pytest.mark.parametrize("field", [*IDENTITY, *(f"cell.{name}" for name in CELL_IDENTITY)])
def test_an_edited_trial_file_is_noticed(field: str) -> None:
    data = json.loads(json.dumps(SPEC.to_json()))
    outer, _, inner = field.rpartition(".")
    (data[outer] if outer else data)[inner] = CELL_IDENTITY[inner] if outer else IDENTITY[inner]
    with pytest.raises(UserError, match="it was edited"):
        TrialSpec.from_json(data)


GOOD = SPEC.to_json()
FOREIGN: dict[str, Any] = {
    "unknown_field": {**GOOD, "colour": "red"},
    "no_seed": {k: v for k, v in GOOD.items() if k != "seed"},
    "no_cell": {k: v for k, v in GOOD.items() if k != "cell"},
    "half_a_cell": {**GOOD, "cell": {"dataset": "x"}},
    "cell_is_a_number": {**GOOD, "cell": 5},
    "values_are_a_number": {**GOOD, "hyperparameters": 5},
    "not_a_number": {**GOOD, "recipe": {"lr": float("nan")}},
    "empty": {},
    "list": [],
    "null": None,
    "text": "text",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_json_is_no_trial(name: str) -> None:
    with pytest.raises(UserError):
        TrialSpec.from_json(FOREIGN[name])


# -- what is checked once ----------------------------------------------------------------------------------------------


def test_seeds_that_share_everything_else_are_read_as_if_each_were_alone() -> None:
    for seed in (3, 0, 7, 3):
        spec = replace(SPEC, seed=seed)
        found = TrialSpec.from_json(json.loads(json.dumps(spec.to_json())))
        assert (found, found.key, found.variant, found.recipe_id) == (spec, spec.key, spec.variant, spec.recipe_id)


def test_what_a_caller_does_with_the_json_changes_no_trial_that_is_read_later() -> None:
    data = replace(SPEC, seed=11).to_json()
    before = json.dumps(data)
    TrialSpec.from_json(data)
    data["recipe"]["epochs"] = 5.0
    assert TrialSpec.from_json(json.loads(before)) == replace(SPEC, seed=11)


@pytest.mark.parametrize("value", [1, 1.0, True])
def test_numbers_that_python_calls_equal_are_other_trials(value: object) -> None:
    spec = replace(SPEC, hyperparameters={"alpha": value})
    found = TrialSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert type(found.hyperparameters["alpha"]) is type(value)
    assert found.key == spec.key


@pytest.mark.parametrize("seed", [-1, True, 1.0, "1", None])
def test_a_seed_is_checked_each_time(seed: object) -> None:
    TrialSpec.from_json(SPEC.to_json())
    with pytest.raises(UserError, match="seed"):
        TrialSpec.from_json({**SPEC.to_json(), "seed": seed})
