"""Features of a tower that is not trained are kept: the same numbers, and the tower runs once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ltbench.api import Method, Moment, Task
from ltbench.models.towers import Preparation
from ltbench.parts import Classifier
from ltbench.planning.planner import make_plan
from ltbench.planning.resolve import resolve
from ltbench.suite.load import load_suite
from ltbench.training.frozen import FrozenFeatures
from ltbench.training.site import Site
from ltbench.training.trial import run_trial
from tests.data.made import small_lists
from tests.models.towers import REGISTRY, SUITE, Planned, logits, run
from tests.sampling import sampled

HEADS = "methods.clip=[clip_zero_shot, clip_linear_probe, crt]"


@sampled(
    "model, precision",
    product(["tiny-vit-tower", "tiny-rn-tower"], ["fp32", "bf16"]),
    [("tiny-vit-tower", "fp32"), ("tiny-rn-tower", "bf16")],
)
def test_numbers_with_and_without_the_cache_agree(
    planned: Callable[..., Planned], tmp_path: Path, model: str, precision: str
) -> None:
    tried = planned(HEADS, f"recipes.clip.precision={precision}", "recipes.clip.epochs=2", model=model)
    plain = run(tried, cache_features=False)
    kept = run(tried)
    for name, record in kept.items():
        found, expected = logits(record).astype(np.float64), logits(plain[name]).astype(np.float64)
        tolerance = 0.03 if precision == "fp32" else 0.5  # logits of some tens, stored as float16; bf16 has eight bits
        np.testing.assert_allclose(found, expected, atol=tolerance)


def test_frozen_stages_run_the_tower_once_for_all_trials(
    planned: Callable[..., Planned], passes: list[int], tmp_path: Path
) -> None:
    plan, inputs, site = planned(HEADS, "recipes.clip.epochs=3", "methods.clip=[clip_linear_probe, clip_zero_shot]")
    site = dataclasses.replace(site, data=tmp_path / "fresh")
    images = 2 * sum(inputs.sources["digits"].facts().test_counts)
    first = [run_trial(t, site).numbers() for t in plan.trials]
    train = sum(passes) - images // 2
    assert 0 < train < 600, "every training image once, every test image once, for both trials"
    passes.clear()
    assert [run_trial(t, site).numbers() for t in plan.trials] == first
    assert passes == [], "all of it was kept"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Preparation, "__call__", lambda self, pixels: pytest.fail("images were read and resized"))
        assert [run_trial(t, site).numbers() for t in plan.trials] == first
    for shard in (tmp_path / "fresh" / "towers").rglob("*.npy"):
        shard.write_bytes(b"damaged")
    assert [run_trial(t, site).numbers() for t in plan.trials] == first


@pytest.mark.parametrize(
    ("row", "changes"),
    [("ce", []), ("mixup", []), ("clip_linear_probe", ["recipes.clip.augment=flip"])],
)
def test_what_trains_the_tower_or_alters_images_reads_images(
    planned: Callable[..., Planned], passes: list[int], row: str, changes: list[str]
) -> None:
    plan, _, site = planned(f"methods.clip=[{row}]", f"protocol.reference={row}", *changes)
    assert run_trial(plan.trials[0], site).status == "ok"
    assert passes.count(32) >= 3


def test_a_tower_that_was_trained_is_not_taken_for_the_loaded_one(
    planned: Callable[..., Planned], tmp_path: Path
) -> None:
    """cRT trains the tower first: its second stage and the test pass must see the trained one."""
    tried = planned("methods.clip=[crt]", "protocol.reference=crt", "recipes.clip.epochs=4")
    run(planned("methods.clip=[clip_linear_probe]", "protocol.reference=clip_linear_probe"))  # fills the cache
    with_cache, without = run(tried)["crt"], run(tried, cache_features=False)["crt"]
    np.testing.assert_allclose(logits(with_cache), logits(without), atol=0.05)


def test_a_folder_that_cannot_be_written_costs_time_and_nothing_else(
    planned: Callable[..., Planned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = planned("methods.clip=[clip_linear_probe]", "protocol.reference=clip_linear_probe")
    expected = run(tried)["clip_linear_probe"].numbers()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ltbench.training.frozen.keep", full)
    monkeypatch.setattr("ltbench.training.frozen.kept", lambda file: None)
    assert run(tried)["clip_linear_probe"].numbers() == expected


@pytest.mark.parametrize("row", ["clip_linear_probe", "tgm_clip: {}", "lift: {}"])
def test_towers_read_streamed_images_with_and_without_the_cache(
    checkpoints: dict[str, Path], tmp_path: Path, row: str
) -> None:
    text = SUITE.replace("WEIGHTS", str(checkpoints["tiny-vit-tower"]))
    root = small_lists(tmp_path / "images")
    data = f"[{{name: made, kind: lists, path: {root}, size: 24, stream: true, profile: native}}]"
    file = tmp_path / "suite.yaml"
    file.write_text(text.replace("[{name: digits, imbalance: [20]}]", data))
    changes = [f"methods.clip=[{row}]", "protocol.reference=null", "recipes.clip.batch_size=8", "recipes.clip.epochs=2"]
    plan, inputs = make_plan(resolve(load_suite(str(file), changes), REGISTRY, tmp_path / "data"))
    site = Site(tmp_path / "data", paths=inputs.paths, texts=inputs.texts, device="cpu", threads=1)
    with_cache, without = (run((plan, inputs, site), cache_features=c) for c in (True, False))
    for name, record in with_cache.items():
        np.testing.assert_allclose(logits(record), logits(without[name]), atol=0.03)


STREAMED = """
suite: streamed
text: {encoder: tower}
datasets: [{name: mine, kind: lists, path: IMAGES, size: 16, resize: 16, interpolation: bicubic}]
recipes:
  clip:
    backbone: open_clip:tiny-vit-tower
    pretrained: WEIGHTS
    head: text
    epochs: 2
    batch_size: 8
    optimizer: {name: sgd, lr: 0.01, momentum: 0.9}
methods: {clip: [clip_zero_shot, clip_linear_probe, tgm_clip, ce]}
protocol: {reference: ce, final: {seeds: [0]}}
"""


def test_towers_read_streamed_images_with_and_without_kept_features(
    checkpoints: dict[str, Path], tmp_path: Path, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ltbench.data.images import pictures

    file, root = tmp_path / "suite.yaml", small_lists(tmp_path / "root")
    file.write_text(STREAMED.replace("IMAGES", str(root)).replace("WEIGHTS", str(checkpoints["tiny-vit-tower"])))
    plan, inputs = make_plan(resolve(load_suite(str(file)), REGISTRY, tmp_path))
    site = Site(tmp_path, paths=inputs.paths, texts=inputs.texts, device="cpu", threads=1, decoded_cache=False)
    decoded: list[Path] = []
    whole = pictures.whole
    monkeypatch.setattr(pictures, "whole", lambda file, *how: decoded.append(file) or whole(file, *how))
    kept = run((plan, inputs, site))
    asked = len(passes)
    decoded.clear()
    again = run((plan, inputs, site))
    assert {k: r.numbers() for k, r in kept.items()} == {k: r.numbers() for k, r in again.items()}
    of_test = [file for file in decoded if "/test/" in str(file)]
    assert len(of_test) == 2 * 9, "two methods train the tower and read the test images; of the others all is kept"
    plain = run((plan, inputs, site), cache_features=False)
    assert len(passes) - asked > asked
    for label, record in plain.items():
        np.testing.assert_allclose(logits(kept[label]), logits(record), atol=2e-3, err_msg=label)


def test_a_method_with_a_forward_of_its_own_gets_images() -> None:
    """What it looks at may be more than the head gives for features."""

    class Looks(Method):
        """Its own forward."""

        def forward(self, model: Classifier, x: torch.Tensor, now: Moment) -> Any:
            return model(x)

    model = Classifier(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.head.parameters(), lr=0.1)
    recipe = {"tower": {"name": "x"}, "precision": "fp32", "augment": "none"}
    features = FrozenFeatures(model, recipe, None, torch.device("cpu"))
    images: Any = object()
    task = Task(np.array([0, 1]), ["a", "b"])
    assert features.serve(model, Method(task), optimizer, images)[0] is not model
    assert features.serve(model, Looks(task), optimizer, images) == (model, images)
