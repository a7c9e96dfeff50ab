"""scikit-learn's handwritten digits: 1,797 real 8x8 images (Alpaydin and Kaynak, UCI, 1998). Needs no download."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltbench.data.source import Arrays, Facts, Source, class_counts

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEST_PER_CLASS = 50


class Digits(Source):
    """The last 50 images of each class, in file order, are the balanced test part."""

    kind = "digits"
    summary = "handwritten digits, 8x8 grey, 1,297 + 500 images; ships with scikit-learn"

    def facts(self) -> Facts:
        _, y, is_test = _digits()
        return Facts(
            class_names=NAMES,
            train_counts=class_counts(y[~is_test], 10),
            test_counts=class_counts(y[is_test], 10),
            fingerprint="digits-sklearn-1797-test50",
            shape=(8, 8, 1),
        )

    def read(self) -> Arrays:
        x, y, is_test = _digits()
        return Arrays(x[~is_test], y[~is_test], x[is_test], y[is_test])


@cache
def _digits() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    y = bunch.target.astype(np.int64)
    is_test = np.zeros(len(y), dtype=bool)
    for c in range(10):
        is_test[np.flatnonzero(y == c)[-TEST_PER_CLASS:]] = True
    return x, y, is_test
