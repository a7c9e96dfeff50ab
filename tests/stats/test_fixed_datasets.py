"""Scope A: error rate and coverage by simulation, its limits, verdicts and rank intervals."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from ltbench.stats.fixed_datasets import Verdict, rank_intervals, scope_a, verdict
from ltbench.stats.paired import holm, paired_t
from ltbench.stats.reasons import Reason


def by_dataset(values: np.ndarray) -> dict[str, dict[int, float]]:
    """(data sets, seeds) -> the nested mapping."""
    return {f"d{t}": {s: float(v) for s, v in enumerate(row)} for t, row in enumerate(values)}


def test_one_data_set_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(1, 5)), rng.normal(size=(1, 5))
    found, reference = scope_a(by_dataset(a), by_dataset(b)), stats.ttest_rel(a[0], b[0])
    assert found.p == pytest.approx(reference.pvalue, rel=1e-9)
    assert found.df == pytest.approx(4)
    plain = paired_t(dict(enumerate(a[0])), dict(enumerate(b[0])))
    assert found.half == pytest.approx(plain.half)


@pytest.mark.parametrize(("datasets", "seeds", "unequal"), [(3, 3, False), (2, 5, True), (4, 5, True), (6, 10, False)])
def test_false_positives_and_coverage_are_nominal(datasets: int, seeds: int, unequal: bool) -> None:
    rng = np.random.default_rng(datasets * 100 + seeds)
    spread = np.linspace(1, 6, datasets)[:, None] if unequal else 1.0
    effect = rng.normal(size=(datasets, 1)) * 5  # task effects that both methods share must not matter
    rejected = covered = 0
    runs = 3000
    for _ in range(runs):
        common = effect + rng.normal(size=(datasets, seeds))
        a = common + rng.normal(size=(datasets, seeds)) * spread
        b = common + rng.normal(size=(datasets, seeds)) * 0.3
        found = scope_a(by_dataset(a), by_dataset(b))
        assert found.p is not None
        assert found.half is not None
        assert found.diff is not None
        rejected += found.p < 0.05
        covered += abs(found.diff) <= found.half
    assert 0.03 <= rejected / runs <= 0.06
    assert 0.93 <= covered / runs <= 0.97


def test_a_data_set_that_one_side_lacks_leaves_no_number() -> None:
    a = by_dataset(np.ones((2, 3)))
    assert scope_a(a, {"d0": a["d0"]}).reason is Reason.incomplete


@pytest.mark.parametrize(
    ("shift", "seeds", "reason"),
    [
        (0.0, 5, Reason.identical),
        (1e-13, 5, Reason.identical),
        (2.0, 5, Reason.zero_variance),
        (2.0, 1, Reason.too_few_seeds),
    ],
)
def test_degenerate_differences_give_a_reason_and_no_p(shift: float, seeds: int, reason: Reason) -> None:
    b = np.random.default_rng(1).normal(size=(2, seeds))
    found = scope_a(by_dataset(b + shift), by_dataset(b))
    assert (found.p, found.reason) == (None, reason)


def test_two_seeds_give_an_interval_and_no_p() -> None:
    rng = np.random.default_rng(2)
    found = scope_a(by_dataset(rng.normal(size=(3, 2))), by_dataset(rng.normal(size=(3, 2))))
    assert found.p is None
    assert found.half is not None


def difference_of(diff: float, sd: float) -> tuple[object, float | None]:
    d = np.random.default_rng(3).normal(size=20)
    d = diff + sd * (d - d.mean()) / d.std(ddof=1)
    found = scope_a(by_dataset(d[None]), by_dataset(np.zeros((1, 20))))
    return found, found.p


@pytest.mark.parametrize(
    ("diff", "sd", "expected"),
    [
        (2.0, 1.0, Verdict.better),
        (-2.0, 1.0, Verdict.worse),
        (0.3, 0.2, Verdict.slightly_better),
        (-0.3, 0.2, Verdict.slightly_worse),
        (0.05, 0.5, Verdict.equivalent),
        (0.4, 2.0, Verdict.undecided),
    ],
)
def test_verdicts(diff: float, sd: float, expected: Verdict) -> None:
    found, p = difference_of(diff, sd)
    assert verdict(found, p, rope=0.5) is expected


def test_rank_intervals_count_what_is_significantly_better_and_worse() -> None:
    significant = {("a", "b"): 1, ("a", "c"): 1, ("c", "b"): 0}
    assert rank_intervals(["a", "b", "c"], significant) == {"a": (1, 1), "b": (2, 3), "c": (2, 3)}


def test_rank_intervals_hold_all_true_ranks_at_once() -> None:
    """Eight methods, four of them tied: the true rank sets lie inside all intervals in at least 95 % of the tables."""
    rng = np.random.default_rng(4)
    truth = np.array([0, 0, 0, 0, 1, 2, 3, 4.0])
    names = [f"m{i}" for i in range(len(truth))]
    best = [1 + int((truth > v).sum()) for v in truth]
    worst = [len(truth) - int((truth < v).sum()) for v in truth]
    hits, runs = 0, 150
    for _ in range(runs):
        shared = rng.normal(size=(3, 3))
        scores = {n: by_dataset(t + shared + 0.4 * rng.normal(size=(3, 3))) for n, t in zip(names, truth, strict=True)}
        pairs = list(combinations(names, 2))
        found = [scope_a(scores[a], scores[b]) for a, b in pairs]
        adjusted = holm([f.p for f in found])
        signs = {
            pair: int(np.sign(f.diff)) if p is not None and p < 0.05 and f.diff is not None else 0
            for pair, f, p in zip(pairs, found, adjusted, strict=True)
        }
        intervals = rank_intervals(names, signs)
        hits += all(intervals[n][0] <= b and w <= intervals[n][1] for n, b, w in zip(names, best, worst, strict=True))
    assert hits / runs >= 0.95
