"""Class-name vectors of a suite, made when a method first asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltbench.data.sources.source import Source
from ltbench.models.text import NoText, TextVectors, text_of_source, text_vectors
from ltbench.planning.towers import text_config
from ltbench.suite import Suite


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
        folder: where data sets, caches and encoders lie.
    """

    def __init__(self, suite: Suite, folder: Path) -> None:
        self._config = suite.text.model_dump() if suite.text else None
        self._folder, self._recipes = folder, suite.recipes
        self._found: dict[tuple[str, str], TextVectors | NoText] = {}
        self.used = LazyVectors()
        """The vectors that methods asked for."""

    def of(self, dataset: str, source: Source, recipe: str) -> TextVectors:
        """The vectors of a data set's class names, as a recipe wants them.

        Raises:
            NoText: there are none, and why.
        """
        key = (dataset, recipe)
        if key not in self._found:
            facts = source.facts()
            names = facts.class_names
            try:
                config = text_config(self._config, self._recipes[recipe])
                if config is not None and config["encoder"] not in ("dataset", "file") and not facts.named:
                    raise NoText(f"the classes of {dataset} have numbers only; {source.unnamed}")
                if config is not None and config["encoder"] == "dataset":
                    self._found[key] = text_of_source(source.text(), dataset)
                else:
                    self._found[key] = text_vectors(config, dataset, names, self._folder, later=True)
            except NoText as error:
                self._found[key] = error
        found = self._found[key]
        if isinstance(found, NoText):
            raise found
        self.used.found[found.digest] = found
        return found
