"""`ltbench features`: images through a frozen tower, once; what is finished is kept, so the same command continues."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltbench.data.images.crops import centre_boxes
from ltbench.data.images.pictures import Pictures
from ltbench.data.shards import SHARD, keep, kept
from ltbench.data.sources.kinds import open_source, source_kinds
from ltbench.data.sources.source import Source
from ltbench.errors import UserError
from ltbench.models.text import NoText, text_vectors
from ltbench.spec import digest
from ltbench.system.files import write_atomically
from ltbench.system.messages import say

Encode = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Images (N, H, W, channels) -> features (N, D)."""
Progress = Callable[[int, int], None]
"""Told how many images are done, of how many."""


@dataclass(frozen=True)
class ClipTowers:
    """The two towers of an open_clip model.

    Attributes:
        model: the architecture. pretrained: a tag of it, or a checkpoint's path.
        template: the prompt of a class name; `{}` is the name. device: `cpu`, `cuda` or None for the best there is.
    """

    model: str
    pretrained: str
    template: str = "a photo of a {}"
    device: str | None = None


def features_of(
    kind: str, towers: ClipTowers, *, data: Path, out: Path, path: Path | None = None, size: int = 224
) -> Path:
    """Write the features of a data set and its names from both towers of an open_clip model; returns `out`.

    Args:
        kind: of data set. data: the data folder. path: of the images, for kinds that have one.
        size: side in pixels that images of any size are brought to.

    Raises:
        UserError: unknown data set, model or tag, weights that cannot be had, or a file that cannot be written.
    """
    model, pretrained, template = towers.model, towers.pretrained, towers.template
    source = open_source(kind, data, str(path) if path else None, options_for(kind, size))
    names = source.facts().class_names
    config = {"encoder": "open_clip", "model": model, "pretrained": pretrained, "template": template}
    try:
        text = text_vectors(config, kind, names, data).vectors if source.facts().named else None
    except NoText:
        text = None
    from ltbench.models.clip import describe

    local = Path(pretrained).expanduser()
    own_activation = describe(model, pretrained)["quick_gelu"] and not model.endswith("quickgelu")
    weights = hashlib.sha256(local.read_bytes()).hexdigest() if local.is_file() else pretrained

    def tower() -> Encode:
        from ltbench.models.clip import ImageTower

        return ImageTower(model, pretrained, towers.device)

    def progress(done: int, total: int) -> None:
        say(f"{done} of {total} images")

    origin = f"open_clip {model} {local.name}, bicubic antialiased, {template!r}"
    identity = ["open_clip", model, weights, "bicubic antialiased float32", *["quick_gelu"] * own_activation]
    return write_features(source, tower, identity=identity, text=text, origin=origin, out=out, progress=progress)


def options_for(kind: str, size: int) -> dict[str, Any]:
    """Options that give squares of the tower's size, which is what it reads: packed in memory where the images are a
    folder, decoded when they are wanted where lists name them, which may be half a million."""
    cls = source_kinds().get(kind)
    if cls is None or "stream" not in cls.options:
        return {}
    return {"size": size, "resize": size, "interpolation": "bicubic"} if cls.native else {"size": size, "stream": False}


class _Squares:
    """The middles of streamed images, read like an array of (N, side, side, 3)."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        side = self._pictures.shorter
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            images = list(pool.map(self._pictures.pixels, rows.tolist()))
        heights, widths = np.array([image.shape[:2] for image in images]).T
        boxes = centre_boxes(heights, widths, side)[:, :2].tolist()
        return np.stack([x[top : top + side, left : left + side] for x, (top, left) in zip(images, boxes, strict=True)])


def write_features(
    source: Source,
    tower: Callable[[], Encode],
    *,
    identity: Sequence[str],
    origin: str,
    out: Path,
    text: NDArray[np.float32] | None = None,
    batch_size: int = 64,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Write the features of all images of a data set to `out`, an npz as the kind `features` reads it; returns `out`.

    Equal images go through the tower once. Shards are kept under the data folder, named by the images and the tower,
    and are found again by the next call.

    Args:
        tower: makes the encoder; called only if some shard is not there yet.
        identity: what the features depend on beside the images: model, weights, preprocessing.
        origin: the same in words, kept in the file. text: (C, D) vectors of the class names, or None.
        batch_size: images that the tower gets at once.

    Raises:
        UserError: unreadable data, or `out` cannot be written.
    """
    facts, arrays = source.facts(), source.arrays()
    folder = source.data / "features" / digest([facts.fingerprint, source.chosen, list(identity)])
    folder.mkdir(parents=True, exist_ok=True)
    shards = _Shards(folder, tower, batch_size, progress, len(arrays.train_y) + len(arrays.test_y))
    stream = io.BytesIO()
    np.savez(
        stream,
        allow_pickle=False,
        train_x=shards.features("train", arrays.train_x).astype(np.float16),
        train_y=np.asarray(arrays.train_y),
        test_x=shards.features("test", arrays.test_x).astype(np.float16),
        test_y=np.asarray(arrays.test_y),
        class_names=np.array(facts.class_names),
        origin=np.array(origin),
        **({} if text is None else {"text": text}),
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, stream.getvalue())
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror})") from error
    return out


class _Shards:
    """Features of a data set, computed a shard at a time where they are not kept yet."""

    def __init__(
        self, folder: Path, tower: Callable[[], Encode], batch_size: int, progress: Progress, total: int
    ) -> None:
        self._folder, self._tower, self._batch_size = folder, tower, batch_size
        self._progress, self._total, self._done = progress, total, 0

    @cached_property
    def _encode(self) -> Encode:
        return self._tower()

    def features(self, part: str, x: Any) -> NDArray[np.float32]:
        """Those of all images of a part, (N, D), in order."""
        if isinstance(x, Pictures):  # to compare them would be to decode them twice
            x, first = _Squares(x), np.arange(len(x))
            copies = first
        else:
            first, copies = _distinct(x)
        shards = []
        for start in range(0, len(first), SHARD):
            shards.append(
                self._shard(self._folder / f"{part}-{start // SHARD:05d}.npy", x, first[start : start + SHARD])
            )
            self._progress(self._done + int((copies < start + SHARD).sum()), self._total)
        self._done += len(x)
        return np.concatenate(shards)[copies]

    def _shard(self, file: Path, x: Any, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        shard = kept(file)
        if shard is not None:
            return shard
        batches = [rows[i : i + self._batch_size] for i in range(0, len(rows), self._batch_size)]
        shard = np.concatenate([self._encode(np.asarray(x[batch])) for batch in batches])
        try:
            keep(file, shard)
        except OSError as error:
            raise UserError(f"{self._folder}: the features cannot be kept ({error.strerror}); make room or choose "
                            f"another --data; the same command continues") from error  # fmt: skip
        return shard


def _distinct(x: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the first of every set of equal images, and for every image which of them it equals."""
    seen: dict[bytes, int] = {}
    first, copies = list[int](), np.empty(len(x), dtype=np.int64)
    for i in range(len(x)):
        name = hashlib.sha256(np.ascontiguousarray(x[i]).tobytes()).digest()
        if name not in seen:
            seen[name] = len(first)
            first.append(i)
        copies[i] = seen[name]
    return np.array(first, dtype=np.int64), copies
