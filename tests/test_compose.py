"""Rows that compose methods: as a class that inherits from all of them, or a message that says why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltbench.checks.contract import check_method
from ltbench.errors import UserError
from ltbench.fingerprints import fingerprint_of_files
from ltbench.planning.planner import make_plan
from ltbench.planning.resolve import Inputs, resolve
from ltbench.registry import Registry, fingerprint
from ltbench.spec import Plan
from ltbench.suite.load import load_suite
from tests.methods.made import COUNTS, final_logits, make, task_of, trained

METHODS = Path(__file__).parents[1] / "methods"
SUITE: dict[str, Any] = {
    "suite": "composed",
    "datasets": [{"name": "digits", "imbalance": [20]}],
    "recipes": {
        "scratch": {"backbone": "mlp", "epochs": 2, "batch_size": 32, "optimizer": {"name": "sgd", "lr": 0.05}}
    },
    "protocol": {"final": {"seeds": [0]}},
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry()


@pytest.fixture
def planned(tmp_path: Path, registry: Registry) -> Callable[..., tuple[Plan, Inputs]]:
    return lambda *rows: make_plan(resolve(load_suite({**SUITE, "methods": ["ce", *rows]}), registry, tmp_path))


def test_it_is_the_class_that_inherits_from_both(registry: Registry) -> None:
    mixup, balanced = registry.get("mixup"), registry.get("balanced_softmax")

    class Both(mixup, balanced):  # type: ignore[misc, valid-type]
        """By hand."""

    composed = registry.get("mixup+balanced_softmax")
    assert composed.__mro__[1:] == Both.__mro__[1:]
    assert composed.hyperparameters == Both.hyperparameters
    assert registry.get("mixup+balanced_softmax") is composed
    by_hand = trained(Both(task_of(COUNTS))).state_dict()
    found = trained(make("mixup+balanced_softmax", task_of(COUNTS))).state_dict()
    assert all(np.array_equal(found[name].numpy(), by_hand[name].numpy()) for name in by_hand)


@pytest.mark.slow
def test_a_composed_method_keeps_the_contract(registry: Registry) -> None:
    assert check_method(registry.get("mixup+balanced_softmax+ema"))[:3] == ([], [], None)


def test_a_row_names_it_and_gives_values(planned: Callable[..., tuple[Plan, Inputs]], registry: Registry) -> None:
    plan, _ = planned(
        {"compose": ["mixup", "ldam_drw"], "alpha": 0.2, "as": "both"}, {"compose": ["mixup", "balanced_softmax"]}
    )
    _, both, unnamed = plan.trials
    assert (both.method, both.label, both.hyperparameters["alpha"]) == ("mixup+ldam_drw", "both", 0.2)
    assert both.hyperparameters["max_margin"] == 0.5
    assert unnamed.label == unnamed.method == "mixup+balanced_softmax"
    assert both.code == fingerprint(registry.get("mixup+ldam_drw"))


def test_it_needs_what_each_of_them_needs(registry: Registry) -> None:
    assert registry.get("crt+text_guided_mixup").needs == {"text"}
    assert registry.get("label_aware_smoothing+logit_adjustment").views == (0,)


def test_its_fingerprint_is_that_of_all_files_and_not_of_the_label(registry: Registry) -> None:
    found = fingerprint(registry.get("mixup+balanced_softmax"))
    assert found == fingerprint_of_files([METHODS / "mixup.py", METHODS / "balanced_softmax.py"])
    assert found not in (fingerprint(registry.get("mixup")), fingerprint(registry.get("balanced_softmax")))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["mixup", "crt_mixup"], r"crt_mixup builds on mixup: leave mixup out"),
        (["mixup", "cutmix"], r"mixup and cutmix both have a hyper-parameter 'alpha'"),
        (["balanced_softmax", "focal"], r"balanced_softmax and focal both change the hook 'loss'"),
        (["bbn", "mixup"], r"bbn and mixup both have an attribute 'alpha'"),
        (["mixup", "balanced_sofmax"], r"unknown method 'balanced_sofmax'. Did you mean 'balanced_softmax'"),
    ],
)
def test_a_collision_is_named(names: list[str], message: str, planned: Callable[..., tuple[Plan, Inputs]]) -> None:
    with pytest.raises(UserError, match=message):
        planned({"compose": names, "as": "both"})


@pytest.mark.parametrize("names", ["mixup", ["mixup"], [], ["mixup", 3], ["mixup", "mixup"], None])
def test_what_is_no_list_of_methods_is_refused(names: Any) -> None:
    with pytest.raises(UserError, match="compose"):
        load_suite({**SUITE, "methods": ["ce", {"compose": names}]})


def test_the_order_of_methods_that_leave_each_other_alone_changes_nothing() -> None:
    np.testing.assert_array_equal(final_logits("mixup+balanced_softmax"), final_logits("balanced_softmax+mixup"))
