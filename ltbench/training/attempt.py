"""One attempt at a trial: assembled, trained, tested, and written down as a record."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ltbench.api import Method
from ltbench.data.cell import CellBatches
from ltbench.data.loader import Batches
from ltbench.data.stream import AHEAD, StreamBatches
from ltbench.errors import clipped
from ltbench.metrics import Predictions, evaluate
from ltbench.models import is_timm
from ltbench.models.towers import Preparation, PreparedBatches, Tower, Unchanged
from ltbench.spec import Record, TrialSpec
from ltbench.training.assemble import assemble
from ltbench.training.budget import Spent
from ltbench.training.checkpoints.checkpoint import Checkpoints
from ltbench.training.device.compiled import forget
from ltbench.training.device.stopwatch import Stopwatch
from ltbench.training.engine import Clock, Diverged, Setup, train
from ltbench.training.evaluation import logits_of
from ltbench.training.frozen import FrozenFeatures
from ltbench.training.graph.use import GraphUse
from ltbench.training.hooks import checked_scores, predict_early, try_predict
from ltbench.training.site import Site

CURVE_POINTS = 20
"""How often at most a trial is evaluated for a learning curve."""
_SLACK = 1e-6
"""Epochs are fractions; this absorbs that they are not exact in binary."""

_Scores = tuple[dict[str, float | None], dict[str, list[float]], Predictions]
"""Metrics, the per-class table and the predictions, as `evaluate` gives them."""
Progress = Callable[[float, float], None]
"""Called now and then with the fraction of training done and the training loss."""


@dataclass(frozen=True)
class Training:
    """What the record says of the training.

    Attributes:
        began, ended: by the clock of `time.perf_counter`. data_seconds, step_seconds: in which batches were made ready,
            and in which the model stepped. first_loss: before anything was trained; None if there was no step.
        images: facts about large images and the wait for them; empty where images are in memory.
    """

    began: float
    ended: float
    data_seconds: float
    step_seconds: float
    first_loss: float | None
    images: Mapping[str, Any]


class Trial:
    """One attempt at a trial: trained, tested and recorded.

    Args:
        checkpoints: where the attempt begins from. progress: told at the end of every epoch.

    Raises:
        UserError: something it is made of is not here, or is not what the trial was planned with.
    """

    def __init__(
        self, spec: TrialSpec, site: Site, device: torch.device, checkpoints: Checkpoints, progress: Progress | None
    ) -> None:
        self._spec, self._site, self._device = spec, site, device
        self._checkpoints, self._progress = checkpoints, progress
        self._parts = parts = assemble(spec, site, device)
        prepare = _preparation(parts.model.backbone, spec.recipe)
        self._cell_batches = CellBatches(
            spec.cell, parts.facts, parts.data,
            prepare=prepare,
            rng=parts.generators.augment, draws=parts.generators.draw,
            workers=_workers(site, device), device=device,
        )  # fmt: skip
        self._graphs = GraphUse(site.step, device, spec.recipe.get("compile", "none"))
        self._features: FrozenFeatures | None = None
        if prepare is not None and site.cache_features:
            self._features = FrozenFeatures(parts.model, spec.recipe, site.data, device, parts.facts.shape)
        self._curves: dict[str, list[list[float]]] = {"train/loss": []}
        self._curve_seconds, self._spent = 0.0, Spent()

    def run(self) -> Record:
        """Train, fit what is fitted on the hold-out, then test once on the part that the cell is scored on. A search
        never reads the test set.

        Raises:
            Diverged: a mean loss or a logit is not finite.
        """
        training, part = self.train(), self._spec.cell.scored_on
        self.fit()
        logits = self.test_logits(part)
        if not np.isfinite(logits).all():
            raise Diverged(f"the {part} logits are not finite")
        return self.record(training, logits)

    def batches(self, part: str) -> Batches | PreparedBatches:
        """Batches of `train`, `holdout` or `test` for evaluation, made for the trial's network."""
        return self._cell_batches.of(part)

    def train(self) -> Training:
        """Train the model in place, from the checkpoint if there is one."""
        recipe, parts, stopwatch = self._spec.recipe, self._parts, Stopwatch(self._device)
        try_predict(parts.method, torch.zeros(2, parts.method.task.num_classes, device=self._device))
        began = time.perf_counter()
        self._checkpoints.begin(curves=self._curves, spent=self._spent.counts)
        batches = self._cell_batches.of("train", recipe["augment"], recipe.get("views", ()))
        clock = Clock(parts.generators.method, self._device, parts.generators.draw if parts.facts.streams else None)
        setup = Setup(
            batches, parts.order, clock, recipe, self.watch, self._checkpoints, stopwatch, self._features, self._graphs,
            self._spent,
        )  # fmt: skip
        try:
            first_loss = train(parts.model, parts.method, setup)
            data_seconds, step_seconds = stopwatch.seconds()
            return Training(began, time.perf_counter(), data_seconds, step_seconds, first_loss, _waiting(batches))
        finally:
            batches.close()
            self._graphs.close()
            forget(recipe, self._device)

    def fit(self) -> None:
        """Let a method that learns something from held-out images do so."""
        method = self._parts.method
        if type(method).fit is not Method.fit:
            labels = torch.from_numpy(self._parts.data.labels("holdout")).to(self._device)
            method.fit(self._raw_logits("holdout"), labels)

    def watch(self, epochs: float, loss: float) -> None:
        """Note the mean loss at the end of an epoch, and the accuracy where a curve is wanted."""
        whole, points = self._spec.recipe["epochs"], self._curves["train/loss"]
        points.append([round(epochs, 4), loss])
        if self._spec.curves != "none":
            self._draw_curve(self._spec.curves, epochs, whole)
        if self._progress is not None:
            self._progress(min(1.0, epochs / whole), loss)

    def _draw_curve(self, part: str, epochs: float, whole: float) -> None:
        """Add a point to the learning curve of `holdout` or `test`, if the last one is long enough ago."""
        points = self._curves.get(name := f"curve/{part}_balanced_accuracy", [])
        due = not points or epochs - points[-1][0] >= whole / CURVE_POINTS - _SLACK or epochs >= whole - _SLACK
        if due:
            paused = time.perf_counter()
            raw, method = self._raw_logits(part, fold=True), self._parts.method
            predicted = predict_early(method, raw)
            if isinstance(predicted, Exception):
                self._note(f"no learning curve: `predict` of {method.name} needs what comes later in the training "
                           f"({type(predicted).__name__}: {clipped(predicted)})")  # fmt: skip
            else:
                scores, _, _ = self._scores(part, checked_scores(method, predicted, len(raw)).float().cpu().numpy())
                self._curves[name] = [*points, [round(epochs, 4), float(scores["balanced_accuracy"] or 0.0)]]
            self._curve_seconds += time.perf_counter() - paused

    def _note(self, message: str) -> None:
        """For the record, once."""
        if message not in self._checkpoints.messages:
            self._checkpoints.messages.append(message)

    def test_logits(self, part: str) -> NDArray[np.float32]:
        """The method's corrected logits, (N, C), for the images of `holdout` or `test`."""
        raw, method = self._raw_logits(part), self._parts.method
        return np.asarray(checked_scores(method, method.predict(raw), len(raw)).float().cpu().numpy())

    def _raw_logits(self, part: str, *, fold: bool = False) -> torch.Tensor:
        model, batches = self._parts.model, self.batches(part)
        if self._features is not None:
            model, batches = self._features.evaluate(model, batches)
        return torch.from_numpy(logits_of(model, batches, self._spec.recipe, fold=fold)).to(self._device)

    def _scores(self, part: str, logits: NDArray[np.float32]) -> _Scores:
        counts = [int(n) for n in self._parts.method.task.class_counts]
        return evaluate(logits, self._parts.data.labels(part), counts, self._spec.shots)

    def record(self, training: Training, logits: NDArray[np.float32]) -> Record:
        """What is written down: scores, predictions and curves, and where the time went.

        Args:
            logits: (N, C) of the part that the cell is scored on.
        """
        part, parts, recipe = self._spec.cell.scored_on, self._parts, self._spec.recipe
        metrics, classes, predictions = self._scores(part, logits)
        tested = time.perf_counter()
        train_seconds = self._checkpoints.seconds_before + training.ended - training.began
        test_seconds, whole = tested - training.ended, tested - training.began
        environment = {
            "train_seconds": train_seconds,
            "test_seconds": test_seconds,
            "data_share": round(training.data_seconds / whole, 4),
            "step_share": round(training.step_seconds / whole, 4),
            "evaluation_share": round((self._curve_seconds + test_seconds) / whole, 4),
            **training.images,
            **self._spent.told(recipe["batch_size"]),
        }
        if self._curves["train/loss"]:
            environment["images_per_second"] = recipe["epochs"] * len(parts.data.train_y) / train_seconds
        if training.first_loss is not None:
            environment["first_loss"] = training.first_loss
        if (steps := self._graphs.told()) is not None:
            environment["step"] = steps
        environment["class_names"] = list(parts.facts.class_names)
        kept_logits = logits if self._site.keep_logits else None
        return Record(
            spec=self._spec,
            status="ok",
            metrics=metrics,
            per_class=classes,
            curves=self._curves,
            environment=environment,
            predictions=_packed(predictions, parts.data.labels(part), kept_logits),
        )


def _preparation(backbone: nn.Module, recipe: Mapping[str, Any]) -> Preparation | Unchanged | None:
    """What is done with images before a network reads them, where its features may be kept: image towers, and networks
    of timm that begin with somebody's weights."""
    if isinstance(backbone, Tower):
        return backbone.prepare
    return Unchanged() if is_timm(recipe["backbone"]) and "weights" in recipe else None


def _workers(site: Site, device: torch.device) -> int:
    """On a GPU the trial's CPUs have nothing else to do; on a CPU they train."""
    if site.data_workers is not None:
        return site.data_workers
    return min(AHEAD, torch.get_num_threads()) if device.type == "cuda" else 0


def _waiting(training: Batches | PreparedBatches) -> dict[str, Any]:
    """What the record says of large images: how much of the time was spent waiting for them."""
    images = training.images if isinstance(training, PreparedBatches) else training
    if not isinstance(images, StreamBatches):
        return {}
    message = images.starved()
    return {"data_wait_share": round(images.waiting_share(), 4), "data_workers": images.workers,
            "data_cached": images.cached, **({"data_messages": [message]} if message else {})}  # fmt: skip


def _packed(predictions: Predictions, truth: NDArray[np.int64], logits: NDArray[np.float32] | None) -> bytes:
    """The predictions of a record as a compressed npz."""
    stream = io.BytesIO()
    kept: dict[str, Any] = {**predictions._asdict(), "truth": truth.astype(np.uint16)}
    if logits is not None:
        kept["logits"] = logits.astype(np.float16)
    np.savez_compressed(stream, **kept)
    return stream.getvalue()
