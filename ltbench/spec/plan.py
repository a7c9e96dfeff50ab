"""All trials of a suite, what was left out, and the part of it that a user asks for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ltbench.spec.cell import Cell
from ltbench.spec.expectation import Expectation, ExpectedMethod, ExpectedRow, ExpectedSkip
from ltbench.spec.trial import TrialSpec

BY_ORDER = "+order-"
"""Between the name of a data set and the order of its classes, where a suite has several."""


@dataclass(frozen=True, kw_only=True)
class Skip:
    """A row that cannot run on a cell, and why: a reported fact, not a hole."""

    label: str
    cell: Cell
    reason: str


@dataclass(frozen=True)
class Selection:
    """`--only`, `--datasets`, `--seeds`: the part of a suite to look at; None is everything."""

    methods: Sequence[str] | None = None
    datasets: Sequence[str] | None = None
    seeds: Sequence[int] | None = None

    def takes(self, dataset: str) -> bool:
        """Whether a data set is in it: by its own name, or as a further draw of one that is."""
        return self.datasets is None or is_named(dataset, self.datasets)


def is_named(dataset: str, names: Collection[str]) -> bool:
    """Whether one of the names is the data set's, or that of which it is a further draw (`subset_seeds`: NAME+SEED;
    `class_orders`: NAME+order-SEED)."""
    base, _, seed = dataset.rpartition("+")
    return dataset in names or ((seed.isdecimal() or f"+{seed}".startswith(BY_ORDER)) and base in names)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All trials of a suite, in the order they start, and what was left out."""

    suite: str
    question: str
    trials: tuple[TrialSpec, ...]
    skips: tuple[Skip, ...]
    protocol: Mapping[str, Any]
    """reference, primary metric, reported metrics, shots, seeds: how the leaderboard reads the records."""
    search: Plan | None = None
    """The trials that choose hyper-parameters, finished or not: a plan of its own, since they are scored on held-out
    images."""
    later: tuple[TrialSpec, ...] = ()
    """What rows that wait for their search would train as they are written: as many trials, and as long ones, as there
    will be. Their keys say nothing."""
    same: tuple[TrialSpec, ...] = ()
    """Trials of further rows of a search that are the same as one of `trials`: they are not run again."""

    untested: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Data set -> its classes without a test image, and all of its classes; where there are some."""

    def without(self, finished: set[str]) -> Plan:
        """The same plan minus the trials whose keys are given."""
        return replace(self, trials=tuple(t for t in self.trials if t.key not in finished))

    @property
    def looks(self) -> tuple[int, ...]:
        """Seeds at each look, if they run until comparisons are decided; else empty."""
        return tuple(self.protocol.get("looks", {}).get("seeds", ()))

    @property
    def stage(self) -> str:
        """`look 2 of 5`: the last look that one of the trials belongs to. Empty where seeds are fixed."""
        looks, seeds = self.looks, max((t.seed for t in self.trials), default=0) + 1
        return f"look {1 + sum(n < seeds for n in looks[:-1])} of {len(looks)}" if looks else ""

    def up_to(self, seeds: Mapping[str, int]) -> Plan:
        """The same plan with the first seeds of each row alone; rows that are not named have the first look's."""
        first = self.looks[0]

        def within(trials: tuple[TrialSpec, ...]) -> tuple[TrialSpec, ...]:
            return tuple(t for t in trials if t.seed < seeds.get(t.label, first))

        return replace(self, trials=within(self.trials), later=within(self.later))

    def after(self, search: Plan) -> Plan:
        """The same plan with the trials of a search before its own."""
        return replace(self, trials=(*search.trials, *self.trials))

    def expectation(self) -> Expectation:
        """What a complete set of results looks like, small enough to be kept beside them."""
        cells = [t.cell for t in self.trials]
        as_published = [
            c.column[:2]
            for c in cells
            if c.holdout_per_class == 0 and c.class_order == "label" and "tested_on" not in c.options
        ]
        skips: dict[tuple[str, str], list[str]] = {}
        for skip in self.skips:
            skips.setdefault((skip.label, skip.reason), []).append(skip.cell.label)
        return Expectation(
            suite=self.suite,
            question=self.question,
            protocol={**self.protocol, **({"draws": draws} if (draws := _draws(cells)) else {})},
            rows={t.label: ExpectedRow(t.recipe_name, t.variant) for t in self.trials},
            columns=tuple({c.label: c.column for c in cells}.values()),
            skips=tuple(ExpectedSkip(label, reason, tuple(where)) for (label, reason), where in skips.items()),
            kinds={c.dataset: c.kind for c in cells},
            as_published=tuple(dict.fromkeys(as_published)),
            recipes={t.recipe_name: dict(t.recipe) for t in sorted(self.trials, key=_fewest_views_last)},
            untested={d: n for d, n in self.untested.items() if d in {c.dataset for c in cells}} or None,
            methods={t.label: ExpectedMethod(t.method, dict(t.hyperparameters)) for t in self.trials},
        )


def _fewest_views_last(trial: TrialSpec) -> int:
    """What views a method takes is no part of the recipe that rows have in common."""
    return -len(trial.recipe.get("views", ()))


def _draws(cells: Sequence[Cell]) -> dict[str, str]:
    """Data set -> the one that it is another draw of: what a suite's `subset_seeds` names NAME+SEED."""
    kinds = {c.dataset: c.kind for c in cells}
    named = {
        c.dataset: c.dataset.removesuffix(f"+{c.subset_seed}").removesuffix(f"{BY_ORDER}{c.class_order}") for c in cells
    }
    return {name: base for name, base in named.items() if base != name and kinds.get(base) == kinds[name]}
