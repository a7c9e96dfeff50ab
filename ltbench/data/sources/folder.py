"""A user's own images: train/CLASS/* and test/CLASS/*, any size, resized; taken as they are or made long-tailed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ltbench.data.sources.files import MEAN, OPTIONS, STD, FileSource
from ltbench.data.sources.listing import (
    Contents,
    Listing,
    contents_of,
    hidden_notes,
    is_of_system,
    left_out_notes,
    list_images,
    refuse_alike,
    refuse_not_utf8,
)
from ltbench.data.sources.notes import some
from ltbench.data.sources.source import Facts
from ltbench.errors import UserError


class Folder(FileSource):
    """Classes are the sub-folders of train/, in sorted order; test/ must have the same. Up to 64 pixels the shorter
    side of an image is resized to `size` (bilinear, antialiased) and the centre cropped; images of that size are left
    as they are. Larger ones are streamed."""

    kind = "folder"
    summary = "your images: PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg, any size, resized to `size`"
    options: ClassVar[Mapping[str, Any]] = OPTIONS
    needs_path = True

    def facts(self) -> Facts:
        """Class names and counts from the folders' names and contents. Raises UserError if they do not fit together."""
        return self._facts

    @cached_property
    def _facts(self) -> Facts:
        size = self.chosen["size"]
        names = self._class_names
        return Facts(
            class_names=names,
            train_counts=tuple(len(self._files["train"][name]) for name in names),
            test_counts=tuple(len(self._files["test"][name]) for name in names),
            fingerprint=self._contents.fingerprint,
            shape=(size, size, 3),
            streams=self.streams,
            mean=MEAN if self.streams else None,
            std=STD if self.streams else None,
            notes=self._notes(),
        )

    def names(self, part: str) -> list[str]:
        """The files of a part, class by class, sorted by name."""
        return self._names[part]

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        return {part: [f"{part}/{name}/{file.name}" for name in self._class_names for file in self._files[part][name]]
                for part in ("train", "test")}  # fmt: skip

    def labels(self, part: str) -> NDArray[np.int64]:
        """The label of each file, (N,)."""
        return np.asarray([label for _, label in self._labelled(part)], dtype=np.int64)

    @property
    def root(self) -> Path:
        """The folder with train/ and test/."""
        assert self.path is not None, "open_source checks that a folder has a path"
        return self.path

    @cached_property
    def _class_names(self) -> tuple[str, ...]:
        for part in ("train", "test"):
            if not (self.root / part).is_dir():
                raise UserError(f"{self.root / part}: no such folder; `folder` needs train/CLASS/* and test/CLASS/*")
        train, test = (set(self._subfolders(part)) for part in ("train", "test"))
        refuse_not_utf8(
            [self.root / part / name for part, names in (("train", train), ("test", test)) for name in names]
        )
        refuse_alike(self.root, train, test)
        if train != test:
            raise UserError(f"{self.root}: train/ and test/ must have the same classes; they differ in: "
                            f"{some(sorted(train ^ test), 8)}")  # fmt: skip
        if len(train) < 2:
            raise UserError(f"{self.root / 'train'}: found {len(train)} class folders; at least 2 are needed")
        return tuple(sorted(train))

    def _subfolders(self, part: str) -> list[str]:
        return [e.name for e in os.scandir(self.root / part) if e.is_dir() and not is_of_system(e.name)]

    @cached_property
    def _listings(self) -> dict[str, dict[str, Listing]]:
        return {part: {name: list_images(self.root / part / name) for name in self._class_names}
                for part in ("train", "test")}  # fmt: skip

    @cached_property
    def _files(self) -> dict[str, dict[str, list[Path]]]:
        found = {part: {name: listing.images for name, listing in classes.items()}
                 for part, classes in self._listings.items()}  # fmt: skip
        empty = [f"{part}/{name}" for part, classes in found.items() for name, files in classes.items() if not files]
        if empty:
            left = left_out_notes(self.root, self._listings)
            raise UserError(f"{self.root}: no images in {some(empty, 8)}; add some or remove the class folder"
                            + "".join(f". Not read: {note}" for note in left))  # fmt: skip
        refuse_not_utf8([file for classes in found.values() for files in classes.values() for file in files])
        return found

    def _notes(self) -> tuple[str, ...]:
        notes = left_out_notes(self.root, self._listings)
        notes += hidden_notes([self.root / part for part in ("train", "test")])
        if same := self._contents.in_both:
            how = "identical to training images" if len(same) > 1 else "identical to a training image"
            notes.append(f"{len(same):,} of the test images {'are' if len(same) > 1 else 'is'} {how} ({some(same)}); "
                         f"what is tested on must not be trained on")  # fmt: skip
        return tuple(notes)

    def _labelled(self, part: str) -> Iterable[tuple[Path, int]]:
        """(file, label) of a part."""
        for label, name in enumerate(self._class_names):
            for file in self._files[part][name]:
                yield file, label

    @cached_property
    def _contents(self) -> Contents:
        """What the files hold; remembered by the files' marks, so that a plan stays quick."""
        files = {part: [file for file, _ in self._labelled(part)] for part in ("train", "test")}
        return contents_of(self.root, files, self.data / "packed")
