"""Test images are drawn from their classes: what they contribute, and how well their noise is known."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtri

from ltbench.ranking.build import BoardOptions, build
from ltbench.ranking.images import NoImages, Sampling, contributions, strata_of
from ltbench.spec import Column, Record, Result
from ltbench.stats.crossed import crossed_variance
from tests.ranking import made

METRICS = ("accuracy", "balanced_accuracy")


def spread(x: NDArray[Any]) -> float:
    """The variance of a mean of independent draws."""
    return float(x.var(ddof=1) / x.size)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=40), st.integers(0, 2**32))
def test_the_spread_is_that_of_a_stratified_mean(classes: list[int], seed: int) -> None:
    truth = np.array(classes)
    x = np.random.default_rng(seed).normal(50, 20, len(truth)).astype(np.float32)
    found = Sampling(strata_of(truth), np.ones(len(truth))).contributions(x)
    assert found.mean() == pytest.approx(x.mean(), rel=1e-4)
    counts = np.bincount(truth)
    if (counts != 1).all() and len(truth) > 1:
        classes_there = np.flatnonzero(counts)
        terms = [(counts[c] / len(truth)) ** 2 * x[truth == c].var(ddof=1) / counts[c] for c in classes_there]
        assert spread(found) == pytest.approx(sum(terms), rel=1e-3)


def test_components_are_those_of_a_two_way_anova_within_classes() -> None:
    """Images nested in classes of one size, crossed with seeds: mean squares from ordinary least squares. What a seed
    does to a class is the seed's, and no interaction with images."""
    rng, (seeds, classes, each) = np.random.default_rng(8), (4, 3, 6)
    images = classes * each
    truth = np.repeat(np.arange(classes), each)
    d = rng.normal(0, 4, (seeds, classes))[:, truth] + rng.normal(0, 3, images) + rng.normal(0, 2, (seeds, images))
    of = np.array([(s, truth[i], i) for s in range(seeds) for i in range(images)])

    def left(*factors: NDArray[Any]) -> float:
        design = np.hstack([(f[:, None] == np.unique(f)).astype(float) for f in factors])
        return float(((d.ravel() - design @ np.linalg.lstsq(design, d.ravel(), rcond=None)[0]) ** 2).sum())

    cell = of[:, 0] * classes + of[:, 1]
    residual, of_images = left(cell, of[:, 2]), left(cell) - left(cell, of[:, 2])
    ms_e, ms_i = residual / ((seeds - 1) * (images - classes)), of_images / (images - classes)
    ms_s = images * d.mean(axis=1).var(ddof=1)
    drawn = np.array([Sampling(strata_of(truth), np.ones(images)).contributions(row) for row in d])
    wanted = np.array([ms_s - ms_e, ms_i - ms_e, ms_e]) / (seeds * images)
    assert (wanted > 0).all()
    assert crossed_variance(drawn).components == pytest.approx(wanted, rel=1e-4)


def test_it_is_what_a_bootstrap_within_classes_gives() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), [200, 60, 40])
    x = np.where(rng.random(300) < np.array([0.9, 0.5, 0.1])[truth], 100.0, 0.0)
    found = Sampling(strata_of(truth), np.full(300, 100.0)).contributions(x / 100)
    draws = np.concatenate([rng.choice(x[truth == c], (20_000, n)) for c, n in enumerate((200, 60, 40))], axis=1)
    assert np.sqrt(spread(found)) == pytest.approx(draws.mean(axis=1).std(), rel=0.03)
    assert spread(found) < 0.7 * spread(x)


def test_classes_of_one_image_are_taken_together() -> None:
    """With the smallest other class where there is just one such class."""
    assert strata_of(np.array([7, 7, 7, 2, 2, 5])).counts.tolist() == [3, 3]
    assert strata_of(np.array([7, 7, 7, 2, 2, 5])).of.tolist() == [1, 1, 1, 0, 0, 0]
    assert sorted(strata_of(np.array([0, 1, 2, 3, 3])).counts.tolist()) == [2, 3]
    assert strata_of(np.array([0, 1, 2])).counts.tolist() == [3]
    assert strata_of(np.array([4])).counts.tolist() == [1]


def test_few_images_have_few_degrees_of_freedom_and_many_are_taken_as_known() -> None:
    """Satterthwaite's, of the sum over classes of W_c^2 s_c^2 / n_c; of 100 or more there are none."""
    truth = np.repeat(np.arange(3), [60, 6, 3])
    for metric, share in (("accuracy", np.array([60, 6, 3]) / 69), ("balanced_accuracy", np.full(3, 1 / 3))):
        parts = share**2 / np.array([60, 6, 3])
        wanted = parts.sum() ** 2 / (parts**2 / np.array([59, 5, 2])).sum()
        column = Column("a", "IF10", "")
        found = contributions({("m", column, 0): "k"}, lambda k: made.npz(truth, truth), metric)
        assert found.df == {column: pytest.approx(wanted)}
        assert found.df_by_dataset([column, Column("a", "IF100", ""), Column("b", "IF10", "")]) == {
            "a": pytest.approx(wanted), "b": np.inf
        }  # fmt: skip
    assert Sampling(strata_of(np.repeat(np.arange(50), 3)), np.ones(150)).df == np.inf
    assert Sampling(strata_of(np.repeat(np.arange(10), 3)), np.ones(30)).df == pytest.approx(20)
    assert Sampling(strata_of(np.arange(30)), np.ones(30)).df == pytest.approx(29)
    assert Sampling(strata_of(np.zeros(30)), np.ones(30)).df == pytest.approx(29)
    assert Sampling(strata_of(np.repeat([0, 1], [40, 10])), np.repeat([1.0, 0.0], [40, 10])).df == pytest.approx(39)


def test_a_class_of_one_image_is_taken_to_be_as_noisy_as_the_one_it_is_counted_with() -> None:
    """In balanced accuracy it weighs as much as the others, and says nothing of its own noise."""
    truth = np.repeat(np.arange(3), [20, 10, 1])
    weights = 100 * 31 / (3 * np.bincount(truth))[truth]
    right = np.tile([1.0, 0.0], 16)[:31]
    for last in (0.0, 1.0):
        right[-1] = last
        of_first, of_rest = right[:20].var(ddof=1), right[20:].var(ddof=1)
        found = Sampling(strata_of(truth), weights).contributions(right)
        assert found.mean() == pytest.approx(weights @ right / 31, rel=1e-6)
        wanted = (100 / 3) ** 2 * (of_first / 20 + of_rest / 10 + of_rest)
        assert spread(found) == pytest.approx(wanted, rel=1e-5)


def test_items_have_no_classes_to_weigh_by() -> None:
    truth = np.arange(40, dtype=np.uint64) * 10**17
    stream = io.BytesIO()
    np.savez(stream, label=truth, truth=truth)
    key = {("m", Column("a", "IF10", ""), 0): "k"}
    assert contributions(key, lambda k: stream.getvalue(), "accuracy").df == {Column("a", "IF10", ""): 39}
    with pytest.raises(NoImages, match="items have no classes, by which balanced_accuracy weighs them"):
        contributions(key, lambda k: stream.getvalue(), "balanced_accuracy")


def test_methods_that_are_each_right_on_whole_classes_have_no_noise_to_test_by() -> None:
    truth = np.repeat(np.arange(4), [10, 10, 10, 20])
    found = {}
    for metric in METRICS:
        stored, results = {}, []
        for m, classes in (("ce", (0, 1)), ("good", (2, 3))):
            right = np.isin(truth, classes)
            for s in range(3):
                spec = made.spec(m, "a", 10.0, s)
                stored[spec.key] = made.npz(np.where(right, truth, (truth + 1) % 4), truth)
                values = {"accuracy": 100 * float(right.mean()), "balanced_accuracy": 50.0}
                results.append(Result.of(Record(spec=spec, status="ok", metrics={**values})))
        (pair,) = build(results, predictions=stored.get, options=BoardOptions(primary=metric)).tables[0].pairs
        found[metric] = pair.test.p, pair.test.reason
    assert found == {"accuracy": (None, "zero_variance"), "balanced_accuracy": (None, "identical")}


def test_that_methods_are_good_at_other_classes_is_no_noise() -> None:
    """The one is right on classes 0 and 1, the other on 2 and 3: so they are with any test images."""
    truth = np.repeat(np.arange(4), 25)
    stored, results = {}, []
    for m, classes in (("ce", (0, 1)), ("good", (2, 3))):
        for s in range(4):
            right = np.isin(truth, classes)
            right[s] = m == "ce" or s % 2 == 0  # seeds differ by an image
            spec = made.spec(m, "a", 10.0, s)
            stored[spec.key] = made.npz(np.where(right, truth, (truth + 1) % 4), truth)
            metrics: dict[str, float | None] = {"accuracy": 100 * float(right.mean())}
            results.append(Result.of(Record(spec=spec, status="ok", metrics=metrics)))
    (pair,) = build(results, predictions=stored.get, options=BoardOptions(primary="accuracy")).tables[0].pairs
    assert pair.test.half is not None
    assert pair.test.half < 2.0  # as for images of any class: 20


def test_intervals_cover_the_truth_of_new_images_of_the_same_classes() -> None:
    """Gains differ by class, and how hard an image is does not depend on the seed. Taken as draws from all images, the
    same differences have wider intervals."""
    rng = np.random.default_rng(1)
    truth = np.repeat(np.arange(5), 40)
    chances = np.array([[0.9, 0.8, 0.6, 0.3, 0.1], [0.7, 0.7, 0.7, 0.6, 0.6]])
    edges, gain = ndtri(chances)[:, None, truth], 100 * float((chances[1] - chances[0]).mean())
    sampling, covered, ratios = Sampling(strata_of(truth), np.full(len(truth), 100.0)), 0, []
    for _ in range(400):
        hard = np.sqrt(0.7) * rng.standard_normal((2, 1, len(truth)))
        x = hard + np.sqrt(0.3) * rng.standard_normal((2, 4, len(truth))) < edges
        within = [[sampling.contributions(row) for row in rows] for rows in x]
        found, plain = (crossed_variance(np.subtract(*two[::-1])) for two in (within, 100.0 * x))
        assert found.half is not None
        assert plain.half is not None
        covered += abs(found.diff - gain) <= found.half
        ratios.append(found.half / plain.half)
    assert 0.92 <= covered / 400 <= 0.98
    assert np.mean(ratios) < 0.95
