"""A suite's protocol: how rows are compared."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from ltbench.stats.looks import usual_looks
from ltbench.stats.priors import PRIOR
from ltbench.suite.search import Search
from ltbench.suite.strict import LARGEST, Positive, Strict

MOST_SEEDS = 1000
"""Of seeds that run until comparisons are decided."""


class UntilResolved(Strict):
    """Seeds that run until comparisons are decided: look by look, and only those rows go on that need to."""

    model_config = ConfigDict(populate_by_name=True)
    first: Annotated[int, Field(ge=3, le=MOST_SEEDS)] = Field(alias="from")
    """Seeds of the first look."""
    to: Annotated[int, Field(ge=3, le=MOST_SEEDS)]
    """Seeds at which a row stops, decided or not."""
    until: Literal["resolved"] = "resolved"
    """resolved: each comparison is a difference or an equivalence."""
    pairs: Literal["reference", "all"] = "reference"
    """The comparisons that are to be decided: gains over the reference, or all pairs of a table."""
    looks: Annotated[list[Annotated[int, Field(ge=3, le=MOST_SEEDS)]], Field(min_length=1)] | None = None
    """After how many seeds results are looked at; None: each time there are 1.6 times as many."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.first > self.to:
            raise ValueError(f"`from: {self.first}` is above `to: {self.to}`")
        if self.looks is not None:
            if any(a >= b for a, b in pairwise(self.looks)):
                raise ValueError(f"`looks` must rise, got {self.looks}")
            if (self.looks[0], self.looks[-1]) != (self.first, self.to):
                raise ValueError(f"`looks` must begin with `from` ({self.first}) and end with `to` ({self.to})")
        return self

    @property
    def at(self) -> tuple[int, ...]:
        """Seeds of each look."""
        return usual_looks(self.first, self.to) if self.looks is None else tuple(self.looks)


def _kind_of_seeds(given: object) -> str:
    return "until" if isinstance(given, dict | UntilResolved) else "list"


Seeds = Annotated[
    Annotated[
        Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)], Tag("list")
    ] | Annotated[UntilResolved, Tag("until")],
    Discriminator(_kind_of_seeds),
]  # fmt: skip


class Final(Strict):
    """The trials that are ranked: their seeds, and what is reported of them."""

    seeds: Seeds
    """Training seeds, of which every method gets the same: a list, or `{from: 3, to: 20, until: resolved}`."""
    report: Annotated[list[str], Field(min_length=1)] = ["balanced_accuracy", "many", "medium", "few", "worst_class"]
    """Metrics in the table."""

    @property
    def all_seeds(self) -> list[int]:
        """Every seed that may run; those that run until comparisons are decided are numbered from 0."""
        return list(range(self.seeds.to)) if isinstance(self.seeds, UntilResolved) else self.seeds

    @property
    def until(self) -> UntilResolved | None:
        """How far seeds run, if until comparisons are decided."""
        return self.seeds if isinstance(self.seeds, UntilResolved) else None


class Shots(Strict):
    """From how many training images a class is many-shot, and below how many few-shot."""

    many: Annotated[int, Field(ge=1, le=LARGEST)] = 100
    """Many-shot: more training images than this."""
    few: Annotated[int, Field(ge=1, le=LARGEST)] = 20
    """Few-shot: fewer training images than this."""


def _known_prior(name: str) -> str:
    if name != "uniform" and PRIOR.fullmatch(name) is None:
        raise ValueError(
            f"{name!r} is no test distribution: uniform, forwardR or backwardR (forward50: the largest class 50 times "
            f"the smallest)"
        )
    return name


TestPrior = Annotated[str, AfterValidator(_known_prior)]


class Protocol(Strict):
    """How rows are compared: seeds, metric, reference, hold-out, search."""

    final: Final
    """The trials that are ranked."""
    search: Search | None = None
    """How hyper-parameters are chosen before; None: they are not."""
    budget: Literal["steps", "images"] = "steps"
    """What every row gets as much of: optimizer steps, or images read, so that one that reads two images for an example
    takes half the steps."""
    primary: str = "balanced_accuracy"
    """The metric that carries ranks and tests."""
    rope: Positive | None = None
    """Differences below this (in the primary metric's unit) are practically none; None: the metric's usual one."""
    shots: Shots = Shots()
    """What counts as many-shot and few-shot."""
    reference: str | None = None
    """The row that gains are taken over; None: ce, or the first."""
    holdout_per_class: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    """Training images of each class that the final trials leave out."""
    test_prior: TestPrior | None = None
    """The test distribution that methods are told of which ask for it: uniform, forwardR or backwardR, R the largest
    class over the smallest. Boards mark their rows."""
    curves: Literal["none", "holdout", "test"] = "none"
    """What accuracy is measured on while training; never used to choose anything."""
    save_logits: bool = False
    """Whether test logits are kept with the predictions."""
