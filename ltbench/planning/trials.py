"""A row on a cell, as a trial; or why it cannot run there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltbench.api import Method
from ltbench.models import has_blocks, has_maps, has_stages, learns_words
from ltbench.models.text import NoText
from ltbench.planning.recipes import seen_by
from ltbench.planning.resolve import Resolved
from ltbench.planning.rows import Row
from ltbench.registry import fingerprint
from ltbench.spec import Cell, Skip, TrialSpec


def trial_of(resolved: Resolved, cell: Cell, row: Row) -> TrialSpec | Skip:
    """A row on a cell, with the seed left at 0; or why it cannot run there.

    Raises:
        UserError: the class names' vectors do not fit the recipe.
    """
    recipe = seen_by(row.method.views, resolved.recipes[row.recipe, cell.dataset])
    if resolved.suite.protocol.budget != "steps":
        recipe["budget"] = resolved.suite.protocol.budget
    if reason := misfit(row.method, recipe):
        return Skip(label=row.label, cell=cell, reason=reason)
    if "holdout" in row.method.needs and cell.holdout_per_class == 0:
        reason = "fits on held-out images: `protocol.holdout_per_class` of at least 1"
        return Skip(label=row.label, cell=cell, reason=reason)
    told = resolved.suite.protocol.test_prior if "test_prior" in row.method.needs else None
    if "test_prior" in row.method.needs and told is None:
        return Skip(label=row.label, cell=cell, reason="reads the test distribution: `protocol.test_prior` declares it")
    vectors = None
    if "text" in row.method.needs or "head" in recipe:
        try:
            vectors = resolved.texts.of(cell.dataset, row.recipe, recipe)
        except NoText as error:
            cure = "" if "text" in row.method.needs else f"; `recipes.{row.recipe}.head: linear` needs none"
            return Skip(label=row.label, cell=cell, reason=f"needs class-name vectors: {error}{cure}")
    return TrialSpec(
        suite=resolved.suite.suite,
        cell=cell,
        label=row.label,
        method=row.entry.method,
        hyperparameters=row.hyperparameters,
        code=fingerprint(row.method),
        recipe_name=row.recipe,
        recipe=recipe,
        seed=0,
        text=vectors.digest if vectors else None,
        text_origin=vectors.origin if vectors else None,
        shots=resolved.suite.protocol.shots.model_dump(),
        test_prior=told,
        curves=resolved.suite.protocol.curves,
    )


def misfit(cls: type[Method], recipe: Mapping[str, Any]) -> str:
    """Why a method cannot run under a recipe, if it cannot."""
    if len(cls.views) > 1 and recipe["backbone"] == "identity":
        return f"trains on {len(cls.views)} views of every image; feature vectors have one"
    if "clip" in cls.needs and "head" not in recipe:
        return "needs class-name vectors in one space with the features: a recipe with `head: text`"
    if "words" in cls.needs and not learns_words(recipe["backbone"]):
        return f"learns words of prompts, which the text tower beside the images' reads; {recipe['backbone']} has none"
    if "linear_head" in cls.needs and "head" in recipe:
        return "needs a linear head; this recipe has `head: text`"
    if "blocks" in cls.needs and not has_blocks(recipe["backbone"]):
        return f"needs transformer blocks to put adapters into; the backbone {recipe['backbone']} has none"
    if "stages" in cls.needs and not has_stages(recipe["backbone"]):
        return f"needs a backbone in stages, the last of which its experts have each; {recipe['backbone']} has none"
    if "maps" in cls.needs and not has_maps(recipe["backbone"]):
        return f"needs a network whose stages are convolutions; {recipe['backbone']} is none"
    return ""
