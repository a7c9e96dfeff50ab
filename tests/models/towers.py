"""Random CLIP models of the smallest sizes, and plans and trials on them: helpers and fixtures for all tests."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ltbench.models.towers import Tower
from ltbench.planning.planner import make_plan
from ltbench.planning.resolve import Inputs, resolve
from ltbench.registry import Registry
from ltbench.spec import Plan, Record
from ltbench.suite.load import load_suite
from ltbench.training.site import Site
from ltbench.training.trial import run_trial
from tests.models.test_text import add_model

REGISTRY = Registry()
TEXT: dict[str, Any] = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
VIT = {"image_size": 16, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16}
RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
SUITE = """
suite: towers
text: {encoder: tower}
datasets: [{name: digits, imbalance: [20]}]
recipes:
  clip:
    backbone: open_clip:tiny-vit-tower
    pretrained: WEIGHTS
    head: text
    epochs: 0.25
    batch_size: 32
    optimizer: {name: sgd, lr: 0.01, momentum: 0.9}
    schedule: {name: cosine}
methods: {clip: [clip_zero_shot, clip_linear_probe, ce]}
protocol: {reference: clip_zero_shot, final: {seeds: [0]}}
resources: {executor: inline}
"""


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images went through a tower, call by call."""
    seen: list[int] = []
    forward = Tower.forward

    def counted(self: Tower, x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(Tower, "forward", counted)
    return seen


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random CLIP models of the smallest sizes, one with a transformer and one with a ResNet, by name."""
    import open_clip

    folder, made = tmp_path_factory.mktemp("towers"), {}
    for name, vision in (("tiny-vit-tower", VIT), ("tiny-rn-tower", RESNET)):
        add_model(folder, name, {"embed_dim": 16, "vision_cfg": vision, "text_cfg": TEXT})
        torch.manual_seed(0)
        made[name] = folder / f"{name}.pt"
        torch.save(open_clip.create_model(name).state_dict(), made[name])
    return made


Planned = tuple[Plan, Inputs, Site]


@pytest.fixture
def planned(checkpoints: dict[str, Path], tmp_path: Path, data_root: Path) -> Callable[..., Planned]:
    """`planned("recipes.clip.epochs=1")`: the suite above with changes, laid out."""

    def make(*changes: str, model: str = "tiny-vit-tower") -> Planned:
        file = tmp_path / "suite.yaml"
        file.write_text(SUITE.replace("WEIGHTS", str(checkpoints[model])).replace("tiny-vit-tower", model))
        plan, inputs = make_plan(resolve(load_suite(str(file), list(changes)), REGISTRY, data_root))
        return plan, inputs, Site(data_root, paths=inputs.paths, texts=inputs.texts, device="cpu", threads=1)

    return make


def run(planned: Planned, **changes: Any) -> dict[str, Record]:
    plan, _, site = planned
    site = dataclasses.replace(site, keep_logits=True, **changes)
    records = {t.label: run_trial(t, site) for t in plan.trials}
    for record in records.values():
        assert record.status == "ok", record.error
        assert "checkpoint_messages" not in record.environment
    return records


def logits(record: Record) -> Any:
    assert record.predictions is not None
    return np.load(io.BytesIO(record.predictions))["logits"]
