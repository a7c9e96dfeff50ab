"""The part of a suite that says which hyper-parameters are searched, and how: `protocol.search`, and a row's own."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from ltbench.hyperparameters import Choice, LogUniform, Range, Uniform
from ltbench.suite.strict import Strict

Ends = Annotated[list[float], Field(min_length=2, max_length=2)]


class SearchRange(Strict):
    """Where to look for one hyper-parameter: `{uniform: [0.5, 1.5]}`, `{loguniform: [0.01, 1]}`, `{choice: [1, 2]}`."""

    uniform: Ends | None = None
    """Low and high end."""
    loguniform: Ends | None = None
    """Low and high end, drawn evenly in the logarithm."""
    choice: Annotated[list[Any], Field(min_length=1)] | None = None
    """The values to choose from."""

    @model_validator(mode="after")
    def _one_kind_that_is_a_range(self) -> Self:
        given = [ends for ends in (self.uniform, self.loguniform) if ends is not None]
        if len(given) + (self.choice is not None) != 1:
            raise ValueError("give one of `uniform: [low, high]`, `loguniform: [low, high]`, `choice: [values]`")
        if any(low >= high for low, high in given):
            raise ValueError("the lower end must be below the upper one")
        if self.loguniform is not None and self.loguniform[0] <= 0:
            raise ValueError("the lower end of a loguniform range must be above 0")
        return self

    @property
    def ends(self) -> list[Any]:
        """The values that bound it, or all there are."""
        return self.uniform or self.loguniform or self.choice or []

    @property
    def range(self) -> Range:
        """Where to look, as a method would declare it."""
        if self.uniform is not None:
            return Uniform(*self.uniform)
        return LogUniform(*self.loguniform) if self.loguniform is not None else Choice(*(self.choice or ()))


class Search(Strict):
    """How hyper-parameters are chosen: on training images held out from the search's own trials, the same number of
    settings for every row, one setting for all data sets."""

    trials: Annotated[int, Field(ge=2, le=1000)]
    """Settings per row: as it is written, then draws."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Of the draws, and the training seed of the search's trials."""
    holdout_per_class: Annotated[int, Field(ge=1)]
    """Training images of each class that settings are scored on."""
    select: str = "balanced_accuracy"
    """The metric that decides."""
