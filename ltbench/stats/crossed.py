"""Seeds and test images at once: how much of a difference's uncertainty comes from each. And single pairs of models."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ltbench.stats.minimum import min_n
from ltbench.stats.reasons import MIN_SEEDS, NOISE, Reason


@dataclass(frozen=True)
class Crossed:
    """A mean difference with the variance of a crossed design (seeds x test images, both random).

    components: the parts of the variance of the mean that seeds, test images and their interaction carry; a negative
    estimate is 0. shares: the same as fractions of their sum.
    """

    diff: float
    variance: float | None
    df: float | None
    half: float | None
    components: tuple[float, float, float] | None
    reason: Reason | None

    @property
    def shares(self) -> tuple[float, float, float] | None:
        if self.components is None or sum(self.components) == 0:
            return None
        seeds, images, both = (part / sum(self.components) for part in self.components)
        return seeds, images, both


def crossed_variance(d: NDArray[np.floating], level: float = 0.95) -> Crossed:
    """Variance of the mean of d, shape (seeds, images): d[s, i] = right(A) - right(B) on image i with seed s.

    Var = max(MS_s + MS_i - MS_e, MS_s, MS_i) / (S n): the maximum acts only where a variance component is estimated as
    negative, which is then dropped, its degrees of freedom with it. Satterthwaite's df otherwise. With one seed the
    variance is that of the images alone: conditional on this pair of trained models.
    """
    seeds, images = d.shape
    diff = float(d.mean())
    if images < 2:
        return Crossed(diff, None, None, None, None, Reason.too_few_images)
    if np.ptp(d) < NOISE:
        return Crossed(diff, None, None, None, None, Reason.identical if abs(diff) < NOISE else Reason.zero_variance)
    if seeds == 1:
        variance = float(d.var(ddof=1)) / images
        half = float(stdtrit(images - 1, 0.5 + level / 2)) * math.sqrt(variance)
        return Crossed(diff, variance, images - 1.0, half, (0.0, variance, 0.0), Reason.too_few_seeds)
    by_seed, by_image = d.mean(axis=1, keepdims=True), d.mean(axis=0, keepdims=True)
    ms_s = images * float(((by_seed - diff) ** 2).sum()) / (seeds - 1)
    ms_i = seeds * float(((by_image - diff) ** 2).sum()) / (images - 1)
    ms_e = float(((d - by_seed - by_image + diff) ** 2).sum()) / ((seeds - 1) * (images - 1))
    total = ms_s + ms_i - ms_e
    if total >= max(ms_s, ms_i):
        spread = ms_s**2 / (seeds - 1) + ms_i**2 / (images - 1) + ms_e**2 / ((seeds - 1) * (images - 1))
        df = total**2 / spread
    else:
        total, df = max((ms_s, seeds - 1.0), (ms_i, images - 1.0))
    if total < NOISE**2:
        return Crossed(diff, None, None, None, None, Reason.zero_variance)  # they differ in the interaction alone
    variance = total / (seeds * images)
    by_seed_alone, by_image_alone, rest = (max(x, 0.0) / (seeds * images) for x in (ms_s - ms_e, ms_i - ms_e, ms_e))
    half = float(stdtrit(df, 0.5 + level / 2)) * math.sqrt(variance)
    reason = None if seeds >= MIN_SEEDS else Reason.too_few_seeds
    return Crossed(diff, variance, df, half, (by_seed_alone, by_image_alone, rest), reason)


@dataclass(frozen=True)
class McNemar:
    """One trained pair of models on the same images: b only A right, c only B right; mid-p, two-sided."""

    b: int
    c: int
    p: float | None
    reason: Reason | None


def mcnemar(a_right: NDArray[np.bool_], b_right: NDArray[np.bool_]) -> McNemar:
    """McNemar's exact test in its mid-p form (Fagerland, Lydersen and Laake, 2013). It speaks of these two trained
    models, not of the methods; seeds are never pooled into one table."""
    from scipy.stats import binom

    b, c = int((a_right & ~b_right).sum()), int((b_right & ~a_right).sum())
    if b + c < min_n("mcnemar"):
        return McNemar(b, c, None, Reason.too_few_discordant)
    m = min(b, c)
    p = 2 * (binom.cdf(m, b + c, 0.5) - 0.5 * binom.pmf(m, b + c, 0.5))
    return McNemar(b, c, float(min(1.0, p)), None)


def sign_flip(d: NDArray[np.floating]) -> tuple[float | None, Reason | None]:
    """Exact two-sided p of the mean of paired differences under random signs; from 6 seeds on, below which no p under
    0.05 exists. Enumerates up to 2^20 sign patterns, beyond that 100,000 seeded draws."""
    d = np.round(d, 10)
    n = len(d)
    if n < min_n("sign_flip"):
        return None, Reason.too_few_seeds
    if not d.any():
        return None, Reason.identical
    observed = abs(d.sum()) - 1e-12
    if n <= 20:
        sums = np.zeros(1)
        for x in np.abs(d):
            sums = np.concatenate([sums - x, sums + x])
        return float((np.abs(sums) >= observed).mean()), None
    signs = np.random.Generator(np.random.PCG64(0)).choice([-1.0, 1.0], size=(100_000, n))
    return float((1 + (np.abs(signs @ d) >= observed).sum()) / 100_001), None
