"""`ltbench features`: images through a frozen tower, once; what is finished is kept, so the same command continues."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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

Encode = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
Progress = Callable[[int, int], None]


def features_of(
    kind: str,
    path: Path | None,
    size: int,
    data: Path,
    model: str,
    pretrained: str,
    template: str,
    device: str | None,
    out: Path,
) -> Path:
    """Write the features of a data set and its names from both towers of an open_clip model.

    Raises:
        UserError: unknown data set, model or tag, weights that cannot be had, or a file that cannot be written.
    """
    source = open_source(kind, data, str(path) if path else None, _options(kind, size))
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

        return ImageTower(model, pretrained, device)

    def progress(done: int, total: int) -> None:
        print(f"{done} of {total} images", file=sys.stderr, flush=True)

    origin = f"open_clip {model} {local.name}, bicubic antialiased, {template!r}"
    identity = ["open_clip", model, weights, "bicubic antialiased float32", *["quick_gelu"] * own_activation]
    return write_features(source, tower, identity, text, origin, out, progress=progress)


def _options(kind: str, size: int) -> dict[str, Any]:
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
    identity: Sequence[str],
    text: NDArray[np.float32] | None,
    origin: str,
    out: Path,
    *,
    batch_size: int = 64,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Write the features of all images of a data set to `out`, an npz as the kind `features` reads it.

    Equal images go through the tower once. Shards are kept under the data folder, named by the images and the tower,
    and are found again by the next call.

    Args:
        tower: makes the encoder; called only if some shard is not there yet.
        identity: what the features depend on beside the images: model, weights, preprocessing.
        text: (C, D) vectors of the class names, or None. origin: in words, kept in the file.

    Raises:
        UserError: unreadable data, or `out` cannot be written.
    """
    facts, arrays = source.facts(), source.arrays()
    folder = source.data / "features" / digest([facts.fingerprint, source.chosen, list(identity)])
    folder.mkdir(parents=True, exist_ok=True)
    total = len(arrays.train_y) + len(arrays.test_y)
    parts: dict[str, NDArray[np.float32]] = {}
    encode: Encode | None = None
    done = 0
    for part, x in (("train", arrays.train_x), ("test", arrays.test_x)):
        if isinstance(x, Pictures):  # to compare them would be to decode them twice
            x, first = _Squares(x), np.arange(len(x))
            copies = first
        else:
            first, copies = _distinct(x)
        shards = []
        for start in range(0, len(first), SHARD):
            file = folder / f"{part}-{start // SHARD:05d}.npy"
            shard = kept(file)
            if shard is None:
                encode = encode or tower()
                rows = first[start : start + SHARD]
                batches = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
                shard = np.concatenate([encode(np.asarray(x[batch])) for batch in batches])
                try:
                    keep(file, shard)
                except OSError as error:
                    raise UserError(f"{folder}: the features cannot be kept ({error.strerror}); make room or choose "
                                    f"another --data; the same command continues") from error  # fmt: skip
            shards.append(shard)
            progress(done + int((copies < start + SHARD).sum()), total)
        parts[part] = np.concatenate(shards)[copies]
        done += len(x)
    stream = io.BytesIO()
    np.savez(
        stream,
        allow_pickle=False,
        train_x=parts["train"].astype(np.float16),
        train_y=np.asarray(arrays.train_y),
        test_x=parts["test"].astype(np.float16),
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
