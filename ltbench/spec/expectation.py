"""What a complete set of results looks like, as it is kept beside the results: in plan.json and in tags of MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Self

from ltbench.spec.cell import Column
from ltbench.spec.trial import digest
from ltbench.spec.validation import Check, is_name, is_number, is_plain, is_text, is_whole


class ExpectedRow(NamedTuple):
    """A row of the table: the name of its recipe, and `TrialSpec.variant`, which changes with code and settings."""

    recipe: str
    variant: str


class ExpectedMethod(NamedTuple):
    """What a row stands for: the method, and all its hyper-parameters."""

    name: str
    hyperparameters: Mapping[str, Any]


class ExpectedSkip(NamedTuple):
    """A row that cannot run on some columns, which are named by their titles (`cifar100 IF100`), and why."""

    label: str
    reason: str
    columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """Which rows, columns and seeds there should be: a leaderboard made anywhere then knows what is missing, and which
    results belong to this plan rather than to an earlier one.

    The parts that are None by default are absent from what earlier versions of ltbench wrote.
    """

    suite: str
    question: str
    protocol: Mapping[str, Any]
    """`Plan.protocol`."""
    rows: Mapping[str, ExpectedRow]
    """By label."""
    columns: tuple[Column, ...]
    skips: tuple[ExpectedSkip, ...] = ()
    kinds: Mapping[str, str] | None = None
    """Data set -> `Cell.kind`."""
    as_published: tuple[tuple[str, str], ...] | None = None
    """Data set and imbalance label of the columns that are the data papers use: nothing held out, classes in label
    order, tested on the test set."""
    recipes: Mapping[str, Mapping[str, Any]] | None = None
    """By name, as `TrialSpec.recipe`."""
    methods: Mapping[str, ExpectedMethod] | None = None
    """By a row's label."""

    untested: Mapping[str, tuple[int, int]] | None = None
    """Data set -> its classes without a test image, and all of its classes; None: there are none."""

    @property
    def digest(self) -> str:
        """12 hex digits that change with anything in the suite that a board depends on: rows, their code and settings,
        images, recipes, seeds, protocol."""
        return digest(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Dictionaries and lists; without the parts that are None."""
        methods = None if self.methods is None else {label: list(method) for label, method in self.methods.items()}
        data = {
            "suite": self.suite,
            "question": self.question,
            "protocol": dict(self.protocol),
            "rows": {label: list(row) for label, row in self.rows.items()},
            "cells": [list(column) for column in self.columns],
            "kinds": self.kinds,
            "as_published": None if self.as_published is None else [list(place) for place in self.as_published],
            "recipes": self.recipes,
            "methods": methods,
            "untested": None if self.untested is None else {name: list(n) for name, n in self.untested.items()},
            "skips": [[skip.label, skip.reason, list(skip.columns)] for skip in self.skips],
        }
        return {name: part for name, part in data.items() if part is not None}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Inverse of `to_json`. Others can write to where this was read, so every part is checked.

        Raises:
            ValueError: it is no expectation; says which part.
        """
        _check(data)
        places, methods, untested = data.get("as_published"), data.get("methods"), data.get("untested")
        return cls(
            suite=data["suite"],
            question=data["question"],
            protocol=data["protocol"],
            rows={label: ExpectedRow(*row) for label, row in data["rows"].items()},
            columns=tuple(Column(*cell) for cell in data["cells"]),
            skips=tuple(ExpectedSkip(label, reason, tuple(titles)) for label, reason, titles in data["skips"]),
            kinds=data.get("kinds"),
            as_published=None if places is None else tuple((dataset, imbalance) for dataset, imbalance in places),
            recipes=data.get("recipes"),
            methods=None if methods is None else {label: ExpectedMethod(*row) for label, row in methods.items()},
            untested=None if untested is None else {name: (some, whole) for name, (some, whole) in untested.items()},
        )


def _check(data: Any) -> None:
    if not isinstance(data, dict):
        raise ValueError("no plan of ltbench")
    for name, check in _PARTS.items():
        if name in data and not check(data[name]):
            raise ValueError(f"its `{name}` is not what ltbench writes")
    for name in ("suite", "question", "protocol", "rows", "cells", "skips"):
        if name not in data:
            raise ValueError(f"it has no `{name}`")
    if not is_plain(data):
        raise ValueError("it has a number that is none (NaN, or infinity), or half a character")


def _list(value: Any, check: Check) -> bool:
    return isinstance(value, list) and all(map(check, value))


def _mapping(value: Any, keys: Check, values: Check) -> bool:
    return isinstance(value, Mapping) and all(map(keys, value)) and all(map(values, value.values()))


def _texts(value: Any, length: int) -> bool:
    return _list(value, is_text) and len(value) == length


def _protocol(value: Any) -> bool:
    checks: dict[str, Check] = {
        "seeds": lambda v: _list(v, is_whole),
        "primary": is_text,
        "report": lambda v: _list(v, is_text),
        "reference": is_text,
        "shots": lambda v: _mapping(v, is_text, is_whole),
        "rope": lambda v: v is None or (is_number(v) and v >= 0),
        "search": _search,
        "looks": _looks,
        "tried": lambda v: _mapping(v, is_name, lambda row: _mapping(row, is_name, _values)),
    }
    needed = {"seeds", "primary", "report", "reference"}
    there = isinstance(value, Mapping) and needed <= value.keys()
    return there and all(c(value[k]) for k, c in checks.items() if k in value)


def _looks(value: Any) -> bool:
    return _exactly(value, {"seeds": _rising, "pairs": lambda v: v in ("reference", "all")})


def _rising(value: Any) -> bool:
    return _list(value, is_whole) and all(a < b for a, b in pairwise([0, *value])) and bool(value)


def _search(value: Any) -> bool:
    counts = dict.fromkeys(("trials", "seed", "holdout_per_class"), is_whole)
    return _exactly(value, {**counts, "select": is_text, "chosen": lambda v: _mapping(v, is_name, _choice)})


def _values(value: Any) -> bool:
    return _mapping(value, is_text, lambda x: isinstance(x, str | int | float))


def _choice(value: Any) -> bool:
    counts = dict.fromkeys(("setting", "settings"), is_whole)
    scores = {"score": is_number, "as_written": lambda v: v is None or is_number(v)}
    return _exactly(value, {"hyperparameters": _values, **counts, **scores})


def _exactly(value: Any, parts: Mapping[str, Check]) -> bool:
    return isinstance(value, Mapping) and value.keys() == parts.keys() and all(c(value[k]) for k, c in parts.items())


def _skip(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and _texts(value[:2], 2) and _list(value[2], is_text)


def _method(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and is_name(value[0]) and isinstance(value[1], Mapping)


_PARTS: dict[str, Check] = {
    "suite": is_name,
    "question": is_text,
    "protocol": _protocol,
    "rows": lambda v: _mapping(v, is_name, lambda row: _texts(row, 2)),
    "cells": lambda v: _list(v, lambda cell: _texts(cell, 3)),
    "kinds": lambda v: _mapping(v, is_name, is_text),
    "as_published": lambda v: _list(v, lambda cell: _texts(cell, 2)),
    "recipes": lambda v: _mapping(v, is_text, lambda recipe: isinstance(recipe, Mapping)),
    "methods": lambda v: _mapping(v, is_name, _method),
    "skips": lambda v: _list(v, _skip),
    "untested": lambda v: _mapping(v, is_name, lambda n: _list(n, is_whole) and len(n) == 2),
}
