"""What a plan has to know of pre-trained models: which text belongs to one, and whether its weights can be had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltbench.errors import UserError
from ltbench.models.text import NoText
from ltbench.models.towers import is_tower
from ltbench.suite import Recipe


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
