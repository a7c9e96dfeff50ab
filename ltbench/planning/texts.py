"""Class-name vectors of a suite, made when a method first asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltbench.data.sources.source import Facts, Source
from ltbench.errors import UserError
from ltbench.models.text import NoText, TextVectors, text_of_source, text_vectors
from ltbench.models.towers import weights_of
from ltbench.planning.recipes import are_vectors
from ltbench.planning.towers import text_config
from ltbench.suite import Recipe


class LazyVectors(Mapping[str, NDArray[np.float32]]):
    """Digest -> vectors, made when they are looked up: laying out a suite runs no encoder."""

    def __init__(self) -> None:
        self.found: dict[str, TextVectors] = {}

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return self.found[name].vectors

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


class ClassTexts:
    """Class-name vectors per data set, made when a method first asks for them.

    Args:
        config: the suite's `text:`; None: there are none.
        recipes: the suite's, by name.
        sources: the data sets, by name.
        folder: where data sets, caches and encoders lie.
    """

    def __init__(
        self,
        config: dict[str, Any] | None,
        recipes: Mapping[str, Recipe],
        sources: Mapping[str, Source],
        folder: Path,
    ) -> None:
        self._config = config
        self._recipes, self._sources, self._folder = recipes, sources, folder
        self._found: dict[tuple[str, str], TextVectors | NoText] = {}
        self.used = LazyVectors()
        """The vectors that methods asked for."""

    def of(self, dataset: str, group: str, recipe: Mapping[str, Any]) -> TextVectors:
        """The vectors of a data set's class names, as a recipe wants them.

        Args:
            group: the recipe's name. recipe: its contents on this data set.

        Raises:
            NoText: there are none, and why.
            UserError: the recipe's head is made of them, and its features are of another space.
        """
        if (dataset, group) not in self._found:
            try:
                self._found[dataset, group] = self._find(self._sources[dataset], dataset, group)
            except NoText as error:
                self._found[dataset, group] = error
        found = self._found[dataset, group]
        if isinstance(found, NoText):
            raise found
        self.used.found[found.digest] = found
        if "head" in recipe:
            _refuse_other_space(found, recipe, f"recipes.{group}.head", dataset, self._sources[dataset].facts())
        return found

    def _find(self, source: Source, dataset: str, group: str) -> TextVectors:
        facts, config = source.facts(), text_config(self._config, self._recipes[group])
        if config is not None and config["encoder"] not in ("dataset", "file") and not facts.named:
            raise NoText(f"the classes of {dataset} have numbers only; {source.unnamed}")
        if config is not None and config["encoder"] == "dataset":
            return text_of_source(source.text(), dataset)
        return text_vectors(config, dataset, facts.class_names, self._folder, later=True)


def _refuse_other_space(text: TextVectors, recipe: Mapping[str, Any], place: str, dataset: str, facts: Facts) -> None:
    """Vectors that are the head of a model must come from the same space as its features: cosines between an image and
    a name mean something only if both towers were trained together.

    Raises:
        UserError: they are of another model, or not of the length of the features.
    """
    if are_vectors(facts) and text.dim != facts.shape[2]:
        raise UserError(
            f"{place}: the features of {dataset} have {facts.shape[2]} numbers, the class names' vectors "
            f"({text.origin}) {text.dim}: take the text tower of the same model"
        )
    if "tower" not in recipe:
        return
    tower, cure = recipe["tower"], "take `text: {encoder: tower}`"
    if text.model is not None and weights_of(text.model) != weights_of(tower):
        raise UserError(f"{place}: the image tower is {weights_of(tower)}, but the class names' vectors are of "
                        f"{weights_of(text.model)}: {cure}")  # fmt: skip
    if text.dim != tower["dim"]:
        raise UserError(f"{place}: the features of {weights_of(tower)} have {tower['dim']} numbers, the class names' "
                        f"vectors ({text.origin}) {text.dim}: {cure}")  # fmt: skip
