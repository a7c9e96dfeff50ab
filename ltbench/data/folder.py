"""A user's own images: train/CLASS/* and test/CLASS/*, any size, resized; taken as they are or made long-tailed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ltbench.data.source import Arrays, Facts, Source
from ltbench.errors import UserError

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"})
HASH_LIMIT = 4 << 30
"""Above this many bytes the fingerprint covers names and sizes only: hashing contents would take minutes."""


class Folder(Source):
    """Classes are the sub-folders of train/, in sorted order; test/ must have the same. The shorter side of an image
    is resized to `size` (bilinear, antialiased) and the centre cropped; images of that size are left as they are."""

    kind = "folder"
    summary = "your images: PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg, any size, resized to `size`"
    options: ClassVar[dict[str, Any]] = {"size": 32}
    needs_path = True

    def facts(self) -> Facts:
        return self._facts

    @cached_property
    def _facts(self) -> Facts:
        size = self.chosen["size"]
        if not isinstance(size, int) or isinstance(size, bool) or not 4 <= size <= 1024:
            raise UserError(f"folder: `size` must be a whole number of pixels between 4 and 1024, got {size!r}")
        names = self._class_names
        return Facts(
            class_names=names,
            train_counts=tuple(len(self._files["train"][name]) for name in names),
            test_counts=tuple(len(self._files["test"][name]) for name in names),
            fingerprint=self._fingerprint(),
            shape=(size, size, 3),
        )

    def read(self) -> Arrays:
        size: int = self.chosen["size"]
        broken: list[str] = []
        parts = [_decode_all(list(self._labelled(part)), size, broken) for part in ("train", "test")]
        if broken:
            shown = "\n  ".join(broken[:20])
            more = f"\n  ... and {len(broken) - 20} more" if len(broken) > 20 else ""
            raise UserError(
                f"{len(broken)} unreadable image{'s' * (len(broken) > 1)} under {self._root}; "
                f"repair or remove:\n  {shown}{more}"
            )
        return Arrays(*parts[0], *parts[1])

    @property
    def _root(self) -> Path:
        assert self.path is not None, "open_source checks that a folder has a path"
        return self.path

    @cached_property
    def _class_names(self) -> tuple[str, ...]:
        for part in ("train", "test"):
            if not (self._root / part).is_dir():
                raise UserError(f"{self._root / part}: no such folder; `folder` needs train/CLASS/* and test/CLASS/*")
        train, test = (set(self._subfolders(part)) for part in ("train", "test"))
        if train != test:
            odd = ", ".join(sorted(train ^ test)[:8])
            raise UserError(f"{self._root}: train/ and test/ must have the same classes; they differ in: {odd}")
        if len(train) < 2:
            raise UserError(f"{self._root / 'train'}: found {len(train)} class folders; at least 2 are needed")
        return tuple(sorted(train))

    def _subfolders(self, part: str) -> list[str]:
        return [e.name for e in os.scandir(self._root / part) if e.is_dir() and not e.name.startswith(".")]

    @cached_property
    def _files(self) -> dict[str, dict[str, list[Path]]]:
        found = {part: {name: _images(self._root / part / name) for name in self._class_names}
                 for part in ("train", "test")}  # fmt: skip
        empty = [f"{part}/{name}" for part, classes in found.items() for name, files in classes.items() if not files]
        if empty:
            raise UserError(f"{self._root}: no images in {', '.join(empty[:8])}; add some or remove the class folder")
        return found

    def _labelled(self, part: str) -> Iterable[tuple[Path, int]]:
        for label, name in enumerate(self._class_names):
            for file in self._files[part][name]:
                yield file, label

    def _fingerprint(self) -> str:
        """Hash of names, sizes and contents; remembered by the files' marks, so that a plan stays quick."""
        files = [file for part in ("train", "test") for file, _ in self._labelled(part)]
        stats = [file.stat() for file in files]
        names = [file.relative_to(self._root).as_posix() for file in files]
        # Inode and ctime as well: a file replaced by one of equal size and time is another file.
        marks = [[n, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for n, s in zip(names, stats, strict=True)]
        listing = [str(self._root.resolve()), marks]
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


def _decode_all(
    labelled: list[tuple[Path, int]], size: int, broken: list[str]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    x = np.empty((len(labelled), size, size, 3), dtype=np.uint8)

    def decode(row: int) -> str | None:
        try:
            x[row] = decode_image(labelled[row][0], size)
        except Exception as error:  # PIL raises half a dozen kinds for damaged files
            return f"{labelled[row][0]}: {error}"
        return None

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        broken.extend(message for message in pool.map(decode, range(len(labelled))) if message)
    return x, np.asarray([label for _, label in labelled], dtype=np.int64)


def decode_image(file: Path, size: int) -> NDArray[np.uint8]:
    """One image as (size, size, 3) uint8: shorter side to `size`, centre crop, RGB."""
    from PIL import Image

    with Image.open(file) as opened:
        if opened.mode in ("F", "I"):
            raise ValueError(f"its pixels (mode {opened.mode}) have no fixed range; save it with 8 bits per channel")
        sixteen = opened.mode.startswith("I;16")
        pixels = Image.fromarray((np.asarray(opened) >> 8).astype(np.uint8)) if sixteen else opened
        if "transparency" in opened.info:  # else PIL warns; what is transparent keeps its colour either way
            pixels = pixels.convert("RGBA")
        image = pixels.convert("RGB")
    width, height = image.size
    if (width, height) != (size, size):
        scale = size / min(width, height)
        width, height = max(size, round(width * scale)), max(size, round(height * scale))
        left, top = (width - size) // 2, (height - size) // 2
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image, dtype=np.uint8)
