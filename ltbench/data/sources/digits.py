"""scikit-learn's handwritten digits: 1,797 real 8x8 images (Alpaydin and Kaynak, UCI, 1998). Needs no download."""

from __future__ import annotations

import numpy as np

from ltbench.data.sources.source import Arrays, Facts, Source

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
IMAGES_PER_CLASS = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
TEST_PER_CLASS = 50


class Digits(Source):
    """The last 50 images of each class, in file order, are the balanced test part."""

    kind = "digits"
    summary = "handwritten digits, 8x8 grey, 1,297 + 500 images; ships with scikit-learn"

    def facts(self) -> Facts:
        """Constants of scikit-learn's copy."""
        # Constants, so that a machine with the packed images needs no scikit-learn; packing checks them.
        return Facts(
            class_names=NAMES,
            train_counts=tuple(n - TEST_PER_CLASS for n in IMAGES_PER_CLASS),
            test_counts=(TEST_PER_CLASS,) * len(NAMES),
            fingerprint=f"digits-sklearn-1797-test{TEST_PER_CLASS}",
            shape=(8, 8, 1),
        )

    def read(self) -> Arrays:
        """The images from scikit-learn, (N, 8, 8, 1), brought to 0..255."""
        from sklearn.datasets import load_digits

        bunch = load_digits()
        x = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
        y = bunch.target.astype(np.int64)
        is_test = np.zeros(len(y), dtype=bool)
        for c in range(len(NAMES)):
            is_test[np.flatnonzero(y == c)[-TEST_PER_CLASS:]] = True
        return Arrays(x[~is_test], y[~is_test], x[is_test], y[is_test])
