"""The order in which training sees images. The harness owns it: no method can be starved of shuffling. Numpy only."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property, lru_cache

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

    # What follows from the decks alone is made when it is wanted: checkpoints need not hold it.
    @cached_property
    def _sizes(self) -> Index:
        sizes = np.array([len(deck) for deck in self._decks], dtype=np.int64)
        sizes.setflags(write=False)
        return sizes

    @cached_property
    def _starts(self) -> Index:
        starts = np.cumsum(self._sizes) - self._sizes
        starts.setflags(write=False)
        return starts

    @cached_property
    def _cards(self) -> Index:
        """(N,) all decks one after the other, in one piece of memory that the decks then share."""
        cards = np.concatenate(self._decks)
        self._decks = np.split(cards, self._starts[1:])
        return cards

    def pick(self, classes: Index, rng: np.random.Generator) -> Index:
        """(B,) classes -> (B,) positions in the training set. Raises ValueError for a class without images."""
        self.prepare(rng)
        cards = self._cards
        # Numbers of 16 bits are sorted in a third of the time.
        order = (classes.astype(np.int16) if len(self._next) < 1 << 15 else classes).argsort(kind="stable")
        ordered = classes[order]
        # An image's place in the deck of its class: how far this is dealt, and how many before it want the same class.
        place = self._next[ordered] + np.arange(len(ordered)) - ordered.searchsorted(ordered)
        hand = cards.take(self._starts[ordered] + place, mode="clip")
        self._next[ordered] = place + 1  # of several images of a class the last one counts
        beyond = (place >= self._sizes[ordered]).nonzero()[0]  # of each class one after the other
        if len(beyond):
            places, wanted = beyond.tolist(), ordered[beyond].tolist()
            first = 0
            while first < len(wanted):
                c, begin = wanted[first], places[first]
                behind = bisect_right(wanted, c, first)
                self._next[c] = self._deal_anew(c, hand[begin : begin + behind - first], rng)
                first = behind
        picked = np.empty(len(classes), dtype=np.int64)
        picked[order] = hand
        return picked

    def prepare(self, rng: np.random.Generator) -> None:
        """Shuffle the decks if they never were."""
        if not self._shuffled:
            for deck in self._decks:
                rng.shuffle(deck)  # in place; the numbers are those of permutation, which copies
            self._shuffled = True

    def _deal_anew(self, c: int, hand: Index, rng: np.random.Generator) -> int:
        """Fill `hand` from the deck of a class, which is shuffled first and whenever it ends -> how many cards of it
        are gone then."""
        deck = self._decks[c]
        size, left = len(deck), len(hand)
        if size == 0:
            raise ValueError(f"class {c} has no training images to draw")
        while left > size:
            rng.shuffle(deck)
            hand[len(hand) - left : len(hand) - left + size] = deck
            left -= size
        rng.shuffle(deck)
        hand[len(hand) - left :] = deck[:left]
        return left


@lru_cache(maxsize=8)
def _summed(probs: bytes, num_classes: int) -> NDArray[np.float64]:
    """The cumulative distribution of class probabilities (C,), float64. Raises ValueError where they are none."""
    found = np.frombuffer(probs, dtype=np.float64)
    try:
        np.random.default_rng(0).choice(num_classes, p=found)  # its checks, once
    except ValueError as error:
        raise ValueError(f"a stage's class_probs must be {num_classes} probabilities that sum to 1, they are "
                         f"{len(found)} that sum to {found.sum():g}") from error  # fmt: skip
    summed = found.cumsum()
    return np.asarray(summed / summed[-1])


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
            # As `rng.choice` draws them, without its checks of the probabilities in every batch.
            summed = _summed(np.asarray(class_probs, dtype=np.float64).tobytes(), self._num_classes)
            classes = summed.searchsorted(self._rng.random(self._batch_size), side="right")
            return self._cycles.pick(classes, self._rng)
        while len(self._queue) < self._batch_size:
            self._queue = np.concatenate([self._queue, self._rng.permutation(len(self._labels))])
        batch, self._queue = self._queue[: self._batch_size], self._queue[self._batch_size :]
        return batch
