"""Pairs of methods: the tested difference of two, and all of a table's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np

from ltbench.stats import looks
from ltbench.stats.allpairs import AllPairs, Floats, all_pairs
from ltbench.stats.fixed_datasets import ScopeATest, Verdict, verdict
from ltbench.stats.reasons import Reason

ALPHA = looks.ALPHA
"""Level of every verdict."""


@dataclass(frozen=True)
class Pair:
    """Two methods over all data sets of a table; the difference is of quality, a - b."""

    a: str
    b: str
    test: ScopeATest
    p_holm: float | None
    verdict: Verdict

    def seen_from(self, label: str) -> Pair:
        """The same pair with `label` first."""
        if label == self.a:
            return self
        test = self.test
        turned = replace(test, diff=0.0 - test.diff if test.diff is not None else None)
        return Pair(a=self.b, b=self.a, test=turned, p_holm=self.p_holm, verdict=self.verdict.turned)


class Pairs(Sequence[Pair]):
    """Every pair of a table's rows. Kept as arrays: a thousand methods are half a million pairs.

    Args:
        p_holm: adjusted for the family of all pairs.
        verdicts: of the pairs, where they do not follow from the last test alone.
    """

    def __init__(
        self,
        labels: Sequence[str],
        tests: AllPairs,
        p_holm: Floats,
        rope: float,
        verdicts: Sequence[Verdict] | None = None,
    ) -> None:
        self._labels, self._tests, self._p_holm, self._rope = labels, tests, p_holm, rope
        self._verdicts = verdicts

    def __len__(self) -> int:
        return len(self._tests)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Pair, ...]: ...
    def __getitem__(self, index: int | slice) -> Pair | tuple[Pair, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        i = range(len(self))[index]
        test = self._tests.test(i)
        p = None if np.isnan(self._p_holm[i]) else float(self._p_holm[i])
        a, b = (self._labels[side[i]] for side in (self._tests.first, self._tests.second))
        found = verdict(test, p, self._rope, ALPHA) if self._verdicts is None else self._verdicts[i]
        return Pair(a=a, b=b, test=test, p_holm=p, verdict=found)

    def __iter__(self) -> Iterator[Pair]:
        return (self[i] for i in range(len(self)))

    @property
    def reasons(self) -> dict[Reason, int]:
        """Why pairs have no p -> how many."""
        return dict(Counter(reason for reason in self._tests.reasons.tolist() if reason is not None))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pairs) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def of(self, label: str) -> tuple[Pair, ...]:
        """The pairs that a method is in, seen from it."""
        at = self._labels.index(label)
        found = ((self._tests.first == at) | (self._tests.second == at)).nonzero()[0]
        return tuple(self[int(i)].seen_from(label) for i in found)

    def between(self, a: str, b: str) -> Pair:
        """The pair of two methods, seen from the first."""
        return next(p for p in self.of(a) if p.b == b)


NO_PAIRS = Pairs([], all_pairs([]), np.empty(0), 1.0)
