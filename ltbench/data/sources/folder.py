"""A user's own images: train/CLASS/* and test/CLASS/*, any size, resized; taken as they are or made long-tailed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ltbench.data.sources.files import MEAN, OPTIONS, STD, FileSource
from ltbench.data.sources.source import Facts
from ltbench.errors import UserError

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"})
HASH_LIMIT = 4 << 30
"""Above this many bytes the fingerprint covers names and sizes only: hashing contents would take minutes."""


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
            fingerprint=self._fingerprint(),
            shape=(size, size, 3),
            streams=self.streams,
            mean=MEAN if self.streams else None,
            std=STD if self.streams else None,
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
        if train != test:
            odd = ", ".join(sorted(train ^ test)[:8])
            raise UserError(f"{self.root}: train/ and test/ must have the same classes; they differ in: {odd}")
        if len(train) < 2:
            raise UserError(f"{self.root / 'train'}: found {len(train)} class folders; at least 2 are needed")
        return tuple(sorted(train))

    def _subfolders(self, part: str) -> list[str]:
        return [e.name for e in os.scandir(self.root / part) if e.is_dir() and not e.name.startswith(".")]

    @cached_property
    def _files(self) -> dict[str, dict[str, list[Path]]]:
        found = {part: {name: _images(self.root / part / name) for name in self._class_names}
                 for part in ("train", "test")}  # fmt: skip
        empty = [f"{part}/{name}" for part, classes in found.items() for name, files in classes.items() if not files]
        if empty:
            raise UserError(f"{self.root}: no images in {', '.join(empty[:8])}; add some or remove the class folder")
        return found

    def _labelled(self, part: str) -> Iterable[tuple[Path, int]]:
        for label, name in enumerate(self._class_names):
            for file in self._files[part][name]:
                yield file, label

    def _fingerprint(self) -> str:
        """Hash of names, sizes and contents; remembered by the files' marks, so that a plan stays quick."""
        files = [file for part in ("train", "test") for file, _ in self._labelled(part)]
        stats = [file.stat() for file in files]
        names = [file.relative_to(self.root).as_posix() for file in files]
        # Inode and ctime as well: a file replaced by one of equal size and time is another file.
        marks = [[n, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for n, s in zip(names, stats, strict=True)]
        listing = [str(self.root.resolve()), marks]
        remembered = self.data / "packed" / f"folder-listing-{_sha(json.dumps(listing).encode())[:24]}.txt"
        if remembered.exists():
            return remembered.read_text()
        whole = hashlib.sha256()
        by_content = sum(s.st_size for s in stats) <= HASH_LIMIT
        for file, name, stat in zip(files, names, stats, strict=True):
            whole.update(f"{name}\0{stat.st_size}\0".encode())
            if by_content:
                whole.update(hashlib.sha256(_read_bytes(file)).digest())
        fingerprint = f"folder-{'contents' if by_content else 'sizes'}-{whole.hexdigest()}"
        with contextlib.suppress(OSError):  # a cache that cannot be written only means hashing again
            remembered.parent.mkdir(parents=True, exist_ok=True)
            scratch = remembered.with_suffix(f".{os.getpid()}")
            scratch.write_text(fingerprint)
            scratch.replace(remembered)
        return fingerprint


def _images(folder: Path) -> list[Path]:
    names = (e.name for e in os.scandir(folder) if e.is_file() and not e.name.startswith("."))
    return [folder / name for name in sorted(names) if Path(name).suffix.lower() in EXTENSIONS]


def _read_bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); check its permissions") from error


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
