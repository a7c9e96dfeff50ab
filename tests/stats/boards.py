"""Many leaderboards at once, drawn from a world whose truth is known: what all pairs of methods look like on each.

The pairs of one board share methods, seeds and test images, so only whole boards show how often some claim
on them is false. `ltbench.stats.allpairs` is restated over many boards; the first few are checked against it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from ltbench.stats.allpairs import all_pairs
from ltbench.stats.behrens_fisher import half_width, tail
from ltbench.stats.crossed import at_least_interaction
from ltbench.stats.paired import holm_array

Array = NDArray[np.float64]
IMAGES, CHECKED = 200, 3


@dataclass(frozen=True)
class Setting:
    """Boards of one size. shares: fractions of the variance of a method's mean that come from its seeds and from the
    test images, the rest from both together; that variance is 1 for every method and data set."""

    methods: int
    datasets: int
    seeds: int
    shares: tuple[float, float]
    images: int = IMAGES

    def __str__(self) -> str:
        return f"{self.methods}x{self.datasets}x{self.seeds} {self.shares[0]:g}/{self.shares[1]:g}"


def gaussian(setting: Setting, rng: np.random.Generator, boards: int) -> Array:
    """(boards, methods, seeds, images): effects of seeds and images on every method of its own."""
    m, s, n, (of_seeds, of_images) = setting.methods, setting.seeds, setting.images, setting.shares
    rest = max(1 - of_seeds - of_images, 0.0)
    y = rng.standard_normal((boards, m, s, n), dtype=np.float32) * np.float32(np.sqrt(rest * s * n))
    y += rng.standard_normal((boards, m, s, 1), dtype=np.float32) * np.float32(np.sqrt(of_seeds * s))
    y += rng.standard_normal((boards, m, 1, n), dtype=np.float32) * np.float32(np.sqrt(of_images * n))
    return y.astype(np.float64)


def right_or_wrong(setting: Setting, rng: np.random.Generator, boards: int) -> Array:
    """The same from hits in points. Images are hard or easy for all methods, and suit some; shares: how far the ease of
    an image depends on the method's seed, and on the method."""
    m, s, n, (by_seed, by_method) = setting.methods, setting.seeds, setting.images, setting.shares
    ease = 1 + 1.5 * rng.standard_normal((boards, 1, 1, n)) + by_method * rng.standard_normal((boards, m, 1, n))
    ease = ease + by_seed * rng.standard_normal((boards, m, s, 1)) + 0.8 * rng.standard_normal((boards, m, s, n))
    return np.where(ease > 0, 100.0, 0.0)


World = Callable[[Setting, np.random.Generator, int], Array]


@dataclass(frozen=True)
class Boards:
    """Per board and pair (methods in the order of `itertools.combinations`): the mean difference, the variance that
    seeds show with its degrees of freedom, and the variance that the test images add."""

    diff: Array
    seeds: Array
    df: Array
    images: Array

    @cached_property
    def p(self) -> Array:
        """As the leaderboard tests; 1 where it refuses to."""
        return np.where(self.seeds + self.images == 0, 1, tail(np.abs(self.diff), self.seeds, self.df, self.images))

    @cached_property
    def p_seeds_only(self) -> Array:
        return np.where(self.seeds == 0, 1, tail(np.abs(self.diff), self.seeds, self.df, 0.0))

    @property
    def half(self) -> Array:
        return half_width(self.seeds, self.df, self.images)


def draw(
    setting: Setting,
    boards: int,
    truth: Array | None = None,
    world: World = gaussian,
) -> Boards:
    """Boards of a setting.

    Args:
        truth: true means of the methods; all alike if None.
        world: how the images' contributions arise.
    """
    rng = np.random.default_rng(
        [setting.methods, setting.datasets, setting.seeds, *(int(100 * x) for x in setting.shares)]
    )
    at_a_time = min(boards, 1 + 2_000_000 // (setting.methods * setting.seeds * setting.images))
    found = []
    for at in range(0, boards, at_a_time):
        found.append(_draw(setting, min(at_a_time, boards - at), truth, world, rng, check=at == 0))
    return Boards(*(np.concatenate([getattr(f, name) for f in found]) for name in ("diff", "seeds", "df", "images")))


def draw_looks(setting: Setting, looks: Sequence[int], boards: int, truth: Array | None = None) -> list[Boards]:
    """The same boards with the first seeds alone, for each number of seeds in `looks`."""
    rng = np.random.default_rng([setting.methods, setting.datasets, *(int(100 * x) for x in setting.shares)])
    found: list[list[Boards]] = [[] for _ in looks]
    for at in range(0, boards, 50):
        whole = [gaussian(setting, rng, min(50, boards - at)) for _ in range(setting.datasets)]
        for k, seeds in enumerate(looks):
            rest = iter(whole)
            world: World = lambda s, r, n, rest=rest, seeds=seeds: next(rest)[:, :, :seeds]  # noqa: E731
            some = replace(setting, seeds=seeds)
            found[k].append(_draw(some, len(whole[0]), truth, world, rng, check=at == 0))
    names = ("diff", "seeds", "df", "images")
    return [Boards(*(np.concatenate([getattr(f, name) for f in parts]) for name in names)) for parts in found]


def _draw(
    setting: Setting,
    boards: int,
    truth: Array | None,
    world: World,
    rng: np.random.Generator,
    *,
    check: bool,
) -> Boards:
    first, second = (np.array(side) for side in zip(*combinations(range(setting.methods), 2), strict=True))
    drawn, diffs, parts, images = [], [], [], []
    for _ in range(setting.datasets):
        y = world(setting, rng, boards)
        if truth is not None:
            y = y + truth[:, None, None]
        s, n = y.shape[2:]
        by_seed, by_image = y.mean(axis=3), y.mean(axis=2)
        mean = by_seed.mean(axis=2, keepdims=True)
        ss_s, ss_i = (scale * _distances(x - mean, first, second) for scale, x in ((n, by_seed), (s, by_image)))
        whole = _distances((y - mean[..., None]).reshape(boards, setting.methods, -1), first, second)
        ms_e = np.maximum(whole - ss_s - ss_i, 0) / ((s - 1) * (n - 1))
        both, of_images = ms_e / (s * n), np.maximum(ss_i / (n - 1) - ms_e, 0) / (s * n)
        d = np.round(by_seed[:, first] - by_seed[:, second], 10)
        parts.append(
            at_least_interaction(np.where(np.ptp(d, axis=2) == 0, 0, d.var(axis=2, ddof=1) / s), of_images, both)
        )
        diffs.append(d.mean(axis=2))
        images.append(of_images)
        drawn.append(y[:CHECKED])
    total, square = np.sum(parts, axis=0), np.sum(np.square(parts), axis=0)
    df = (setting.seeds - 1) * np.divide(total**2, square, out=np.full_like(total, setting.datasets), where=square > 0)
    t = setting.datasets
    found = Boards(np.mean(diffs, axis=0), total / t**2, df, np.sum(images, axis=0) / t**2)
    if check:
        _check(found, drawn)
    return found


def _distances(x: Array, first: NDArray[np.int64], second: NDArray[np.int64]) -> Array:
    """Squared distances between methods, (boards, pairs), of x (boards, methods, values)."""
    products = x @ x.transpose(0, 2, 1)
    norms = np.diagonal(products, axis1=1, axis2=2)
    return np.asarray(np.maximum(norms[:, first] + norms[:, second] - 2 * products[:, first, second], 0))


def _check(found: Boards, drawn: list[Array]) -> None:
    """The restatement is what the leaderboard computes."""
    for board in range(len(drawn[0])):
        images = [
            {f"d{t}": dict(enumerate(y[board, m])) for t, y in enumerate(drawn)} for m in range(drawn[0].shape[1])
        ]
        values = [{t: {s: float(x.mean()) for s, x in rows.items()} for t, rows in m.items()} for m in images]
        whole = all_pairs(values, images)
        tested = ~np.isnan(whole.p)
        assert found.p[board][tested] == pytest.approx(whole.p[tested], rel=1e-6)
        assert found.half[board][tested] == pytest.approx(whole.half[tested], rel=1e-6)


def significant(p: Array, level: float = 0.05) -> NDArray[np.bool_]:
    """Pairs that Holm finds different on each board."""
    return np.array([holm_array(row) < level for row in p])
