"""Which results belong on a leaderboard: those of the plan and the selection, each once; the rest is counted. And where
they come from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ltbench.errors import UserError, did_you_mean
from ltbench.spec import Expectation, Result, Selection
from ltbench.spec.cell import HELD_OUT, ONE_DATASET, TESTED_ON_VAL, Column
from ltbench.spec.expectation import ExpectedSkip
from ltbench.spec.trial import recipe_digest


@dataclass(frozen=True)
class Again:
    """A trial that ran again.

    Attributes:
        holds: its record is confirmed. machine: where. when: the day.
    """

    holds: bool
    machine: str
    when: str


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What is known of the numbers that a board was made of.

    Attributes:
        file: a file of scores made elsewhere, by name: how they were trained is not known. Empty: ltbench's records.
        journal: the folder of records that completes what MLflow has; empty where all came from one place.
        only_there: keys of the trials that the journal alone has.
        stale: row -> why its results are not what today's code would give.
        again: key -> what came of a trial that `ltbench verify` ran again.
    """

    file: str = ""
    journal: str = ""
    only_there: frozenset[str] = frozenset()
    stale: Mapping[str, str] = field(default_factory=dict)
    again: Mapping[str, Again] = field(default_factory=dict)

    @property
    def elsewhere(self) -> bool:
        """The numbers were made by something else than ltbench."""
        return bool(self.file)

    def places(self, keys: Iterable[str]) -> dict[str, int]:
        """Where these trials were found -> how many; nothing where all came from one place."""
        found = Counter("journal" if key in self.only_there else "MLflow" for key in keys)
        return {"MLflow": found["MLflow"], self.journal: found["journal"]} if found["journal"] else {}


LTBENCH = Origin()
"""Records of ltbench, all from one place."""


def belonging(results: Sequence[Result], expectation: Expectation | None) -> tuple[list[Result], dict[str, int]]:
    """The results of the plan, and how many were left out for which reason."""
    if expectation is None:
        return list(results), {}
    columns = set(expectation.columns)
    left_out: Counter[str] = Counter()
    kept = []
    for r in results:
        row = expectation.rows.get(r.label)
        if r.elsewhere and row is None and r.column in columns and r.seed in expectation.protocol["seeds"]:
            kept.append(r)
        elif row is None:
            left_out["of rows that the suite no longer has"] += 1
        elif row.variant != r.variant:
            left_out["of other code, hyper-parameters or recipe than the suite's now"] += 1
        elif r.column not in columns:
            left_out["on other images than the suite's now"] += 1
        elif r.seed not in expectation.protocol["seeds"]:
            left_out["of seeds that the suite does not list"] += 1
        else:
            kept.append(r)
    return kept, dict(left_out)


def refuse_unknown(wanted: Sequence[str] | None, flag: str, known: Iterable[str]) -> None:
    """Raises UserError for the first of the names given to an option that is not known."""
    names = set(known)
    for name in wanted or ():
        if name not in names:
            raise UserError(f"{flag} {name}: not among the results. {did_you_mean(name, names)}")


def unique(results: Iterable[Result]) -> list[Result]:
    """The same result twice (a record copied beside itself) says nothing new."""
    kept: dict[str, list[Result]] = {}
    for r in results:
        if r not in kept.setdefault(r.key, []):
            kept[r.key].append(r)
    return [r for same in kept.values() for r in same]


def refuse_duplicates(results: Sequence[Result]) -> None:
    """Raises UserError for two different results of one recipe, method, column and seed."""
    seen: dict[tuple[str, str, Column, int], Result] = {}
    for r in results:
        other = seen.setdefault((r.recipe_id, r.label, r.column, r.seed), r)
        if other is not r:
            raise UserError(
                f"two results for {r.label} on {r.dataset} {r.imbalance} seed {r.seed}: {other.key} and {r.key} differ "
                f"in code or settings; name the suite, so that its own are taken, or remove one"
            )


def refuse_two_test_sets(results: Sequence[Result]) -> None:
    """Numbers on a data set's val list, or on held-out training images, are not put into one table with others.

    Raises:
        UserError: a data set has both.
    """
    for mark, what in ((TESTED_ON_VAL, "its val list"), (HELD_OUT, "held-out training images")):
        marked = {r.dataset for r in results if mark in r.imbalance}
        both = sorted({r.dataset for r in results if mark not in r.imbalance} & marked)
        if both:
            raise UserError(
                f"some results on {', '.join(both)} are of {what}, others of its test set; name the suite, so that "
                f"its own are taken, or keep them in two folders"
            )


def with_metric(results: Sequence[Result], metric: str) -> tuple[list[Result], dict[str, int]]:
    """The results on columns where some trial has the metric, or failed; how many are on others, and why they are left
    out. All of them, where no trial has it."""
    columns = {r.column for r in results if r.status == "failed" or r.metrics.get(metric) is not None}
    kept = [r for r in results if r.column in columns]
    if not kept or len(kept) == len(results):
        return list(results), {}
    others = dict.fromkeys(r.column.label for r in results if r.column not in columns)
    return kept, {f"on {', '.join(others)}, where no trial has {metric}": len(results) - len(kept)}


class RecipeKey(NamedTuple):
    """A recipe: its name in the suite, and a digest of its contents, which is empty where it has no result."""

    name: str
    digest: str


def groups(
    results: Sequence[Result], expectation: Expectation | None, selection: Selection
) -> dict[RecipeKey, list[Result]]:
    """Results by recipe; a planned recipe without any result is a group as well.

    Results of the plan's rows have the plan's recipe, whatever digest of it is kept with them: stores of earlier
    versions have another one of methods that train on several views of an image.
    """
    by_recipe: dict[RecipeKey, list[Result]] = {}
    planned = expectation.rows if expectation else {}
    contents = (expectation.recipes if expectation else None) or {}
    digests = {name: recipe_digest(recipe) for name, recipe in contents.items()}
    for r in results:
        own = r.label in planned and not r.elsewhere
        found = digests.setdefault(r.recipe_name, r.recipe_id) if own else r.recipe_id
        by_recipe.setdefault(RecipeKey(r.recipe_name, found), []).append(r)
    there = {recipe.name for recipe in by_recipe}
    for label, row in expectation.rows.items() if expectation else ():
        if row.recipe not in there and (selection.methods is None or label in selection.methods):
            by_recipe.setdefault(RecipeKey(row.recipe, ""), [])
    return by_recipe


def columns_of(results: Sequence[Result], expectation: Expectation | None, selection: Selection) -> list[Column]:
    """The columns that a recipe's results should fill: the plan's, in its order; without one, or of
    results from elsewhere alone, those that are there."""
    if expectation is None or (results and all(r.elsewhere for r in results)):
        return sorted({r.column for r in results}, key=column_order)
    return [c for c in expectation.columns if selection.takes(c.dataset)]


def blocks_of(results: Sequence[Result], expectation: Expectation | None) -> dict[str, str]:
    """Name of a data set -> name of its block. A data set that is listed twice, with other training images drawn from
    it, has the same test images and classes under both names: it is one block, named by the first."""
    planned = (expectation.kinds if expectation else None) or {}
    draws = expectation.protocol.get("draws", {}) if expectation else {}
    kinds = {r.dataset: r.kind for r in results if r.kind} | dict(planned)
    first: dict[tuple[str, bool], str] = {}
    blocks: dict[str, str] = {}
    there = {r.column for r in results}
    for column in [*(c for c in (expectation.columns if expectation else ()) if c in there), *sorted(there)]:
        kind, block = kinds.get(column.dataset, ""), draws.get(column.dataset, column.dataset)
        if kind in ONE_DATASET:
            block = first.setdefault((kind, TESTED_ON_VAL in column.imbalance), block)
        blocks.setdefault(column.dataset, block)
    return blocks


def column_order(column: Column) -> tuple[str, float, str]:
    """By data set, then from the smallest to the largest imbalance factor."""
    factor = re.match(r"IF([0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?)", column.imbalance)
    return column.dataset, float(factor[1]) if factor else 0.0, column.manifest


def labels_of(
    recipe: str, results: Sequence[Result], expectation: Expectation | None, selection: Selection
) -> list[str]:
    """The rows that a recipe's results should fill: the plan's, in its order; without one, those that are there."""
    if expectation is None:
        return list(dict.fromkeys(r.label for r in results))
    planned = [label for label, row in expectation.rows.items() if row.recipe == recipe]
    planned += dict.fromkeys(r.label for r in results if r.elsewhere)
    return [label for label in planned if selection.methods is None or label in selection.methods]


def skip_reason(skips: Sequence[ExpectedSkip], label: str, column: Column) -> str | None:
    """Why the plan skips a row on a column, if it does."""
    return next((skip.reason for skip in skips if skip.label == label and column.label in skip.columns), None)
