"""What a trial cost, from the facts in its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltbench.spec.validation import is_number

NAMES = (
    "optimizer_steps", "images_read", "images_per_example", "views_per_image", "forward_passes", "backward_passes",
    "passes_per_step", "parameters", "trained_parameters", "gpu_hours", "cpu_hours",
)  # fmt: skip
"""What is told of a trial's cost, where it is known."""
MARKED = 1.05
"""From this factor on a row reads more images for an example, or passes more often in a step, than plain training."""


def budget_of(environment: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, float]:
    """The costs that a record's environment tells, and the views of an image that its method trains on.

    Hours are those by the clock, start-up included, times the share of a GPU or the CPUs that the trial held. Training
    that another trial did counts as if it were its own.
    """
    found = {name: float(environment[name]) for name in NAMES if name in environment and is_number(environment[name])}
    if "views" in recipe or "optimizer_steps" in found:
        found["views_per_image"] = 1.0 + len(recipe.get("views", ()))
    seconds, shared = environment.get("seconds"), environment.get("shared_seconds", 0.0)
    if is_number(seconds) and is_number(shared):
        on_gpu = environment.get("device_kind") == "cuda"
        held = environment.get("gpu_share" if on_gpu else "threads", 1.0)
        hours = (float(seconds or 0.0) + shared) / 3600 * (float(held) if is_number(held) and held else 1.0)
        found["gpu_hours" if on_gpu else "cpu_hours"] = hours
    return found


def factors_of(budget: Mapping[str, float]) -> list[str]:
    """`2x images`, `2x views`, `2x passes`: by how much a row reads or passes more than plain training in a step."""
    named = {"images_per_example": "images", "views_per_image": "views", "passes_per_step": "passes"}
    return [f"{budget[name]:.2g}x {what}" for name, what in named.items() if budget.get(name, 1.0) >= MARKED]
