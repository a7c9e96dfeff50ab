"""Looks at results while they come: after how many seeds, what each look may claim, and what stays claimed.

A suite may run seeds until its comparisons are decided. Testing again and again at 5 % would claim too much. So every
look has a level of its own, and the levels add up to 5 %. At a look, Holm's correction keeps the probability of any
false claim below the level of that look. The probability of one at any look is then below the sum, whatever the
looks have in common and whatever rule says which rows go on. No normal theory of sequential tests is used, which would
not hold for three seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

ALPHA = 0.05
"""What all looks together may spend."""
GROWTH = 1.6
"""How many times the seeds of a look the next one has."""
_LAST_STEP = 1.25
"""The last look has at least so many times the seeds of the one before; else that one is left out."""

SPREAD = 3.0
"""How widely true means of rows are spread, in standard deviations of a single seed."""
ROPE = 1.0
"""Differences below this are practically none, in the same unit."""
_BOARDS = 200
_MOST_ROWS = 12
"""More rows are simulated as so many."""

Floats = NDArray[np.float64]


def usual_looks(first: int, last: int) -> tuple[int, ...]:
    """Seeds at each look: the first, then 1.6 times as many each time, then the last: 3, 5, 8, 13, 20.

    Raises:
        ValueError: no seed, or the last is below the first.
    """
    if not 1 <= first <= last:
        raise ValueError(f"looks from {first} to {last} seeds")
    looks, seeds = [first], first
    while (seeds := max(round(GROWTH * seeds), seeds + 1)) * _LAST_STEP <= last:
        looks.append(seeds)
    return tuple(dict.fromkeys((*looks, last)))


@dataclass(frozen=True)
class Looks:
    """When results are looked at.

    Attributes:
        seeds: how many seeds each look has, rising.
    """

    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.seeds or self.seeds[0] < 1 or any(a >= b for a, b in pairwise(self.seeds)):
            raise ValueError(f"looks at {self.seeds} seeds: expected numbers that rise, from 1 on")

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def levels(self) -> tuple[float, ...]:
        """The level of each look: every seed adds the same share of 5 % (Kim and DeMets' spending function of power 1,
        Biometrika 1987). With looks at 3, 5, 8, 13 and 20 seeds: 0.0075, 0.005, 0.0075, 0.0125, 0.0175."""
        steps = zip((0, *self.seeds[:-1]), self.seeds, strict=True)
        return tuple(ALPHA * (seeds - before) / self.seeds[-1] for before, seeds in steps)

    def reached(self, seeds: int) -> int:
        """How many looks so many seeds suffice for."""
        return sum(seeds >= n for n in self.seeds)


class Claims(NamedTuple):
    """What a family of comparisons claims, (looks, comparisons) each; every line is what is known after that look.

    Attributes:
        p: adjusted for comparisons and looks: below 0.05 where a difference is claimed, NaN where there is no test yet.
        sign: +1 or -1 of the claimed difference; 0 where none is.
    """

    p: Floats
    sign: NDArray[np.int64]


def holm_over_looks(p: Floats, diff: Floats, looks: Looks) -> Claims:
    """Holm's correction at every look, at the level of that look.

    Comparisons that were claimed before leave the family, as they do within Holm's own steps; all others stay in it,
    those that are not tested at a look too. So the first true hypothesis that is ever rejected at a look has a p below
    level / (number of true hypotheses), and the union over hypotheses and looks is at most the sum of the levels. A
    claim stays, unless the difference has changed its sign at a later look: then it is taken back.

    Args:
        p: (looks, comparisons), unadjusted; NaN where a comparison is not tested at a look.
        diff: the differences at these looks.
        looks: one for every line of `p`.
    """
    family = p.shape[1]
    adjusted, signs = np.full(p.shape, np.nan), np.zeros(p.shape, dtype=np.int64)
    known, claimed = np.full(family, np.nan), np.zeros(family, dtype=np.int64)
    for k, level in enumerate(looks.levels):
        now, sign = ~np.isnan(p[k]), np.nan_to_num(np.sign(diff[k])).astype(np.int64)
        turned = now & (claimed != 0) & (sign != claimed)
        claimed[turned], known[turned] = 0, 1.0
        tested = np.flatnonzero(now & (claimed == 0))
        tested = tested[np.argsort(p[k, tested], kind="stable")]
        factors = np.count_nonzero(claimed == 0) - np.arange(len(tested))
        steps = np.maximum.accumulate(factors * p[k, tested]) if len(tested) else np.empty(0)
        scaled = np.minimum(1.0, steps * (ALPHA / level))
        known[tested] = scaled
        found = tested[scaled < ALPHA]
        claimed[found] = sign[found]
        adjusted[k], signs[k] = known, claimed
    return Claims(adjusted, signs)


def expected_seeds(looks: Looks, rows: int, due: int, *, all_pairs: bool, reference: bool = False) -> float:
    """Seeds of a row at its end, on average, if it is already sure to get `due`.

    The assumption: a row's true mean is normal with a standard deviation 3 times that of a seed, differences below one
    standard deviation of a seed are practically none, and test images are so many that they add nothing.

    Args:
        rows: how many there are, the reference among them.
        all_pairs: whether all pairs are to be decided, or gains over the reference.
        reference: whether the row is the reference, which runs as long as any other.
    """
    if rows < 2:
        return float(due)
    ends = _ends(looks, min(rows, _MOST_ROWS), all_pairs)
    chosen = ends[:, 0] if reference or all_pairs else ends[:, 1:].ravel()
    chosen = chosen[chosen >= due]
    return float(chosen.mean()) if len(chosen) else float(looks.seeds[-1])


@cache
def _ends(looks: Looks, rows: int, all_pairs: bool) -> NDArray[np.int64]:
    """(boards, rows): seeds of every row at its end; the first is the reference."""
    rng = np.random.default_rng(0)
    first, second = np.triu_indices(rows, 1)
    named = np.arange(len(first)) if all_pairs else np.flatnonzero(first == 0)
    found = np.full((_BOARDS, rows), looks.seeds[0])
    for board in found:
        values = rng.standard_normal((rows, looks.seeds[-1])) + SPREAD * rng.standard_normal((rows, 1))
        p, diff, alike = _tests(values[first] - values[second], looks)
        still = (holm_over_looks(p, diff, looks).sign == 0) & ~alike
        going = np.ones(rows, dtype=bool)
        for k, seeds in enumerate(looks.seeds):
            board[going] = seeds
            open_pairs = named[still[k, named]]
            going = np.isin(np.arange(rows), [first[open_pairs], second[open_pairs]])
    return found


def _tests(differences: Floats, looks: Looks) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Of (pairs, seeds), at every look: p, mean, and whether the pair has been found equivalent by then."""
    p, diff, alike = [], [], []
    for seeds, level in zip(looks.seeds, looks.levels, strict=True):
        some = differences[:, :seeds]
        mean, error = some.mean(axis=1), some.std(axis=1, ddof=1) / np.sqrt(seeds)
        p.append(2 * stdtr(seeds - 1, -np.abs(mean) / error))
        diff.append(mean)
        alike.append(np.abs(mean) + stdtrit(seeds - 1, 1 - level) * error < ROPE)
    return np.array(p), np.array(diff), np.logical_or.accumulate(alike)
