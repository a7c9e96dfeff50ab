"""Seeds and test images at once: how much of a difference's uncertainty comes from each. And single pairs of models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ltbench.stats.behrens_fisher import half_width, tail
from ltbench.stats.minimum import min_n
from ltbench.stats.reasons import MIN_SEEDS, NOISE, Reason


@dataclass(frozen=True)
class Crossed:
    """A mean difference with its noise in a crossed design (seeds x test images, both random).

    seeds: variance of the mean as seeds alone show it, with df degrees of freedom; their interaction with the images is
    in it. images: variance that the images add, which more seeds do not lower. half: half-width of the interval. p:
    two-sided; None with a reason. components: the parts of the variance that seeds, test images and their interaction
    carry; a negative estimate is 0. shares: the same as fractions of their sum.
    """

    diff: float
    seeds: float | None
    df: float | None
    images: float | None
    half: float | None
    p: float | None
    components: tuple[float, float, float] | None
    reason: Reason | None

    @property
    def variance(self) -> float | None:
        """Of the mean, from both."""
        return None if self.seeds is None or self.images is None else self.seeds + self.images

    @property
    def shares(self) -> tuple[float, float, float] | None:
        """Shares of the variance that seeds, images and both together have; None where it is 0 or unknown."""
        if self.components is None or sum(self.components) == 0:
            return None
        seeds, images, both = (part / sum(self.components) for part in self.components)
        return seeds, images, both


def crossed_variance(d: NDArray[np.floating], level: float = 0.95, images_df: float = np.inf) -> Crossed:
    """Noise of the mean of d, shape (seeds, images): d[s, i] = right(A) - right(B) on image i with seed s.

    `behrens_fisher.tail` tests it against both parts. With one seed the variance is that of the images alone:
    conditional on this pair of trained models.

    Args:
        images_df: degrees of freedom of the images' part, where it rests on few images.
    """
    diff, seeds = float(d.mean(dtype=np.float64)), d.shape[0]
    if d.shape[1] < 2:
        return _unknown(diff, Reason.too_few_images)
    if np.ptp(d) < NOISE:
        return _unknown(diff, Reason.identical if abs(diff) < NOISE else Reason.zero_variance)
    of_seeds, components = variances(d)
    of_images = components[1]
    if of_seeds + of_images < NOISE**2:
        return _unknown(diff, Reason.zero_variance)  # they differ in the interaction alone
    df = seeds - 1.0 if seeds > 1 else None
    half = float(half_width(of_seeds, df or 1.0, of_images, level, images_df))
    few = seeds < MIN_SEEDS
    p = None if few or df is None else float(tail(abs(diff), of_seeds, df, of_images, images_df))
    return Crossed(diff, of_seeds, df, of_images, half, p, components, Reason.too_few_seeds if few else None)


def variances(d: NDArray[np.floating]) -> tuple[float, tuple[float, float, float]]:
    """What seeds show of the variance of the mean of d, (seeds, images), and its components.

    With the mean squares of a two-way layout the first is MS_s / (S n), the variance of the S means divided by S. The
    components are (MS_s - MS_e), (MS_i - MS_e) and MS_e, each divided by S n: of the seeds, the images, and both.
    """
    d = np.asarray(d, dtype=np.float64)
    seeds, images = d.shape
    if images < 2 or np.ptp(d) < NOISE:
        return 0.0, (0.0, 0.0, 0.0)
    if seeds == 1:
        return 0.0, (0.0, float(d.var(ddof=1)) / images, 0.0)
    mean, by_seed, by_image = d.mean(), d.mean(axis=1, keepdims=True), d.mean(axis=0, keepdims=True)
    ms_s = images * float(((by_seed - mean) ** 2).sum()) / (seeds - 1)
    ms_i = seeds * float(((by_image - mean) ** 2).sum()) / (images - 1)
    ms_e = float(((d - by_seed - by_image + mean) ** 2).sum()) / ((seeds - 1) * (images - 1))
    of_seeds = 0.0 if np.ptp(by_seed) < NOISE else ms_s / d.size
    alone, of_images, both = (max(x, 0.0) / d.size for x in (ms_s - ms_e, ms_i - ms_e, ms_e))
    return float(at_least_interaction(of_seeds, of_images, both)), (alone, of_images, both)


def at_least_interaction(seeds: ArrayLike, images: ArrayLike, interaction: ArrayLike) -> NDArray[np.float64]:
    """The seeds' variance, with the interaction in its place where all seeds have the same difference by chance.

    Whole images are counted, so a few seeds may well agree to the image. Seeds alone then refuse to test; images alone
    would test as if new seeds changed nothing. The interaction says how much they change at least.
    """
    chance = (np.asarray(seeds) == 0) & (np.asarray(images) > 0)
    return np.where(chance, interaction, seeds).astype(np.float64)


def _unknown(diff: float, reason: Reason) -> Crossed:
    return Crossed(diff, None, None, None, None, None, None, reason)


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
