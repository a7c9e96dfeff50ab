"""How many images the cells of a plan hold, before one is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ltbench.data.longtail import select_cell
from ltbench.planning.resolve import Inputs
from ltbench.spec import Cell, Plan


class Sizes(NamedTuple):
    """Of one cell: training images by class, in label order; test images in all, of a search the held-out ones."""

    train: tuple[int, ...]
    test: int

    @property
    def factor(self) -> float:
        """Training images of the largest class for one of the smallest, as it came out."""
        return max(self.train) / max(1, min(self.train))

    def buckets(self, shots: Mapping[str, int]) -> tuple[int, int, int]:
        """How many classes are many-shot (more than `many` training images), medium-shot, few-shot (under `few`)."""
        many = sum(n > shots["many"] for n in self.train)
        few = sum(n < shots["few"] for n in self.train)
        return many, len(self.train) - many - few, few


FACTOR_TOLERANCE = 0.1
"""An imbalance factor that came out further from the suite's than this share is told."""


def factor_notes(plan: Plan, data: Mapping[str, Sizes]) -> list[str]:
    """Cells whose imbalance factor is not the one that was asked for: classes are whole images, and the rarest of a
    small data set have few."""
    asked = {t.cell.label: t.cell.imbalance for t in (*plan.trials, *plan.later)}
    return [
        f"{label}: the imbalance factor came out as {data[label].factor:.3g}, not {factor:g}: the smallest class has "
        f"{min(data[label].train)} images, and images are whole"
        for label, factor in asked.items()
        if factor is not None and label in data and abs(data[label].factor / factor - 1) > FACTOR_TOLERANCE
    ]


def sizes(plan: Plan, inputs: Inputs) -> dict[str, Sizes]:
    """Cell's label -> its sizes, in the order of the plan, of cells that have trials."""
    cells = {t.cell.label: t.cell for t in (*plan.trials, *plan.later)}
    return {label: size_of(cell, inputs) for label, cell in cells.items()}


def size_of(cell: Cell, inputs: Inputs) -> Sizes:
    """How many images a cell trains and tests on."""
    facts = inputs.sources[cell.dataset].facts()
    train, held = select_cell(cell, facts.train_counts)
    return Sizes(tuple(map(len, train)), sum(map(len, held)) if cell.scored_on == "holdout" else sum(facts.test_counts))
