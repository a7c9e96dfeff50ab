"""A suite's recipe as a trial's identity has it, checked against the data it is to train on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ltbench.data.images.policies import POLICIES
from ltbench.data.sources.source import Facts, Source
from ltbench.errors import Problems, UserError, at
from ltbench.models import BACKBONES, check_backbone, code_of
from ltbench.models.towers import NAMED, TIMM, is_tower, weights_of
from ltbench.suite import Recipe

_OF_TOWERS = ("image_size", "interpolation")
"""Keys of a recipe that are for image towers alone."""


def recipes_of(
    recipes: Mapping[str, Recipe], groups: Iterable[str], sources: Mapping[str, Source]
) -> dict[tuple[str, str], dict[str, Any]]:
    """(Recipe's name, data set) -> the contents of the recipe on that data set.

    Args:
        groups: the names of the recipes that are wanted. sources: the data sets.

    Raises:
        UserError: a recipe does not fit a data set, or is wrong in itself.
    """
    found, problems, names = {}, Problems(), dict.fromkeys(groups)
    for data in sources:
        for name in names:
            with problems.kept():
                found[name, data] = recipe_of(recipes[name], name, sources[data].facts())
    problems.raise_all()
    return found


def recipe_of(written: Recipe, name: str, facts: Facts) -> dict[str, Any]:
    """A recipe's contents as a trial's identity has them: what is not used is not in it.

    Raises:
        UserError: it does not fit the data, or is wrong in itself.
    """
    place, recipe = f"recipes.{name}", written.model_dump()
    _check_augment(f"{place}.augment", recipe["augment"], facts)
    with at(f"{place}.backbone"):
        check_backbone(recipe["backbone"], facts.shape)
        code = code_of(recipe["backbone"])
    _check_views(f"{place}.views", recipe, facts)
    recipe["precision"] = resolve_precision(recipe["precision"])
    pretrained = _pretrained(written, place)
    for key in ("pretrained", "trainable", "image_size", "interpolation"):
        del recipe[key]
    for kind, model in pretrained.items():
        recipe[kind] = model
        if recipe["pretraining"] == "none":
            named = weights_of(model)
            library = "open_clip " if kind == "tower" else "" if named.startswith(TIMM) else "torchvision "
            recipe["pretraining"] = library + named
    if recipe["compile"] == "none":
        del recipe["compile"]
    if recipe["head"] == "linear":
        del recipe["head"], recipe["logit_scale"]
    if recipe["pretraining"] == "none":
        del recipe["pretraining"]
    if code is not None:
        recipe["backbone_code"] = code
    if not recipe["views"]:
        del recipe["views"]
    return recipe


def _check_augment(place: str, augment: str, facts: Facts) -> None:
    """Raise UserError for an augmentation that these images cannot have."""
    if are_vectors(facts) and augment != "none":
        raise UserError(f"{place}: feature vectors cannot be augmented; take `augment: none`")
    if facts.streams and augment in ("crop", "crop_flip", *POLICIES):
        raise UserError(f"{place}: {augment!r} pads small images; images of {facts.shape[0]} pixels are streamed and "
                        f"take none, flip, resized_crop_flip or resized_crop_flip_jitter")  # fmt: skip
    if not facts.streams and augment.startswith("resized_crop"):
        raise UserError(f"{place}: {augment!r} is for images that are streamed; these are packed at {facts.shape[0]} "
                        f"pixels and take none, flip, crop, crop_flip, {', '.join(POLICIES)}")  # fmt: skip


def _check_views(place: str, recipe: Mapping[str, Any], facts: Facts) -> None:
    """Raise UserError for further views that these images cannot have."""
    if recipe["views"] and are_vectors(facts):
        raise UserError(f"{place}: feature vectors have one view; remove it")
    for augment in recipe["views"]:
        _check_augment(place, augment, facts)
        if facts.streams and ("crop" in augment) != ("crop" in recipe["augment"]):
            raise UserError(f"{place}: {augment!r} does not go with `augment: {recipe['augment']}`; where images are "
                            f"streamed, either all views are random crops or none is")  # fmt: skip


def seen_by(views: Sequence[int], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe of a method that trains on these views of an image (Method.views): `augment` is the first one's, and
    `views`, where there are more, lists those of the others."""
    given = [recipe["augment"], *recipe.get("views", ())]
    first, *further = (given[min(view, len(given) - 1)] for view in views)
    rest = {key: value for key, value in recipe.items() if key != "views"}
    return {**rest, "augment": first, **({"views": further} if further else {})}


def _pretrained(recipe: Recipe, place: str) -> dict[str, dict[str, Any]]:
    """The description of a recipe's image tower (models/towers.py) as `tower`, or of the pre-trained weights of its
    network (models/weights.py) as `weights`; nothing for a network from scratch. Fetches nothing.

    Raises:
        UserError: unknown architecture, tag or file, or a key that has no effect.
    """
    backbone, pretrained, partly = recipe.backbone, recipe.pretrained, recipe.trainable != "all"
    if partly and (pretrained is None or is_tower(backbone)):
        raise UserError(f"{place}.trainable: {recipe.trainable!r} is for networks of torchvision with `pretrained:` "
                        f"weights; remove it, or name some")  # fmt: skip
    if is_tower(backbone):
        if pretrained is None and backbone not in NAMED:
            raise UserError(f"{place}.pretrained: is missing: a tag of {backbone!r}, or a checkpoint's path")
        from ltbench.models.clip import describe

        return {"tower": describe(backbone, pretrained or "openai", recipe.image_size, recipe.interpolation, place)}
    for key in _OF_TOWERS:
        if getattr(recipe, key) is not None:
            raise UserError(f"{place}.{key}: has no effect with backbone {backbone!r}, which is no image tower; "
                            f"remove it, or take one: {', '.join(NAMED)}, open_clip:NAME")  # fmt: skip
    if pretrained is None:
        return {}
    if backbone in BACKBONES or code_of(backbone) is not None:
        raise UserError(f"{place}.pretrained: has no effect with backbone {backbone!r}, which is trained from "
                        f"scratch; remove it, or take a network of torchvision or an image tower: "
                        f"{', '.join(NAMED)}, open_clip:NAME")  # fmt: skip
    from ltbench.models.weights import describe_weights

    weights = describe_weights(backbone, pretrained, f"{place}.pretrained")
    if not partly:
        return {"weights": weights}
    import torch

    if backbone.startswith(TIMM):
        raise UserError(f"{place}.trainable: {recipe.trainable!r} is for residual networks of torchvision; remove it")
    from ltbench.models.torchvision import build

    with torch.device("meta"):  # only to see whether it can be done
        build(backbone, (224, 224, 3), None, recipe.trainable)
    return {"weights": {**weights, "trainable": recipe.trainable}}


def are_vectors(facts: Facts) -> bool:
    """Whether the data are feature vectors and not images."""
    return facts.shape[:2] == (1, 1)


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
