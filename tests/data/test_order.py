"""The order of images: decks dealt to the end, epochs without repetition, classes by their probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from ltbench.data.order import BatchOrder, ClassCycles
from ltbench.training.checkpoints.state import capture, restore

careful = settings(max_examples=100, deadline=None, derandomize=True)
COUNTS = (40, 12, 7, 1)
LABELS = np.random.default_rng(9).permutation(np.repeat(np.arange(4), COUNTS)).astype(np.int64)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def cycles(seed: int = 0) -> ClassCycles:
    return ClassCycles(LABELS, 4, generator(seed))


@careful
@given(classes=st.lists(st.integers(0, 3), min_size=1, max_size=60))
def test_each_pick_is_an_image_of_the_asked_class(classes: list[int]) -> None:
    asked = np.array(classes, dtype=np.int64)
    picked = cycles().pick(asked, generator())
    assert picked.shape == asked.shape
    assert picked.dtype == np.int64
    np.testing.assert_array_equal(LABELS[picked], asked)


@careful
@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=12), c=st.integers(0, 3))
def test_every_image_of_a_class_comes_once_before_any_comes_again(sizes: list[int], c: int) -> None:
    made, rng = cycles(), generator()
    stream = np.concatenate([made.pick(np.full(n, c), rng) for n in sizes])
    n, images = COUNTS[c], [i for i, label in enumerate(LABELS.tolist()) if label == c]
    for start in range(0, len(stream), n):
        cycle = stream[start : start + n]
        assert len(set(cycle.tolist())) == len(cycle)
        if len(cycle) == n:
            np.testing.assert_array_equal(np.sort(cycle), images)


def test_a_pick_larger_than_the_class_goes_on_with_a_new_cycle() -> None:
    picked = cycles().pick(np.full(17, 2), generator())
    counts = np.bincount(picked, minlength=60)[LABELS == 2]
    assert sorted(counts.tolist()) == [2, 2, 2, 2, 3, 3, 3]


def test_each_cycle_has_an_order_of_its_own() -> None:
    made, rng = cycles(), generator()
    first, second = (made.pick(np.zeros(40, dtype=np.int64), rng).tolist() for _ in range(2))
    assert first != second
    assert first != sorted(first)


def test_classes_do_not_disturb_one_another() -> None:
    alone, rng = cycles(), generator()
    expected = alone.pick(np.full(12, 1), rng)
    mixed = cycles()
    asked = np.array([1, 0, 3, 1, 2, 0] * 6)
    found = mixed.pick(asked, generator())
    np.testing.assert_array_equal(found[asked == 1], expected)


def test_images_of_a_class_are_picked_uniformly() -> None:
    firsts = [int(ClassCycles(LABELS, 4, generator(s)).pick(np.array([1]), generator(s))[0]) for s in range(1200)]
    found = np.bincount(firsts, minlength=60)[LABELS == 1]
    assert found.sum() == 1200
    assert stats.chisquare(found).pvalue > 1e-3


def test_picking_nothing_gives_nothing() -> None:
    assert cycles().pick(np.empty(0, dtype=np.int64), generator()).shape == (0,)


def test_a_class_without_images_is_refused_by_its_number() -> None:
    made = ClassCycles(LABELS, 6, generator())
    with pytest.raises(ValueError, match="class 5 has no training images"):
        made.pick(np.array([0, 5]), generator())


def test_the_same_seed_deals_the_same_decks() -> None:
    asked = np.array([0, 1, 2, 3] * 20)
    np.testing.assert_array_equal(cycles(3).pick(asked, generator(4)), cycles(3).pick(asked, generator(4)))


class OneByOne:
    """What `ClassCycles` does, as a loop over images: the reference."""

    def __init__(self, labels: NDArray[np.int64], num_classes: int, rng: np.random.Generator) -> None:
        self.decks = [rng.permutation(np.flatnonzero(labels == c)) for c in range(num_classes)]
        self.next = [0] * num_classes

    def pick(self, classes: NDArray[np.int64], rng: np.random.Generator) -> list[int]:
        picked = [0] * len(classes)
        for c in range(len(self.decks)):
            for i in np.flatnonzero(classes == c).tolist():
                if self.next[c] == len(self.decks[c]):
                    self.decks[c], self.next[c] = rng.permutation(self.decks[c]), 0
                picked[i] = int(self.decks[c][self.next[c]])
                self.next[c] += 1
        return picked


@careful
@given(batches=st.lists(st.lists(st.integers(0, 3), max_size=70), min_size=1, max_size=8), seed=st.integers(0, 99))
def test_picks_are_those_of_a_loop_over_images_with_the_same_generator(batches: list[list[int]], seed: int) -> None:
    made, reference = cycles(seed), OneByOne(LABELS, 4, generator(seed))
    one, other = generator(seed + 1), generator(seed + 1)
    for classes in batches:
        asked = np.array(classes, dtype=np.int64)
        assert made.pick(asked, one).tolist() == reference.pick(asked, other)
    assert one.integers(1 << 62) == other.integers(1 << 62), "both have drawn as many numbers"


@pytest.mark.parametrize("picked_before", [False, True])
@pytest.mark.parametrize("older", [False, True])
def test_a_checkpoint_holds_the_decks(picked_before: bool, older: bool) -> None:
    """Also one of a version that kept each deck by itself: its decks share no memory, and nothing else is there."""
    made, fresh, rng = cycles(), cycles(7), generator(1)
    asked = np.array([0, 1, 2, 3] * 5)
    for _ in range(3):
        made.pick(asked, rng)
    if older:
        saved = cycles(0)
        vars(saved).clear()
        saved._decks, saved._next, saved._shuffled = [d.copy() for d in made._decks], made._next.copy(), True
    state = capture({"cycles": saved if older else made})
    if picked_before:
        fresh.pick(asked, generator(3))
    restore({"cycles": fresh}, state)
    one, other = generator(2), generator(2)
    for _ in range(8):
        np.testing.assert_array_equal(fresh.pick(asked, one), made.pick(asked, other))


# -- batches ----------------------------------------------------------------------------------------------------------


def order(batch_size: int, seed: int = 0) -> BatchOrder:
    return BatchOrder(LABELS, 4, batch_size, generator(seed))


@careful
@given(batch_size=st.integers(1, 200), batches=st.integers(1, 30))
def test_batches_are_full_and_no_image_is_seen_twice_before_all_were_seen(batch_size: int, batches: int) -> None:
    made = order(batch_size)
    found = [made.next() for _ in range(batches)]
    assert {len(b) for b in found} == {batch_size}
    stream = np.concatenate(found)
    for start in range(0, len(stream), 60):
        epoch = stream[start : start + 60]
        assert len(set(epoch.tolist())) == len(epoch)


def test_each_epoch_is_shuffled_anew() -> None:
    made = order(60)
    epochs = [made.next().tolist() for _ in range(5)]
    assert len({tuple(epoch) for epoch in epochs}) == 5
    assert all(sorted(epoch) == list(range(60)) for epoch in epochs)


def test_an_image_is_as_likely_at_any_place_of_an_epoch() -> None:
    places = [int(np.flatnonzero(order(60, seed).next() == 17)[0]) for seed in range(1200)]
    assert stats.chisquare(np.bincount(np.array(places) // 10, minlength=6)).pvalue > 1e-3


@pytest.mark.parametrize("probs", [[0.25, 0.25, 0.25, 0.25], [0.7, 0.1, 0.15, 0.05], [0.0, 0.5, 0.5, 0.0]])
def test_classes_come_with_the_asked_probabilities(probs: list[float]) -> None:
    made, wanted = order(50), np.array(probs)
    found = np.bincount(LABELS[np.concatenate([made.next(wanted) for _ in range(80)])], minlength=4)
    assert (found[wanted == 0] == 0).all()
    assert stats.chisquare(found[wanted > 0], 4000 * wanted[wanted > 0]).pvalue > 1e-3


def test_with_probabilities_images_of_a_class_still_come_without_repetition() -> None:
    made = order(16)
    stream = np.concatenate([made.next(np.full(4, 0.25)) for _ in range(40)])
    ones: NDArray[np.int64] = stream[LABELS[stream] == 1]
    for start in range(0, len(ones) - 12, 12):
        assert len(set(ones[start : start + 12].tolist())) == 12


def test_the_same_seed_gives_the_same_batches_and_another_others() -> None:
    one, again, other = order(16), order(16), order(16, seed=1)
    for _ in range(10):
        batch = one.next()
        np.testing.assert_array_equal(batch, again.next())
        assert not np.array_equal(batch, other.next())


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_classes_are_drawn_as_numpys_choice_draws_them(classes: int) -> None:
    """The numbers of every trial that was trained before the probabilities were summed up once."""
    labels = np.repeat(np.arange(classes), 3)
    for seed, probs in enumerate((np.full(classes, 1 / classes), np.random.default_rng(7).dirichlet(np.ones(classes)))):
        order = BatchOrder(labels, classes, 64, np.random.default_rng(seed))
        rng, cycles = np.random.default_rng(seed), ClassCycles(labels, classes)
        cycles.prepare(rng)
        for _ in range(20):
            expected = cycles.pick(rng.choice(classes, size=64, p=probs), rng)
            np.testing.assert_array_equal(order.next(probs), expected)


def test_probabilities_that_are_none_are_refused_and_others_than_float64_are_read() -> None:
    order = BatchOrder(np.array([0, 0, 1]), 2, 4, np.random.default_rng(0))
    for probs in ([0.5, 0.6], [-0.5, 1.5], [1.0]):
        with pytest.raises(ValueError, match=r"."):
            order.next(np.array(probs))
    twin = BatchOrder(np.array([0, 0, 1]), 2, 4, np.random.default_rng(0))
    halves = np.array([0.5, 0.5], dtype=np.float32)
    np.testing.assert_array_equal(order.next(halves), twin.next(halves.astype(np.float64)))
