"""Results -> Leaderboard: what is compared, with intervals and tests; what is missing, failed or left out, counted.

Nothing is imputed. Rows are compared only when they share the images (manifest) and the recipe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltbench.errors import UserError
from ltbench.metric_names import METRICS, Directions, metric_of, usual_primary
from ltbench.ranking.beside import beside
from ltbench.ranking.board import Leaderboard, Table, Verified
from ltbench.ranking.columns import Context
from ltbench.ranking.images import Predictions
from ltbench.ranking.looks import Named
from ltbench.ranking.pairs import ALPHA
from ltbench.ranking.selection import (
    LTBENCH,
    Origin,
    belonging,
    blocks_of,
    groups,
    refuse_duplicates,
    refuse_two_test_sets,
    refuse_unknown,
    unique,
    with_metric,
)
from ltbench.ranking.table import make_table
from ltbench.spec import Column, Expectation, Result, Selection, digest
from ltbench.stats.looks import Looks

DEFAULT_REPORT = ("balanced_accuracy", "many", "medium", "few", "worst_class")


@dataclass(frozen=True, kw_only=True)
class BoardOptions:
    """What a user asks for instead of what the plan says; None is as the plan has it.

    primary: the metric to rank by. reference: the label of the row that gains are over. rope: the region of practical
    equivalence, in the primary metric's unit: differences below it are practically none. columns: the metrics that
    tables show beside the primary one. directions: which way is better, of metrics of the user's own.
    """

    primary: str | None = None
    reference: str | None = None
    rope: float | None = None
    columns: tuple[str, ...] | None = None
    directions: Directions = field(default_factory=dict)


EVERYTHING, AS_PLANNED = Selection(), BoardOptions()


def build(
    results: Iterable[Result],
    expectation: Expectation | None = None,
    selection: Selection = EVERYTHING,
    options: BoardOptions = AS_PLANNED,
    *,
    predictions: Predictions | None = None,
    origin: Origin = LTBENCH,
    class_weights: Mapping[Column, NDArray[np.float64]] | None = None,
) -> Leaderboard:
    """Make a leaderboard of results.

    Args:
        expectation: `Plan.expectation()`: which rows, columns and seeds there should be. Without one, what should be
            there is the grid of what is there.
        selection: the methods (by label), data sets and seeds to look at.
        predictions: key -> stored predictions. Where every trial's are at hand, intervals cover new test images too.
        origin: where the results come from, for the header.
        class_weights: column -> weights of its classes, where the primary metric is the accuracy under a test prior.

    Raises:
        UserError: no results, results of two suites, two different results for one method, column and seed, or a
            metric or reference that is not there.
    """
    wanted, left_out = _wanted(unique(results), expectation, selection)
    context = replace(
        _context(wanted, expectation, selection, options, predictions, origin), class_weights=class_weights or {}
    )
    if expectation is None:
        wanted, of_others = with_metric(wanted, context.primary)
        left_out = {**left_out, **of_others}
    by_recipe = groups(wanted, expectation, selection)
    tables = [make_table(group, rows, context) for group, rows in by_recipe.items()]
    if waiting := sum(_waits(r, table) for table, rows in zip(tables, by_recipe.values(), strict=True) for r in rows):
        left_out = {**left_out, "that wait for the rest of their look": waiting}
    tables.sort(key=lambda table: (table.elsewhere, table.pretraining != ""))
    missing = sum(t.missing for t in tables)
    finished = sum(r.status == "ok" for r in wanted)
    planned = expectation is not None
    declared, held_against = (context.protocol[name] for name in ("primary", "reference"))
    return Leaderboard(
        suite=wanted[0].suite,
        question=expectation.question if expectation else "",
        primary=context.primary,
        report=context.report,
        directions=context.directions,
        tables=tuple(tables),
        trials=len(wanted) + missing,
        finished=finished,
        failed=len(wanted) - finished,
        missing=missing,
        balanced_tests=_balanced(wanted),
        failures=tuple(r for r in wanted if r.status == "failed"),
        skips=context.skips,
        left_out=left_out,
        file=origin.file,
        places=origin.places(r.key for r in wanted),
        stale={label: why for label, why in origin.stale.items() if label in {r.label for r in wanted}},
        verified=_verified(wanted, origin),
        chosen_afterwards=not planned and options.primary is not None,
        declared=declared if planned and context.primary != declared else None,
        declared_reference=held_against if planned and context.reference != held_against else None,
        untested=dict(expectation.untested or {}) if expectation else {},
        published=beside(tables, context.primary, expectation),
        data=_digest(wanted),
        config=_config(context, expectation),
    )


def _wanted(
    everything: Sequence[Result], expectation: Expectation | None, selection: Selection
) -> tuple[list[Result], dict[str, int]]:
    """The results of the plan and the selection, and how many were left out for which reason."""
    suites = {r.suite for r in everything}
    if len(suites) > 1:
        raise UserError(f"the results are of {len(suites)} suites ({', '.join(sorted(suites))}); choose one")
    methods, datasets, seeds = selection.methods, selection.datasets, selection.seeds
    refuse_unknown(methods, "--only", [*(expectation.rows if expectation else ()), *(r.label for r in everything)])
    refuse_unknown(datasets, "--datasets", [r.dataset for r in everything])
    chosen = [
        r
        for r in everything
        if (methods is None or r.label in methods) and selection.takes(r.dataset) and (seeds is None or r.seed in seeds)
    ]
    wanted, left_out = belonging(chosen, expectation)
    if not wanted:
        refuse_unknown([str(s) for s in seeds or ()], "--seeds", [str(r.seed) for r in everything])
        raise UserError("there are no results to rank" + (f" ({sum(left_out.values())} left out)" if left_out else ""))
    refuse_duplicates(wanted)
    refuse_two_test_sets(wanted)
    return wanted, left_out


def _context(
    wanted: Sequence[Result],
    expectation: Expectation | None,
    selection: Selection,
    options: BoardOptions,
    predictions: Predictions | None,
    origin: Origin,
) -> Context:
    metrics = _metrics(wanted)
    refuse_unknown([options.primary] if options.primary else None, "--primary", metrics)
    refuse_unknown([options.reference] if options.reference else None, "--reference", [r.label for r in wanted])
    protocol = _protocol(wanted, expectation, metrics)
    primary, methods = options.primary or protocol["primary"], selection.methods
    return Context(
        primary=primary,
        metrics=metrics,
        report=tuple(protocol["report"]) if options.columns is None else options.columns,
        reference=options.reference or protocol["reference"],
        seeds=tuple(s for s in protocol["seeds"] if selection.seeds is None or s in selection.seeds),
        rope=_rope(primary, protocol, options.rope),
        protocol=protocol,
        expectation=expectation,
        skips=tuple(s for s in (expectation.skips if expectation else ()) if methods is None or s.label in methods),
        selection=selection,
        predictions=predictions,
        blocks=blocks_of(wanted, expectation),
        origin=origin,
        class_weights={},
        directions=options.directions,
        looks=Looks(tuple(looks["seeds"])) if (looks := protocol.get("looks")) else None,
        named=Named(looks["pairs"]) if looks else Named.reference,
    )


def _config(context: Context, expectation: Expectation | None) -> dict[str, Any]:
    """What was chosen, by the names that the JSON has."""
    methods, datasets = context.selection.methods, context.selection.datasets
    return {
        "primary": context.primary,
        "reference": context.reference,
        "rope": context.rope,
        "alpha": ALPHA,
        "correction": "holm",
        "seeds": list(context.seeds),
        "methods": sorted(methods) if methods is not None else None,
        "datasets": sorted(datasets) if datasets is not None else None,
        "block": "data set",
        "bootstrap_seed": 0,
        "plan": expectation.digest if expectation is not None else None,
        "recipes": dict(expectation.recipes or {}) if expectation is not None else {},
        **{name: context.protocol[name] for name in ("search", "shots", "tried", "looks") if name in context.protocol},
    }


def _metrics(results: Sequence[Result]) -> tuple[str, ...]:
    """All metrics that some result has, ltbench's own first."""
    there = {name for r in results for name in r.metrics}
    return (*(m for m in METRICS if m in there), *sorted(there - METRICS.keys()))


def _protocol(results: Sequence[Result], expectation: Expectation | None, metrics: Sequence[str]) -> dict[str, Any]:
    if expectation is not None:
        return {"rope": None, **expectation.protocol}
    labels = {r.label for r in results}
    return {
        "primary": usual_primary(metrics),
        "report": [m for m in DEFAULT_REPORT if m in metrics] or list(metrics),
        "reference": "ce" if "ce" in labels else None,
        "seeds": sorted({r.seed for r in results}),
        "rope": None,
    }


def _rope(primary: str, protocol: Mapping[str, Any], chosen: float | None) -> float:
    """As chosen on the command line; else the suite's, for the metric that it was meant for; else the metric's."""
    if chosen is not None:
        return chosen
    if primary == protocol["primary"] and protocol["rope"] is not None:
        return float(protocol["rope"])
    return metric_of(primary).rope


def _waits(result: Result, table: Table) -> bool:
    """Whether a result is of a seed beyond the look that its row has reached."""
    return table.standing is not None and result.seed >= table.standing.seeds(result.label)


def _balanced(results: Sequence[Result]) -> bool:
    pairs = [(r.metrics.get("accuracy"), r.metrics.get("balanced_accuracy")) for r in results if r.status == "ok"]
    return bool(pairs) and all(a is not None and b is not None and abs(a - b) < 1e-6 for a, b in pairs)


def _verified(results: Sequence[Result], origin: Origin) -> Verified | None:
    """What became of those of the results that ran again."""
    again = {r.key: origin.again[r.key] for r in results if r.key in origin.again and r.status == "ok"}
    if not again:
        return None
    days: dict[str, str] = {}
    for one in again.values():
        days[one.machine] = max(one.when, days.get(one.machine, ""))
    denied = tuple(sorted(key for key, one in again.items() if not one.holds))
    return Verified(len(again) - len(denied), denied, tuple(f"{name} ({day})" for name, day in sorted(days.items())))


def _digest(results: Sequence[Result]) -> str:
    """Changes when any number that goes in does."""
    return digest(sorted([r.key, r.label, r.status, r.dataset, r.imbalance, r.seed,
                          sorted((k, v) for k, v in r.metrics.items())] for r in results))  # fmt: skip
