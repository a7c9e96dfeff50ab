"""Declared hyper-parameters of a method: default, meaning, allowed values, search range; and what a search draws.

Authors use `ltbench.api`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltbench.errors import UserError, did_you_mean, exponent_hint


@dataclass(frozen=True)
class Uniform:
    """Search range: uniform on [low, high]."""

    low: float
    high: float

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that bound it."""
        return self.low, self.high

    def at(self, u: float) -> float:
        """The value that a draw 0 <= u < 1 stands for, to four digits."""
        return _within(self.low, self.high, self.low + u * (self.high - self.low))

    def __str__(self) -> str:
        return f"uniform({self.low:g}, {self.high:g})"


@dataclass(frozen=True)
class LogUniform:
    """Search range: uniform in the logarithm on [low, high]."""

    low: float
    high: float

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that bound it."""
        return self.low, self.high

    def at(self, u: float) -> float:
        """The value that a draw 0 <= u < 1 stands for, to four digits."""
        return _within(self.low, self.high, self.low * (self.high / self.low) ** u)

    def __str__(self) -> str:
        return f"loguniform({self.low:g}, {self.high:g})"


@dataclass(frozen=True)
class Choice:
    """Search range: one of the listed values."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)

    @property
    def ends(self) -> tuple[Any, ...]:
        """All values there are."""
        return self.values

    def at(self, u: float) -> Any:
        """The value that a draw 0 <= u < 1 stands for."""
        return self.values[int(u * len(self.values))]

    def __str__(self) -> str:
        return f"choice({', '.join(map(str, self.values))})"


Range = Uniform | LogUniform | Choice
"""Where a search may look for one hyper-parameter."""


def _within(low: float, high: float, value: float) -> float:
    return min(max(float(f"{value:.4g}"), low), high)


@dataclass(frozen=True)
class Hyperparameter:
    """One declared hyper-parameter: default, meaning, allowed values, search range."""

    default: Any
    meaning: str
    search: Range | None = None
    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    choices: tuple[Any, ...] | None = None

    @property
    def domain(self) -> str:
        """The allowed values in words: `one of a, b`, `> 0`, `>= 0, <= 1` or an empty text."""
        if self.choices is not None:
            return "one of " + ", ".join(map(str, self.choices))
        bounds = [(">", self.above), (">=", self.low), ("<=", self.high)]
        return ", ".join(f"{sign} {bound:g}" for sign, bound in bounds if math.isfinite(bound))

    def coerce(self, value: Any, place: str) -> Any:
        """`value` in the type of the default, or a UserError that says what is allowed."""
        kind = type(self.default)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not kind:
            hint = exponent_hint(value, whole=kind is int) if kind in (int, float) else ""
            raise UserError(f"{place}: expected {_article(kind)}, got {value!r}.{hint}")
        if kind is float and not math.isfinite(value):
            raise UserError(f"{place}: expected a finite number, got {value!r}.")
        in_range = kind not in (int, float) or (self.low <= value <= self.high and value > self.above)
        if not in_range or (self.choices is not None and value not in self.choices):
            raise UserError(f"{place}: {value!r} is not allowed; it must be {self.domain}.")
        return value

    def searched(self, value: Any, place: str) -> Any:
        """A value of a search range in the type of the default: a whole number is rounded. Else as `coerce`."""
        whole = type(self.default) is int and isinstance(value, float)
        return self.coerce(round(value) if whole else value, place)


def hp(
    default: Any,
    meaning: str,
    *,
    search: Range | None = None,
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
    choices: Sequence[Any] | None = None,
) -> Any:
    """Declare a hyper-parameter as an annotated class field, once, beside its use.

    Args:
        default: used when the suite says nothing; its type (float, int, bool or str) is the hyper-parameter's type.
        meaning: one line for `ltbench methods NAME`.
        search: where a suite with `protocol.search` looks, unless the suite gives the row a value or a range.
        low, high: inclusive bounds. above: an exclusive lower bound. choices: the only allowed values.
    """
    return Hyperparameter(default, meaning, search, low, high, above, tuple(choices) if choices is not None else None)


@dataclass(frozen=True)
class Draws:
    """How a search draws: from which seed, and how many settings with the row as it is written."""

    seed: int
    number: int

    def uniform(self, name: str) -> list[float]:
        """Numbers 0 <= u < 1 for a hyper-parameter, one for every setting."""
        word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
        return [float(u) for u in np.random.default_rng([self.seed, word]).random(self.number)]


def ranges_of(
    declared: Mapping[str, Hyperparameter], written: Mapping[str, Any], own: Mapping[str, Range] | None, place: str
) -> dict[str, Range]:
    """What is searched for a row of a suite, and where.

    Args:
        declared: the method's hyper-parameters.
        written: those that the row gives a value.
        own: the row's own ranges; None: those that the method declares for what the row leaves open.

    Raises:
        UserError: a range of a hyper-parameter that the method does not have, or with an end that it does not allow.
    """
    if own is None:
        return {n: h.search for n, h in declared.items() if n not in written and h.search is not None}
    for name, where in own.items():
        if name not in declared:
            raise UserError(f"{place}: unknown hyper-parameter {name!r}. {did_you_mean(name, declared)}")
        for value in where.ends:
            declared[name].searched(value, f"{place}.{name}")
    return dict(own)


def settings_of(
    declared: Mapping[str, Hyperparameter],
    written: Mapping[str, Any],
    ranges: Mapping[str, Range],
    draws: Draws,
    place: str,
) -> list[dict[str, Any]]:
    """The settings that a search tries, each once: first the row as it is written, then draws.

    A draw depends on the search's seed, its number and the hyper-parameter's name alone: rows that search the same
    range try the same values, and more settings leave the earlier ones as they are.

    Args:
        declared: the method's hyper-parameters. written: all of them, as the row has them.
        ranges: those that are searched, and where.
    """
    settings = [dict(written)]
    uniform = {name: draws.uniform(name) for name in ranges}
    for i in range(1, draws.number if ranges else 1):
        drawn = {n: declared[n].searched(where.at(uniform[n][i]), f"{place}.{n}") for n, where in ranges.items()}
        if (setting := {**written, **drawn}) not in settings:
            settings.append(setting)
    return settings


def _article(kind: type) -> str:
    return {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}.get(kind, kind.__name__)
