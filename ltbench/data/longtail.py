"""Making a balanced data set long-tailed: class counts, and which images are kept. Pure numpy, no images needed.

Counts and subsets are those of LDAM-DRW (Cao et al., NeurIPS 2019), on which MiSLAS, RIDE, PaCo and LIFT build: with
subset_seed 0 ltbench trains on the very images of their CIFAR-10-LT and CIFAR-100-LT.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltbench.errors import UserError
from ltbench.spec import Cell, canonical

Index = NDArray[np.int64]
_HOLDOUT_STREAM = 7919
"""Keeps the hold-out's random numbers apart from the subset's, so that taking one does not reshuffle the other."""


def class_shares(num_classes: int, imbalance: float, profile: str) -> list[float]:
    """Size of each class as a fraction of the head, head first.

    exp, exp:N: (1/IF) ** (c / (C-1)). step: the first half (rounded down) 1, the rest 1/IF. Cao et al., section 4.
    step:R: the first R of the classes (rounded down, at least one, and one less than all) 1, the rest 1/IF: how many
    classes are frequent, beside by how much.
    """
    if profile.startswith("step"):
        head = int(num_classes * float(profile.partition(":")[2] or 0.5) + 1e-9)
        head = head if profile == "step" else max(1, min(head, num_classes - 1))
        return [1.0 if c < head else 1.0 / imbalance for c in range(num_classes)]
    return [(1.0 / imbalance) ** (c / (num_classes - 1.0)) if num_classes > 1 else 1.0 for c in range(num_classes)]


def long_tail_counts(available: Sequence[int], imbalance: float, profile: str) -> list[int]:
    """How many images of each class are kept, in the order of `available` (head first).

    n_c = int(n_max * share_c), truncated, never rounded: rounding gives 10,899 instead of 10,847 images for
    CIFAR-100-LT at IF 100. n_max is the largest head for which every class has enough images, or what exp:N says.

    Raises:
        UserError: a class would be left without an image, or has too few for the head that is asked for.
    """
    most = _largest_head(available, imbalance, profile)
    if (head := _asked_head(profile)) is not None and head > most:
        raise UserError(f"`profile: {profile}` wants {head} images of the largest class, and at an imbalance factor of "
                        f"{imbalance:g} there are enough images for {most} at most")  # fmt: skip
    counts = _counts(available, imbalance, profile)
    if min(counts) < 1:
        empty = sum(n < 1 for n in counts)
        most = _largest_imbalance(available, imbalance, profile)
        raise UserError(
            f"an imbalance factor of {imbalance:g} leaves {empty} of {len(counts)} classes without a training image "
            f"(the head has {counts[0]}); lower the imbalance factor to at most {most} or bring more images"
        )
    return counts


def _counts(available: Sequence[int], imbalance: float, profile: str) -> list[int]:
    n_max = _asked_head(profile) or _largest_head(available, imbalance, profile)
    return [int(n_max * share) for share in class_shares(len(available), imbalance, profile)]


def _largest_head(available: Sequence[int], imbalance: float, profile: str) -> int:
    shares = class_shares(len(available), imbalance, profile)
    return min(int(n / share + 1e-9) for n, share in zip(available, shares, strict=True))


def _asked_head(profile: str) -> int | None:
    name, _, head = profile.partition(":")
    return int(head) if name == "exp" and head else None


def _largest_imbalance(available: Sequence[int], too_high: float, profile: str) -> int:
    """The largest whole imbalance factor below `too_high` that leaves every class an image; found by halving, since
    fewer images per class never make room for a longer tail."""
    low, high = 1, int(too_high) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if min(_counts(available, middle, profile)) >= 1 else (low, middle)
    return low


def class_order(available: Sequence[int], order: str) -> list[int]:
    """Classes from head to tail: `label` (as numbered), `frequency` (most images first), or a permutation seed."""
    classes = list(range(len(available)))
    if order == "label":
        return classes
    if order == "frequency":
        return sorted(classes, key=lambda c: (-available[c], c))
    return [int(c) for c in np.random.RandomState(int(order)).permutation(len(available))]


def select(
    available: Sequence[int],
    *,
    imbalance: float | None,
    profile: str,
    subset_seed: int,
    order: str = "label",
    holdout_per_class: int = 0,
) -> tuple[list[Index], list[Index]]:
    """Which images of each class are trained on, and which are held out, as positions within the class.

    The hold-out is taken first, from the full class. Then, per class in ascending label, all remaining positions are
    shuffled with numpy's legacy generator and the first n_c kept, so subsets are nested across imbalance factors.
    The native profile keeps everything.

    Args:
        available: images per class before anything is taken away.
    Returns:
        (train, holdout): one int64 array of positions per class each.
    Raises:
        UserError: a class would be left without a training image.
    """
    held = _hold_out(available, holdout_per_class, subset_seed)
    rest = [np.setdiff1d(np.arange(n, dtype=np.int64), h) for n, h in zip(available, held, strict=True)]
    if profile == "native" or imbalance is None:
        return rest, held
    heads_first = class_order([len(r) for r in rest], order)
    counts = long_tail_counts([len(rest[c]) for c in heads_first], imbalance, profile)
    keep = dict(zip(heads_first, counts, strict=True))
    rng = np.random.RandomState(subset_seed)
    train = []
    for c, positions in enumerate(rest):
        shuffled = positions.copy()
        rng.shuffle(shuffled)
        train.append(shuffled[: keep[c]])
    return train, held


def select_cell(cell: Cell, available: Sequence[int]) -> tuple[list[Index], list[Index]]:
    """`select` as a cell says, from so many images of each class."""
    return select(
        available,
        imbalance=cell.imbalance,
        profile=cell.profile,
        subset_seed=cell.subset_seed,
        order=cell.class_order,
        holdout_per_class=cell.holdout_per_class,
    )


def _hold_out(available: Sequence[int], per_class: int, subset_seed: int) -> list[Index]:
    if not per_class and not min(available):
        raise UserError(f"class {list(available).index(0)} has no training image; bring some, or remove the class")
    if per_class >= min(available):
        raise UserError(
            f"a hold-out of {per_class} images per class leaves nothing to train on: the smallest class has "
            f"{min(available)}; lower holdout_per_class"
        )
    rng = np.random.RandomState([_HOLDOUT_STREAM, subset_seed])
    return [np.sort(rng.permutation(n)[:per_class]).astype(np.int64) for n in available]


def positions_digest(positions: Sequence[Index]) -> str:
    """SHA-256 of the kept positions: int64, little-endian, classes concatenated in ascending label."""
    data = np.concatenate([np.asarray(p, dtype="<i8") for p in positions]) if positions else np.empty(0, "<i8")
    return hashlib.sha256(data.tobytes()).hexdigest()


def manifest(fingerprint: str, options: dict[str, Any], train: Sequence[Index], holdout: Sequence[Index]) -> str:
    """Hash of exactly which data a trial sees: the source, how it is read, the training and held-out images."""
    sizes = [[len(p) for p in train], [len(p) for p in holdout]]
    parts = [fingerprint, options, sizes, positions_digest(train), positions_digest(holdout)]
    return hashlib.sha256(canonical(parts).encode()).hexdigest()[:16]


def to_index(labels: Index, positions: Sequence[Index]) -> Index:
    """Positions within classes -> positions in the data set, class by class in ascending label."""
    by_class = [np.flatnonzero(labels == c) for c in range(len(positions))]
    return np.concatenate([rows[p] for rows, p in zip(by_class, positions, strict=True)]).astype(np.int64)
