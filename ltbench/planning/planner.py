"""Suite -> Plan: every trial that would run, what is skipped and why. Trains nothing and fetches nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ltbench.data.longtail import manifest, select
from ltbench.data.sources.kinds import open_source
from ltbench.data.sources.source import Facts, Source
from ltbench.errors import UserError, did_you_mean
from ltbench.models.text import NoText, TextVectors
from ltbench.models.towers import CONTENT
from ltbench.planning.inputs import Inputs
from ltbench.planning.recipes import are_vectors, at, misfit, recipe_of
from ltbench.planning.search import Searched, search, search_plan
from ltbench.planning.texts import ClassTexts, LazyVectors
from ltbench.planning.towers import refuse_other_text
from ltbench.registry import Registry, fingerprint
from ltbench.spec import Cell, Plan, Record, Selection, Skip, TrialSpec
from ltbench.suite import DatasetEntry, MethodEntry, Suite
from ltbench.suite.search import Search


def make_plan(
    suite: Suite,
    registry: Registry,
    data: Path,
    chosen: Selection | None = None,
    searched: Callable[[str], Record | None] = lambda key: None,
) -> tuple[Plan, Inputs]:
    """Lay out a suite: all trials, seed by seed, so that an interrupted run leaves whole rows.

    Args:
        searched: the record of a trial of the search, by its key. Rows whose search is not finished are skipped.

    Raises:
        UserError: an unknown method, hyper-parameter, backbone or selection, unusable data, or an imbalance factor that
            the data cannot give.
    """
    chosen = chosen or Selection()
    entries = _pick(chosen.datasets, {e.name: e for e in suite.datasets}, "--datasets")
    rows = [(group, row) for group, rows in suite.methods.items() for row in rows]
    rows = _pick(chosen.methods, {row.label: (group, row) for group, row in rows}, "--only")
    seeds = suite.protocol.final.seeds if chosen.seeds is None else list(chosen.seeds)
    sources = {e.name: _open(e, data) for e in entries}
    cells = [cell for entry in entries for cell in _cells(entry, sources[entry.name], suite)]
    row_plan = partial(_row, suite, registry, ClassTexts(suite, sources, data))
    texts = LazyVectors()

    def lay(cell: Cell, group: str, row: MethodEntry) -> TrialSpec | Skip:
        planned, vectors = row_plan(cell, sources[cell.dataset].facts(), group, row)
        if vectors is not None:
            texts.found[vectors.digest] = vectors
        return planned

    outcome = Searched(rows)
    if (how := suite.protocol.search) is not None:
        everywhere = [cell for e in suite.datasets for cell in _cells(e, _source(sources, e, data), suite, how)]
        outcome = search(suite, how, rows, everywhere, lay, registry, searched)
    templates: list[TrialSpec] = []
    later: list[TrialSpec] = []
    skips: list[Skip] = []
    for cell in cells:
        for group, row in outcome.rows:
            planned = lay(cell, group, row)
            if isinstance(planned, Skip):
                skips.append(planned)
            elif row.label in outcome.waiting:
                skips.append(Skip(label=row.label, cell=cell, reason=outcome.waiting[row.label]))
                later.append(planned)
            else:
                templates.append(planned)
    _refuse_twins(templates)
    trials, waiting = (tuple(replace(t, seed=seed) for seed in seeds for t in found) for found in (templates, later))
    plan = Plan(suite=suite.suite, question=suite.question, trials=trials, skips=tuple(skips), later=waiting,
                protocol=_protocol(suite, [row.label for _, row in rows], seeds, outcome.chosen),
                search=search_plan(suite, how, outcome.trials) if how is not None else None)  # fmt: skip
    checkpoints = {t.pretrained: str(suite.recipes[t.recipe_name].pretrained) for t in templates
                   if t.pretrained.startswith(CONTENT)}  # fmt: skip
    return plan, Inputs(sources, texts, checkpoints)


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


def _pick(wanted: Sequence[str] | None, known: Mapping[str, Any], flag: str) -> list[Any]:
    if wanted is None:
        return list(known.values())
    for name in wanted:
        if name not in known:
            raise UserError(f"{flag} {name}: not in this suite. {did_you_mean(name, known)}")
    return [value for name, value in known.items() if name in wanted]


def _open(entry: DatasetEntry, data: Path) -> Source:
    source = open_source(entry.kind or entry.name, data, entry.path, entry.model_extra)
    source.facts()
    return source


def _source(sources: dict[str, Source], entry: DatasetEntry, data: Path) -> Source:
    """Of a data set that may not be among those chosen: one setting serves them all, so a search is on all of them."""
    if entry.name not in sources:
        sources[entry.name] = _open(entry, data)
    return sources[entry.name]


def _cells(entry: DatasetEntry, source: Source, suite: Suite, search: Search | None = None) -> Iterable[Cell]:
    """What an entry is made into: for the final trials, or with the hold-out of a search."""
    facts = source.facts()
    holdout = (search or suite.protocol).holdout_per_class
    factors: list[float | None] = [*entry.imbalance] if entry.imbalance else [None]
    for imbalance in factors:
        try:
            train, held = select(
                facts.train_counts,
                imbalance=imbalance,
                profile=entry.profile,
                subset_seed=entry.subset_seed,
                order=str(entry.class_order),
                holdout_per_class=holdout,
            )
        except UserError as error:
            place = "protocol.search: " if search is not None else ""
            raise UserError(f"{place}data set {entry.name!r}: {error}") from error
        yield Cell(
            dataset=entry.name,
            kind=source.kind,
            imbalance=imbalance,
            profile=entry.profile,
            subset_seed=entry.subset_seed,
            class_order=str(entry.class_order),
            holdout_per_class=holdout,
            options=source.chosen,
            manifest=manifest(facts.fingerprint, source.chosen, train, held),
        )


def _row(
    suite: Suite, registry: Registry, texts: ClassTexts, cell: Cell, facts: Facts, group: str, row: MethodEntry
) -> tuple[TrialSpec | Skip, TextVectors | None]:
    with at(row.place or f"methods.{group}"):
        cls = registry.get(row.method)
        hyperparameters = cls.complete(row.hyperparameters, row.label)
    recipe = recipe_of(suite, group, facts)
    if reason := misfit(cls, recipe):
        return Skip(label=row.label, cell=cell, reason=reason), None
    vectors = None
    if "text" in cls.needs or "head" in recipe:
        try:
            vectors = texts.of(cell.dataset, group)
        except NoText as error:
            return Skip(label=row.label, cell=cell, reason=f"needs class-name vectors: {error}"), None
        if "head" in recipe and are_vectors(facts) and vectors.dim != facts.shape[2]:
            raise UserError(
                f"recipes.{group}.head: the features of {cell.dataset} have {facts.shape[2]} numbers, the class names' "
                f"vectors ({vectors.origin}) {vectors.dim}: take the text tower of the same model"
            )
        if "head" in recipe and "tower" in recipe:
            refuse_other_text(recipe["tower"], vectors, group)
    spec = TrialSpec(
        suite=suite.suite,
        cell=cell,
        label=row.label,
        method=row.method,
        hyperparameters=hyperparameters,
        code=fingerprint(cls),
        recipe_name=group,
        recipe=recipe,
        seed=0,
        text=vectors.digest if vectors else None,
        text_origin=vectors.origin if vectors else None,
        shots=suite.protocol.shots.model_dump(),
        curves=suite.protocol.curves,
    )
    return spec, vectors


def _protocol(suite: Suite, labels: list[str], seeds: Sequence[int], chosen: Mapping[str, Any]) -> dict[str, Any]:
    reference = suite.protocol.reference or ("ce" if "ce" in labels else labels[0])
    return {
        "primary": suite.protocol.primary,
        "report": list(suite.protocol.final.report),
        "reference": reference,
        "seeds": list(seeds),
        "shots": suite.protocol.shots.model_dump(),
        "rope": suite.protocol.rope,
        **({"search": {**how.model_dump(), "chosen": dict(chosen)}} if (how := suite.protocol.search) else {}),
    }
