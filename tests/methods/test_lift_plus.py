"""LIFT+: where its head starts, its crops, and what it leaves of LIFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import functional as vision

from ltbench.models import build_backbone
from ltbench.parts import Classifier
from tests.methods.made import COUNTS, CPU, images, make, moment, task_of, trained
from tests.methods.test_towers import tower_model

C = len(COUNTS)
SHAPE = (6, 6, 1)


def pixels() -> torch.Tensor:
    return ((torch.from_numpy(images()[0]).float() / 255 - 0.5) / 0.25).permute(0, 3, 1, 2)


def started(**values: Any) -> tuple[Any, Classifier, Any]:
    """The method and its model where training begins, after the look at the images in batches of 32."""
    torch.manual_seed(0)
    method, body = make("lift_plus", task_of(COUNTS), **values), build_backbone("vit_small", SHAPE)
    model = Classifier(body, method.head(body.dim)).eval()
    stages = method.stages(model)
    assert next(stages).plain
    now = type(moment())("means", 0.0, np.random.default_rng(0), CPU)
    target = method.task.one_hot(torch.from_numpy(images()[1]))
    for x, y in zip(pixels().split(32), target.split(32), strict=True):
        with torch.no_grad():
            method.loss(method.forward(model, x, now), y, now)
    return method, model, stages


def test_without_names_class_vectors_start_at_class_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """As trainer.py's class_mean: unit vectors along the mean feature of at most 100 images; here at most 30."""
    monkeypatch.setattr("ltbench.methods.lift_plus.MOST", 30)
    _, model, stages = started()
    body = model.backbone
    with torch.no_grad():
        features = body(pixels()).double()
    next(stages)
    labels = images()[1]
    for k in range(C):
        own = features[torch.from_numpy(np.flatnonzero(labels == k)[:30])]
        expected = F.normalize(own.mean(dim=0), dim=0)
        torch.testing.assert_close(model.head.get_parameter("weight")[k].detach().double(), expected, rtol=1e-4,
                                   atol=1e-5)  # fmt: skip


def test_it_trains_adapters_and_head_at_the_authors_rate() -> None:
    _, model, stages = started()
    stage = next(stages)
    ids = {id(p) for group in stage.optimizer.param_groups for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in ids}
    assert names == {n for n, _ in model.named_parameters() if ".adapter." in n} | {"head.weight"}
    assert [(g["lr"], g["momentum"], g["weight_decay"]) for g in stage.optimizer.param_groups] == [(0.02, 0.9, 5e-4)]
    assert next(stages, None) is None
    assert type(model.backbone).__name__ == "FiveCrops", "for the test, when the training has ended"


@pytest.mark.parametrize(("size", "expand"), [((224, 224), 24 / 224), ((32, 40), 0.25), ((6, 6), 24 / 224)])
def test_its_crops_are_torchvisions_five_of_the_enlarged_image(size: tuple[int, int], expand: float) -> None:
    from ltbench.methods.lift_plus import five_crops

    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    larger = [side + round(expand * side) for side in size]
    whole = vision.resize(x, larger, vision.InterpolationMode.BICUBIC, antialias=True)
    for found, expected in zip(five_crops(x, expand), vision.five_crop(whole, list(size)), strict=True):
        torch.testing.assert_close(found, expected)


def test_test_logits_are_the_mean_over_the_crops() -> None:
    from ltbench.methods.lift_plus import five_crops

    _, model, stages = started(expand=112)
    next(stages)
    inner, head, x = model.backbone, model.head, pixels()[:8]
    with torch.no_grad():
        each = [head(inner(crop)) for crop in five_crops(x, 0.5)]
        assert next(stages, None) is None
        found = model.eval()(x)
    torch.testing.assert_close(found, torch.stack(each).double().mean(dim=0).float())
    assert not torch.allclose(found, each[4])


def test_crops_of_an_image_that_is_not_enlarged_are_the_image() -> None:
    task = task_of(COUNTS)
    whole, none = (trained(make("lift_plus", task_of(COUNTS), **v)) for v in ({"expand": 0}, {"ensemble": False}))
    assert task.num_classes == C
    with torch.no_grad():
        torch.testing.assert_close(whole.eval()(pixels()), none.eval()(pixels()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tau", [1.0, 0.5])
def test_its_loss_is_lifts(tau: float) -> None:
    task = task_of(COUNTS)
    logits, target = torch.randn(6, C), task.one_hot(torch.arange(6) % C)
    plus, lift = (make(name, task, tau=tau).loss(logits, target, moment()) for name in ("lift_plus", "lift"))
    assert torch.equal(plus, lift)


def test_with_names_it_starts_where_lift_does(checkpoints: dict[str, Path]) -> None:
    """And on a tower it needs no look at the images."""
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = []
    for name in ("lift", "lift_plus"):
        method, model = tower_model(name, checkpoints)
        stage = next(iter(method.stages(model)))
        assert not stage.plain
        found.append(model.eval()(x).detach())
    torch.testing.assert_close(*found)
