"""Methods on image towers: what they train, at which rate, and that it learns."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ltbench.api import Stage, Task
from ltbench.models import build_backbone
from ltbench.models.clip import describe, encode_text, image_tower
from ltbench.parts import Classifier
from tests.models.towers import REGISTRY, Planned, run


def tower_model(method: str, checkpoints: dict[str, Path], model: str = "tiny-vit-tower", **values: Any) -> Any:
    """The method and a model of the tiny tower, as a trial makes them."""
    file = str(checkpoints[model])
    labels = np.repeat(np.arange(10), 10)
    text = encode_text(model, file, [f"a photo of a {n}" for n in "abcdefghij"])
    text = text / np.linalg.norm(text, axis=1, keepdims=True)
    task = Task(labels, list("abcdefghij"), text=text, logit_scale=100.0)
    made = REGISTRY.get(method)(task, **values)
    tower = image_tower(describe(model, file), file)
    return made, Classifier(tower, made.head(tower.dim))


def trained_names(stage: Stage, model: Classifier) -> set[str]:
    assert stage.optimizer is not None
    ids = {id(p) for group in stage.optimizer.param_groups for p in group["params"]}
    return {name for name, p in model.named_parameters() if id(p) in ids}


def test_lift_trains_adapters_and_head_and_nothing_else(checkpoints: dict[str, Path]) -> None:
    method, model = tower_model("lift", checkpoints)
    (stage,) = method.stages(model)
    trained = trained_names(stage, model)
    assert {n for n, _ in model.named_parameters() if ".adapter." in n} | {"head.weight"} == trained
    assert sum(p.numel() for n, p in model.named_parameters() if n.endswith("down.weight")) == 2 * 32 * 2
    groups = stage.optimizer.param_groups
    assert [(g["lr"], g["momentum"], g["weight_decay"]) for g in groups] == [(0.01, 0.9, 5e-4)]


@pytest.mark.parametrize(("classes", "blocks", "width"), [(100, 12, 4), (1000, 12, 32), (8142, 12, 256), (10, 12, 1)])
def test_lifts_bottleneck_is_as_wide_as_the_authors(
    classes: int, blocks: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that adapters have about as many weights as a classifier: 2 blocks x width is about the number of classes."""
    task = Task(np.arange(classes), [str(c) for c in range(classes)], text=np.eye(classes, 64, dtype=np.float32) + 0.1,
                logit_scale=100.0)  # fmt: skip
    method = REGISTRY.get("lift")(task)
    body = build_backbone("vit_small", (8, 8, 1))
    body.blocks = torch.nn.Sequential(*(copy.deepcopy(body.blocks[0]) for _ in range(blocks)))
    next(iter(method.stages(Classifier(body, method.head(64)))))
    assert body.blocks[0].mlp.adapter.down.out_features == width


def test_lift_starts_as_the_cosine_before_the_projection(checkpoints: dict[str, Path]) -> None:
    """f the feature before the projection P, t a name's vector: 25 cos(f, P t); f . P t is the tower's own product.
    Beside shijxcs/LIFT (661ead9), its adapter, cosines and loss on the same tensors in float64: value and gradients
    agree to 1e-15."""
    import open_clip

    method, model = tower_model("lift", checkpoints)
    list(method.stages(model))
    visual = open_clip.create_model("tiny-vit-tower", pretrained=str(checkpoints["tiny-vit-tower"])).visual.eval()
    projection = visual.proj.detach().clone()
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        own = visual(x)
        visual.proj = None
        f = visual(x)
        torch.testing.assert_close(f @ projection, own)
        start = method.task.text @ projection.T
        expected = 25 * torch.nn.functional.cosine_similarity(f[:, None], start[None], dim=2)
        torch.testing.assert_close(model.eval()(x), expected)


def test_lift_is_skipped_where_there_are_no_blocks(planned: Callable[..., Planned]) -> None:
    rows = "methods.clip=[clip_zero_shot, lift]"
    plan, _, _ = planned(rows, model="tiny-rn-tower")
    assert [t.label for t in plan.trials] == ["clip_zero_shot"]
    assert "needs transformer blocks" in plan.skips[0].reason
    assert [t.label for t in planned(rows)[0].trials] == ["clip_zero_shot", "lift"]


def test_full_fine_tuning_has_a_learning_rate_for_each_part(checkpoints: dict[str, Path]) -> None:
    method, model = tower_model("clip_full_finetune", checkpoints, tower_lr=1e-5, head_lr=1e-3)
    (stage,) = method.stages(model)
    tower, head = stage.optimizer.param_groups
    assert (tower["lr"], head["lr"], tower["weight_decay"]) == (1e-5, 1e-3, 0.1)
    assert {id(p) for p in tower["params"]} == {id(p) for p in model.backbone.parameters()}
    assert [id(p) for p in head["params"]] == [id(model.head.weight)]


def test_lp_ft_trains_the_head_and_then_everything(checkpoints: dict[str, Path]) -> None:
    method, model = tower_model("lp_ft", checkpoints, probe_share=0.25)
    first, second = method.stages(model)
    assert trained_names(first, model) == {"head.weight"}
    assert trained_names(second, model) == {name for name, _ in model.named_parameters()}
    assert (first.share, second.share) == (0.25, 0.75)


def test_every_clip_method_trains_on_a_tower_and_beats_chance(planned: Callable[..., Planned]) -> None:
    """A random tower knows nothing; what trains it, or adapts it, learns the digits."""
    rows = """methods.clip=[clip_zero_shot, clip_full_finetune: {tower_lr: 0.003, head_lr: 0.03},
        lp_ft: {tower_lr: 0.003, head_lr: 0.03, probe_lr: 0.03}, lift: {bottleneck: 16},
        tgm_clip: {tower_lr: 0.003, alpha: 0.0, adapter_alpha: 0.0, tau: 1.0}]"""
    records = run(planned(rows, "recipes.clip.epochs=12"))
    found = {name: record.metrics["accuracy"] or 0.0 for name, record in records.items()}
    assert found.pop("clip_zero_shot") < 25
    assert min(found.values()) > 30, found
