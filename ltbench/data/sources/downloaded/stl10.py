"""STL-10 (Coates, Ng and Lee, AISTATS 2011): its labelled part."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ltbench.data.sources.downloaded.archives import Published, fetched, told_what_to_do, unpack
from ltbench.data.sources.source import Arrays, Facts, Source
from ltbench.errors import UserError

SIDE = 96


class Stl10(Source):
    """The 5,000 labelled images and the test images, in `size` pixels. The 100,000 without labels are left where they
    are: in the archive."""

    kind = "stl10"
    summary = "STL-10, 5,000 + 8,000 colour images 96x96 of 10 classes; fetched (2.6 GB, unlabelled images included)"
    options: ClassVar[Mapping[str, Any]] = {"size": SIDE}
    class_names: ClassVar[tuple[str, ...]] = (
        *("airplane", "bird", "car", "cat", "deer"),
        *("dog", "horse", "monkey", "ship", "truck"),
    )
    archive: ClassVar[Published] = Published(
        "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz", "91f7769df0f17e558f3565bffb0c7dfb"
    )
    folder: ClassVar[str] = "stl10_binary"
    files: ClassVar[dict[str, str]] = {
        "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
        "train_y.bin": "5a34089d4802c674881badbb80307741",
        "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
        "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
    }
    """Name -> MD5 of what is taken out of the archive."""
    train_per_class: ClassVar[int] = 500
    test_per_class: ClassVar[int] = 800

    def __init__(self, data: Path, path: Path | None = None, **options: Any) -> None:
        super().__init__(data, path, **options)
        size = self.chosen["size"]
        if not isinstance(size, int) or isinstance(size, bool) or not 4 <= size <= SIDE:
            raise UserError(f"stl10: `size` must be a whole number of pixels between 4 and {SIDE}, got {size!r}")

    def facts(self) -> Facts:
        """Constants of the published archive; reading checks them."""
        size, num_classes = self.chosen["size"], len(self.class_names)
        return Facts(
            class_names=self.class_names,
            train_counts=(self.train_per_class,) * num_classes,
            test_counts=(self.test_per_class,) * num_classes,
            fingerprint=f"{self.kind}-{self.archive.md5}",
            shape=(size, size, 3),
        )

    def read(self) -> Arrays:
        """Fetch and unpack the archive where its files are not there, and read them. Raises UserError if they cannot be
        had."""
        from torchvision.datasets import utils

        folder = self.data / self.folder
        with told_what_to_do(self.kind, self.data, self.archive.name, folder):
            if not all(utils.check_integrity(folder / name, md5) for name, md5 in self.files.items()):
                unpack(fetched(self.archive, self.data), folder, self.files)
            parts = [self._part(folder, part) for part in ("train", "test")]
        return Arrays(*parts[0], *parts[1])

    def _part(self, folder: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Images are stored channel by channel, each column by column; labels from 1."""
        stored = np.fromfile(folder / f"{part}_X.bin", dtype=np.uint8).reshape(-1, 3, SIDE, SIDE)
        labels = np.fromfile(folder / f"{part}_y.bin", dtype=np.uint8).astype(np.int64) - 1
        return _resized(np.ascontiguousarray(stored.transpose(0, 3, 2, 1)), self.chosen["size"]), labels


def _resized(x: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Square images (N, H, H, 3) at another size: bilinear, antialiased, as images of a folder are."""
    from PIL import Image

    if x.shape[1] == size:
        return x
    return np.stack([np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)) for image in x])
