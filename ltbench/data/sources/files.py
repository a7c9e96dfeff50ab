"""Data sets that are files on the disk: packed into memory where the images are small, streamed where they are not."""

from __future__ import annotations

import json
import os
import shutil
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltbench.data.images.decode import decode_image
from ltbench.data.images.pictures import DecodedCache, Pictures, Telling, listed, names_array
from ltbench.data.sources.source import Arrays, Source
from ltbench.errors import UserError
from ltbench.spec import digest
from ltbench.system.files import write_atomically

PACKED_SIDE = 64
"""Pixels; images of more are streamed unless the suite says otherwise."""
MARGIN = 8 / 7
"""Streamed images have a shorter side of 8/7 of `size`, so that the centre of 224 is cut from 256: the usual test."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's channel statistics, with which torchvision's and the field's networks are trained on large images."""
DECODER = 1
"""Version of `decode.whole`: bumped when its pixels change."""
_PARTS = ("train", "test")
_BYTES_PER_PIXEL = 3 * 1.4
"""Three channels, and the longer side of a usual photograph is 1.4 times the shorter."""


class FileSource(Source):
    """Images as files, each with a label. Subclasses say which files, and with which labels."""

    def __init__(self, data: Path, path: Path | None = None, **options: Any) -> None:
        super().__init__(data, path, **options)
        self.chosen = self._settled(**self.chosen)

    def _settled(self, size: Any, resize: Any, stream: Any, interpolation: Any) -> dict[str, Any]:
        """The options as a trial's identity has them. `resize` is among them where images are streamed, `stream` only
        where it is not what follows from the size, `interpolation` where it is not the usual one."""
        if interpolation not in ("bilinear", "bicubic"):
            raise UserError(f"{self.kind}: `interpolation` must be bilinear or bicubic, got {interpolation!r}")
        if not isinstance(size, int) or isinstance(size, bool) or not 4 <= size <= 1024:
            raise UserError(f"{self.kind}: `size` must be a whole number of pixels between 4 and 1024, got {size!r}")
        if stream not in (True, False, "auto"):
            raise UserError(f"{self.kind}: `stream` must be true, false or auto, got {stream!r}")
        if resize is not None and (
            not isinstance(resize, int) or isinstance(resize, bool) or not size <= resize <= 2048
        ):
            raise UserError(f"{self.kind}: `resize` must be a whole number of pixels between `size` ({size}) and 2048, "
                            f"got {resize!r}")  # fmt: skip
        if stream is False and resize is not None:
            raise UserError(f"{self.kind}: `resize` is for streamed images and has no effect with `stream: false`; "
                            f"remove one of the two")  # fmt: skip
        if stream is True or (stream == "auto" and (size > PACKED_SIDE or resize is not None)):
            usual = {} if interpolation == "bilinear" else {"interpolation": interpolation}
            return {"size": size, "resize": resize or round(size * MARGIN), **usual}
        if interpolation != "bilinear":
            raise UserError(f"{self.kind}: `interpolation` is for streamed images and has no effect here; remove it, "
                            f"or say `stream: true`")  # fmt: skip
        return {"size": size} if size <= PACKED_SIDE else {"size": size, "stream": False}

    @property
    def streams(self) -> bool:
        """The images are decoded when they are wanted, not packed."""
        return "resize" in self.chosen

    @property
    @abstractmethod
    def root(self) -> Path:
        """The folder that the names of the files are relative to."""

    @abstractmethod
    def names(self, part: str) -> Sequence[str]:
        """The files of `train` or `test`, relative to the root, in a fixed order."""

    @abstractmethod
    def labels(self, part: str) -> NDArray[np.int64]:
        """The label of each file, (N,)."""

    def content(self) -> str:
        """What the pixels follow from: two sources of equal content share their decoded images."""
        return self.facts().fingerprint

    def arrays(self) -> Arrays:
        """Packed images as arrays, or streamed ones as `Pictures`; calls `prepare` first."""
        if not self.streams:
            return super().arrays()
        self.prepare()
        y = {part: self.labels(part) for part in _PARTS}
        x = {part: self._pictures(part, cached=True) for part in _PARTS}
        return Arrays(x["train"], y["train"], x["test"], y["test"])

    def prepare(self) -> Path:
        """Pack small images; of large ones, decode all into the cache, if they are to be kept."""
        if not self.streams:
            return super().prepare()
        folder = self._cache_folder()
        caches = {part: self._cache(part) for part in _PARTS}
        if not (folder / "done.json").exists() and self._to_be_kept():
            broken: list[str] = []
            told = Telling(self.kind, sum(cache.total for cache in caches.values()))
            for part, cache in caches.items():
                cache.fill(self._pictures(part, cached=False), broken, told)
            if broken:
                raise self.unreadable(broken)
            write_atomically(folder / "done.json", json.dumps({p: c.total for p, c in caches.items()}).encode())
        return folder

    def read(self) -> Arrays:
        """Every image as (size, size, 3), for packing."""
        self.content()
        size: int = self.chosen["size"]
        broken: list[str] = []
        x = {part: self._decode_all(part, size, broken) for part in _PARTS}
        if broken:
            raise self.unreadable(broken)
        return Arrays(x["train"], self.labels("train"), x["test"], self.labels("test"))

    def unreadable(self, broken: Sequence[str]) -> UserError:
        """The error that names the files which cannot be decoded."""
        return UserError(
            f"{len(broken)} unreadable image{'s' * (len(broken) > 1)} under {self.root}; "
            "repair or remove:\n  " + "\n  ".join(listed(broken))
        )

    def _decode_all(self, part: str, size: int, broken: list[str]) -> NDArray[np.uint8]:
        names = self.names(part)
        x = np.empty((len(names), size, size, 3), dtype=np.uint8)

        def decode(row: int) -> str | None:
            file = self.root / names[row]
            try:
                x[row] = decode_image(file, size)
            except Exception as error:  # PIL raises half a dozen kinds for damaged files
                return f"{file}: {error}"
            return None

        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            broken.extend(message for message in pool.map(decode, range(len(names))) if message)
        return x

    def _pictures(self, part: str, cached: bool) -> Pictures:
        cache = self._cache(part) if cached and (self._cache_folder() / "done.json").exists() else None
        interpolation = self.chosen.get("interpolation", "bilinear")
        return Pictures(self.root, names_array(self.names(part)), self.chosen["resize"], cache, interpolation)

    def _cache(self, part: str) -> DecodedCache:
        return DecodedCache(self._cache_folder(), part, len(self.names(part)))

    def _cache_folder(self) -> Path:
        made_by = [self.content(), self.chosen["resize"], self.chosen.get("interpolation", "bilinear"), DECODER]
        return self.data / "packed" / f"decoded-{digest(made_by)}"

    def _to_be_kept(self) -> bool:
        """As the suite says; by itself, where the decoded images take at most half of the room that is free."""
        if self.decoded_cache is not None:
            return self.decoded_cache
        images = sum(len(self.names(part)) for part in _PARTS)
        room = self.data
        while not room.exists() and room != room.parent:
            room = room.parent
        pixels: int = images * self.chosen["resize"] ** 2
        return pixels * _BYTES_PER_PIXEL <= shutil.disk_usage(room).free / 2


def check_files(root: Path, names: Sequence[str], remembered: Path) -> str:
    """Hash of the sizes of all files, none of which is opened. What was found is kept in `remembered`, and holds until
    one of the folders they lie in changes.

    Raises:
        UserError: some are missing; it names the first of them and says how many.
    """
    folders: dict[str, list[str]] = {}
    for name in names:
        folder, _, base = name.rpartition("/")
        folders.setdefault(folder, []).append(base)
    if not root.is_dir():
        raise UserError(f"{root}: there is no such folder of images")
    with ThreadPoolExecutor(max_workers=16) as pool:  # on network storage every folder is a wait
        marks = digest([str(root.resolve()), *pool.map(lambda folder: _mark(root / folder), folders)], 24)
        with suppress(OSError, ValueError, KeyError):
            before = json.loads(remembered.read_text())
            if before["marks"] == marks:
                return str(before["sizes"])
        sizes = dict(zip(folders, pool.map(lambda item: _sizes(root / item[0], set(item[1])), folders.items()),
                         strict=True))  # fmt: skip
    missing = [f"{folder}/{base}".lstrip("/") for folder, bases in folders.items() for base in bases
               if base not in sizes[folder]]  # fmt: skip
    if missing:
        shown = "\n  ".join(listed(missing))
        raise UserError(f"{len(missing):,} of {len(names):,} images are not under {root}:\n  {shown}\n"
                        f"`path:` must be the folder that the names in the lists start from")  # fmt: skip
    found = digest([[folder, sorted(sizes[folder].items())] for folder in sorted(sizes)], 24)
    with suppress(OSError):  # what cannot be remembered is looked at again
        remembered.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(remembered, json.dumps({"marks": marks, "sizes": found}).encode())
    return found


def _mark(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def _sizes(folder: Path, wanted: set[str]) -> Mapping[str, int]:
    with suppress(OSError), os.scandir(folder) as entries:
        return {e.name: e.stat().st_size for e in entries if e.name in wanted and e.is_file()}
    return {}


OPTIONS: Mapping[str, Any] = {"size": 32, "resize": None, "stream": "auto", "interpolation": "bilinear"}
