"""What a method is told of the pixels: by it, what `mix` is given is the image again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ltbench.spec import TrialSpec
from ltbench.training.assemble import assemble
from ltbench.training.attempt import Trial
from ltbench.training.checkpoints.checkpoint import Checkpoints
from ltbench.training.site import Site
from tests.models.towers import Planned

CPU = torch.device("cpu")


def first_batch(spec: TrialSpec, site: Site) -> tuple[Any, Any, Any]:
    """The first training images as a method is given them, as they lie on the disk, and the task."""
    spec = replace(spec, recipe={**spec.recipe, "augment": "none"})
    trial, parts = Trial(spec, site, CPU, Checkpoints(), None), assemble(spec, site, CPU)
    x, _ = trial.batches("train").batch(np.arange(5))
    return x, parts.data.train_x[:5], parts.method.task


def test_pixels_come_back(make_spec: Callable[..., TrialSpec], site: Site) -> None:
    x, raw, task = first_batch(make_spec("ce"), site)
    back = x * task.pixel_std.view(-1, 1, 1) + task.pixel_mean.view(-1, 1, 1)
    np.testing.assert_allclose(255 * back.permute(0, 2, 3, 1).numpy(), raw, atol=1e-3)
    black = -task.pixel_mean / task.pixel_std
    assert float(x.min()) == pytest.approx(float(black), abs=1e-5)


def test_a_tower_s_images_are_normalised_as_the_tower_wants_them(planned: Callable[..., Planned]) -> None:
    plan, _, site = planned("methods.clip=[ce]", "protocol.reference=ce")
    x, _, task = first_batch(plan.trials[0], site)
    assert task.pixel_mean.tolist() == pytest.approx(plan.trials[0].recipe["tower"]["mean"])
    black = -task.pixel_mean / task.pixel_std
    torch.testing.assert_close(x.amin(dim=(0, 2, 3)), black, atol=1e-5, rtol=0)
