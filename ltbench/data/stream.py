"""Batches of images too large for memory: decoded by worker processes ahead of the training, finished on the device.

The indices of some batches are drawn ahead, always as many, so that no number depends on how many processes decode;
they wait in `Ahead`, which is part of a checkpoint, so a resumed trial decodes them again and goes on bit for bit.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ltbench.data.images.crops import centre_boxes, draw_uniforms, jittered, mirrored, random_boxes, resampled
from ltbench.data.images.pictures import Pictures
from ltbench.errors import UserError
from ltbench.parts import in_float32

AHEAD = 32
"""Batches whose indices are drawn ahead of the one that is trained on, and the most that can be in the making."""
_TEST_BATCH = 128
_STARVED = 0.1
Index = NDArray[np.int64]


class Job(NamedTuple):
    """A batch to be decoded: positions of the images, and the random numbers of their crops; None: the middle
    of each."""

    positions: Index
    uniforms: NDArray[np.float32] | None


class Crops(NamedTuple):
    """A decoded batch: (B, H, W, 3) uint8, image b being its top left sizes[b]; or what kept it from being made."""

    pixels: Tensor
    sizes: Tensor
    problem: str


class Cutter(Dataset[Crops]):
    """What a worker process does: decode each image of a job once, and cut its crops.

    Args:
        size: side of the images that are made of the crops, pixels.
    """

    def __init__(self, pictures: Pictures, size: int) -> None:
        self.pictures, self.size = pictures, size
        shorter = pictures.shorter
        # Where the shorter side is the usual 8/7 of the size, or the size, the middle is cut out as it is, not resized.
        self.middle = size if shorter in (size, round(size * 8 / 7)) else round(shorter * 7 / 8)

    def __getitem__(self, job: Job) -> Crops:
        try:
            return self._cut(job)
        except UserError as error:  # an exception would come back as a traceback
            return Crops(torch.empty(0), torch.empty(0), str(error))

    def _cut(self, job: Job) -> Crops:
        distinct, which = np.unique(job.positions, return_inverse=True)
        images = [self.pictures.pixels(int(position)) for position in distinct]
        heights, widths = np.array([image.shape[:2] for image in images], dtype=np.int64)[which].T
        if job.uniforms is None:
            boxes = centre_boxes(heights, widths, self.middle)
        else:
            boxes = random_boxes(job.uniforms, heights, widths)
        height, width = boxes[:, 2:].max(axis=0).tolist()
        pixels = np.zeros((len(boxes), height, width, 3), dtype=np.uint8)
        for i, (top, left, h, w) in enumerate(boxes.tolist()):
            pixels[i, :h, :w] = images[which[i]][top : top + h, left : left + w]
        return Crops(torch.from_numpy(pixels), torch.from_numpy(boxes[:, 2:].copy()), "")


class Ahead:
    """What has been drawn and not yet been trained on, and the generators it is drawn with: the state of a stream.

    Attributes:
        crops, draws: generators of the crops, and of the method's `draw`, which here runs ahead of its `mix` and so
            must not share its generator.
        drawn: steps of the stage drawn so far. waiting: their batches, [index, uniforms] each.
    """

    def __init__(self, crops: np.random.Generator, draws: np.random.Generator) -> None:
        self.crops, self.draws = crops, draws
        self.drawn = 0
        self.waiting: list[list[Any]] = []


class StreamBatches:
    """Batches of `Pictures`: augmented for training, the middle of each image for evaluation.

    Args:
        cutter: which images, and how large the batches' are. y: (N,) int64, their labels.
        mean, std: per channel on the 0..1 scale.
        augment: none (the test's cut), flip (the same, mirrored with p = 0.5), resized_crop_flip (a random part
            resized, mirrored), or resized_crop_flip_jitter (its colours changed as well).
        further: the same for further views of every image, of which a batch has V in all, (V, B, 3, size, size); all
            of them are random crops, or none is.
        ahead: generators of the crops and of the method's `draw`; None: fixed ones, for evaluation.
        workers: processes that decode; 0: this one does.
    """

    def __init__(
        self,
        cutter: Cutter,
        y: Index,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        *,
        augment: str = "none",
        further: Sequence[str] = (),
        ahead: Ahead | None = None,
        workers: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.device, self.size = torch.device(device), cutter.size
        views = (augment, *further)
        self._random, self._views = "crop" in augment, len(views)
        self._flips, self._jitters = ([what in view for view in views] for what in ("flip", "jitter"))
        self.workers = min(workers, AHEAD)
        self._cutter = cutter
        self._y = torch.from_numpy(np.array(y)).to(self.device)
        std_ = torch.tensor(std, dtype=torch.float64)
        self._scale = (1.0 / (255.0 * std_)).float().to(self.device)[:, None, None]
        self._shift = (-torch.tensor(mean, dtype=torch.float64) / std_).float().to(self.device)[:, None, None]
        self.state = ahead or Ahead(np.random.default_rng(0), np.random.default_rng(1))
        self.rng = self.state.crops
        self._loader: DataLoader[Crops] | None = None
        self._coming: Iterator[Crops] | None = None
        self._sent = 0
        self._waited = 0.0
        self._began: float | None = None

    def __len__(self) -> int:
        return len(self._y)

    def next(self, draw: Callable[[int], Index], step: int, steps: int) -> tuple[Index, Tensor, Tensor]:
        """The batch of a step of a stage of `steps`: its indices (B,), augmented images (B, 3, size, size) float32,
        channels-last, and labels (B,). Called with every step in turn; the first may be any, when a checkpoint was
        taken up.

        Args:
            draw: the indices of a step, asked for once each, in order, ahead of their time.

        Raises:
            UserError: an image cannot be read.
        """
        state = self.state
        if step == 0:
            state.drawn, state.waiting = 0, []
        while state.drawn < min(steps, step + 1 + AHEAD):
            index = np.array(draw(state.drawn))
            state.waiting.append([index, draw_uniforms(state.crops, self._views * len(index))])
            state.drawn += 1
        if self._coming is None or step == 0:
            self._sent = 0
            self._coming = self._start(self._jobs(steps - step))
        asked = time.perf_counter()
        self._began = asked if self._began is None else self._began
        crops = next(self._coming)
        self._waited += time.perf_counter() - asked
        index, uniforms = state.waiting.pop(0)
        self._sent -= 1
        if step + 1 == steps:
            self._coming = None
        labels = self._y[torch.from_numpy(index).to(self.device, non_blocking=True)]
        return index, self._finished(crops, uniforms), labels

    def batch(self, index: Index) -> tuple[Tensor, Tensor]:
        """The batch of these indices, decoded now and here."""
        uniforms = draw_uniforms(self.state.crops, self._views * len(index))
        crops = self._cutter[self._job(index, uniforms)]
        return self._finished(crops, uniforms), self._y[torch.from_numpy(index).to(self.device)]

    def in_order(self, batch_size: int, first: int = 0) -> Iterator[Tensor]:
        """All images from `first` on in their order, the middle of each: (<= batch_size, 3, size, size) at a time."""
        at_once = min(batch_size, _TEST_BATCH)
        jobs = [Job(np.arange(i, min(i + at_once, len(self))), None) for i in range(first, len(self), at_once)]
        for crops in _loader(self._cutter, jobs, self.workers, self.device):
            yield self._finished(crops, None)

    @property
    def cached(self) -> bool:
        """Whether the images lie decoded on the disk."""
        return self._cutter.pictures.cache is not None

    def waiting_share(self) -> float:
        """The share of the time since the first batch that the training waited for images."""
        return 0.0 if self._began is None else self._waited / max(1e-9, time.perf_counter() - self._began)

    def starved(self) -> str | None:
        """What to do where the training waits for its images; None where it hardly does."""
        share = self.waiting_share()
        if share <= _STARVED:
            return None
        cures = [] if self.cached else ["keep the decoded images (resources.decoded_cache=true)"]
        if self.workers < AHEAD:
            cures.append(f"more processes (resources.data_workers, {self.workers} here)")
        cure = " or ".join(cures) or "a faster disk"
        return f"the training waited for images {share:.0%} of its time; {cure} would help"

    def close(self) -> None:
        """End the worker processes."""
        self._coming = self._loader = None

    def _jobs(self, left: int) -> Iterator[Job]:
        """What the loader is to decode next. It asks for at most AHEAD batches more than it has given, and these have
        been drawn by then."""
        for _ in range(left):
            index, uniforms = self.state.waiting[self._sent]
            self._sent += 1
            yield self._job(index, uniforms)

    def _job(self, index: Index, uniforms: NDArray[np.float32]) -> Job:
        return Job(np.tile(index, self._views), uniforms if self._random else None)

    def _start(self, jobs: Iterator[Job]) -> Iterator[Crops]:
        if self._loader is None:
            self._loader = _loader(self._cutter, _Again(), self.workers, self.device)
        self._loader.sampler.jobs = jobs  # type: ignore[attr-defined]
        return iter(self._loader)

    def _finished(self, crops: Crops, uniforms: NDArray[np.float32] | None) -> Tensor:
        if crops.problem:
            raise UserError(crops.problem)
        with in_float32(self.device):  # the test pass asks for images in the midst of its bf16
            return self._made(crops, uniforms)

    def _made(self, crops: Crops, uniforms: NDArray[np.float32] | None) -> Tensor:
        pixels, sizes = (part.to(self.device, non_blocking=True) for part in (crops.pixels, crops.sizes))
        mirror = None
        if any(self._flips) and uniforms is not None:
            chosen = mirrored(uniforms) & np.repeat(self._flips, len(uniforms) // self._views)
            mirror = torch.from_numpy(chosen).to(self.device, non_blocking=True)
        if self._cutter.middle == self.size and (uniforms is None or not self._random):  # cut out, not resized
            if mirror is not None:
                pixels = torch.where(mirror[:, None, None, None], pixels.flip(2), pixels)
            images = pixels.float().permute(0, 3, 1, 2)
        else:
            images = resampled(pixels, sizes, self.size, mirror)
        if any(self._jitters) and uniforms is not None:
            images = self._jittered(images, uniforms)
        images = images.mul_(self._scale).add_(self._shift).contiguous(memory_format=torch.channels_last)
        several = uniforms is not None and self._views > 1
        return in_views(images, self._views) if several else images

    def _jittered(self, images: Tensor, uniforms: NDArray[np.float32]) -> Tensor:
        each = len(images) // self._views
        for view in np.flatnonzero(self._jitters):
            rows = slice(view * each, (view + 1) * each)
            images[rows] = jittered(images[rows], uniforms[rows])
        return images


def in_views(images: Tensor, views: int) -> Tensor:
    """(V B, ...) -> (V, B, ...), without moving anything."""
    return torch.unflatten(images, 0, (views, -1))


class _Again:
    """A sampler whose jobs are put in anew for every stage, so that the worker processes outlive it."""

    jobs: Iterator[Job]

    def __iter__(self) -> Iterator[Job]:
        return self.jobs


def _loader(cutter: Cutter, jobs: Any, workers: int, device: torch.device) -> DataLoader[Crops]:
    """A DataLoader that does a job at a time per process. It has a generator of its own: torch's is the method's."""
    return DataLoader(
        cutter,
        sampler=jobs,
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_leave_signals_to_the_trial,
        pin_memory=device.type == "cuda",
        prefetch_factor=max(1, min(4, AHEAD // workers)) if workers else None,
        persistent_workers=workers > 0 and isinstance(jobs, _Again),
        generator=torch.Generator(),
    )


def _leave_signals_to_the_trial(_: int) -> None:
    """Ctrl-C, and a cluster that ends a job, signal every process at once: the trial wants its batches until it has
    taken its checkpoint, and then ends these processes, who end by themselves where it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _as_it_is(crops: Any) -> Any:
    return crops
