"""Which results belong on a leaderboard: those of the plan and the selection, each once; the rest is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ltbench.errors import UserError, did_you_mean
from ltbench.ranking.board import Column
from ltbench.spec import Result
from ltbench.spec.cell import HELD_OUT, ONE_DATASET, TESTED_ON_VAL

Expectation = Mapping[str, Any]
"""`Plan.expectation()`: which rows, columns and seeds there should be."""


def belonging(results: Sequence[Result], expectation: Expectation | None) -> tuple[list[Result], dict[str, int]]:
    """The results of the plan, and how many were left out for which reason."""
    if expectation is None:
        return list(results), {}
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


def refuse_unknown(wanted: Sequence[str] | None, flag: str, known: Iterable[str]) -> None:
    names = set(known)
    for name in wanted or ():
        if name not in names:
            raise UserError(f"{flag} {name}: not among the results. {did_you_mean(name, names)}")


def unique(results: Iterable[Result]) -> list[Result]:
    """The same result twice (a record copied beside itself) says nothing new."""
    kept: dict[str, list[Result]] = {}
    for r in results:
        if r not in kept.setdefault(r.key, []):
            kept[r.key].append(r)
    return [r for same in kept.values() for r in same]


def refuse_duplicates(results: Sequence[Result]) -> None:
    seen: dict[tuple[str, str, str, str, str, int], Result] = {}
    for r in results:
        where = (r.recipe_id, r.label, r.dataset, r.imbalance, r.manifest, r.seed)
        other = seen.setdefault(where, r)
        if other is not r:
            raise UserError(
                f"two results for {r.label} on {r.dataset} {r.imbalance} seed {r.seed}: {other.key} and {r.key} differ "
                f"in code or settings; name the suite, so that its own are taken, or remove one"
            )


def refuse_two_test_sets(results: Sequence[Result]) -> None:
    """Numbers on a data set's val list, or on held-out training images, are not put into one table with others."""
    for mark, what in ((TESTED_ON_VAL, "its val list"), (HELD_OUT, "held-out training images")):
        marked = {r.dataset for r in results if mark in r.imbalance}
        both = sorted({r.dataset for r in results if mark not in r.imbalance} & marked)
        if both:
            raise UserError(
                f"some results on {', '.join(both)} are of {what}, others of its test set; name the suite, so that "
                f"its own are taken, or keep them in two folders"
            )


def groups(
    results: Sequence[Result], expectation: Expectation | None, methods: Sequence[str] | None
) -> dict[tuple[str, str], list[Result]]:
    """Results by recipe: (name, digest of its contents); a planned recipe without any result is a group as well."""
    found: dict[tuple[str, str], list[Result]] = {}
    for r in results:
        found.setdefault((r.recipe_name, r.recipe_id), []).append(r)
    there = {name for name, _ in found}
    for label, (name, _) in (expectation or {"rows": {}})["rows"].items():
        if name not in there and (methods is None or label in methods):
            found.setdefault((name, ""), [])
    return found


def columns_of(
    results: Sequence[Result], expectation: Expectation | None, datasets: Sequence[str] | None
) -> list[Column]:
    there = {(r.dataset, r.imbalance, r.manifest) for r in results}
    if expectation is None:
        return sorted(there, key=column_order)
    planned: list[Column] = [(c[0], c[1], c[2]) for c in expectation["cells"]]
    return [c for c in planned if datasets is None or c[0] in datasets]


def blocks_of(results: Sequence[Result], expectation: Expectation | None) -> dict[str, str]:
    """Name of a data set -> name of its block. A data set that is listed twice, with other training images drawn from
    it, has the same test images and classes under both names: it is one block, named by the first."""
    kinds: dict[str, str] = {r.dataset: r.kind for r in results if r.kind} | dict((expectation or {}).get("kinds", {}))
    first: dict[tuple[str, bool], str] = {}
    blocks: dict[str, str] = {}
    for r in results:
        kind, block = kinds.get(r.dataset, ""), r.dataset
        if kind in ONE_DATASET:
            block = first.setdefault((kind, TESTED_ON_VAL in r.imbalance), r.dataset)
        blocks.setdefault(r.dataset, block)
    return blocks


def column_order(column: Column) -> tuple[str, float, str]:
    """By data set, then from the smallest to the largest imbalance factor."""
    digits = "".join(ch for ch in column[1] if ch.isdigit() or ch == ".")
    return column[0], float(digits or 0), column[2]


def labels_of(
    group: str, results: Sequence[Result], expectation: Expectation | None, methods: Sequence[str] | None
) -> list[str]:
    if expectation is None:
        return list(dict.fromkeys(r.label for r in results))
    planned = [label for label, (name, _) in expectation["rows"].items() if name == group]
    return [label for label in planned if methods is None or label in methods]


def skip_reason(skips: Sequence[Any], label: str, column: Column) -> str | None:
    """Why the plan skips a row on a column, if it does."""
    title = f"{column[0]} {column[1]}"
    return next((reason for skipped, reason, where in skips if skipped == label and title in where), None)
