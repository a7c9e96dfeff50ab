"""Several methods as one, without Python: each changes hooks that the others leave alone."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from ltbench.api import Method
from ltbench.errors import UserError

JOIN = "+"
"""Between the names of methods that are composed: `mixup+balanced_softmax`."""
_STATED = frozenset({"paper", "defaults_from", "needs", "views", "hyperparameters", "name"})


def compose(classes: Sequence[type[Method]]) -> type[Method]:
    """A class that inherits from all of these; the same one whenever it is asked for.

    Raises:
        UserError: two of them change the same hook, or use a name that is not the same in both.
    """
    key = tuple(classes)
    if key not in _composed:
        for one, other in combinations(key, 2):
            _refuse_collision(one, other)
        views = {cls.views for cls in key if cls.views != Method.views}
        if len(views) > 1:
            raise UserError(f"{_words(key)} train on different views of an image")
        stated = {
            "__doc__": f"{_words(key)} together.",
            "__module__": key[0].__module__,
            "paper": " ".join(cls.paper for cls in key),
            "defaults_from": "; ".join(f"{cls.name}: {cls.defaults_from}" for cls in key),
            "needs": frozenset[str]().union(*(cls.needs for cls in key)),
            "views": next(iter(views), Method.views),
        }
        _composed[key] = type("".join(cls.__name__ for cls in key), key, stated)
    return _composed[key]


_composed: dict[tuple[type[Method], ...], type[Method]] = {}


def _refuse_collision(one: type[Method], other: type[Method]) -> None:
    """Raise UserError for two methods that would get into each other's way."""
    if issubclass(one, other) or issubclass(other, one):
        inner, outer = (one, other) if issubclass(other, one) else (other, one)
        raise UserError(f"{outer.name} builds on {inner.name}: leave {inner.name} out")
    mine, theirs = _names(one), _names(other)
    both = sorted(name for name in mine.keys() & theirs.keys() if mine[name] is not theirs[name])
    for name in both:
        what = "change the hook" if hasattr(Method, name) else "have an attribute"
        what = "have a hyper-parameter" if name in one.hyperparameters else what
        raise UserError(f"{one.name} and {other.name} both {what} {name!r}: how they go together must be said in "
                        f"Python, as one class that inherits from both (--methods FOLDER)")  # fmt: skip


def _names(cls: type[Method]) -> dict[str, Any]:
    """What a method adds to the base: hooks, attributes of the class, and attributes that its functions set."""
    found: dict[str, Any] = {}
    for base in (b for b in cls.__mro__ if issubclass(b, Method) and b is not Method):
        for name, value in vars(base).items():
            if not name.startswith("__") and name not in _STATED:
                found.setdefault(name, base.hyperparameters.get(name, value))
            if inspect.isfunction(value):
                stored = (step.argval for step in dis.get_instructions(value) if step.opname == "STORE_ATTR")
                found |= {name: base for name in stored if name not in found}
    return found


def _words(classes: Sequence[type[Method]]) -> str:
    *most, last = (cls.name for cls in classes)
    return f"{', '.join(most)} and {last}"
