"""A row on a cell, as a trial; or why it cannot run there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltbench.data.sources.source import Facts
from ltbench.errors import UserError
from ltbench.models.text import NoText, TextVectors
from ltbench.planning.cells import SuiteData
from ltbench.planning.recipes import are_vectors, misfit, recipe_of
from ltbench.planning.rows import Row
from ltbench.planning.texts import ClassTexts
from ltbench.planning.towers import refuse_other_text
from ltbench.registry import fingerprint
from ltbench.spec import Cell, Skip, TrialSpec
from ltbench.suite import Suite


class TrialPlanner:
    """Rows on cells, as trials.

    Args:
        texts: where methods get the class names' vectors from.
    """

    def __init__(self, suite: Suite, datasets: SuiteData, texts: ClassTexts) -> None:
        self._suite, self._datasets, self.texts = suite, datasets, texts

    def trial_of(self, cell: Cell, row: Row) -> TrialSpec | Skip:
        """A row on a cell, with the seed left at 0; or why it cannot run there.

        Raises:
            UserError: the recipe does not fit the data.
        """
        suite, source = self._suite, self._datasets.source(cell.dataset)
        facts = source.facts()
        recipe = recipe_of(suite, row.recipe, facts)
        if reason := misfit(row.method, recipe):
            return Skip(label=row.label, cell=cell, reason=reason)
        vectors = None
        if "text" in row.method.needs or "head" in recipe:
            try:
                vectors = self.texts.of(cell.dataset, source, row.recipe)
            except NoText as error:
                cure = "" if "text" in row.method.needs else f"; `recipes.{row.recipe}.head: linear` needs none"
                return Skip(label=row.label, cell=cell, reason=f"needs class-name vectors: {error}{cure}")
            if "head" in recipe:
                _refuse_misfit(row.recipe, recipe, cell, facts, vectors)
        return TrialSpec(
            suite=suite.suite,
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
            shots=suite.protocol.shots.model_dump(),
            curves=suite.protocol.curves,
        )


def _refuse_misfit(group: str, recipe: Mapping[str, Any], cell: Cell, facts: Facts, vectors: TextVectors) -> None:
    """Class-name vectors that are the head of a model must come from the same space as its features."""
    if are_vectors(facts) and vectors.dim != facts.shape[2]:
        raise UserError(
            f"recipes.{group}.head: the features of {cell.dataset} have {facts.shape[2]} numbers, the class names' "
            f"vectors ({vectors.origin}) {vectors.dim}: take the text tower of the same model"
        )
    if "tower" in recipe:
        refuse_other_text(recipe["tower"], vectors, group)
