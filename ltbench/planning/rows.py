"""A suite's rows: methods with their hyper-parameters, under the recipe of their group; and what a search tries."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ltbench.api import Method
from ltbench.errors import UserError, at, did_you_mean
from ltbench.hyperparameters import Range
from ltbench.registry import Registry
from ltbench.suite import MethodEntry, Suite
from ltbench.suite.search import Search


@dataclass(frozen=True)
class Row:
    """One row of the table: a method, its hyper-parameters, and the recipe that trains it."""

    recipe: str
    """The recipe's name in the suite."""
    entry: MethodEntry
    """As the suite has it."""
    method: type[Method]
    hyperparameters: Mapping[str, Any]
    """All of the method's: what the suite says, else the default."""
    space: Mapping[str, Range] = field(default_factory=dict)
    """What the suite's search varies, and in which range."""
    settings: tuple[Mapping[str, Any], ...] = ()
    """What the search tries: first `hyperparameters`, then draws from `space`. Empty where nothing is searched."""

    @property
    def label(self) -> str:
        """The row's name in tables."""
        return self.entry.label

    @property
    def place(self) -> str:
        """Where the suite has it, for messages."""
        return self.entry.place or f"methods.{self.recipe}"

    def setting(self, number: int) -> Row:
        """One of the settings that are tried, as a row of the search."""
        entry = self.entry.model_copy(update={"label": f"{self.label}+{number}"})
        return replace(self, entry=entry, hyperparameters=self.settings[number])


def rows_of(suite: Suite, registry: Registry, wanted: Sequence[str] | None = None) -> list[Row]:
    """The rows of a suite, in the order of the file.

    Args:
        wanted: the labels of some; None: all.

    Raises:
        UserError: a label that the suite does not have, an unknown method, a hyper-parameter or a range of it that the
            method does not have or allow.
    """
    labels = chosen_of([entry.label for entries in suite.methods.values() for entry in entries], wanted, "--only")
    rows = []
    for recipe, entries in suite.methods.items():
        for entry in entries:
            if entry.label not in labels:
                continue
            with at(entry.place or f"methods.{recipe}"):
                method = registry.get(entry.method)
                written = method.complete(entry.hyperparameters, entry.label)
                if (search := suite.protocol.search) is None:
                    rows.append(Row(recipe, entry, method, written))
                    continue
                space = space_of(entry, method)
                rows.append(Row(recipe, entry, method, written, space, settings_of(entry, method, space, search)))
    return rows


def chosen_of(known: Sequence[str], wanted: Sequence[str] | None, option: str) -> list[str]:
    """The names that a user asks for, in the suite's order; all of them where nothing is asked.

    Raises:
        UserError: a name that the suite does not have.
    """
    for name in wanted or ():
        if name not in known:
            raise UserError(f"{option} {name}: not in this suite. {did_you_mean(name, known)}")
    return [name for name in known if wanted is None or name in wanted]


def space_of(row: MethodEntry, cls: type[Method]) -> dict[str, Range]:
    """What is searched for a row: its own ranges, else those that the method declares for what the row leaves open."""
    if row.search is None:
        declared = {name: h.search for name, h in cls.hyperparameters.items() if name not in row.hyperparameters}
        return {name: found for name, found in declared.items() if found is not None}
    for name, given in row.search.items():
        if name not in cls.hyperparameters:
            raise UserError(f"{row.label}.search: unknown hyper-parameter {name!r}. "
                            f"{did_you_mean(name, cls.hyperparameters)}")  # fmt: skip
        for value in given.ends:
            _as_declared(cls, name, value, row)
    return {name: given.range for name, given in row.search.items()}


def settings_of(
    row: MethodEntry, cls: type[Method], space: Mapping[str, Range], search: Search
) -> tuple[dict[str, Any], ...]:
    """The settings to try, each once: first the row as it is written, then draws.

    A draw depends on the search's seed, its number and the hyper-parameter's name alone: rows that search the same
    range try the same values, and more trials leave the earlier ones as they are.
    """
    written = cls.complete(row.hyperparameters, row.label)
    settings = [written]
    numbers = {name: _uniform(search, name) for name in space}
    for i in range(1, search.trials if space else 1):
        drawn = {name: _as_declared(cls, name, where.at(float(numbers[name][i])), row) for name, where in space.items()}
        if (setting := {**written, **drawn}) not in settings:
            settings.append(setting)
    return tuple(settings)


def _uniform(search: Search, name: str) -> Any:
    word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    return np.random.default_rng([search.seed, word]).random(search.trials)


def _as_declared(cls: type[Method], name: str, value: Any, row: MethodEntry) -> Any:
    declared = cls.hyperparameters[name]
    if type(declared.default) is int and isinstance(value, float):
        value = round(value)
    return declared.coerce(value, f"{row.label}.search.{name}")
