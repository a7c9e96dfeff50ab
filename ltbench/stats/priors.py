"""Test distributions over classes, by name."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
PRIOR = re.compile(r"(forward|backward)([1-9][0-9]*)")
"""Of the names that have a number; `uniform` is the other one."""


def prior_weights(name: str, train: ArrayLike) -> Floats:
    """Test distributions of Hong et al. (LADE, CVPR 2021) and Zhang et al. (SADE, NeurIPS 2022), up to a factor.

    forwardR: R ** (-k / (C - 1)) for the class that is k-th by training images, from 0, so that the head of training is
    the head of the test; backwardR: the same from the other end; uniform: 1. Equal classes are ordered by label.
    """
    counts = np.asarray(train, dtype=np.float64)
    if name == "uniform":
        return np.ones(len(counts))
    match = PRIOR.fullmatch(name)
    assert match is not None, name
    rank = frequency_rank(counts)
    if match[1] == "backward":
        rank = len(counts) - 1 - rank
    return np.asarray(float(match[2]) ** (-rank / max(len(counts) - 1, 1)), dtype=np.float64)


def frequency_rank(train: Floats) -> NDArray[np.int64]:
    """Position of every class by training images, the largest 0; equal ones by label."""
    rank = np.empty(len(train), dtype=np.int64)
    rank[np.argsort(-train, kind="stable")] = np.arange(len(train))
    return rank
