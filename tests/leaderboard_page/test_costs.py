"""What the page says of what a row costs, where no other test says it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from ltbench.metric_names import COSTS
from ltbench.training.trial import run_trial
from tests.models.towers import Planned
from tests.ranking.made import board_of, drawn, records


def test_of_kept_features_the_passes_are_those_of_the_head(
    planned: Callable[..., Planned], passes: list[int], tmp_path: Path
) -> None:
    row = "clip_linear_probe"
    plan, inputs, site = planned("recipes.clip.epochs=3", f"methods.clip=[{row}]", f"protocol.reference={row}")
    record = run_trial(plan.trials[0], dataclasses.replace(site, data=tmp_path / "fresh"))
    assert record.status == "ok", record.error
    images = sum(record.per_class["train_images"])
    assert sum(passes) == images + sum(inputs.sources["digits"].facts().test_counts), "each image once"
    found = record.environment
    assert found["forward_passes"] == found["backward_passes"] == found["optimizer_steps"]
    assert found["optimizer_steps"] * plan.trials[0].recipe["batch_size"] == pytest.approx(3 * images, rel=0.3)


def test_the_report_has_the_costs() -> None:
    counted = {"optimizer_steps": 40, "images_read": 1280, "passes_per_step": 1.0}
    kept = [dataclasses.replace(r, environment={**r.environment, **counted}) for r in records(seeds=2)]
    (figure,) = (figure for figure in drawn(board_of(kept), kept) if figure.name == "cost")
    for name, value in counted.items():
        assert set(figure.data[COSTS[name].title]) == {value}
