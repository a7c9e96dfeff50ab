"""How many images the cells of a plan hold, before one is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ltbench.data.longtail import select_cell
from ltbench.planning.inputs import Inputs
from ltbench.spec import Cell, Plan


class Sizes(NamedTuple):
    """Of one cell: training images by class, in label order; test images in all, of a search the held-out ones."""

    train: tuple[int, ...]
    test: int

    def buckets(self, shots: Mapping[str, int]) -> tuple[int, int, int]:
        """How many classes are many-shot (more than `many` training images), medium-shot, few-shot (under `few`)."""
        many = sum(n > shots["many"] for n in self.train)
        few = sum(n < shots["few"] for n in self.train)
        return many, len(self.train) - many - few, few


def sizes(plan: Plan, inputs: Inputs) -> dict[str, Sizes]:
    """Cell's label -> its sizes, in the order of the plan, of cells that have trials."""
    cells = {t.cell.label: t.cell for t in (*plan.trials, *plan.later)}
    return {label: size_of(cell, inputs) for label, cell in cells.items()}


def size_of(cell: Cell, inputs: Inputs) -> Sizes:
    """How many images a cell trains and tests on."""
    facts = inputs.sources[cell.dataset].facts()
    train, held = select_cell(cell, facts.train_counts)
    return Sizes(tuple(map(len, train)), sum(map(len, held)) if cell.scored_on == "holdout" else sum(facts.test_counts))
