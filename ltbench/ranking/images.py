"""Which test images each trained model got right: what turns noise of seeds into noise of seeds and images."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ltbench.spec import Column
from ltbench.stats.fixed_datasets import ByImage

Predictions = Callable[[str], bytes | None]
"""Key -> the stored npz of a trial, or None."""
Trial = tuple[str, Column, int]
"""(method, column, seed)."""
ByColumn = Mapping[tuple[str, Column], Mapping[int, NDArray[np.float32]]]
"""(method, column) -> seed -> (images,) contributions in points; their mean is the metric."""
Blocks = Mapping[str, str]
"""Data set -> its block, as in `selection.blocks_of`; one that is absent is its own."""
LINEAR = ("accuracy", "balanced_accuracy")
"""Metrics that are a weighted share of right images."""
MOST_METHODS = 100
"""Beyond this, the predictions of all methods would not fit into memory."""
MANY = 100
"""Degrees of freedom from which on a variance is taken as known: Student's 95 % interval is 1 % wider than the normal
one."""
_ZIP = (zipfile.BadZipFile, zlib.error)


ITEMS = np.uint64
"""Type of true labels that are checksums of items: they tell items apart, and are no classes."""


class NoImages(Exception):
    """The noise of the test images cannot be in the intervals; the message says why."""


@dataclass(frozen=True)
class Images:
    """What every test image contributes to the methods' values.

    df: column -> degrees of freedom of the noise of its images; infinite where it is absent.
    """

    by_method: ByColumn
    df: Mapping[Column, float] = field(default_factory=dict)

    def df_by_dataset(self, columns: Sequence[Column], blocks: Blocks | None = None) -> dict[str, float]:
        """Degrees of freedom by data set (block): the fewest of its columns."""
        found: dict[str, float] = {}
        for column in columns:
            block = (blocks or {}).get(column.dataset, column.dataset)
            found[block] = min(found.get(block, np.inf), self.df.get(column, np.inf))
        return found


def left_out(key: str) -> bytes | None:
    """Stands in for stored predictions where only seeds were asked for."""
    raise NoImages("only seeds were asked for")


def contributions(
    keys: Mapping[Trial, str],
    predictions: Predictions | None,
    metric: str,
    blocks: Blocks | None = None,
    class_weights: Mapping[Column, NDArray[np.float64]] | None = None,
) -> Images:
    """What every test image contributes to a method's value, for all the trials of a table.

    New test images are drawn class by class, as many of each as there are (`Sampling`): a method that is better
    at some classes and worse at others is so with any images of theirs, which is no noise.

    Args:
        keys: (method, column, seed) -> key of the finished trial.
        blocks: data set -> its block; those of one block have the same test images.
        class_weights: column -> a weight for every class, where the metric is the accuracy under a test prior.

    Raises:
        NoImages: the metric is no share of right images, a trial's predictions are not at hand, or two trials of a
            data set were tested on different images.
    """
    if predictions is None:
        raise NoImages("no predictions are at hand")
    if metric not in LINEAR and not class_weights:
        raise NoImages(f"{metric} is no share of right images")
    if len({label for label, _, _ in keys}) > MOST_METHODS:
        raise NoImages(f"more than {MOST_METHODS} methods")
    right, truths = right_images(keys, predictions, blocks)
    strata = {block: strata_of(truth) for block, truth in truths.items()}
    found: dict[tuple[str, Column], dict[int, NDArray[np.float32]]] = {}
    samplings: dict[Column, Sampling] = {}
    for (label, column), by_seed in right.items():
        block = (blocks or {}).get(column.dataset, column.dataset)
        if column not in samplings:
            weights = _weights(truths[block], metric, (class_weights or {}).get(column))
            samplings[column] = Sampling(strata[block], weights)
        found[label, column] = {s: samplings[column].contributions(x) for s, x in by_seed.items()}
    return Images(found, {column: sampling.df for column, sampling in samplings.items()})


def right_images(
    keys: Mapping[Trial, str], predictions: Predictions, blocks: Blocks | None = None
) -> tuple[dict[tuple[str, Column], dict[int, NDArray[np.bool_]]], dict[str, NDArray[Any]]]:
    """Which test images every trial got right, (images,), and the true labels of every block.

    Args:
        keys, blocks: as of `contributions`.

    Raises:
        NoImages: a trial's predictions are not at hand, or two trials of a block were tested on different images.
    """
    found: dict[tuple[str, Column], dict[int, NDArray[np.bool_]]] = {}
    truths: dict[str, NDArray[Any]] = {}
    lost: list[str] = []
    for (label, column, seed), key in keys.items():
        kept = _read(predictions(key))
        if kept is None:
            lost.append(key)
            found.clear()
        if kept is None or lost:
            continue
        predicted, truth = kept
        known = truths.setdefault((blocks or {}).get(column.dataset, column.dataset), truth)
        if known is not truth and not np.array_equal(known, truth):
            raise NoImages(f"trials of {column.dataset} were tested on different images")
        found.setdefault((label, column), {})[seed] = predicted == truth
    if lost:
        which = "" if len(lost) == len(keys) else f": {lost[0]}" + (", ..." if len(lost) > 1 else "")
        raise NoImages(f"predictions of {len(lost)} of {len(keys)} trials are not at hand or damaged{which}")
    return found, truths


class Strata(NamedTuple):
    """Classes that images are drawn from. of: (images,) the class of each; counts: (classes,) how many each has."""

    of: NDArray[np.int64]
    counts: NDArray[np.int64]


def strata_of(truth: NDArray[Any]) -> Strata:
    """The classes of test images with these true labels, (images,).

    One image says nothing of the noise of its class. So classes with a single test image count as one class, and with
    the smallest other one where there is just one such class (collapsed strata: Cochran, Sampling Techniques, 1977,
    section 5A.12). The noise then is overstated by what such classes differ.
    """
    _, of, counts = np.unique(truth, return_inverse=True, return_counts=True)
    merged = counts == 1
    if merged.sum() == 1 and len(counts) > 1:
        merged[np.argmin(np.where(merged, len(truth) + 1, counts))] = True
    if merged.any():
        of = np.unique(np.where(merged[of], -1, of), return_inverse=True)[1]
    return Strata(of.astype(np.int64), np.bincount(of))


@dataclass(frozen=True)
class Sampling:
    """New test images are drawn from their classes.

    strata: these classes. weights: (images,) points that a right image adds to the mean of all.
    """

    strata: Strata
    weights: NDArray[np.float64]

    @cached_property
    def _variance(self) -> NDArray[np.float64]:
        """(classes,) of the sum of a class's contributions, where every image is as noisy: by its weight."""
        return np.asarray(np.bincount(self.strata.of, weights=self.weights**2), dtype=np.float64)

    @cached_property
    def _spread(self) -> NDArray[np.float64]:
        """(images,) what an image counts by that differs from its class."""
        (of, counts), n = self.strata, len(self.weights)
        by_class = np.sqrt(self._variance * (n - 1.0) / (n * np.maximum(counts - 1.0, 1.0)))
        return np.asarray(by_class[of], dtype=np.float64)

    @cached_property
    def _by_class(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The images class by class, and where each class begins: sums of slices are faster than `bincount`."""
        return np.argsort(self.strata.of, kind="stable"), np.cumsum(self.strata.counts) - self.strata.counts

    def contributions(self, right: NDArray[Any]) -> NDArray[np.float32]:
        """Contributions of images to the mean, from which are right, (images,).

        What an image differs from its class is weighed, scaled by sqrt(n_c (n - 1) / (n (n_c - 1))) for the n_c of n
        images of its class, and added to the mean of all. So the mean is as before, and the sum of squares around it,
        divided by n (n - 1), is the variance of the mean of images drawn class by class: the sum over classes of
        (n_c / n)^2 s_c^2 / n_c (Cochran, Sampling Techniques, 1977, section 5.4). Where classes that count as one
        have unlike weights, each image has the root of the mean square: they are taken to be as noisy as each other.
        """
        (of, counts), (order, first) = self.strata, self._by_class
        found = right - (np.add.reduceat(right[order], first, dtype=np.float64) / counts)[of]
        found *= self._spread
        found += self.weights @ right / len(right)
        return np.asarray(found, dtype=np.float32)

    @property
    def df(self) -> float:
        """Degrees of freedom of the variance of the mean; infinite from `MANY` on.

        A sum of variances that were estimated class by class has those of Satterthwaite (Biometrics 1946). A few images
        of a rare class may have most of the say, as in balanced accuracy.
        """
        squares = float((self._variance**2 / np.maximum(self.strata.counts - 1, 1)).sum())
        found = float(self._variance.sum()) ** 2 / squares if squares else np.inf
        return found if found < MANY else np.inf


def _read(stored: bytes | None) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Predicted and true labels; None where they are missing or damaged."""
    kept = read_arrays(stored, "label", "truth")
    return (kept[0], kept[1]) if kept is not None else None


def read_arrays(stored: bytes | None, *names: str) -> list[NDArray[Any]] | None:
    """Arrays of a trial's predictions, one entry per test image; None where they are missing or damaged."""
    if stored is None:
        return None
    try:
        kept = np.load(io.BytesIO(stored), allow_pickle=False)
        found = [np.asarray(kept[name]) for name in names]
    except (OSError, EOFError, ValueError, LookupError, NotImplementedError, RuntimeError, *_ZIP):
        return None
    return found if len({x.shape for x in found}) == 1 and found[0].ndim == 1 and len(found[0]) > 1 else None


def read_logits(stored: bytes | None, images: int) -> NDArray[Any] | None:
    """Logits of a trial's predictions, (images, C); None where they were not kept, or are damaged."""
    if stored is None:
        return None
    try:
        found = np.asarray(np.load(io.BytesIO(stored), allow_pickle=False)["logits"])
    except (OSError, EOFError, ValueError, LookupError, NotImplementedError, RuntimeError, *_ZIP):
        return None
    return found if found.ndim == 2 and len(found) == images else None


def _weights(truth: NDArray[Any], metric: str, by_class: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Points that a right image adds to the mean: 100, or for balanced accuracy more for rarer test classes, or as much
    as its class weighs.

    Raises:
        NoImages: the classes are not known that weigh.
    """
    if metric == "accuracy":
        return np.full(len(truth), 100.0, dtype=np.float64)
    if truth.dtype == ITEMS:
        raise NoImages(f"items have no classes, by which {metric} weighs them")
    counts = np.bincount(truth.astype(np.int64), minlength=0 if by_class is None else len(by_class))
    if by_class is not None:
        whole = by_class[counts > 0].sum()
        return np.asarray(100.0 * len(truth) * by_class[truth] / (whole * counts[truth]), dtype=np.float64)
    return np.asarray(100.0 * len(truth) / (np.count_nonzero(counts) * counts[truth]), dtype=np.float64)


def by_dataset(label: str, columns: Sequence[Column], images: ByColumn, blocks: Blocks | None = None) -> ByImage:
    """Contributions by data set and seed, imbalance factors averaged: for the seeds that have all of them.

    Args:
        blocks: data set -> its block, as in `selection.blocks_of`; each its own if None.
    """
    factors: dict[str, list[Mapping[int, NDArray[np.float32]]]] = {}
    for column in columns:
        block = (blocks or {}).get(column.dataset, column.dataset)
        factors.setdefault(block, []).append(images.get((label, column), {}))
    return {
        dataset: {s: np.mean([f[s] for f in rows], axis=0) for s in sorted(set.intersection(*(set(f) for f in rows)))}
        for dataset, rows in factors.items()
    }
