"""Resolved suite -> Plan: every trial that would run, what is skipped and why. Trains nothing and fetches nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ltbench.data.sources.source import Source
from ltbench.errors import UserError
from ltbench.models.towers import CONTENT
from ltbench.planning.resolve import Inputs, Resolved
from ltbench.planning.rows import chosen_of
from ltbench.planning.search import Read, search
from ltbench.planning.trials import trial_of
from ltbench.spec import Plan, Selection, Skip, TrialSpec
from ltbench.suite import Suite


def make_plan(resolved: Resolved, searched: Read = lambda key: None) -> tuple[Plan, Inputs]:
    """Every trial of a suite, seed by seed, so that an interrupted run leaves whole rows.

    Args:
        resolved: the suite, or a part of it, with its names looked up.
        searched: the record of a trial of the search, by its key. Rows whose search is not finished are skipped.

    Raises:
        UserError: class-name vectors that do not fit a recipe, or two rows that would train the same.
    """
    suite, outcome = resolved.suite, search(resolved, searched)
    templates: list[TrialSpec] = []
    later: list[TrialSpec] = []
    skips: list[Skip] = []
    for cell in resolved.cells:
        for row in outcome.rows:
            planned = trial_of(resolved, cell, row)
            if isinstance(planned, Skip):
                skips.append(planned)
            elif row.label in outcome.waiting:
                skips.append(Skip(label=row.label, cell=cell, reason=outcome.waiting[row.label]))
                later.append(planned)
            else:
                templates.append(planned)
    _refuse_twins(templates)
    plan = Plan(
        suite=suite.suite,
        question=suite.question,
        trials=_with_seeds(templates, resolved.seeds),
        skips=tuple(skips),
        protocol=_protocol(suite, [row.label for row in resolved.rows], resolved.seeds, outcome.chosen),
        search=outcome.plan,
        later=_with_seeds(later, resolved.seeds),
        untested=_untested(resolved.sources),
    )
    return plan, Inputs(resolved.sources, resolved.texts.used, _checkpoints(suite, templates))


def _untested(sources: Mapping[str, Source]) -> dict[str, tuple[int, int]]:
    """Classes without a test image, and classes, of the data sets that have some."""
    counts = {name: source.facts().test_counts for name, source in sources.items()}
    return {name: (tests.count(0), len(tests)) for name, tests in counts.items() if 0 in tests}


def part_of(plan: Plan, suite: Suite, chosen: Selection) -> Plan:
    """The part of a whole plan that is wanted: what `make_plan` makes of the same selection, without planning again.

    Raises:
        UserError: a row or a data set that the suite does not have.
    """
    entries = [entry.label for rows in suite.methods.values() for entry in rows]
    labels = chosen_of(entries, chosen.methods, "--only")
    datasets = chosen_of([entry.name for entry in suite.datasets], chosen.datasets, "--datasets")
    seeds = plan.protocol["seeds"] if chosen.seeds is None else list(chosen.seeds)

    def wanted(trials: tuple[TrialSpec, ...]) -> tuple[TrialSpec, ...]:
        once = trials[: len(trials) // len(plan.protocol["seeds"])]
        return _with_seeds([t for t in once if t.label in labels and t.cell.dataset in datasets], seeds)

    found = plan.protocol.get("search", {}).get("chosen", {})
    search = plan.search and _search_of(plan.search, labels)
    return replace(
        plan,
        trials=wanted(plan.trials),
        later=wanted(plan.later),
        skips=tuple(skip for skip in plan.skips if skip.label in labels and skip.cell.dataset in datasets),
        protocol=_protocol(suite, labels, seeds, {label: found[label] for label in found if label in labels}),
        search=search,
    )


def _with_seeds(templates: Sequence[TrialSpec], seeds: Sequence[int]) -> tuple[TrialSpec, ...]:
    return tuple(replace(spec, seed=seed) for seed in seeds for spec in templates)


def _search_of(search: Plan, labels: Sequence[str]) -> Plan | None:
    """The part of a search that is about some rows."""
    tried = {row: settings for row, settings in search.protocol["tried"].items() if row in labels}
    order = {label: i for i, label in enumerate(label for settings in tried.values() for label in settings)}
    trials = sorted((t for t in (*search.trials, *search.same) if t.row in labels), key=lambda t: order[t.label])
    if not trials:
        return None
    once = {spec.key: spec for spec in reversed(trials)}
    return replace(
        search,
        trials=tuple(t for t in trials if once[t.key] is t),
        same=tuple(t for t in trials if once[t.key] is not t),
        protocol={**search.protocol, "reference": trials[0].label, "tried": tried},
    )


def _checkpoints(suite: Suite, trials: Sequence[TrialSpec]) -> dict[str, str]:
    """What stands for a tower's checkpoint in a recipe -> where it lies."""
    return {t.pretrained: str(suite.recipes[t.recipe_name].pretrained) for t in trials
            if t.pretrained.startswith(CONTENT)}  # fmt: skip


def _refuse_twins(templates: Sequence[TrialSpec]) -> None:
    """Two rows or two data sets that would train the very same thing under two names."""
    seen: dict[str, TrialSpec] = {}
    for spec in templates:
        twin = seen.setdefault(spec.key, spec)
        if twin is not spec:
            raise UserError(
                f"{spec.label!r} on {spec.cell.label} is the same trial as {twin.label!r} on {twin.cell.label}: same "
                f"method, hyper-parameters, recipe and images; remove one of the two"
            )


def _protocol(suite: Suite, labels: list[str], seeds: Sequence[int], chosen: Mapping[str, Any]) -> dict[str, Any]:
    reference = suite.protocol.reference or ("ce" if "ce" in labels else labels[0])
    return {
        "primary": suite.protocol.primary,
        "report": list(suite.protocol.final.report),
        "reference": reference,
        "seeds": list(seeds),
        "shots": suite.protocol.shots.model_dump(),
        "rope": suite.protocol.rope,
        **({"looks": {"seeds": list(until.at), "pairs": until.pairs}} if (until := suite.protocol.final.until) else {}),
        **({"search": {**how.model_dump(), "chosen": dict(chosen)}} if (how := suite.protocol.search) else {}),
    }
