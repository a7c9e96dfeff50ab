"""Hyper-parameters chosen on held-out training images: as many settings for every row, one of them for all data sets.

The trials of a search are scored on images that were taken from the full training set before it was made long-tailed.
They never see the test set, and the final trials, which do, are trained on all training images of their cells again.
Equal budgets by random search as in Gulrajani and Lopez-Paz, "In search of lost domain generalization" (ICLR 2021).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ltbench.api import Method
from ltbench.errors import UserError, did_you_mean
from ltbench.hyperparameters import Range
from ltbench.metrics import metric_of
from ltbench.planning.recipes import at
from ltbench.registry import Registry
from ltbench.spec import Cell, Plan, Record, Skip, TrialSpec, search_suite
from ltbench.suite import MethodEntry, Suite
from ltbench.suite.search import Search

Read = Callable[[str], Record | None]
"""The record of a trial by its key, if there is one."""
Lay = Callable[[Cell, str, MethodEntry], TrialSpec | Skip]
"""A row (of a recipe) on a cell, as a trial."""
Row = tuple[str, MethodEntry]
"""A recipe's name, and a row that is trained by it."""


@dataclass
class Searched:
    """What a search came to."""

    rows: list[Row] = field(default_factory=list)
    """The rows with the hyper-parameters that were chosen, or as they are written where nothing is searched."""
    waiting: dict[str, str] = field(default_factory=dict)
    """Rows that nothing can be said of yet -> why."""
    trials: list[TrialSpec] = field(default_factory=list)
    """All trials of the search, finished or not."""
    chosen: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Row -> what was chosen, and among what."""


def search(suite: Suite, how: Search, rows: Sequence[Row], cells: Sequence[Cell], lay: Lay, registry: Registry,
           read: Read) -> Searched:  # fmt: skip
    """Lay out the search of every row that has something to search, and choose where its trials are finished.

    Args:
        cells: all that the suite has, with the search's own hold-out.

    Raises:
        UserError: a range for a hyper-parameter that there is none of, or with values that it cannot have.
    """
    found = Searched()
    for group, row in rows:
        with at(row.place or f"methods.{group}"):
            cls = registry.get(row.method)
            space = space_of(row, cls)
            settings = settings_of(row, cls, space, how)
        tried = [_trials(suite, how, group, row, i, values, cells, lay) for i, values in enumerate(settings)]
        if len(settings) < 2 or not tried[0]:  # nothing to choose, or a row that is skipped everywhere
            found.rows.append((group, row))
            continue
        found.trials += [spec for specs in tried for spec in specs]
        outcome = choose([[read(spec.key) for spec in specs] for specs in tried], how.select)
        if isinstance(outcome, str):
            found.waiting[row.label] = outcome
            found.rows.append((group, row))
            continue
        best, scores = outcome
        found.rows.append((group, row.model_copy(update={"hyperparameters": settings[best], "search": None})))
        found.chosen[row.label] = {
            "hyperparameters": {name: settings[best][name] for name in space},
            "setting": best,
            "settings": len(settings),
            "score": scores[best],
            "as_written": scores[0],
        }
    return found


def search_plan(suite: Suite, how: Search, trials: Sequence[TrialSpec]) -> Plan | None:
    """The trials of a search as a plan of its own; None: nothing is searched."""
    if not trials:
        return None
    protocol: dict[str, Any] = {
        "primary": how.select,
        "report": list(dict.fromkeys([how.select, *suite.protocol.final.report])),
        "reference": trials[0].label,
        "seeds": [how.seed],
        "shots": suite.protocol.shots.model_dump(),
        "rope": None,
    }
    protocol["tried"] = {
        row: _tried([t for t in trials if t.row == row]) for row in dict.fromkeys(t.row for t in trials)
    }
    once: dict[str, TrialSpec] = {}
    for spec in trials:  # two rows may try the same setting
        once.setdefault(spec.key, spec)
    question = f"Which hyper-parameters do the rows of {suite.suite} get?"
    return Plan(
        suite=search_suite(suite.suite), question=question, trials=tuple(once.values()), skips=(), protocol=protocol
    )


def _tried(trials: Sequence[TrialSpec]) -> dict[str, dict[str, Any]]:
    """The settings of a row, by the names they have as rows of the search: what differs between them."""
    settings = {spec.label: spec.hyperparameters for spec in trials}
    first = next(iter(settings.values()))
    differ = [name for name in first if any(values[name] != first[name] for values in settings.values())]
    return {label: {name: values[name] for name in differ} for label, values in settings.items()}


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


def settings_of(row: MethodEntry, cls: type[Method], space: Mapping[str, Range], how: Search) -> list[dict[str, Any]]:
    """The settings to try, each once: first the row as it is written, then draws.

    A draw depends on the search's seed, its number and the hyper-parameter's name alone: rows that search the same
    range try the same values, and more trials leave the earlier ones as they are.
    """
    written = cls.complete(row.hyperparameters, row.label)
    settings = [written]
    numbers = {name: _uniform(how, name) for name in space}
    for i in range(1, how.trials if space else 1):
        drawn = {name: _as_declared(cls, name, where.at(float(numbers[name][i])), row) for name, where in space.items()}
        if (setting := {**written, **drawn}) not in settings:
            settings.append(setting)
    return settings


def _uniform(how: Search, name: str) -> Any:
    word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    return np.random.default_rng([how.seed, word]).random(how.trials)


def _as_declared(cls: type[Method], name: str, value: Any, row: MethodEntry) -> Any:
    declared = cls.hyperparameters[name]
    if type(declared.default) is int and isinstance(value, float):
        value = round(value)
    return declared.coerce(value, f"{row.label}.search.{name}")


def _trials(suite: Suite, how: Search, group: str, row: MethodEntry, number: int, values: dict[str, Any],
            cells: Sequence[Cell], lay: Lay) -> list[TrialSpec]:  # fmt: skip
    """One setting on every cell that the row runs on."""
    one = row.model_copy(update={"label": f"{row.label}+{number}", "hyperparameters": values, "search": None})
    laid = [lay(cell.held_out(), group, one) for cell in cells]
    return [
        replace(spec, suite=search_suite(suite.suite), role="search", seed=how.seed, curves="none")
        for spec in laid
        if isinstance(spec, TrialSpec)
    ]


def choose(tried: Sequence[Sequence[Record | None]], select: str) -> tuple[int, list[float | None]] | str:
    """The best setting and the scores of all, None where a training diverged; or why nothing can be chosen.

    The score of a setting is its mean over the cells; of equal ones the first counts, so the row as written before any
    draw. A failure other than divergence is no verdict on a setting: nothing is chosen until it has been mended.

    Args:
        tried: for every setting, the records of its trials, cell by cell.
    """
    everything = [record for records in tried for record in records]
    left = sum(record is None for record in everything)
    failed = sum(r is not None and r.status == "failed" and not diverged(r) for r in everything)
    if failed:
        return f"{failed} of the {len(everything)} trials of its search failed"
    if left:
        return f"{left} of the {len(everything)} trials of its search have not run"
    scores = [_score([r for r in records if r is not None], select) for records in tried]
    sign = 1.0 if metric_of(select).higher_is_better else -1.0
    ranked = [(sign * score, -i) for i, score in enumerate(scores) if score is not None]
    if not ranked:
        return f"no setting of its search has a {metric_of(select).title} on every data set"
    return -max(ranked)[1], scores


def _score(records: Sequence[Record], select: str) -> float | None:
    values = [record.metrics.get(select) for record in records]
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def diverged(record: Record) -> bool:
    """Its training did, which is a verdict on its setting; every other failure is none."""
    return (record.error or "").startswith("Diverged")
