"""Street View House Numbers, cropped digits (Netzer et al., NIPS Workshops 2011)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ltbench.data.sources.downloaded.archives import Published, fetched, told_what_to_do
from ltbench.data.sources.source import Arrays, Facts, Source
from ltbench.errors import UserError

MEAN = STD = (0.5, 0.5, 0.5)
"""The normalisation of Yang and Xu (NeurIPS 2020), YyzHarry/imbalanced-semi-self, train.py."""


class Svhn(Source):
    """Labels as the authors' files number them, from 0: the digit 1 is label 0, and the digit 0, their class 10, is the
    last. From head to tail this is the order of SVHN-LT. The test set is not balanced, either."""

    kind = "svhn"
    summary = "SVHN, 73,257 + 26,032 colour images 32x32 of house numbers' digits; fetched (246 MB)"
    class_names: ClassVar[tuple[str, ...]] = (
        *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "zero"),
    )
    files: ClassVar[dict[str, Published]] = {
        "train": Published(
            "http://ufldl.stanford.edu/housenumbers/train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373"
        ),
        "test": Published("http://ufldl.stanford.edu/housenumbers/test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"),
    }
    train_counts: ClassVar[tuple[int, ...]] = (13_861, 10_585, 8497, 7458, 6882, 5727, 5595, 5045, 4659, 4948)
    test_counts: ClassVar[tuple[int, ...]] = (5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595, 1744)

    def facts(self) -> Facts:
        """Constants of the published files; reading checks them."""
        return Facts(
            class_names=self.class_names,
            train_counts=self.train_counts,
            test_counts=self.test_counts,
            fingerprint="-".join([self.kind, *(file.md5 for file in self.files.values())]),
            shape=(32, 32, 3),
            mean=MEAN,
            std=STD,
        )

    def read(self) -> Arrays:
        """Fetch the two files where they are not there, and read them. Raises UserError if they cannot be had."""
        parts, names = {}, " and ".join(file.name for file in self.files.values())
        for part, file in self.files.items():
            with told_what_to_do(self.kind, self.data, names, self.data / file.name):
                parts[part] = _read(fetched(file, self.data))
        return Arrays(*parts["train"], *parts["test"])


def _read(file: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The images (N, 32, 32, 3) and labels of a MATLAB file with X (32, 32, 3, N) and y (N, 1) from 1 to 10."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        found = loadmat(file, variable_names=["X", "y"])
        x, y = found["X"], found["y"]
    except (MatReadError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{file}: is not a file of SVHN's cropped digits ({error}); delete it and run again") from error
    return np.ascontiguousarray(x.transpose(3, 0, 1, 2)), y.reshape(-1).astype(np.int64) - 1
