"""Features of a frozen network of timm are kept as a tower's are: the same numbers, and the network runs once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from ltbench.models.timm_networks import TimmBackbone
from ltbench.planning.planner import make_plan
from ltbench.planning.resolve import resolve
from ltbench.registry import Registry
from ltbench.spec import Plan
from ltbench.suite.load import load_suite
from ltbench.training.site import Site
from ltbench.training.trial import run_trial
from tests.data.made import small_lists
from tests.models.towers import logits
from tests.sampling import sampled

Planned = tuple[Plan, Site]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files with random weights of two small networks."""
    folder, found = tmp_path_factory.mktemp("weights"), {}
    for name in ("resnet10t", "vit_tiny_patch16_224"):
        torch.manual_seed(1)
        found[name] = folder / f"{name}.pth"
        torch.save(timm.create_model(name).state_dict(), found[name])
    return found


@pytest.fixture
def planned(weights: dict[str, Path], tmp_path: Path) -> Callable[..., Planned]:
    def make(name: str = "resnet10t", rows: tuple[str, ...] = ("clip_linear_probe", "crt"), **recipe: Any) -> Planned:
        vit = {"name": "made", "kind": "lists", "size": 32, "resize": 32, "profile": "native", "stream": True}
        digits = {"name": "digits", "imbalance": [20]}
        if name.startswith("vit"):  # reads no images of 8 pixels; here they are streamed
            vit["path"] = str(small_lists(tmp_path / "images"))
        suite = {
            "suite": "timm",
            "datasets": [vit if name.startswith("vit") else digits],
            "recipes": {"a": {
                "backbone": f"timm:{name}", "pretrained": str(weights[name]), "epochs": 2,
                "batch_size": 8 if name.startswith("vit") else 32,
                "optimizer": {"name": "sgd", "lr": 0.01}, **recipe,
            }},
            "methods": list(rows),
            "protocol": {"final": {"seeds": [0]}},
        }  # fmt: skip
        plan, inputs = make_plan(resolve(load_suite(suite), Registry(), tmp_path / "data"))
        return plan, Site(tmp_path / "data", paths=inputs.paths, device="cpu", threads=1, keep_logits=True)

    return make


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images went through the network, call by call."""
    seen: list[int] = []
    forward = TimmBackbone.forward

    def counted(self: TimmBackbone, x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(TimmBackbone, "forward", counted)
    return seen


@sampled(
    "name, precision",
    product(["resnet10t", "vit_tiny_patch16_224"], ["fp32", "bf16"]),
    [("resnet10t", "fp32"), ("vit_tiny_patch16_224", "bf16")],
)
def test_numbers_with_and_without_the_cache_agree(planned: Callable[..., Planned], name: str, precision: str) -> None:
    """A frozen head, and a stage on a network that a stage before has trained."""
    plan, site = planned(name, precision=precision)
    for spec in plan.trials:
        kept, plain = run_trial(spec, site), run_trial(spec, replace(site, cache_features=False))
        assert kept.status == plain.status == "ok", kept.error or plain.error
        spread = float(np.abs(logits(plain)).max())
        tolerance = (0.002 if precision == "fp32" else 0.05) * spread
        np.testing.assert_allclose(logits(kept).astype(float), logits(plain).astype(float), atol=tolerance)


def test_the_network_runs_once_for_all_trials(planned: Callable[..., Planned], passes: list[int]) -> None:
    plan, site = planned(rows=("clip_linear_probe",))
    (spec,) = plan.trials
    first = run_trial(spec, site).numbers()
    assert sum(passes) > 0
    passes.clear()
    assert run_trial(spec, site).numbers() == first
    assert passes == [], "all of it was kept"
    assert run_trial(replace(spec, seed=1), site).status == "ok"
    assert passes == [], "another seed trains another head on the same features"


@pytest.mark.parametrize(("row", "recipe"), [("ce", {}), ("mixup", {}), ("clip_linear_probe", {"augment": "flip"})])
def test_what_trains_the_network_or_alters_images_reads_images(
    planned: Callable[..., Planned], passes: list[int], row: str, recipe: dict[str, Any]
) -> None:
    plan, site = planned(rows=(row,), **recipe)
    assert run_trial(plan.trials[0], site).status == "ok"
    assert passes.count(32) >= 3


def test_networks_from_scratch_and_other_weights_are_not_mixed_up(
    planned: Callable[..., Planned], passes: list[int], weights: dict[str, Path]
) -> None:
    plan, site = planned(rows=("clip_linear_probe",))
    assert run_trial(plan.trials[0], site).status == "ok"
    torch.manual_seed(2)
    torch.save(timm.create_model("resnet10t").state_dict(), weights["resnet10t"])
    other, there = planned(rows=("clip_linear_probe",))
    passes.clear()
    assert other.trials[0].key != plan.trials[0].key
    assert run_trial(other.trials[0], there).status == "ok"
    assert sum(passes) > 0
    scratch, site = planned(rows=("clip_linear_probe",), pretrained=None)
    passes.clear()
    assert run_trial(scratch.trials[0], site).status == "ok"
    assert passes.count(32) >= 3
