"""How many seeds rows are likely to need until their comparisons are decided: simulated before anything is known."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from ltbench.stats.looks import Looks, holm_over_looks

SPREAD = 3.0
"""How widely true means of rows are spread, in standard deviations of a single seed."""
ROPE = 1.0
"""Differences below this are practically none, in the same unit."""
_BOARDS = 200
_MOST_ROWS = 12
"""More rows are simulated as so many."""


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


def _tests(
    differences: NDArray[np.float64], looks: Looks
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Of (pairs, seeds), at every look: p, mean, and whether the pair has been found equivalent by then."""
    p, diff, alike = [], [], []
    for seeds, level in zip(looks.seeds, looks.levels, strict=True):
        some = differences[:, :seeds]
        mean, error = some.mean(axis=1), some.std(axis=1, ddof=1) / np.sqrt(seeds)
        p.append(2 * stdtr(seeds - 1, -np.abs(mean) / error))
        diff.append(mean)
        alike.append(np.abs(mean) + stdtrit(seeds - 1, 1 - level) * error < ROPE)
    return np.array(p), np.array(diff), np.logical_or.accumulate(alike)
