"""Tiny ImageNet (Stanford's course CS231n, 2015): 200 classes of ImageNet at 64 pixels."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import ClassVar
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from ltbench.data.sources.downloaded.archives import Published, fetched, told_what_to_do
from ltbench.data.sources.files import MEAN, STD
from ltbench.data.sources.source import Arrays, Facts, Source
from ltbench.errors import UserError

SIDE = 64
ROOT = "tiny-imagenet-200"
_LARGEST = 1 << 20
"""Bytes of one image's file; they have 2,000 or so."""


class TinyImageNet(Source):
    """Labels follow the sorted WordNet ids, and within a class images follow their sorted names, as in torchvision's
    `ImageFolder`. Tested on the validation images, since the test labels were never published."""

    kind = "tiny_imagenet"
    summary = "Tiny ImageNet, 100,000 + 10,000 colour images 64x64 of 200 classes; fetched (248 MB)"
    archive: ClassVar[Published] = Published(
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de"
    )
    train_per_class: ClassVar[int] = 500
    test_per_class: ClassVar[int] = 50

    def facts(self) -> Facts:
        """Constants of the published archive; reading checks them."""
        names = tuple(classes().values())
        return Facts(
            class_names=names,
            train_counts=(self.train_per_class,) * len(names),
            test_counts=(self.test_per_class,) * len(names),
            fingerprint=f"{self.kind}-{self.archive.md5}",
            shape=(SIDE, SIDE, 3),
            mean=MEAN,
            std=STD,
        )

    def read(self) -> Arrays:
        """Fetch the archive where it is not there, and decode its images. Raises UserError if it cannot be had."""
        name = self.archive.name
        with (
            told_what_to_do(self.kind, self.data, name, self.data / name),
            ZipFile(fetched(self.archive, self.data)) as stored,
        ):
            label = {wordnet_id: i for i, wordnet_id in enumerate(classes())}
            train, test = _train(stored, label), _test(stored, label)
            return Arrays(_decoded(stored, train), _labels(train), _decoded(stored, test), _labels(test))


@cache
def classes() -> dict[str, str]:
    """WordNet id -> name, in label order. The names are those of ImageNet's 1,000 classes in torchvision; the ids are
    those of the archive's wnids.txt."""
    lines = Path(__file__).with_name("tiny_imagenet_classes.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines)


Named = list[tuple[int, str]]
"""Label and member's name of each image, sorted."""


def _train(stored: ZipFile, label: dict[str, int]) -> Named:
    """ROOT/train/ID/images/ID_7.JPEG"""
    split = ((name.split("/"), name) for name in stored.namelist() if name.endswith(".JPEG"))
    return sorted((label[parts[2]], name) for parts, name in split if parts[:2] == [ROOT, "train"])


def _test(stored: ZipFile, label: dict[str, int]) -> Named:
    """ROOT/val/images/val_7.JPEG, each with its id in a line of val_annotations.txt: name, tab, id, tab, a box."""
    lines = stored.read(f"{ROOT}/val/val_annotations.txt").decode("utf-8").splitlines()
    pairs = (line.split("\t")[:2] for line in lines)
    return sorted((label[wordnet_id], f"{ROOT}/val/images/{name}") for name, wordnet_id in pairs)


def _labels(named: Named) -> NDArray[np.int64]:
    return np.array([label for label, _ in named], dtype=np.int64)


def _decoded(stored: ZipFile, named: Named) -> NDArray[np.uint8]:
    """(N, 64, 64, 3); grey images in all three channels."""
    x = np.empty((len(named), SIDE, SIDE, 3), dtype=np.uint8)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for row, image in enumerate(pool.map(_pixels, _contents(stored, named))):
            x[row] = image
    return x


def _contents(stored: ZipFile, named: Named) -> Iterable[tuple[str, bytes]]:
    for _, name in named:
        if stored.getinfo(name).file_size > _LARGEST:
            raise UserError(f"{stored.filename}: {name} is too large for an image of Tiny ImageNet")
        yield name, stored.read(name)


def _pixels(member: tuple[str, bytes]) -> NDArray[np.uint8]:
    from PIL import Image

    name, content = member
    with Image.open(io.BytesIO(content)) as opened:
        image = np.asarray(opened.convert("RGB"), dtype=np.uint8)
    if image.shape != (SIDE, SIDE, 3):
        raise UserError(f"tiny_imagenet: {name} has {image.shape[1]}x{image.shape[0]} pixels, 64x64 were expected")
    return image
