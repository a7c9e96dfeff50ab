"""Where images come from: the facts a plan needs (no image read), and the packed arrays a trial needs.

A source is packed once into `<data>/packed/<name>/` as memory-mapped uint8 arrays, (N, H, W, channels), so the second
trial on a machine starts in milliseconds and trials side by side share the pages.
"""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ltbench.errors import UserError
from ltbench.spec import digest
from ltbench.system.files import new_folder_in


def data_folder(chosen: Path | None) -> Path:
    """Where data sets and caches lie."""
    if chosen is not None:
        return chosen.expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("ltbench")


@dataclass(frozen=True)
class Facts:
    """What is known of a data set before an image is read.

    Attributes:
        class_names: C names in label order.
        train_counts, test_counts: images per class, C each.
        fingerprint: changes when, and only when, the images change.
        shape: (height, width, channels); (1, 1, D) for feature vectors.
        mean, std: per channel on the 0..1 scale; None: taken from the chosen training images.
        streams: the images are too large for memory, and `Arrays` has them as `Pictures`.
        named: the class names say what the classes are; False: they are numbers only.
        notes: what a user should know of the data though nothing stops: images left out, classes without a test image.
    """

    class_names: tuple[str, ...]
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    fingerprint: str
    shape: tuple[int, int, int]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    streams: bool = False
    named: bool = True
    notes: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Arrays:
    """The images: x uint8 (N, H, W, channels), feature vectors float32 (N, D), or `Pictures`; y int64 (N,)."""

    train_x: Any
    train_y: NDArray[np.int64]
    test_x: Any
    test_y: NDArray[np.int64]


class Source(ABC):
    """One data set. Subclasses know how to describe and to read it; packing is done here."""

    kind: ClassVar[str]
    summary: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    """Options a suite may set, with their defaults; part of the trial's identity."""
    needs_path: ClassVar[bool] = False
    may_have_path: ClassVar[bool] = False
    """Without `path:` its files are looked for under the data folder, in one with the name of the kind."""
    places: ClassVar[Mapping[str, str]] = {}
    """Files and folders a suite may name beside `path:`, and what each is; like it, no part of a trial's identity."""
    native: ClassVar[bool] = False
    """It is long-tailed by itself: taken as it is unless the suite names a profile."""
    decoded_cache: bool | None = None
    """Whether large images are kept decoded on the disk; None: where they take at most half of what is free."""
    unnamed: ClassVar[str] = "`class_names:` brings a file of names"
    """What helps where the classes have numbers only, for messages."""
    path_is: ClassVar[str] = "the folder with train/CLASS/* and test/CLASS/*"
    """What `path:` names, for messages."""

    def __init__(self, data: Path, path: Path | None = None, **options: Any) -> None:
        self.data, self.path = data, path
        self.beside = {name: value for name, value in options.items() if name in self.places}
        self.chosen = {**self.options, **{name: value for name, value in options.items() if name not in self.places}}

    @abstractmethod
    def facts(self) -> Facts:
        """Cheap and offline. Raises UserError when the data set is not usable as it lies there."""

    @abstractmethod
    def read(self) -> Arrays:
        """Read (and, where the source can, fetch) every image. Raises UserError naming what is missing or corrupt."""

    def text(self) -> NDArray[np.float32] | None:
        """(C, D) vectors of the class names that came with the data; None for images."""
        return None

    @property
    def packed(self) -> Path:
        """Folder of the packed arrays, named by content."""
        return self.data / "packed" / f"{self.kind}-{digest([self.facts().fingerprint, self.chosen])}"

    def prepare(self) -> Path:
        """Pack the images unless they are packed already. Safe to call from several processes at once."""
        target = self.packed
        if not (target / "done.json").exists():
            arrays = self.read()
            self._verify(arrays)
            _write_packed(target, arrays)
        return target

    def arrays(self) -> Arrays:
        """The packed images, memory-mapped; packs them first if need be."""
        folder = self.prepare()
        return Arrays(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAY_NAMES})

    def _verify(self, arrays: Arrays) -> None:
        facts = self.facts()
        for part, y, expected in (
            ("training", arrays.train_y, facts.train_counts),
            ("test", arrays.test_y, facts.test_counts),
        ):
            found = tuple(int(n) for n in np.bincount(y, minlength=len(facts.class_names)))
            if found != tuple(expected):
                raise UserError(
                    f"{self.kind}: the {part} part has {sum(found)} images where {sum(expected)} were expected; "
                    f"delete the data set's folder under {self.data} and run again"
                )


_ARRAY_NAMES = ("train_x", "train_y", "test_x", "test_y")


def _write_packed(target: Path, arrays: Arrays) -> None:
    """Write beside the target and rename: a reader sees all of it or nothing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = new_folder_in(target.parent, ".packing-")
    try:
        for name in _ARRAY_NAMES:
            np.save(scratch / f"{name}.npy", getattr(arrays, name))
        (scratch / "done.json").write_text(json.dumps({"images": len(arrays.train_y) + len(arrays.test_y)}))
        try:
            scratch.rename(target)
        except OSError:
            if not (target / "done.json").exists():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
