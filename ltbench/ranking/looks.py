"""Boards whose seeds run until comparisons are decided: where each row stands, what is claimed, and who goes on.

A row goes on to the next look while a comparison is undecided that the suite names and that it is part of; so both rows
of an undecided pair go on together, on all columns, and stay paired by seed. Rows are the unit, and not columns: the
claim is about the mean over data sets, which needs every column; and a row that is far from the reference is decided at
the first look, while two close ones need all seeds.

Everything here is a function of the records: a run that was interrupted finds itself at the same look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ltbench.stats.allpairs import AllPairs
from ltbench.stats.behrens_fisher import half_width
from ltbench.stats.fixed_datasets import Verdict
from ltbench.stats.looks import Claims, Floats, Looks, holm_over_looks
from ltbench.stats.reasons import Reason

Key = TypeVar("Key")
X = TypeVar("X")
Flags = NDArray[np.bool_]
_SETTLED = (Reason.identical, Reason.zero_variance)
"""What more seeds do not change."""


class Named(StrEnum):
    """The comparisons that a suite wants decided."""

    reference = "reference"
    all = "all"


@dataclass(frozen=True)
class Standing:
    """How far the rows of a table are.

    Attributes:
        looks: when the suite looks.
        named: the comparisons that are to be decided.
        at: row -> how many looks it has all its trials for, finished or failed.
        due: row -> how many seeds it should have, by what is decided.
    """

    looks: Looks
    named: Named
    at: Mapping[str, int]
    due: Mapping[str, int] = field(default_factory=dict)

    def seeds(self, label: str) -> int:
        """Seeds of a row that count: those of its look; before the first one, those of that."""
        return self.looks.seeds[max(self.at[label], 1) - 1]

    def together(self, *labels: str) -> int:
        """The last look that all of these rows have reached; 0: none yet."""
        return min(self.at[label] for label in labels)

    def level(self, *labels: str) -> float:
        """What an interval about these rows claims by itself, such as 0.9925. All looks together then claim 0.95."""
        return 1 - self.looks.levels[max(self.together(*labels), 1) - 1]

    @property
    def goes_on(self) -> tuple[str, ...]:
        """Rows that have trials to come."""
        return tuple(label for label, seeds in self.due.items() if seeds > self.seeds(label) or not self.at[label])


def up_to(values: Mapping[Key, Mapping[int, X]], seeds: int | None) -> dict[Key, Mapping[int, X]]:
    """The values of the first seeds, which are numbered from 0; all of them if None."""
    if seeds is None:
        return dict(values)
    return {key: {s: x for s, x in by_seed.items() if s < seeds} for key, by_seed in values.items()}


@dataclass(frozen=True)
class OverLooks:
    """Every pair of some rows, look by look.

    Attributes:
        tests: each pair at the last look that both have reached, its interval at the level of that look.
        looks: when was looked.
        p, diff: (looks, pairs); NaN where a pair is not tested at a look.
        alike: (looks, pairs), whether the pair has been found equivalent by then.
        settled: (looks, pairs), whether more seeds would change nothing: the rows are the same on every image, their
            difference has no spread, or it is too small for the test images.
    """

    tests: AllPairs
    looks: Looks
    p: Floats
    diff: Floats
    alike: Flags
    settled: Flags

    def claims(self, family: NDArray[np.int64] | None = None) -> Claims:
        """What a family of pairs claims; all pairs by default."""
        chosen = np.arange(len(self.tests)) if family is None else family
        return holm_over_looks(self.p[:, chosen], self.diff[:, chosen], self.looks)

    def verdict(self, pair: int, sign: int, rope: float) -> Verdict:
        """What may be said of a pair, given the sign of its claimed difference, or 0."""
        if sign:
            small = abs(self.tests.diff[pair]) < rope
            found = Verdict.slightly_better if small else Verdict.better
            return found if sign > 0 else found.turned
        return Verdict.equivalent if self.alike[-1, pair] else Verdict.undecided

    def undecided(self, claims: Claims, family: NDArray[np.int64]) -> Flags:
        """(looks, pairs of the family): whether a pair is neither claimed nor equivalent after a look."""
        return np.asarray((claims.sign == 0) & ~self.alike[:, family] & ~self.settled[:, family])


def over_looks(
    labels: Sequence[str], standing: Standing, rope: float, tests: Callable[[Sequence[str], int], AllPairs]
) -> OverLooks:
    """Test every pair at every look that both rows have reached.

    Args:
        labels: of the rows, in the order of the pairs.
        rope: differences below this are practically none.
        tests: of the pairs of some rows, with their first seeds.
    """
    looks = standing.looks
    whole = _nothing(tests(labels, looks.seeds[0]))
    shape = (len(looks), len(whole))
    p, diff = np.full(shape, np.nan), np.full(shape, np.nan)
    alike, settled = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for k, (seeds, level) in enumerate(zip(looks.seeds, looks.levels, strict=True)):
        there = [i for i, label in enumerate(labels) if standing.at[label] > k]
        if k:
            alike[k], settled[k] = alike[k - 1], settled[k - 1]
        if len(there) < 2:
            continue
        found = tests([labels[i] for i in there], seeds)
        at = _positions(there, len(labels))
        p[k, at], diff[k, at] = found.p, found.diff
        alike[k, at] |= ~np.isnan(found.p) & (_half(found, 1 - 2 * level) + np.abs(found.diff) < rope)
        settled[k, at] = [reason in _SETTLED for reason in found.reasons] | _beyond_images(found, looks, rope)
        whole = _written_over(whole, at, replace(found, half=_half(found, 1 - level)))
    return OverLooks(whole, looks, p, diff, alike, settled)


def _nothing(tests: AllPairs) -> AllPairs:
    """Before the first look: differences, and no tests."""
    reasons = np.full(len(tests), Reason.before_first_look, dtype=object)
    return replace(tests, p=np.full(len(tests), np.nan), reasons=reasons)


def _beyond_images(tests: AllPairs, looks: Looks, rope: float) -> Flags:
    """Which pairs the test images could hardly decide with any number of seeds: their noise alone would leave the
    difference undecided at the last look, and so it would leave any that the seeds still allow at 90 %. To stop for
    this cannot raise the probability of a false claim."""
    last, distance = looks.levels[-1], np.abs(tests.diff)
    seeds_se = np.sqrt(np.maximum(tests.se**2 - tests.images_se**2, 0))
    margin = stdtrit(tests.df, 0.9) * seeds_se
    images, df = tests.images_se**2, tests.images_df
    claimed = distance + margin > half_width(0.0, 1.0, images, 1 - last, df)
    alike = np.maximum(distance - margin, 0) + half_width(0.0, 1.0, images, 1 - 2 * last, df) < rope
    return np.asarray(~np.isnan(tests.p) & ~claimed & ~alike)


def _half(tests: AllPairs, level: float) -> Floats:
    """Half-widths of the pairs' intervals at a level; NaN where there is no spread."""
    images = tests.images_se**2
    half, there = np.full(len(tests), np.nan), ~np.isnan(tests.se)
    seeds = np.maximum(tests.se**2 - images, 0)
    half[there] = half_width(seeds[there], tests.df[there], images[there], level, tests.images_df[there])
    return half


def _positions(rows: Sequence[int], n: int) -> NDArray[np.int64]:
    """Where the pairs of some of n rows stand among the pairs of all, both in the order of `itertools.combinations`."""
    chosen = np.array(rows)
    first, second = (chosen[side] for side in np.triu_indices(len(chosen), 1))
    return np.asarray(first * (2 * n - first - 1) // 2 + second - first - 1, dtype=np.int64)


def _written_over(whole: AllPairs, at: NDArray[np.int64], part: AllPairs) -> AllPairs:
    """Some pairs replaced."""
    changed = {}
    for name in (f.name for f in fields(AllPairs) if f.name not in ("first", "second")):
        old, new = getattr(whole, name), getattr(part, name)
        if old is not None and new is not None:
            old = old.copy()
            old[at] = new
        changed[name] = old
    return replace(whole, **changed)


def due_seeds(standing: Standing, named: Iterable[tuple[str, str]], undecided: Flags) -> dict[str, int]:
    """Row -> how many seeds it should have.

    Look by look: nobody goes on to a look before all rows that are due at the one before have reached that, or what is
    decided there would depend on the moment.

    Args:
        named: the pairs that are to be decided.
        undecided: (looks, named pairs), whether it is open after a look.
    """
    pairs = list(named)
    due, going = dict.fromkeys(standing.at, standing.looks.seeds[0]), set(standing.at)
    for k, seeds in enumerate(standing.looks.seeds):
        due |= dict.fromkeys(going, seeds)
        if any(standing.at[label] <= k for label in going):
            break
        still = {label for pair, is_open in zip(pairs, undecided[k].tolist(), strict=True) if is_open for label in pair}
        going &= still
    return due
