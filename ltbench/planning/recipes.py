"""A suite's recipe as a trial's identity has it, checked against the data it is to train on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltbench.api import Method
from ltbench.data.images.policies import POLICIES
from ltbench.data.sources.source import Facts
from ltbench.errors import UserError, at
from ltbench.models import check_backbone, has_blocks, has_stages
from ltbench.models.towers import weights_of
from ltbench.planning.towers import tower_of, weights_for
from ltbench.suite import Suite


def recipe_of(suite: Suite, group: str, facts: Facts) -> dict[str, Any]:
    """The recipe's contents as a trial's identity has them: what is not used is not in it."""
    recipe = suite.recipes[group].model_dump()
    with at(f"recipes.{group}.backbone"):
        check_backbone(recipe["backbone"], facts.shape)
    if are_vectors(facts) and recipe["augment"] != "none":
        raise UserError(f"recipes.{group}.augment: feature vectors cannot be augmented; take `augment: none`")
    _check_augment(f"recipes.{group}.augment", recipe["augment"], facts)
    recipe["precision"] = resolve_precision(recipe["precision"])
    tower = tower_of(suite.recipes[group], f"recipes.{group}")
    weights = weights_for(suite.recipes[group], f"recipes.{group}")
    for key in ("pretrained", "trainable", "image_size", "interpolation"):
        del recipe[key]
    if weights is not None:
        recipe["weights"] = weights
        if recipe["pretraining"] == "none":
            recipe["pretraining"] = f"torchvision {weights_of(weights)}"
    if tower is not None:
        recipe["tower"] = tower
        if recipe["pretraining"] == "none":
            recipe["pretraining"] = f"open_clip {weights_of(tower)}"
    if recipe["compile"] == "none":
        del recipe["compile"]
    if recipe["head"] == "linear":
        del recipe["head"], recipe["logit_scale"]
    if recipe["pretraining"] == "none":
        del recipe["pretraining"]
    return recipe


def _check_augment(place: str, augment: str, facts: Facts) -> None:
    """Raise UserError for an augmentation that these images cannot have."""
    if facts.streams and augment in ("crop", "crop_flip", *POLICIES):
        raise UserError(f"{place}: {augment!r} pads small images; images of {facts.shape[0]} pixels are streamed and "
                        f"take none, flip, resized_crop_flip or resized_crop_flip_jitter")  # fmt: skip
    if not facts.streams and augment.startswith("resized_crop"):
        raise UserError(f"{place}: {augment!r} is for images that are streamed; these are packed at {facts.shape[0]} "
                        f"pixels and take none, flip, crop, crop_flip, {', '.join(POLICIES)}")  # fmt: skip


def are_vectors(facts: Facts) -> bool:
    """Whether the data are feature vectors and not images."""
    return facts.shape[:2] == (1, 1)


def misfit(cls: type[Method], recipe: Mapping[str, Any]) -> str:
    """Why a method cannot run under a recipe, if it cannot."""
    if "clip" in cls.needs and "head" not in recipe:
        return "needs class-name vectors in one space with the features: a recipe with `head: text`"
    if "linear_head" in cls.needs and "head" in recipe:
        return "needs a linear head; this recipe has `head: text`"
    if "blocks" in cls.needs and not has_blocks(recipe["backbone"]):
        return f"needs transformer blocks to put adapters into; the backbone {recipe['backbone']} has none"
    if "stages" in cls.needs and not has_stages(recipe["backbone"]):
        return f"needs a backbone in stages, the last of which its experts have each; {recipe['backbone']} has none"
    return ""


def resolve_precision(wanted: str) -> str:
    """`auto` becomes bf16 where this machine multiplies bfloat16 natively, else fp32; recorded as what it became."""
    if wanted != "auto":
        return wanted
    import torch

    if torch.cuda.is_available():
        return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp32"
    native = (
        getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
        or getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    )
    return "bf16" if native else "fp32"
