"""What a recorded pass depended on beside its tensors: how far the training was, and the random numbers it drew."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ltbench.api import Moment

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "__lt__": operator.lt, "__le__": operator.le, "__gt__": operator.gt, "__ge__": operator.ge,
    "__eq__": operator.eq, "__ne__": operator.ne,
}  # fmt: skip
_COMPUTE = ("__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__", "__rtruediv__",
            "__pow__", "__rpow__", "__floordiv__", "__mod__", "__neg__", "__abs__", "__float__", "__int__", "__round__",
            "__trunc__", "__floor__", "__ceil__", "__bool__", "__divmod__")  # fmt: skip


class Tape:
    """What one pass asked for.

    Attributes:
        compared: what `progress` was compared with, and how that came out. draws: the random numbers, in their order:
            the name of the function, its arguments, the tensor they were given in. reasons: why a recording of this
            pass would not serve other steps; empty where it would.
    """

    def __init__(self) -> None:
        self.compared: list[tuple[str, float, bool]] = []
        self.draws: list[tuple[str, tuple[Any, ...], Tensor]] = []
        self.reasons: list[str] = []

    def fits(self, progress: float) -> bool:
        """Whether a pass at this position would take the same ways."""
        return all(_COMPARE[name](progress, other) is outcome for name, other, outcome in self.compared)

    def same_draws(self, other: Tape) -> bool:
        """Whether both asked for the same random numbers."""
        mine, theirs = ([(name, args, t.shape) for name, args, t in tape.draws] for tape in (self, other))
        return mine == theirs

    def draw_again(self, now: Moment) -> None:
        """New random numbers in the same tensors, drawn as the pass would draw them."""
        for name, arguments, kept in self.draws:
            kept.copy_(getattr(now, name)(*arguments))


class Watched(Moment):
    """A moment that notes on a tape what is asked of it.

    Args:
        keep: the tensors of an earlier tape, which a recorded pass fills from; None: tensors as they come.
    """

    tape: Tape
    _keep: list[Tensor] | None

    @classmethod
    def of(cls, now: Moment, tape: Tape, keep: list[Tensor] | None = None) -> Watched:
        """A watched moment at the same position, with the same random numbers."""
        made = cls(now.stage, Position(now.progress, tape), now.rng, now.device, now.index)
        object.__setattr__(made, "tape", tape)
        object.__setattr__(made, "_keep", keep)
        return made

    def __getattribute__(self, name: str) -> Any:
        if name in ("index", "rng"):
            reasons = object.__getattribute__(self, "tape").reasons
            reasons.append(f"`forward` or `loss` reads now.{name}, which is another one in every step")
        return object.__getattribute__(self, name)

    def beta(self, a: float, b: float, size: int | tuple[int, ...] = ()) -> Tensor:
        """As in Moment."""
        return self._drawn("beta", a, b, size)

    def uniform(self, low: float, high: float, size: int | tuple[int, ...] = ()) -> Tensor:
        """As in Moment."""
        return self._drawn("uniform", low, high, size)

    def normal(self, size: int | tuple[int, ...] = ()) -> Tensor:
        """As in Moment."""
        return self._drawn("normal", size)

    def permutation(self, n: int) -> Tensor:
        """As in Moment."""
        return self._drawn("permutation", n)

    def _drawn(self, name: str, *arguments: Any) -> Tensor:
        if self._keep is not None:
            value = self._keep[len(self.tape.draws)]
        else:
            get = object.__getattribute__
            plain = Moment(self.stage, float.__float__(self.progress), get(self, "rng"), self.device)
            value = getattr(plain, name)(*arguments)
        self.tape.draws.append((name, arguments, value))
        return value


class Position(float):
    """`progress` that notes what it is compared with. To compute with it is a reason not to record the pass."""

    _tape: Tape

    def __new__(cls, value: float, tape: Tape) -> Position:
        made = super().__new__(cls, value)
        made._tape = tape
        return made

    __hash__ = float.__hash__


def _comparing(name: str) -> Callable[[Position, Any], Any]:
    def compare(self: Position, other: Any) -> Any:
        if not isinstance(other, int | float):
            self._tape.reasons.append("`forward` or `loss` compares now.progress with what is no number")
            return getattr(float, name)(self, other)
        outcome = bool(_COMPARE[name](float.__add__(self, 0.0), other))
        self._tape.compared.append((name, float(other), outcome))
        return outcome

    return compare


def _computing(name: str) -> Callable[..., Any]:
    def compute(self: Position, *others: Any) -> Any:
        self._tape.reasons.append("`forward` or `loss` computes with now.progress, which is another one in every step; "
                                  "work it out in `mix`, and keep it as a tensor on `self`")  # fmt: skip
        return getattr(float, name)(self, *others)

    return compute


for _name in _COMPARE:
    setattr(Position, _name, _comparing(_name))
for _name in _COMPUTE:
    setattr(Position, _name, _computing(_name))
