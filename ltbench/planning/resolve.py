"""A suite's names looked up, once, in one object that the steps of planning read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltbench.data.sources.kinds import paths_of
from ltbench.data.sources.source import Source
from ltbench.errors import Problems
from ltbench.planning.cells import cells_of, open_sources
from ltbench.planning.recipes import recipes_of
from ltbench.planning.rows import Row, chosen_of, rows_of
from ltbench.planning.texts import ClassTexts
from ltbench.registry import Registry
from ltbench.spec import Cell, Selection
from ltbench.suite import Suite


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What the names in a suite stand for on this machine.

    Attributes:
        rows: those that are wanted.
        seeds: those that are wanted.
        cells: of the data sets that are wanted.
        search_cells: of all data sets, with the hold-out of the suite's search; empty where nothing is searched.
        sources: data set -> where its images come from.
        recipes: (recipe's name, data set) -> the recipe's contents there.
        texts: where methods get the class names' vectors from.
    """

    suite: Suite
    rows: Sequence[Row]
    seeds: Sequence[int]
    cells: Sequence[Cell]
    search_cells: Sequence[Cell]
    sources: Mapping[str, Source]
    recipes: Mapping[tuple[str, str], dict[str, Any]]
    texts: ClassTexts


@dataclass(frozen=True)
class Inputs:
    """What the plan's trials need beside their specs."""

    sources: Mapping[str, Source]
    """Data set name -> source."""
    texts: Mapping[str, NDArray[np.float32]]
    """Digest -> class-name vectors; an encoder runs when they are asked for."""
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    """What stands for a tower's checkpoint in a recipe -> where it lies."""

    @property
    def paths(self) -> dict[str, str]:
        """Where things lie on this machine: data set -> folder, checkpoint in a recipe -> file."""
        return {**paths_of(self.sources), **self.checkpoints}


def resolve(suite: Suite, registry: Registry, data: Path, chosen: Selection | None = None) -> Resolved:
    """Look up what a suite names. Trains nothing and fetches nothing.

    Args:
        data: where data sets and caches lie.
        chosen: the part of the suite that is wanted; None: all of it. Data sets outside of it are not opened, unless a
            search needs them.

    Raises:
        UserError: unknown methods, hyper-parameters, backbones or selections, and unusable data, all at once; or an
            imbalance factor that the data cannot give.
    """
    chosen, search = chosen or Selection(), suite.protocol.search
    problems, rows, sources = Problems(), list[Row](), dict[str, Source]()
    with problems.kept():
        rows = rows_of(suite.methods, search, registry, chosen.methods)
    names = chosen_of([entry.name for entry in suite.datasets], chosen.datasets, "--datasets")
    wanted = [entry for entry in suite.datasets if entry.name in names]
    with problems.kept():
        sources = open_sources(suite.datasets if search else wanted, data)
    labels = chosen.methods
    groups = [group for group, entries in suite.methods.items()
              if labels is None or any(entry.label in labels for entry in entries)]  # fmt: skip
    recipes: dict[tuple[str, str], dict[str, Any]] = {}
    with problems.kept():
        recipes = recipes_of(suite.recipes, groups, sources)
    problems.raise_all()
    return Resolved(
        suite=suite,
        rows=rows,
        seeds=suite.protocol.final.all_seeds if chosen.seeds is None else chosen.seeds,
        cells=cells_of(wanted, sources, suite.protocol.holdout_per_class),
        search_cells=cells_of(suite.datasets, sources, search.holdout_per_class, "protocol.search: ") if search else [],
        sources=sources,
        texts=ClassTexts(suite.text.model_dump() if suite.text else None, suite.recipes, sources, data),
        recipes=recipes,
    )
