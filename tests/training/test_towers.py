"""Trials on image towers: where their tensors are, what they compute, and how they are resumed."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ltbench.checks.rehearsal import READ, Host
from ltbench.models.clip import ImageTower, encode_text
from ltbench.training.checkpoints.checkpoint import Stopped
from ltbench.training.checkpoints.files import discard
from ltbench.training.trial import run_trial
from tests.models.towers import REGISTRY, Planned, logits, run
from tests.sampling import sampled


@sampled(
    "cached, model",
    product([True, False], ["tiny-vit-tower", "tiny-rn-tower"]),
    [(True, "tiny-vit-tower")],
)
def test_trials_on_towers_have_everything_on_the_device_and_wait_for_it_once_an_epoch(
    planned: Callable[..., Planned], model: str, cached: bool, tmp_path: Path
) -> None:
    methods = "methods={clip: [clip_zero_shot, clip_linear_probe, ce, tgm_clip, lp_ft]}"
    times: dict[str, list[Counter[str]]] = {}
    for epochs in (1, 2):
        plan, _, site = planned(methods, f"recipes.clip.epochs={epochs}", "recipes.clip.batch_size=128", model=model)
        site = dataclasses.replace(site, data=tmp_path, device="meta", cache_features=cached)
        for trial in plan.trials:
            with Host([]) as host:
                record = run_trial(trial, site)
            assert record.status == "ok", record.error
            times.setdefault(trial.label, []).append(host.times)
    for label, (short, long) in times.items():
        trains = label != "clip_zero_shot"
        assert long - short <= Counter({READ: 1 * trains}), label


@pytest.mark.parametrize("model", ["tiny-vit-tower", "tiny-rn-tower"])
def test_zero_shot_in_a_trial_is_the_cosine_of_both_towers(
    planned: Callable[..., Planned], checkpoints: dict[str, Path], digits: Any, model: str
) -> None:
    record = run(planned("methods.clip=[clip_zero_shot]", model=model))["clip_zero_shot"]
    file, arrays = str(checkpoints[model]), digits.arrays()
    images = ImageTower(model, file, "cpu")(np.array(arrays.test_x)).astype(np.float64)
    text = encode_text(model, file, [f"a photo of a {n}" for n in digits.facts().class_names]).astype(np.float64)
    expected = [[100 * (x @ t) / np.sqrt((x @ x) * (t @ t)) for t in text] for x in images]
    np.testing.assert_allclose(logits(record), expected, rtol=2e-3, atol=0.02)  # stored as float16


def test_mixing_acts_on_the_images_the_tower_sees(planned: Callable[..., Planned], monkeypatch: Any) -> None:
    """The paper mixes after augmentation, resizing and normalisation (shape and statistics of the tower)."""
    seen: list[torch.Tensor] = []
    mix = REGISTRY.get("mixup").mix

    def watched(self: Any, x: torch.Tensor, y: torch.Tensor, now: Any) -> Any:
        seen.append(x)
        return mix(self, x, y, now)

    monkeypatch.setattr(REGISTRY.get("mixup"), "mix", watched)
    plan, _, site = planned("methods.clip=[mixup]", "protocol.reference=mixup")
    monkeypatch.setattr("ltbench.training.assemble.Registry", lambda folder: REGISTRY)
    assert run_trial(plan.trials[0], site).status == "ok"
    assert seen[0].shape == (32, 3, 16, 16)
    black = (0 - 0.48145466) / 0.26862954
    assert float(seen[0][:, 0].min()) == pytest.approx(black, abs=1e-5)


def test_in_bf16_the_head_keeps_its_digits(planned: Callable[..., Planned]) -> None:
    """Cosines that were rounded to bfloat16 would be off by up to 0.2 at a scale of 100, and many of them equal."""
    record = run(planned("recipes.clip.precision=bf16", "methods.clip=[clip_zero_shot]"))["clip_zero_shot"]
    found = logits(record).astype(np.float32)
    assert len(np.unique(torch.from_numpy(found).bfloat16().float().numpy())) < 0.5 * len(np.unique(found))


@pytest.mark.parametrize("row", ["crt: {classifier_share: 0.5}", "clip_linear_probe", "tgm_clip: {}", "ce"])
def test_an_interrupted_trial_on_a_tower_ends_as_an_undisturbed_one(
    planned: Callable[..., Planned], tmp_path: Path, row: str
) -> None:
    """A second stage on cached features must not be served those of the tower before it was restored."""
    plan, _, site = planned(f"methods.clip=[{row}]", "protocol.reference=null", "recipes.clip.epochs=3")
    undisturbed = run_trial(plan.trials[0], site)
    (tmp_path / "checkpoints").mkdir()
    resumable = dataclasses.replace(site, checkpoints=tmp_path / "checkpoints", checkpoint_seconds=1000.0)
    asked = 0
    for stop_after in (9, 23, 10**6):

        def stop(limit: int = stop_after) -> bool:
            nonlocal asked
            asked += 1
            return asked >= limit

        asked = 0
        with contextlib.suppress(Stopped):
            record = run_trial(plan.trials[0], resumable, stop=stop)
    assert record.environment["resumed"] == 2
    assert "checkpoint_messages" not in record.environment
    assert record.numbers() == undisturbed.numbers()


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("row", ["crt: {classifier_share: 0.5}", "clip_linear_probe", "ce"])
def test_what_another_trial_trained_on_a_tower_gives_the_same_numbers(
    planned: Callable[..., Planned], tmp_path: Path, row: str, cached: bool
) -> None:
    """The other one is the same trial once more: a tower that was trained and one that was not, with features that are
    kept and without."""
    plan, _, site = planned(f"methods.clip=[{row}]", "protocol.reference=null", "recipes.clip.epochs=3")
    spec, place = plan.trials[0], tmp_path / "checkpoints"
    place.mkdir()
    site = dataclasses.replace(site, cache_features=cached)
    alone = run_trial(spec, site)
    shared = dataclasses.replace(site, checkpoints=place, shared={spec.key: "a" * 12})
    trainer = run_trial(spec, shared)
    discard(place, spec.key)
    taker = run_trial(spec, shared)
    assert "trained_by" not in trainer.environment
    assert taker.environment["trained_by"] == spec.key
    assert trainer.numbers() == taker.numbers() == alone.numbers()
    assert trainer.predictions == taker.predictions == alone.predictions


def test_curves_on_a_hold_out_are_drawn_on_a_tower(planned: Callable[..., Planned]) -> None:
    changes = ["protocol.holdout_per_class=4", "protocol.curves=holdout", "recipes.clip.epochs=2"]
    for record in run(planned("methods.clip=[clip_linear_probe, ce]", "protocol.reference=ce", *changes)).values():
        points = record.curves["curve/holdout_balanced_accuracy"]
        assert len(points) == 2
        assert all(0 <= value <= 100 for _, value in points)
