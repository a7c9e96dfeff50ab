"""One table of a leaderboard: the rows of one recipe, on the same columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ltbench.ranking.board import Row, Score, Table
from ltbench.ranking.claims import improvements, interquartile_gains, other_datasets, profile_of, redrawn, runs_of
from ltbench.ranking.columns import Compared, Context, Rows, Trials, compare_on, other_gains, score_of
from ltbench.ranking.images import Images, NoImages, contributions
from ltbench.ranking.looks import Named, Standing
from ltbench.ranking.pairs import NO_PAIRS
from ltbench.ranking.ranking import Ranking, Rules, Values, by_draw, rank
from ltbench.ranking.selection import RecipeKey, columns_of, labels_of, skip_reason
from ltbench.spec import Column, Result
from ltbench.spec.expectation import ExpectedSkip


def make_table(recipe: RecipeKey, results: Sequence[Result], context: Context) -> Table:
    """Rank the results of one recipe; what cannot be ranked is listed with its reason."""
    columns = columns_of(results, context.expectation, context.selection)
    labels = labels_of(recipe.name, results, context.expectation, context.selection)
    trials = {(r.label, r.column, r.seed): r for r in results}
    standing = _standing(trials, labels, columns, context)
    values = Rows(labels, trials, standing).values(columns, context.primary, context)
    incomplete = {m: why for m in labels if (why := _why_incomplete(m, columns, values, context.skips))}
    ranked = Rows([m for m in labels if m not in incomplete], trials, standing)
    reference = context.reference if context.reference in ranked.labels else None
    images, without = _images(trials, ranked.labels, columns, values, context)
    compared = Compared(ranked, columns, values, images, reference, context)
    ranking = _ranked(compared) if ranked.labels else None
    if standing is not None:
        standing = replace(standing, due=ranking.due if ranking else dict.fromkeys(labels, standing.looks.seeds[0]))
    rows = _rows(ranking, compared) if ranking else ()
    level, alone = _of_all(ranking, standing)
    return Table(
        recipe_name=recipe.name,
        recipe_id=recipe.digest,
        pretraining=_pretraining(recipe.name, results, context),
        elsewhere=context.origin.elsewhere or (bool(results) and all(r.elsewhere for r in results)),
        reference=reference,
        columns=tuple(columns),
        rows=rows,
        pairs=ranking.pairs if ranking else NO_PAIRS,
        incomplete=tuple(incomplete.items()),
        comparisons=sum(m != reference for m in ranked.labels) if reference else 0,
        rope=context.rope,
        redrawn=redrawn({m: by_draw(m, columns, values, context.sign, context.blocks) for m in ranked.labels},
                        reference),
        blocks={c.dataset: context.blocks.get(c.dataset, c.dataset) for c in columns},
        missing=_missing(trials, labels, columns, context, standing),
        with_images=images is not None,
        without_images=without,
        scope_b=other_datasets(alone, reference, context.rope) if alone else None,
        profile=profile_of(ranking, runs_of(ranking, reference), level) if ranking else None,
        standing=standing,
    )  # fmt: skip


def _standing(trials: Trials, labels: Sequence[str], columns: Sequence[Column], context: Context) -> Standing | None:
    """Where each row stands, if the seeds run until comparisons are decided. A table without the suite's reference has
    no gains to decide: there it is all pairs."""
    looks = context.looks
    if looks is None:
        return None
    at = {}
    for m in labels:
        wanted = [c for c in columns if skip_reason(context.skips, m, c) is None]
        missing = (s for s in _counted(context) if any((m, c, s) not in trials for c in wanted))
        at[m] = looks.reached(next(missing, len(_counted(context))))
    return Standing(looks, context.named if context.reference in labels else Named.all, at)


def _counted(context: Context) -> list[int]:
    """0, 1, 2, ... as far as these seeds are looked at."""
    return [i for i, seed in enumerate(sorted(context.seeds)) if seed == i]


def _ranked(compared: Compared) -> Ranking:
    context, rows = compared.context, compared.rows
    rules = Rules(
        rope=context.rope,
        sign=context.sign,
        reference=compared.reference,
        blocks=context.blocks,
        standing=rows.standing,
    )
    return rank(rows.labels, compared.columns, compared.values, compared.images, rules)


def _of_all(ranking: Ranking | None, standing: Standing | None) -> tuple[float, Ranking | None]:
    """For statistics over the seeds that all rows have: the level of an interval; and the ranking by the seeds of the
    first look alone, which no rule has chosen, for claims about other data sets."""
    if ranking is None or standing is None:
        return 0.95, ranking
    first = standing.looks.seeds[0]
    quality = {
        m: {t: {s: v for s, v in by_seed.items() if s < first} for t, by_seed in of.items()}
        for m, of in ranking.quality.items()
    }
    return standing.level(*ranking.labels), replace(ranking, quality=quality)


def _pretraining(recipe: str, results: Sequence[Result], context: Context) -> str:
    if results:
        return results[0].pretraining
    planned = (context.expectation and context.expectation.recipes) or {}
    return str(planned.get(recipe, {}).get("pretraining", ""))


def _rows(ranking: Ranking, compared: Compared) -> tuple[Row, ...]:
    rows, columns, reference, context = compared.rows, compared.columns, compared.reference, compared.context
    scores: dict[str, dict[Column, Score]] = {
        m: {c: score_of(rows, m, c, context) for c in columns} for m in rows.labels
    }
    for column in columns:
        compare_on(column, scores, compared)
    runs, (level, _) = runs_of(ranking, reference), _of_all(ranking, rows.standing)
    iqm, improvement = interquartile_gains(ranking, reference, runs, level), improvements(ranking, reference, runs)
    of_others = {r.label for r in rows.trials.values() if r.elsewhere}
    told = {r.label: r.test_prior for r in rows.trials.values() if r.test_prior}
    budgets = _budgets(ranking.labels, rows.trials)
    others = other_gains(rows._replace(labels=ranking.labels), columns, reference, context)
    return tuple(
        Row(
            rank=ranking.ranks[m],
            label=m,
            mean=ranking.means[m],
            half=ranking.halves[m],
            gain=ranking.gains.get(m),
            scores=scores[m],
            others=others.get(m, {}),
            iqm=iqm.get(m),
            stale=m in context.origin.stale,
            elsewhere=m in of_others,
            test_prior=told.get(m, ""),
            improvement=improvement.get(m),
            budget=budgets[m],
        )
        for m in ranking.labels
    )


def _budgets(labels: Sequence[str], trials: Trials) -> dict[str, dict[str, float]]:
    """What a trial of each method cost, on average; what is not known of all is left out."""
    known: dict[str, list[Mapping[str, float]]] = {m: [] for m in labels}
    for (label, _, _), result in trials.items():
        if label in known and result.status == "ok":
            known[label].append(result.budget)
    return {
        m: {name: float(np.mean([b[name] for b in all_])) for name in all_[0] if all(name in b for b in all_)}
        for m, all_ in known.items()
    }


def _why_incomplete(label: str, columns: Sequence[Column], values: Values, skips: Sequence[ExpectedSkip]) -> str | None:
    empty = [c for c in columns if not values[label, c]]
    if not empty:
        return None
    reasons = [reason for c in empty if (reason := skip_reason(skips, label, c))]
    where = "any column" if len(empty) == len(columns) else ", ".join(c.label for c in empty)
    return f"no result on {where}" + (f": {reasons[0]}" if reasons else "")


def _missing(
    trials: Trials, labels: Sequence[str], columns: Sequence[Column], context: Context, standing: Standing | None
) -> int:
    """Trials that should be there; of seeds that run until comparisons are decided, those that are due."""
    return sum(
        (label, column, seed) not in trials
        for label in labels
        for column in columns
        if skip_reason(context.skips, label, column) is None
        for seed in context.seeds
        if standing is None or seed < standing.due[label]
    )


def _images(
    trials: Trials, ranked: Sequence[str], columns: Sequence[Column], values: Values, context: Context
) -> tuple[Images | None, str]:
    """What test images contribute, or None and why."""
    keys = {(m, c, s): trials[m, c, s].key for m in ranked for c in columns for s in values[m, c]}
    try:
        return contributions(keys, context.predictions, context.primary, context.blocks, context.class_weights), ""
    except NoImages as reason:
        return None, str(reason)
