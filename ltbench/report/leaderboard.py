"""Results -> Leaderboard: what is compared, with intervals and tests; what is missing, failed or left out, counted.

Nothing is imputed. Rows are compared only when they share the images (manifest) and the recipe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ltbench.errors import UserError, did_you_mean
from ltbench.metrics import METRICS
from ltbench.report.board import Column, Leaderboard, Score, Table
from ltbench.report.ranking import rank_rows
from ltbench.spec import Result
from ltbench.stats.intervals import Interval, mean_interval
from ltbench.stats.paired import PairTest, holm, paired_t
from ltbench.stats.reasons import Reason

DEFAULT_ROPE = 0.5
"""Points of accuracy below which a difference is practically none."""


def build(
    results: Iterable[Result],
    expectation: Mapping[str, Any] | None = None,
    *,
    methods: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> Leaderboard:
    """Make a leaderboard of results.

    Args:
        expectation: `Plan.expectation()`: which rows, columns and seeds there should be. Without one, what should be
            there is the grid of what is there.
        methods, datasets, seeds: restrict to these.

    Raises:
        UserError: no results, results of two suites, or two different results for one method, column and seed.
    """
    everything = _unique(results)
    suites = {r.suite for r in everything}
    if len(suites) > 1:
        raise UserError(f"the results are of {len(suites)} suites ({', '.join(sorted(suites))}); choose one")
    wanted, left_out = _belonging(everything, expectation)
    _refuse_unknown(methods, "--only", [*(expectation or {}).get("rows", ()), *(r.label for r in everything)])
    _refuse_unknown(datasets, "--datasets", [r.dataset for r in everything])
    wanted = [
        r
        for r in wanted
        if (methods is None or r.label in methods)
        and (datasets is None or r.dataset in datasets)
        and (seeds is None or r.seed in seeds)
    ]
    if not wanted:
        raise UserError("there are no results to rank" + (f" ({_count(left_out)} left out)" if left_out else ""))
    _refuse_duplicates(wanted)
    protocol = _protocol(wanted, expectation)
    all_seeds = [s for s in protocol["seeds"] if seeds is None or s in seeds]
    skips = [tuple(s) for s in (expectation or {}).get("skips", []) if methods is None or s[0] in methods]
    tables = [
        _table(group, rows, protocol, all_seeds, expectation, skips, methods, datasets)
        for group, rows in _groups(wanted, expectation, methods).items()
    ]
    missing = sum(t.missing for t in tables)
    finished = sum(r.status == "ok" for r in wanted)
    return Leaderboard(
        suite=wanted[0].suite,
        question=(expectation or {}).get("question", ""),
        primary=protocol["primary"],
        report=tuple(protocol["report"]),
        tables=tuple(tables),
        trials=len(wanted) + missing,
        finished=finished,
        failed=len(wanted) - finished,
        missing=missing,
        balanced_tests=_balanced(wanted),
        failures=tuple(r for r in wanted if r.status == "failed"),
        skips=tuple((label, reason, tuple(where)) for label, reason, where in skips),
        left_out=left_out,
    )


def _belonging(results: list[Result], expectation: Mapping[str, Any] | None) -> tuple[list[Result], dict[str, int]]:
    """The results of the plan, and how many were left out for which reason."""
    if expectation is None:
        return results, {}
    manifests = {tuple(cell) for cell in expectation["cells"]}
    left_out: Counter[str] = Counter()
    kept = []
    for r in results:
        row = expectation["rows"].get(r.label)
        if row is None:
            left_out["of rows that the suite no longer has"] += 1
        elif row[1] != r.variant:
            left_out["of other code, hyper-parameters or recipe than the suite's now"] += 1
        elif (r.dataset, r.imbalance, r.manifest) not in manifests:
            left_out["on other images than the suite's now"] += 1
        elif r.seed not in expectation["protocol"]["seeds"]:
            left_out["of seeds that the suite does not list"] += 1
        else:
            kept.append(r)
    return kept, dict(left_out)


def _count(left_out: Mapping[str, int]) -> int:
    return sum(left_out.values())


def _refuse_unknown(wanted: Sequence[str] | None, flag: str, known: Iterable[str]) -> None:
    names = set(known)
    for name in wanted or ():
        if name not in names:
            raise UserError(f"{flag} {name}: not among the results. {did_you_mean(name, names)}")


def _unique(results: Iterable[Result]) -> list[Result]:
    """The same result twice (a record copied beside itself) says nothing new."""
    kept: dict[str, list[Result]] = {}
    for r in results:
        if r not in kept.setdefault(r.key, []):
            kept[r.key].append(r)
    return [r for same in kept.values() for r in same]


def _refuse_duplicates(results: list[Result]) -> None:
    seen: dict[tuple[str, str, str, str, str, int], Result] = {}
    for r in results:
        where = (r.recipe_id, r.label, r.dataset, r.imbalance, r.manifest, r.seed)
        other = seen.setdefault(where, r)
        if other is not r:
            raise UserError(
                f"two results for {r.label} on {r.dataset} {r.imbalance} seed {r.seed}: {other.key} and {r.key} differ "
                f"in code or settings; name the suite, so that its own are taken, or remove one"
            )


def _protocol(results: list[Result], expectation: Mapping[str, Any] | None) -> dict[str, Any]:
    if expectation is not None:
        return {"rope": DEFAULT_ROPE, **expectation["protocol"]}
    labels = {r.label for r in results}
    return {
        "primary": "balanced_accuracy",
        "report": ["balanced_accuracy", "many", "medium", "few", "worst_class"],
        "reference": "ce" if "ce" in labels else None,
        "seeds": sorted({r.seed for r in results}),
        "rope": DEFAULT_ROPE,
    }


def _groups(
    results: list[Result], expectation: Mapping[str, Any] | None, methods: Sequence[str] | None
) -> dict[tuple[str, str], list[Result]]:
    """Results by recipe: (name, digest of its contents); a planned recipe without any result is a group as well."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for r in results:
        groups.setdefault((r.recipe_name, r.recipe_id), []).append(r)
    there = {name for name, _ in groups}
    for label, (name, _) in (expectation or {"rows": {}})["rows"].items():
        if name not in there and (methods is None or label in methods):
            groups.setdefault((name, ""), [])
    return groups


def _table(
    group: tuple[str, str],
    results: list[Result],
    protocol: Mapping[str, Any],
    seeds: Sequence[int],
    expectation: Mapping[str, Any] | None,
    skips: Sequence[Any],
    methods: Sequence[str] | None,
    datasets: Sequence[str] | None,
) -> Table:
    primary: str = protocol["primary"]
    columns = _columns(results, expectation, datasets)
    labels = _labels(group[0], results, expectation, methods)
    found = {(r.label, (r.dataset, r.imbalance, r.manifest), r.seed): r for r in results}
    values = {(label, column): _values(found, label, column, seeds, primary) for label in labels for column in columns}
    reference = protocol["reference"] if protocol["reference"] in labels else None
    incomplete = {label: reason for label in labels if (reason := _why_incomplete(label, columns, values, skips))}
    ranked = [label for label in labels if label not in incomplete]
    sign = 1.0 if METRICS[primary].higher_is_better else -1.0
    scores: dict[str, dict[Column, Score]] = {label: {} for label in ranked}
    for column in columns:
        base = values.get((reference, column)) if reference is not None else None
        gains = {label: _gain(values[label, column], base, sign) for label in ranked if label != reference}
        adjusted = dict(zip(gains, holm([g.p for g in gains.values()]), strict=True))
        for label in ranked:
            scores[label][column] = _score(
                found, label, column, seeds, gains.get(label), adjusted.get(label), [*METRICS]
            )
    rows, pairs = rank_rows(scores, values, primary, sign, reference if reference in ranked else None, protocol["rope"])
    return Table(
        recipe_name=group[0],
        recipe_id=group[1],
        reference=reference if reference in ranked else None,
        columns=tuple(columns),
        rows=rows,
        pairs=pairs,
        incomplete=tuple(incomplete.items()),
        comparisons=sum(label != reference for label in ranked) if reference else 0,
        rope=protocol["rope"],
        missing=sum(
            (label, column, seed) not in found
            for label in labels
            for column in columns
            if _skip_reason(skips, label, column) is None
            for seed in seeds
        ),
    )


def _columns(
    results: list[Result], expectation: Mapping[str, Any] | None, datasets: Sequence[str] | None
) -> list[Column]:
    there = {(r.dataset, r.imbalance, r.manifest) for r in results}
    if expectation is None:
        return sorted(there, key=_column_order)
    planned: list[Column] = [(c[0], c[1], c[2]) for c in expectation["cells"]]
    return [c for c in planned if datasets is None or c[0] in datasets]


def _column_order(column: Column) -> tuple[str, float, str]:
    digits = "".join(ch for ch in column[1] if ch.isdigit() or ch == ".")
    return column[0], float(digits or 0), column[2]


def _labels(
    group: str, results: list[Result], expectation: Mapping[str, Any] | None, methods: Sequence[str] | None
) -> list[str]:
    if expectation is None:
        return list(dict.fromkeys(r.label for r in results))
    planned = [label for label, (name, _) in expectation["rows"].items() if name == group]
    return [label for label in planned if methods is None or label in methods]


def _values(
    found: Mapping[tuple[str, Column, int], Result], label: str, column: Column, seeds: Sequence[int], metric: str
) -> dict[int, float]:
    """Finished values of a metric by seed."""
    values = {}
    for seed in seeds:
        result = found.get((label, column, seed))
        value = result.metrics.get(metric) if result and result.status == "ok" else None
        if value is not None:
            values[seed] = value
    return values


def _why_incomplete(
    label: str,
    columns: Sequence[Column],
    values: Mapping[tuple[str, Column], Mapping[int, float]],
    skips: Sequence[Any],
) -> str | None:
    empty = [c for c in columns if not values[label, c]]
    if not empty:
        return None
    reasons = [reason for c in empty if (reason := _skip_reason(skips, label, c))]
    where = "any column" if len(empty) == len(columns) else ", ".join(f"{c[0]} {c[1]}" for c in empty)
    return f"no result on {where}" + (f": {reasons[0]}" if reasons else "")


def _skip_reason(skips: Sequence[Any], label: str, column: Column) -> str | None:
    """Why the plan skips a row on a column, if it does."""
    title = f"{column[0]} {column[1]}"
    return next((reason for skipped, reason, where in skips if skipped == label and title in where), None)


def _gain(values: Mapping[int, float], base: Mapping[int, float] | None, sign: float) -> PairTest:
    if not base:
        return PairTest(None, None, 0, None, Reason.no_reference)
    return paired_t({s: sign * v for s, v in values.items()}, {s: sign * v for s, v in base.items()})


def _score(
    found: Mapping[tuple[str, Column, int], Result],
    label: str,
    column: Column,
    seeds: Sequence[int],
    gain: PairTest | None,
    p_holm: float | None,
    metrics: Sequence[str],
) -> Score:
    intervals: dict[str, Interval | None] = {}
    for metric in metrics:
        values = list(_values(found, label, column, seeds, metric).values())
        intervals[metric] = mean_interval(values) if values else None
    there = [found.get((label, column, seed)) for seed in seeds]
    return Score(
        metrics=intervals,
        gain=gain,
        p_holm=p_holm,
        finished=sum(r is not None and r.status == "ok" for r in there),
        failed=sum(r is not None and r.status == "failed" for r in there),
        missing=sum(r is None for r in there),
    )


def _balanced(results: list[Result]) -> bool:
    pairs = [(r.metrics.get("accuracy"), r.metrics.get("balanced_accuracy")) for r in results if r.status == "ok"]
    return all(a is not None and b is not None and abs(a - b) < 1e-6 for a, b in pairs)
