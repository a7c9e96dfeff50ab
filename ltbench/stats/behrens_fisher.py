"""Two kinds of noise in one difference: seeds, of which there are few, and test images, of which there are many.

The difference minus its true value is taken as sqrt(seeds) T + sqrt(images) Z: T is Student's t with the degrees of
freedom of the seeds' variance, Z is normal. This is the Behrens-Fisher problem (Behrens, 1929; Fisher, Annals of
Eugenics 1935) with one of the two variances well known. Satterthwaite's single t would give the images' hundreds of
degrees of freedom to the whole. With few seeds their variance is now and then estimated far too small, and the sum
then looks certain. That error is small at 5 % and many times the level at the 5 % / 45 that Holm asks of a pair.

Where few test images carry the noise, their variance is no better known than that of the seeds: Z is Student's t, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.polynomial.chebyshev import chebpts1, chebvander
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammainccinv, gammaincinv, ndtr, ndtri, stdtr, stdtrit

Floats = NDArray[np.float64]
_NODES = np.arange(-8, 6.0625, 0.125)
"""Normal quantiles at which the chi-square of the seeds' variance is looked at: p is good to 8 digits above 1e-9."""
_FEW_NODES = np.arange(-8, 5.125, 0.25)
"""The same for the images' variance: p is good to 4 digits from 2 degrees of freedom on, to 3 with one."""
_WEIGHTS = np.exp(-(_NODES**2) / 2) / np.sqrt(2 * np.pi) * 0.125
_WEIGHTS_OF_BOTH = np.outer(_WEIGHTS, np.exp(-(_FEW_NODES**2) / 2) / np.sqrt(2 * np.pi) * 0.25).ravel()
_CHUNK = 20_000
_DEGREE = 40
_STEPS = 50


def tail(
    distance: ArrayLike, seeds: ArrayLike, df: ArrayLike, images: ArrayLike, images_df: ArrayLike = np.inf
) -> Floats:
    """P(|sqrt(seeds) T_df + sqrt(images) Z| >= distance), for arrays of one shape.

    Without images it is Student's two-sided p, without seeds (or with infinitely many) the normal one. In between it is
    the mean of the normal p over the chi-square distribution of the seeds' variance.

    Args:
        distance: 0 or more; the two-sided p-value of a difference is `tail` of its absolute value.
        seeds: variance of the mean that was estimated from seeds.
        df: degrees of freedom of that estimate, at least 1; may be infinite.
        images: variance of the mean that the test images add.
        images_df: degrees of freedom of that one, at least 1; Z is Student's t where they are finite.
    """
    distance, noise, shape = _arrays(distance, seeds, df, images, images_df)
    # Noise of the other kind can only widen a symmetric distribution with one peak (Anderson, 1955), so either p alone
    # is a lower bound. It is exact where the other kind is absent, and where p is too small for the nodes.
    far = -_ratio(distance, noise.images)
    alone = _of_images(noise, lambda df: 2 * stdtr(df, far), 2 * ndtr(far))
    p = np.maximum(2 * stdtr(noise.df, -_ratio(distance, noise.seeds)), alone)
    for at, spread, weights in _spreads(noise):
        p[at] = np.maximum(p[at], 2 * ndtr(-distance[at, None] / spread) @ weights)
    return np.asarray(np.minimum(p, 1.0).reshape(shape))


def half_width(
    seeds: ArrayLike, df: ArrayLike, images: ArrayLike, level: float = 0.95, images_df: ArrayLike = np.inf
) -> Floats:
    """Half-width of the interval that belongs to `tail`: the distance at which it is 1 - level."""
    _, noise, shape = _arrays(0.0, seeds, df, images, images_df)
    of_seeds = stdtrit(noise.df, 0.5 + level / 2) * np.sqrt(noise.seeds)
    quantile = _of_images(noise, lambda df: stdtrit(df, 0.5 + level / 2), ndtri(0.5 + level / 2))
    of_images = quantile * np.sqrt(noise.images)
    half = np.hypot(of_seeds, of_images)
    lowest, wanted = np.maximum(of_seeds, of_images), np.log(1 - level)
    for at, spread, weights in _spreads(noise):
        found = half[at]
        for _ in range(_STEPS):  # Newton's method for the logarithm of the tail, which is nearly straight
            x = found[:, None] / spread
            p = 2 * ndtr(-x) @ weights
            slope = np.exp(-(x**2) / 2) / spread @ weights * np.sqrt(2 / np.pi)
            moved = np.maximum(found + (np.log(p) - wanted) * p / slope, lowest[at])
            done = np.allclose(moved, found, rtol=1e-12, atol=0)
            found = moved
            if done:
                break
        half[at] = found
    return np.asarray(half.reshape(shape))


class _Noise(NamedTuple):
    """Both variances, flat, with their degrees of freedom: those of the seeds are finite, those of the images infinite
    where their variance is known."""

    seeds: Floats
    df: Floats
    images: Floats
    images_df: Floats


def _arrays(
    distance: ArrayLike, seeds: ArrayLike, df: ArrayLike, images: ArrayLike, images_df: ArrayLike
) -> tuple[Floats, _Noise, tuple[int, ...]]:
    """All flat and of one length. A seeds' part that is known exactly is added to the images' part; where that one is
    estimated, the two change places."""
    given = (np.asarray(x, dtype=np.float64) for x in (distance, seeds, df, images, images_df))
    distance, seeds, df, images, images_df = np.broadcast_arrays(*given)
    shape = distance.shape
    distance, seeds, df, images, images_df = (x.ravel() for x in (distance, seeds, df, images, images_df))
    known = np.isinf(df) | (seeds == 0)
    turned = known & np.isfinite(images_df) & (images > 0)
    added = known & ~turned
    noise = _Noise(
        seeds=np.where(turned, images, np.where(added, 0, seeds)),
        df=np.where(turned, images_df, np.where(added, 1, df)),
        images=np.where(turned, seeds, np.where(added, seeds + images, images)),
        images_df=np.where(known, np.inf, images_df),
    )
    return distance, noise, shape


def _of_images(noise: _Noise, student: Callable[[Floats], Floats], normal: ArrayLike) -> Floats:
    """Student's value where the images' degrees of freedom are finite, else the normal one."""
    finite = np.isfinite(noise.images_df)
    if not finite.any():
        return np.asarray(normal, dtype=np.float64)
    return np.where(finite, student(np.where(finite, noise.images_df, 1.0)), normal)


def _ratio(distance: Floats, variance: Floats) -> Floats:
    """distance / sqrt(variance); without noise every distance but 0 is infinitely far."""
    there = variance > 0
    found = np.where(distance > 0, np.inf, 0.0)
    found[there] = distance[there] / np.sqrt(variance[there])
    return found


def _spreads(noise: _Noise) -> Iterator[tuple[NDArray[np.int64], Floats, Floats]]:
    """Where both kinds of noise are there, some at a time, which keeps memory small: positions, the standard deviations
    of the normal distributions that are mixed, (positions, mixed), and their weights, (mixed,)."""
    both = np.flatnonzero((noise.seeds > 0) & (noise.images > 0))
    estimated = np.isfinite(noise.images_df[both])
    if not estimated.all():
        at_once = both[~estimated]
        factors = _factors(noise.df[at_once], _NODES)
        for some in _chunks(len(at_once), _CHUNK):
            at = at_once[some]
            yield at, np.sqrt(noise.seeds[at, None] * factors(some) + noise.images[at, None]), _WEIGHTS
    if estimated.any():
        twice = both[estimated]
        of_seeds = _factors(noise.df[twice], _NODES)
        of_images = _factors(noise.images_df[twice], _FEW_NODES)
        for some in _chunks(len(twice), _CHUNK // len(_FEW_NODES)):
            at = twice[some]
            variance = noise.seeds[at, None, None] * of_seeds(some)[:, :, None]
            variance = variance + noise.images[at, None, None] * of_images(some)[:, None, :]
            yield at, np.sqrt(variance.reshape(len(at), -1)), _WEIGHTS_OF_BOTH


def _chunks(n: int, size: int) -> Iterator[slice]:
    return (slice(i, i + size) for i in range(0, n, size))


def _factors(df: Floats, nodes: Floats) -> Callable[[slice], Floats]:
    """df / (chi-square with df) at the nodes, for some of the df: (df, nodes)."""
    distinct = np.unique(df)
    if len(distinct) <= _DEGREE:
        table = _log_chi_square(distinct, nodes)
        return lambda some: np.asarray(np.exp(-table[np.searchsorted(distinct, df[some])]))
    # A quantile is a smooth function of 1 / sqrt(df): a polynomial through a few is good to 9 digits, and far faster.
    low, high = distinct[-1] ** -0.5, distinct[0] ** -0.5
    points = chebpts1(_DEGREE + 1)
    table = _log_chi_square((low + (points + 1) / 2 * (high - low)) ** -2, nodes)
    polynomial = np.linalg.solve(chebvander(points, _DEGREE), table)
    return lambda some: np.asarray(
        np.exp(-(chebvander((df[some] ** -0.5 - low) / (high - low) * 2 - 1, _DEGREE) @ polynomial))
    )


def _log_chi_square(df: Floats, nodes: Floats) -> Floats:
    """(df, nodes): logarithm of the chi-square over its df; the upper half from the upper tail, to keep its digits."""
    half = df[:, None] / 2
    lower, upper = nodes[nodes < 0], nodes[nodes >= 0]
    quantiles = np.concatenate([gammaincinv(half, ndtr(lower)), gammainccinv(half, ndtr(-upper))], axis=1)
    return np.asarray(np.log(quantiles / half))
