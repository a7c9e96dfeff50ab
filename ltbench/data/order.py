"""The order in which training sees images. The harness owns it: no method can be starved of shuffling. Numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]


class ClassCycles:
    """Images of given classes, uniform within the class and without replacement until all of a class's were used.

    Each class has its own shuffled deck, dealt from the top and reshuffled when empty.

    Args:
        labels: (N,) int64.
        rng: shuffles the decks for the first time, at once; None: the generator of the first `pick` does, when it
            comes.
    """

    def __init__(self, labels: Index, num_classes: int, rng: np.random.Generator | None = None) -> None:
        by_class = np.argsort(labels, kind="stable").astype(np.int64)
        bounds = np.cumsum(np.bincount(labels, minlength=num_classes))[:-1]
        self._decks: list[Index] = np.split(by_class, bounds)
        self._next = np.zeros(num_classes, dtype=np.int64)
        self._shuffled = False
        if rng is not None:
            self.prepare(rng)

    def pick(self, classes: Index, rng: np.random.Generator) -> Index:
        """(B,) classes -> (B,) positions in the training set. Raises ValueError for a class without images."""
        self.prepare(rng)
        picked = np.empty(len(classes), dtype=np.int64)
        if len(classes) == 0:
            return picked
        order = np.argsort(classes, kind="stable")
        ordered = classes[order]
        starts: list[int] = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]).tolist()
        for begin, end in zip(starts, [*starts[1:], len(ordered)], strict=True):
            picked[order[begin:end]] = self._deal(int(ordered[begin]), int(end - begin), rng)
        return picked

    def prepare(self, rng: np.random.Generator) -> None:
        """Shuffle the decks if they never were."""
        if not self._shuffled:
            self._decks = [rng.permutation(deck) for deck in self._decks]
            self._shuffled = True

    def _deal(self, c: int, n: int, rng: np.random.Generator) -> Index:
        if len(self._decks[c]) == 0:
            raise ValueError(f"class {c} has no training images to draw")
        hand: list[Index] = []
        while n > 0:
            if self._next[c] == len(self._decks[c]):
                self._decks[c] = rng.permutation(self._decks[c])
                self._next[c] = 0
            cards = self._decks[c][self._next[c] : self._next[c] + n]
            self._next[c] += len(cards)
            n -= len(cards)
            hand.append(cards)
        return np.concatenate(hand)


class BatchOrder:
    """Endless batches of positions: epochs of all images shuffled, or classes drawn with given probabilities.

    Every batch is full: an epoch's last images share a batch with the next epoch's first, so batch-norm never sees a
    sliver and every step has the same shape. Each image is still seen once per epoch.
    """

    def __init__(self, labels: Index, num_classes: int, batch_size: int, rng: np.random.Generator) -> None:
        self._labels, self._num_classes, self._batch_size, self._rng = labels, num_classes, batch_size, rng
        self._queue: Index = np.empty(0, dtype=np.int64)
        # There from the start, so that a checkpoint can fill it; shuffled by the first stage that draws classes.
        self._cycles = ClassCycles(labels, num_classes)

    def next(self, class_probs: NDArray[np.float64] | None = None) -> Index:
        """The next (B,) positions."""
        if class_probs is not None:
            self._cycles.prepare(self._rng)
            classes = self._rng.choice(self._num_classes, size=self._batch_size, p=class_probs)
            return self._cycles.pick(classes, self._rng)
        while len(self._queue) < self._batch_size:
            self._queue = np.concatenate([self._queue, self._rng.permutation(len(self._labels))])
        batch, self._queue = self._queue[: self._batch_size], self._queue[self._batch_size :]
        return batch
