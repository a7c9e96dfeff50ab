"""The images of one cell, and batches of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltbench.data.images.pictures import Pictures
from ltbench.data.loader import Batches, ImageBatches, VectorBatches, channel_statistics
from ltbench.data.longtail import to_index
from ltbench.data.sources.source import Arrays, Facts
from ltbench.data.stream import Ahead, Cutter, StreamBatches
from ltbench.models.towers import RAW, Preparation, PreparedBatches, Unchanged
from ltbench.spec import Cell

Index = NDArray[np.int64]
Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel, on the 0..1 scale."""


@dataclass(frozen=True)
class CellData:
    """The images of one cell: x uint8 (N, H, W, channels), feature vectors float32 (N, D), or `Pictures`; y int64
    (N,)."""

    train_x: Any
    train_y: Index
    holdout_x: Any
    holdout_y: Index
    test_x: Any
    test_y: Index

    def images(self, part: str) -> Any:
        """The images of `train`, `holdout` or `test`."""
        return {"train": self.train_x, "holdout": self.holdout_x, "test": self.test_x}[part]

    def labels(self, part: str) -> Index:
        """Their labels."""
        return {"train": self.train_y, "holdout": self.holdout_y, "test": self.test_y}[part]

    @cached_property
    def statistics(self) -> Statistics:
        """Of the training images, which are in memory."""
        return channel_statistics(self.train_x)


def statistics(facts: Facts, data: CellData) -> Statistics:
    """What the images of a cell are normalised by: what is known of its data set, else that of the training images."""
    return (facts.mean, facts.std) if facts.mean and facts.std else data.statistics


def normalisation(recipe: Mapping[str, Any], facts: Facts, data: CellData) -> Statistics:
    """What the images that a method is given were normalised by: an image tower wants its own."""
    tower = recipe.get("tower")
    return (tuple(tower["mean"]), tuple(tower["std"])) if tower else statistics(facts, data)


def cell_data(arrays: Arrays, train: Sequence[Index], holdout: Sequence[Index]) -> CellData:
    """Cut a cell out of its source: the long-tailed training part, the hold-out, the test part.

    Args:
        train, holdout: the positions within each class that are kept, as `longtail.select_cell` gives them.
    """
    rows, held = to_index(arrays.train_y, train), to_index(arrays.train_y, holdout)
    return CellData(
        *(_rows_of(arrays.train_x, rows), np.asarray(arrays.train_y[rows])),
        *(_rows_of(arrays.train_x, held), np.asarray(arrays.train_y[held])),
        *(arrays.test_x, np.asarray(arrays.test_y)),
    )


def _rows_of(x: Any, rows: Index) -> Any:
    return x.take(rows) if isinstance(x, Pictures) else np.ascontiguousarray(x[rows])


class CellBatches:
    """Makes batches of the parts of a cell, all normalised alike.

    Args:
        cell, facts, data: the cell, what is known of its data set, and its images.
        prepare: what an image tower does with images before it reads them; `Unchanged` for another network whose
            features may be kept, so that its batches say which images they are; None: neither.
        rng: generator of the augmentation. draws: of the method's `draw` where it runs ahead (data/stream.py).
        workers: processes that decode large images.
    """

    def __init__(
        self,
        cell: Cell,
        facts: Facts,
        data: CellData,
        *,
        prepare: Preparation | Unchanged | None,
        rng: np.random.Generator,
        draws: np.random.Generator,
        workers: int,
        device: torch.device,
    ) -> None:
        self._data, self._prepare = data, prepare
        self._rng, self._draws, self._workers, self._device = rng, draws, workers, device
        self._size = facts.shape[0]
        self._mean, self._std = RAW if prepare is not None and prepare.raw else statistics(facts, data)
        self._identities: dict[str, list[Any]] = {
            "train": ["train", cell.kind, cell.manifest],
            "holdout": ["holdout", cell.kind, cell.manifest],
            "test": ["test", cell.kind, facts.fingerprint, cell.data_options],
        }
        if prepare is not None and not prepare.raw:  # else the tower normalises, always alike
            for identity in self._identities.values():
                identity.append([*self._mean, *self._std])

    def of(self, part: str, augment: str = "none", further: Sequence[str] = ()) -> Batches | PreparedBatches:
        """Batches of `train`, `holdout` or `test`.

        Args:
            augment: as in the recipe, for training; `none` for evaluation. further: the same for further views.
        """
        x, y = self._data.images(part), self._data.labels(part)
        if x.ndim == 2:
            return VectorBatches(x, y, rng=self._rng, device=self._device)
        images: ImageBatches | StreamBatches
        if isinstance(x, Pictures):
            cutter, ahead = Cutter(x, self._size), Ahead(self._rng, self._draws)
            images = StreamBatches(cutter, y, self._mean, self._std, augment=augment, further=further, ahead=ahead,
                                   workers=self._workers, device=self._device)  # fmt: skip
        else:
            images = ImageBatches(x, y, self._mean, self._std, augment=augment, further=further, rng=self._rng,
                                  device=self._device)  # fmt: skip
        if self._prepare is None:
            return images
        return PreparedBatches(images, y, self._prepare, self._identities[part])
