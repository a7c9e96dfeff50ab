"""Images that are too many for memory: known by their files, decoded when they are wanted, or kept decoded on disk.

Every image is brought to one shorter side first. Whether that is done each time or once, into a cache, changes no
pixel, so it is no part of a trial's identity.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltbench.data.images.decode import whole
from ltbench.errors import UserError
from ltbench.system.files import new_file_beside
from ltbench.system.messages import say

PER_FILE = 2048
"""Images in one file of the cache: half a gigabyte at 256 pixels, and as much is lost when the decoding is stopped."""
_AT_ONCE = 256
_TOLD_EVERY = 10.0
SHOWN = 20
"""How many bad files a message names; the rest are counted."""


class Pictures:
    """The images of one part of a data set, or some of them. Picklable; nothing is read before it is asked for.

    Args:
        root, names: image i is the file root / names[i]; names are bytes, (N,) of numpy's `S`, so that worker processes
            share the memory of half a million of them.
        shorter: side in pixels that min(height, width) is brought to.
        cache: where they lie decoded; None: they are decoded each time.
        interpolation: bilinear or bicubic. rows: which of them this is, in which order; None: all.
    """

    ndim = 4

    def __init__(
        self,
        root: Path,
        names: NDArray[np.bytes_],
        shorter: int,
        cache: DecodedCache | None = None,
        interpolation: str = "bilinear",
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        self.root, self.names, self.shorter, self.cache = root, names, shorter, cache
        self.interpolation = interpolation
        self.rows = np.arange(len(names)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: NDArray[np.int64]) -> Pictures:
        """Some of them, in this order; reads nothing."""
        rows = self.rows[positions]
        return Pictures(self.root, self.names, self.shorter, self.cache, self.interpolation, rows)

    def file(self, position: int) -> Path:
        """The file of the image at this position."""
        return self.root / os.fsdecode(bytes(self.names[self.rows[position]]))

    def pixels(self, position: int) -> NDArray[np.uint8]:
        """One image, (h, w, 3) uint8 with min(h, w) = shorter. Raises UserError naming the file that cannot be read."""
        if self.cache is not None:
            return self.cache.pixels(int(self.rows[position]))
        try:
            return whole(self.file(position), self.shorter, self.interpolation)
        except Exception as error:  # PIL raises half a dozen kinds for damaged files
            raise UserError(f"unreadable image {self.file(position)} ({error}); repair it") from error


class DecodedCache:
    """Decoded images on the disk: PART-00012.bin has the pixels of 2,048 of them, one after the other, and
    PART-00012.npy their sizes, (n, 2) int32; the second is written last, so what is there is whole."""

    def __init__(self, folder: Path, part: str, total: int) -> None:
        self.folder, self.part, self.total = folder, part, total
        self._sizes: NDArray[np.int64] | None = None
        self._open: dict[int, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_open": {}}

    def complete(self) -> bool:
        """Whether all images are there."""
        return all(self._whole(number) for number in range(self._files()))

    def fill(self, pictures: Pictures, broken: list[str], told: Telling) -> None:
        """Decode what is not there yet. Unreadable images are added to `broken`, and their file is left out; the next
        call goes on with what is missing. Raises UserError when there is no room."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for number in range(self._files()):
                rows = range(number * PER_FILE, min(self.total, (number + 1) * PER_FILE))
                if not self._whole(number):
                    try:
                        self._write(number, rows, pictures, broken, pool)
                    except OSError as error:
                        raise UserError(
                            f"{self.folder}: the decoded images cannot be kept ({error.strerror}); make room (the same "
                            f"command continues), choose another --data, or set resources.decoded_cache=false to "
                            f"decode them in every epoch"
                        ) from error
                told.done(len(rows))

    def _write(self, number: int, rows: range, pictures: Pictures, broken: list[str], pool: ThreadPoolExecutor) -> None:
        def decode(row: int) -> NDArray[np.uint8] | str:
            try:
                return pictures.pixels(row)
            except UserError as error:
                return str(error)

        sizes = np.zeros((len(rows), 2), dtype=np.int32)
        before = len(broken)
        handle, scratch = new_file_beside(self.folder / self.part)
        try:
            with os.fdopen(handle, "wb") as stream:
                for start in range(0, len(rows), _AT_ONCE):
                    for i, image in enumerate(pool.map(decode, rows[start : start + _AT_ONCE]), start):
                        if isinstance(image, str):
                            broken.append(image)
                        else:
                            sizes[i] = image.shape[:2]
                            stream.write(np.ascontiguousarray(image).data)
            if len(broken) == before:
                scratch.replace(self._file(number, "bin"))
                scratch_sizes = self._file(number, f"{os.getpid()}.npy")
                np.save(scratch_sizes, sizes)
                scratch_sizes.replace(self._file(number, "npy"))
        finally:
            with suppress(OSError):
                scratch.unlink()

    def pixels(self, row: int) -> NDArray[np.uint8]:
        """Image `row` of the part, (h, w, 3) uint8, memory-mapped."""
        if self._sizes is None:
            self._sizes = np.concatenate([np.load(self._file(n, "npy")) for n in range(self._files())]).astype(np.int64)
            self._starts = _starts(self._sizes)
        number = row // PER_FILE
        if number not in self._open:
            self._open[number] = np.memmap(self._file(number, "bin"), dtype=np.uint8, mode="r")
        height, width = self._sizes[row]
        start = self._starts[row]
        image: NDArray[np.uint8] = self._open[number][start : start + height * width * 3].reshape(height, width, 3)
        return image

    def _files(self) -> int:
        return -(-self.total // PER_FILE)

    def _file(self, number: int, kind: str) -> Path:
        return self.folder / f"{self.part}-{number:05d}.{kind}"

    def _whole(self, number: int) -> bool:
        try:
            sizes = np.load(self._file(number, "npy")).astype(np.int64)
            return int((sizes[:, 0] * sizes[:, 1]).sum()) * 3 == self._file(number, "bin").stat().st_size
        except (OSError, ValueError, EOFError):
            return False


def _starts(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each image begins within its file."""
    bytes_each = sizes[:, 0] * sizes[:, 1] * 3
    starts = np.cumsum(bytes_each) - bytes_each
    firsts = starts[::PER_FILE]
    return np.asarray(starts - np.repeat(firsts, PER_FILE)[: len(starts)])


class Telling:
    """Says on stderr how far a long decoding has come, every ten seconds."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total, self._done = name, total, 0
        self._began = self._told = time.monotonic()

    def done(self, images: int) -> None:
        """So many more images are decoded."""
        self._done += images
        now = time.monotonic()
        if now - self._told >= _TOLD_EVERY:
            self._told = now
            left = (now - self._began) / self._done * (self._total - self._done) / 60
            say(f"{self._name}: {self._done:,} of {self._total:,} images decoded, about {left:.0f} min left")


def names_array(names: Sequence[str]) -> NDArray[np.bytes_]:
    """Names of files as one array of bytes, (N,)."""
    return np.array([os.fsencode(name) for name in names], dtype=np.bytes_)


def listed(bad: Sequence[str]) -> Iterator[str]:
    """The first of a long list of files and how many more there are, for a message."""
    yield from bad[:SHOWN]
    if len(bad) > SHOWN:
        yield f"... and {len(bad) - SHOWN:,} more"
