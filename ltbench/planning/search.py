"""Hyper-parameters chosen on held-out training images: as many settings for every row, one of them for all data sets.

The trials of a search are scored on images that were taken from the full training set before it was made long-tailed.
They never see the test set, and the final trials, which do, are trained on all training images of their cells again.
Equal budgets by random search as in Gulrajani and Lopez-Paz, "In search of lost domain generalization" (ICLR 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ltbench.metric_names import metric_of
from ltbench.planning.resolve import Resolved
from ltbench.planning.rows import Row
from ltbench.planning.trials import trial_of
from ltbench.spec import Plan, Record, TrialSpec, search_suite
from ltbench.suite import Suite
from ltbench.suite.search import Search

Read = Callable[[str], Record | None]
"""The record of a trial by its key, if there is one."""


@dataclass
class SearchOutcome:
    """What a search came to."""

    rows: list[Row] = field(default_factory=list)
    """The rows with the hyper-parameters that were chosen, or as they are written where nothing is searched."""
    waiting: dict[str, str] = field(default_factory=dict)
    """Rows that nothing can be said of yet -> why."""
    trials: list[TrialSpec] = field(default_factory=list)
    """All trials of the search, finished or not."""
    chosen: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Row -> what was chosen, and among what."""
    plan: Plan | None = None
    """The trials of the search as a plan of its own; None: nothing is searched."""


def search(resolved: Resolved, read: Read) -> SearchOutcome:
    """Plan the search of every row that has something to search, and choose where its trials are finished.

    Args:
        read: the record of a trial by its key, or None.
    """
    protocol = resolved.suite.protocol.search
    if protocol is None:
        return SearchOutcome(list(resolved.rows))
    outcome = SearchOutcome()
    for row in resolved.rows:
        tried = [_trials(resolved, row.setting(i), protocol.seed) for i in range(len(row.settings))]
        if len(row.settings) < 2 or not tried[0]:  # nothing to choose, or a row that is skipped everywhere
            outcome.rows.append(row)
            continue
        outcome.trials += [spec for specs in tried for spec in specs]
        choice = choose([[read(spec.key) for spec in specs] for specs in tried], protocol.select)
        if isinstance(choice, str):
            outcome.waiting[row.label] = choice
            outcome.rows.append(row)
            continue
        best, scores = choice
        outcome.rows.append(replace(row, hyperparameters=row.settings[best]))
        outcome.chosen[row.label] = {
            "hyperparameters": {name: row.settings[best][name] for name in row.space},
            "setting": best,
            "settings": len(row.settings),
            "score": scores[best],
            "as_written": scores[0],
        }
    outcome.plan = _plan_of(resolved.suite, protocol, outcome.trials)
    return outcome


def _plan_of(suite: Suite, search: Search, trials: Sequence[TrialSpec]) -> Plan | None:
    """The trials of a search as a plan of its own; None: nothing is searched."""
    if not trials:
        return None
    protocol: dict[str, Any] = {
        "primary": search.select,
        "report": list(dict.fromkeys([search.select, *suite.protocol.final.report])),
        "reference": trials[0].label,
        "seeds": [search.seed],
        "shots": suite.protocol.shots.model_dump(),
        "rope": None,
    }
    protocol["tried"] = {
        row: _tried([t for t in trials if t.row == row]) for row in dict.fromkeys(t.row for t in trials)
    }
    once = {spec.key: spec for spec in reversed(trials)}  # two rows may try the same setting: the first one's counts
    return Plan(
        suite=search_suite(suite.suite),
        question=f"Which hyper-parameters do the rows of {suite.suite} get?",
        trials=tuple(t for t in trials if once[t.key] is t),
        skips=(),
        protocol=protocol,
        same=tuple(t for t in trials if once[t.key] is not t),
    )


def _tried(trials: Sequence[TrialSpec]) -> dict[str, dict[str, Any]]:
    """The settings of a row, by the names they have as rows of the search: what differs between them."""
    settings = {spec.label: spec.hyperparameters for spec in trials}
    first = next(iter(settings.values()))
    differ = [name for name in first if any(values[name] != first[name] for values in settings.values())]
    return {label: {name: values[name] for name in differ} for label, values in settings.items()}


def _trials(resolved: Resolved, setting: Row, seed: int) -> list[TrialSpec]:
    """One setting on every cell that its row runs on."""
    planned = [trial_of(resolved, cell.held_out(), setting) for cell in resolved.search_cells]
    return [
        replace(spec, suite=search_suite(spec.suite), role="search", seed=seed, curves="none")
        for spec in planned
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
