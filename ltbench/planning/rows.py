"""A suite's rows: methods with their hyper-parameters, under the recipe of their group; and what a search tries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ltbench.api import Method
from ltbench.errors import Problems, UserError, at, did_you_mean
from ltbench.hyperparameters import Draws, Range, ranges_of, settings_of
from ltbench.registry import Registry
from ltbench.spec.plan import is_named
from ltbench.suite import MethodEntry
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


def rows_of(
    methods: Mapping[str, Sequence[MethodEntry]],
    search: Search | None,
    registry: Registry,
    wanted: Sequence[str] | None = None,
) -> list[Row]:
    """The rows of a suite, in the order of the file.

    Args:
        methods: recipe -> its rows, as the suite has them.
        search: how hyper-parameters are chosen; None: they are not.
        wanted: the labels of some; None: all.

    Raises:
        UserError: a label that the suite does not have, unknown methods, hyper-parameters or ranges of them that the
            methods do not have or allow: all of them at once.
    """
    labels = chosen_of([entry.label for entries in methods.values() for entry in entries], wanted, "--only")
    rows, problems = [], Problems()
    for recipe, entries in methods.items():
        for entry in entries:
            if entry.label in labels:
                with problems.kept(), at(entry.place or f"methods.{recipe}"):
                    rows.append(_row(recipe, entry, registry, search))
    problems.raise_all()
    return rows


def _row(recipe: str, entry: MethodEntry, registry: Registry, search: Search | None) -> Row:
    method = registry.get(entry.method)
    written = method.complete(entry.hyperparameters, entry.label)
    if search is None:
        return Row(recipe, entry, method, written)
    declared, place = method.hyperparameters, f"{entry.label}.search"
    own = None if entry.search is None else {name: searched.range for name, searched in entry.search.items()}
    ranges = ranges_of(declared, entry.hyperparameters, own, place)
    settings = settings_of(declared, written, ranges, Draws(search.seed, search.trials), place)
    return Row(recipe, entry, method, written, ranges, tuple(settings))


def chosen_of(known: Sequence[str], wanted: Sequence[str] | None, option: str) -> list[str]:
    """The names that a user asks for, in the suite's order; all of them where nothing is asked. A data set brings its
    further draws.

    Raises:
        UserError: a name that the suite does not have.
    """
    for name in wanted or ():
        if name not in known:
            raise UserError(f"{option} {name}: not in this suite. {did_you_mean(name, known)}")
    if wanted is None:
        return list(known)
    return [name for name in known if name in wanted or (option == "--datasets" and is_named(name, wanted))]
