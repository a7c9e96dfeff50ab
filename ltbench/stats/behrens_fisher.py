"""Two kinds of noise in one difference: seeds, of which there are few, and test images, of which there are many.

The difference minus its true value is taken as sqrt(seeds) T + sqrt(images) Z: T is Student's t with the degrees of
freedom of the seeds' variance, Z is normal. This is the Behrens-Fisher problem (Behrens, 1929; Fisher, Annals of
Eugenics 1935) with one of the two variances well known. Satterthwaite's single t would give the images' hundreds of
degrees of freedom to the whole. With few seeds their variance is now and then estimated far too small, and the sum
then looks certain. That error is small at 5 % and many times the level at the 5 % / 45 that Holm asks of a pair.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.polynomial.chebyshev import chebpts1, chebvander
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammainccinv, gammaincinv, ndtr, ndtri, stdtr, stdtrit

Floats = NDArray[np.float64]
_NODES = np.arange(-8, 6.0625, 0.125)
"""Normal quantiles at which the chi-square of the seeds' variance is looked at: p is good to 8 digits above 1e-9."""
_WEIGHTS = np.exp(-(_NODES**2) / 2) / np.sqrt(2 * np.pi) * 0.125
_CHUNK = 20_000
_DEGREE = 40
_STEPS = 50


def tail(distance: ArrayLike, seeds: ArrayLike, df: ArrayLike, images: ArrayLike) -> Floats:
    """P(|sqrt(seeds) T_df + sqrt(images) Z| >= distance), for arrays of one shape.

    Without images it is Student's two-sided p, without seeds (or with infinitely many) the normal one. In between it is
    the mean of the normal p over the chi-square distribution of the seeds' variance.

    Args:
        distance: 0 or more; the two-sided p-value of a difference is `tail` of its absolute value.
        seeds: variance of the mean that was estimated from seeds.
        df: degrees of freedom of that estimate, at least 1; may be infinite.
        images: variance of the mean that the test images add.
    """
    distance, seeds, df, images, shape = _arrays(distance, seeds, df, images)
    # Noise of the other kind can only widen a symmetric distribution with one peak (Anderson, 1955), so either p alone
    # is a lower bound. It is exact where the other kind is absent, and where p is too small for the nodes.
    p = np.maximum(2 * stdtr(df, -_ratio(distance, seeds)), 2 * ndtr(-_ratio(distance, images)))
    both = np.flatnonzero((seeds > 0) & (images > 0))
    for at, factor in _spreads(both, df):
        spread = np.sqrt(seeds[at, None] * factor + images[at, None])
        p[at] = np.maximum(p[at], 2 * ndtr(-distance[at, None] / spread) @ _WEIGHTS)
    return np.asarray(np.minimum(p, 1.0).reshape(shape))


def half_width(seeds: ArrayLike, df: ArrayLike, images: ArrayLike, level: float = 0.95) -> Floats:
    """Half-width of the interval that belongs to `tail`: the distance at which it is 1 - level."""
    _, seeds, df, images, shape = _arrays(0.0, seeds, df, images)
    of_seeds = stdtrit(df, 0.5 + level / 2) * np.sqrt(seeds)
    of_images = ndtri(0.5 + level / 2) * np.sqrt(images)
    half = np.hypot(of_seeds, of_images)
    both = np.flatnonzero((seeds > 0) & (images > 0))
    lowest, wanted = np.maximum(of_seeds, of_images), np.log(1 - level)
    for at, factor in _spreads(both, df):
        spread = np.sqrt(seeds[at, None] * factor + images[at, None])
        found = half[at]
        for _ in range(_STEPS):  # Newton's method for the logarithm of the tail, which is nearly straight
            x = found[:, None] / spread
            p = 2 * ndtr(-x) @ _WEIGHTS
            slope = np.exp(-(x**2) / 2) / spread @ _WEIGHTS * np.sqrt(2 / np.pi)
            moved = np.maximum(found + (np.log(p) - wanted) * p / slope, lowest[at])
            done = np.allclose(moved, found, rtol=1e-12, atol=0)
            found = moved
            if done:
                break
        half[at] = found
    return np.asarray(half.reshape(shape))


def _arrays(
    distance: ArrayLike, seeds: ArrayLike, df: ArrayLike, images: ArrayLike
) -> tuple[Floats, Floats, Floats, Floats, tuple[int, ...]]:
    """All flat and of one length; a seeds' part that is known exactly is added to the images' part."""
    given = (np.asarray(x, dtype=np.float64) for x in (distance, seeds, df, images))
    distance, seeds, df, images = np.broadcast_arrays(*given)
    shape = distance.shape
    distance, seeds, df, images = (x.ravel() for x in (distance, seeds, df, images))
    known = np.isinf(df) | (seeds == 0)
    return distance, np.where(known, 0, seeds), np.where(known, 1, df), np.where(known, seeds + images, images), shape


def _ratio(distance: Floats, variance: Floats) -> Floats:
    """distance / sqrt(variance); without noise every distance but 0 is infinitely far."""
    there = variance > 0
    found = np.where(distance > 0, np.inf, 0.0)
    found[there] = distance[there] / np.sqrt(variance[there])
    return found


def _spreads(chosen: NDArray[np.int64], df: Floats) -> Iterator[tuple[NDArray[np.int64], Floats]]:
    """Some of the chosen at a time, which keeps memory small, and df / (chi-square with df) at the nodes for them."""
    if len(chosen) == 0:
        return
    distinct = np.unique(df[chosen])
    if len(distinct) <= _DEGREE:
        table = _log_chi_square(distinct)
        for at in _chunks(chosen):
            yield at, np.exp(-table[np.searchsorted(distinct, df[at])])
        return
    # A quantile is a smooth function of 1 / sqrt(df): a polynomial through a few is good to 9 digits, and far faster.
    low, high = distinct[-1] ** -0.5, distinct[0] ** -0.5
    points = chebpts1(_DEGREE + 1)
    table = _log_chi_square((low + (points + 1) / 2 * (high - low)) ** -2)
    polynomial = np.linalg.solve(chebvander(points, _DEGREE), table)
    for at in _chunks(chosen):
        x = (df[at] ** -0.5 - low) / (high - low) * 2 - 1
        yield at, np.exp(-(chebvander(x, _DEGREE) @ polynomial))


def _chunks(chosen: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    return (chosen[i : i + _CHUNK] for i in range(0, len(chosen), _CHUNK))


def _log_chi_square(df: Floats) -> Floats:
    """(df, nodes): logarithm of the chi-square over its df; the upper half from the upper tail, to keep its digits."""
    half = df[:, None] / 2
    lower, upper = _NODES[_NODES < 0], _NODES[_NODES >= 0]
    quantiles = np.concatenate([gammaincinv(half, ndtr(lower)), gammainccinv(half, ndtr(-upper))], axis=1)
    return np.asarray(np.log(quantiles / half))
