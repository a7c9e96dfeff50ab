"""What a plan has to know of pre-trained models: which one a recipe means, and which text belongs to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltbench.errors import UserError
from ltbench.models import BACKBONES
from ltbench.models.text import NoText, TextVectors
from ltbench.models.towers import NAMED, is_tower, weights_of
from ltbench.suite import Recipe

_OWN = ("image_size", "interpolation")
"""Keys of a recipe that are for image towers alone."""


def tower_of(recipe: Recipe, place: str) -> dict[str, Any] | None:
    """The description of a recipe's image tower (models/towers.py); None for other backbones. Fetches nothing.

    Raises:
        UserError: unknown architecture or tag, or a key that has no effect.
    """
    if not is_tower(recipe.backbone):
        for key in _OWN:
            if getattr(recipe, key) is not None:
                raise UserError(f"{place}.{key}: has no effect with backbone {recipe.backbone!r}, which is no image "
                                f"tower; remove it, or take one: {', '.join(NAMED)}, open_clip:NAME")  # fmt: skip
        return None
    if recipe.pretrained is None and recipe.backbone not in NAMED:
        raise UserError(f"{place}.pretrained: is missing: a tag of {recipe.backbone!r}, or a checkpoint's path")
    from ltbench.models.clip import describe

    return describe(recipe.backbone, recipe.pretrained or "openai", recipe.image_size, recipe.interpolation, place)


def weights_for(recipe: Recipe, place: str) -> dict[str, str] | None:
    """The description of the pre-trained weights of a recipe's network (models/weights.py); None: from scratch, or an
    image tower. Fetches nothing.

    Raises:
        UserError: `pretrained` is neither a file nor a tag, or the backbone takes none.
    """
    partly = recipe.trainable != "all"
    if partly and (recipe.pretrained is None or is_tower(recipe.backbone)):
        raise UserError(f"{place}.trainable: {recipe.trainable!r} is for networks of torchvision with `pretrained:` "
                        f"weights; remove it, or name some")  # fmt: skip
    if recipe.pretrained is None or is_tower(recipe.backbone):
        return None
    if recipe.backbone in BACKBONES:
        raise UserError(f"{place}.pretrained: has no effect with backbone {recipe.backbone!r}, which is trained from "
                        f"scratch; remove it, or take a network of torchvision or an image tower: "
                        f"{', '.join(NAMED)}, open_clip:NAME")  # fmt: skip
    from ltbench.models.weights import describe_weights

    weights = describe_weights(recipe.backbone, recipe.pretrained, f"{place}.pretrained")
    if not partly:
        return weights
    import torch

    from ltbench.models.torchvision import build

    with torch.device("meta"):  # only to see whether it can be done
        build(recipe.backbone, (224, 224, 3), None, recipe.trainable)
    return {**weights, "trainable": recipe.trainable}


def text_config(config: Mapping[str, Any] | None, recipe: Recipe) -> Mapping[str, Any] | None:
    """The suite's `text:` as it is for a recipe: `encoder: tower` is the text tower of the recipe's own model.

    Raises:
        NoText: the recipe's backbone has none.
    """
    if config is None or config["encoder"] != "tower":
        return config
    if not is_tower(recipe.backbone):
        raise NoText(f"`encoder: tower`, but the backbone {recipe.backbone} has no text tower beside it")
    return {**config, "encoder": "open_clip", "model": recipe.backbone, "pretrained": recipe.pretrained or "openai"}


def refuse_other_text(tower: Mapping[str, Any], text: TextVectors, group: str) -> None:
    """Cosines between an image and a name mean something only if both towers were trained together.

    Raises:
        UserError: the class names' vectors are of another model, or not of the length of the features.
    """
    cure = "take `text: {encoder: tower}`"
    if text.model is not None and weights_of(text.model) != weights_of(tower):
        raise UserError(f"recipes.{group}.head: the image tower is {weights_of(tower)}, but the class names' vectors "
                        f"are of {weights_of(text.model)}: {cure}")  # fmt: skip
    if text.dim != tower["dim"]:
        raise UserError(f"recipes.{group}.head: the features of {weights_of(tower)} have {tower['dim']} numbers, the "
                        f"class names' vectors ({text.origin}) {text.dim}: {cure}")  # fmt: skip


def refuse_without_weights(towers: Mapping[str, Mapping[str, Any]], paths: Mapping[str, str]) -> None:
    """Raises UserError where the weights of a tower are not on this machine and cannot be fetched."""
    for tower in towers.values():
        if problem := missing(tower, paths):
            raise UserError(problem)


def missing(tower: Mapping[str, Any], paths: Mapping[str, str]) -> str | None:
    """Why the weights of a tower, or of a network of torchvision, cannot be had on this machine, fetching them if need
    be; None: they can."""
    if "file" in tower:
        from ltbench.models import weights

        return weights.unavailable(tower, paths.get(tower["pretrained"]))
    from ltbench.models.clip import unavailable

    return unavailable(tower, paths.get(tower["pretrained"]))
