"""Declared hyper-parameters of a method: default, meaning, allowed values, search range. Authors use `ltbench.api`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ltbench.errors import UserError, exponent_hint

_BEYOND = 10**300
"""Whole numbers from here on are none that a float could hold."""


@dataclass(frozen=True)
class Uniform:
    """Search range: uniform on [low, high]."""

    low: float
    high: float

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
            value = float(value) if abs(value) < _BEYOND else math.inf
        if type(value) is not kind:
            hint = exponent_hint(value, whole=kind is int) if kind in (int, float) else ""
            raise UserError(f"{place}: expected {_article(kind)}, got {value!r}.{hint}")
        if kind is float and not math.isfinite(value):
            raise UserError(f"{place}: expected a finite number, got {value!r}.")
        in_range = kind not in (int, float) or (self.low <= value <= self.high and value > self.above)
        if not in_range or (self.choices is not None and value not in self.choices):
            raise UserError(f"{place}: {value!r} is not allowed; it must be {self.domain}.")
        return value


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


def _article(kind: type) -> str:
    return {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}.get(kind, kind.__name__)
