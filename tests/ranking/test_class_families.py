"""What boards claim of equally good methods that trade classes, from predictions: their test images are drawn class by
class. Bounds are nominal, with two standard errors of the simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtri

from ltbench.ranking.images import Images, contributions
from ltbench.ranking.pairs import ALPHA
from ltbench.ranking.ranking import Rules, rank
from ltbench.spec import Column
from tests.ranking import made

Array = NDArray[np.float64]
UNEVEN = (200, 100, 60, 40, 20, 10, 5, 4, 3, 2)


@dataclass(frozen=True)
class World:
    """Methods of one mean, better at some classes and worse at others; how far a seed moves a class, and how much of
    what makes an image hard is the same for all methods, and a method's own: the rest is the seed's."""

    counts: Sequence[int]
    methods: int = 10
    seeds: int = 3
    sets: int = 1
    metric: str = "accuracy"
    by_seed: float = 0.15
    hard: tuple[float, float] = (0.3, 0.4)

    def __str__(self) -> str:
        return f"{self.methods}x{self.sets}x{self.seeds} {sum(self.counts)} images {self.metric}"

    def chances(self, rng: np.random.Generator) -> Array:
        """(methods, classes) of being right; their mean by the metric's weights is that of the classes."""
        classes = len(self.counts)
        easy = rng.permutation(np.linspace(0.35, 0.85, classes))
        share = np.array(self.counts) / sum(self.counts) if self.metric == "accuracy" else np.full(classes, 1 / classes)
        trade = rng.normal(0, 0.2, (self.methods, classes))
        trade -= (trade @ share)[:, None]
        room = np.where(trade > 0, 0.98 - easy, easy - 0.02) / np.abs(trade)
        return np.asarray(easy + trade * np.minimum(1, room.min(axis=1, keepdims=True)), dtype=np.float64)

    def right(self, rng: np.random.Generator, truth: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(methods, seeds, images): whether a latent normal variable is below the edge of the chance."""
        m, s, n = self.methods, self.seeds, len(truth)
        shared, own = self.hard
        latent = np.sqrt(shared) * rng.standard_normal(n) + np.sqrt(own) * rng.standard_normal((m, 1, n))
        latent = latent + np.sqrt(1 - shared - own) * rng.standard_normal((m, s, n))
        latent += self.by_seed * rng.standard_normal((m, s, len(self.counts)))[:, :, truth]
        return np.asarray(latent < (ndtri(self.chances(rng)) * np.hypot(1, self.by_seed))[:, None, truth])


def p_values(world: World, boards: int, *, as_known: bool = False) -> Array:
    """(boards, pairs), after Holm's correction.

    Args:
        as_known: take the noise of the images as known, however few they are.
    """
    rng, truth = np.random.default_rng(5), np.repeat(np.arange(len(world.counts)), world.counts)
    weights = np.full(len(truth), 100.0)
    if world.metric != "accuracy":
        weights = 100 * len(truth) / (len(world.counts) * np.array(world.counts)[truth])
    labels, columns = [f"m{i}" for i in range(world.methods)], [Column(f"d{t}", "IF10", "") for t in range(world.sets)]
    found = []
    for _ in range(boards):
        stored, keys, values = {}, {}, {}
        for column in columns:
            for label, rows in zip(labels, world.right(rng, truth), strict=True):
                values[label, column] = {s: float((weights * row).mean()) for s, row in enumerate(rows)}
                for s, row in enumerate(rows):
                    keys[label, column, s] = f"{label} {column.dataset} {s}"
                    stored[keys[label, column, s]] = made.npz(np.where(row, truth, truth + 1), truth)
        images = contributions(keys, stored.get, world.metric)
        images = Images(images.by_method) if as_known else images
        pairs = rank(labels, columns, values, images, Rules(rope=0.5)).pairs
        found.append([1.0 if pair.p_holm is None else pair.p_holm for pair in pairs])
    return np.array(found)


def false(p: Array) -> float:
    """Share of boards that claim any difference."""
    return float((p < ALPHA).any(axis=1).mean())


def error(boards: int) -> float:
    """Two standard errors of a share of 5 %."""
    return 2 * float(np.sqrt(0.05 * 0.95 / boards))


@pytest.mark.parametrize("world", [World([20] * 10), World([3] * 60, seeds=5, by_seed=0.05)], ids=str)
def test_methods_that_trade_classes_are_rarely_told_apart(world: World) -> None:
    assert false(p_values(world, 40)) <= 0.05 + error(40)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "world",
    [World([n] * 10, sets=t, seeds=s) for n, t, s in product((20, 100), (1, 2), (3, 5))]
    + [World([n] * 100, seeds=5, by_seed=0.03, hard=(0.3, 0.6)) for n in (2, 3)]
    + [World([5] * 10, seeds=5, by_seed=0.03, hard=(0.3, 0.6)), World(UNEVEN, seeds=5)],
    ids=str,
)
def test_methods_that_trade_classes_are_rarely_told_apart_on_boards_of_any_size(world: World) -> None:
    assert false(p_values(world, 200)) <= 0.05 + error(200)


RARE = World(UNEVEN, seeds=5, metric="balanced_accuracy", by_seed=0.03, hard=(0.3, 0.6))
"""Two to five test images of a class carry most of the noise of balanced accuracy."""


@pytest.mark.nightly
def test_a_few_images_that_weigh_most_do_not_count_as_many() -> None:
    """Taken as known, their noise makes false claims on every tenth board."""
    assert false(p_values(RARE, 200)) <= 0.05
    assert false(p_values(RARE, 200, as_known=True)) > 0.07


def test_what_few_images_say_is_weaker_evidence() -> None:
    """Than the same boards with the noise of the images taken as known."""
    ours, known = (p_values(RARE, 6, as_known=as_known) for as_known in (False, True))
    assert (ours >= known - 1e-12).all()
    assert ours.min() > 2 * known.min()
