"""One trial: a TrialSpec in, a Record out. A plain function; it knows nothing of Ray, MLflow or the command line.

Runs on a machine that has only torch, torchvision, numpy and scipy: `python -m ltbench.trial SPEC.json ...`.
"""

from __future__ import annotations

import io
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltbench.data.images.pictures import Pictures
from ltbench.data.loader import Batches, ImageBatches, VectorBatches, channel_statistics
from ltbench.data.stream import AHEAD, StreamBatches
from ltbench.errors import UserError
from ltbench.metrics import Predictions, evaluate
from ltbench.models.towers import RAW, PreparedBatches, Tower
from ltbench.spec import NUMERICS, Record, TrialSpec
from ltbench.training.assemble import assemble, dice, load_cell, method_of
from ltbench.training.checkpoints.checkpoint import Checkpoints, place_for
from ltbench.training.checkpoints.shared_stage import SharedBeginning
from ltbench.training.device.allocator import give_back, keep_memory
from ltbench.training.device.compiled import forget
from ltbench.training.device.determinism import make_repeatable
from ltbench.training.device.provenance import environment_of, forget_peak_memory
from ltbench.training.device.stopwatch import Stopwatch
from ltbench.training.engine import Clock, Diverged, train
from ltbench.training.evaluation import logits_of
from ltbench.training.frozen import FrozenFeatures
from ltbench.training.site import Site

CURVE_POINTS = 20
"""How often at most a trial is evaluated for a learning curve."""


Progress = Callable[[float, float], None]
"""Called now and then with the fraction of training done and the training loss."""
Stop = Callable[[], bool]
"""Asked after every step whether the trial is to take a checkpoint and stop."""


def run_trial(spec: TrialSpec, site: Site, progress: Progress | None = None, stop: Stop = lambda: False) -> Record:
    """Train and test once. A failure is a Record too: status `failed`, with the traceback and the step it happened in;
    only an interrupt by the user (KeyboardInterrupt, Stopped) leaves this function as an exception."""
    try:
        return _observed(spec, site, progress, stop)
    except Exception:  # before or after the trial itself: a device or a disk that fails
        return Record(spec=spec, status="failed", error=traceback.format_exc(), environment=dict(site.provenance))


def _observed(spec: TrialSpec, site: Site, progress: Progress | None, stop: Stop) -> Record:
    """The trial, and what is to be said of the machine, the time and the memory it took."""
    device = torch.device(site.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if site.threads is not None:
        torch.set_num_threads(site.threads)
    if device.type == "cpu":
        keep_memory()
    make_repeatable(device)
    checkpoints = _checkpoints(spec, site, device, stop)
    forget_peak_memory(device)
    started, started_at, cpu = time.perf_counter(), time.time(), time.process_time()
    try:
        record = _run_or_start_over(spec, site, device, progress, checkpoints)
    except Diverged as error:
        record = Record(spec=spec, status="failed", error=f"Diverged: {error}")
    except UserError as error:
        record = Record(spec=spec, status="failed", error=f"UserError: {error}")
    except Exception as error:
        found = {"out_of_memory": True} if isinstance(error, torch.cuda.OutOfMemoryError) else {}
        record = Record(spec=spec, status="failed", error=traceback.format_exc(), environment=found)
    if record.environment.get("out_of_memory"):
        torch.cuda.empty_cache()  # the process goes on with other trials
    if device.type == "cpu":
        give_back()
    facts = {"started": started_at, **environment_of(device, time.perf_counter() - started)}
    facts["cpu_seconds"] = round(time.process_time() - cpu, 3)  # of this process and all its threads
    facts["resumed"] = checkpoints.resumed
    taken = dict(checkpoints.taken)
    facts |= {**taken, "peak_memory_bytes": max(facts["peak_memory_bytes"], taken.get("peak_memory_bytes", 0))}
    if record.status == "failed" and checkpoints.step:
        facts["failed_at_step"] = checkpoints.step
    if checkpoints.messages:
        facts["checkpoint_messages"] = checkpoints.messages
    return replace(record, environment={**facts, **site.provenance, **record.environment})


def _checkpoints(spec: TrialSpec, site: Site, device: torch.device, stop: Stop) -> Checkpoints:
    """A checkpoint, or what another trial trained, is of use only where the training would be the same."""
    identity = {"key": spec.key, "numerics": NUMERICS, "curves": spec.curves, "device": device.type,
                "threads": torch.get_num_threads(), "torch": str(torch.__version__)}  # fmt: skip
    folder, group = place_for(site.checkpoints, spec.key), site.shared.get(spec.key)
    if site.checkpoints is None or group is None:
        return Checkpoints(folder, identity, site.checkpoint_seconds, stop)
    return SharedBeginning(folder, identity, site.checkpoint_seconds, stop,
                           place=site.checkpoints, group=group, key=spec.key, device=device)  # fmt: skip


def _run_or_start_over(
    spec: TrialSpec, site: Site, device: torch.device, progress: Progress | None, checkpoints: Checkpoints
) -> Record:
    """Until the place of a checkpoint is reached, what goes wrong may be the checkpoint's fault."""
    try:
        return _run(spec, site, device, progress, checkpoints)
    except Exception as error:
        if not checkpoints.replaying:
            raise
        checkpoints.start_over(f"{type(error).__name__}: {error}")
    return _run(spec, site, device, progress, checkpoints)


def _run(
    spec: TrialSpec, site: Site, device: torch.device, progress: Progress | None, checkpoints: Checkpoints
) -> Record:
    method_of(spec, site)  # before anything that takes time
    data, facts = load_cell(spec.cell, site)
    method, model, order = assemble(spec, site, data, facts, device)
    recipe = spec.recipe
    labelled = {"train": (data.train_x, data.train_y), "holdout": (data.holdout_x, data.holdout_y),
                "test": (data.test_x, data.test_y)}  # fmt: skip
    mean, std = (facts.mean, facts.std) if facts.mean and facts.std else channel_statistics(data.train_x)

    tower = model.backbone if isinstance(model.backbone, Tower) else None
    mean, std = RAW if tower is not None else (mean, std)
    features = FrozenFeatures(model, recipe, site.data, device) if tower is not None and site.cache_features else None
    draws = dice(spec, "draw") if facts.streams else None

    def batches(part: str, augment: str = "none") -> Batches | PreparedBatches:
        x, y = labelled[part]
        if x.ndim == 2:
            return VectorBatches(x, y, rng=dice(spec, "augment"), device=device)
        images: ImageBatches | StreamBatches
        if isinstance(x, Pictures):
            images = StreamBatches(x, y, facts.shape[0], mean, std, augment=augment, rng=dice(spec, "augment"),
                                   draws=draws, workers=_workers(site, device), device=device)  # fmt: skip
        else:
            images = ImageBatches(x, y, mean, std, augment=augment, rng=dice(spec, "augment"), device=device)
        if tower is None:
            return images
        named = [facts.fingerprint, spec.cell.data_options] if part == "test" else [spec.cell.manifest]
        return PreparedBatches(images, y, tower.prepare, [part, spec.cell.kind, *named])

    def test_logits(part: str, *, fold: bool = False) -> NDArray[np.float32]:
        images = batches(part)
        network, source = (model, images) if features is None else features.evaluate(model, images)
        raw = torch.from_numpy(logits_of(network, source, recipe, fold=fold)).to(device)
        return np.asarray(method.predict(raw).float().cpu().numpy())

    counts = [int(n) for n in method.task.class_counts]
    curves: dict[str, list[list[float]]] = {"train/loss": []}
    curve_step, curve_seconds = recipe["epochs"] / CURVE_POINTS, 0.0

    def watch(epochs: float, loss: float) -> None:
        nonlocal curve_seconds
        curves["train/loss"].append([round(epochs, 4), loss])
        if spec.curves != "none":
            points = curves.setdefault(f"curve/{spec.curves}_balanced_accuracy", [])
            if not points or epochs - points[-1][0] >= curve_step - 1e-6 or epochs >= recipe["epochs"] - 1e-6:
                paused = time.perf_counter()
                scores, _, _ = evaluate(
                    test_logits(spec.curves, fold=True), labelled[spec.curves][1], counts, spec.shots
                )
                curve_seconds += time.perf_counter() - paused
                points.append([round(epochs, 4), float(scores["balanced_accuracy"] or 0.0)])
        if progress is not None:
            progress(min(1.0, epochs / recipe["epochs"]), loss)

    began, stopwatch = time.perf_counter(), Stopwatch(device)
    checkpoints.begin(curves=curves)
    training = batches("train", recipe["augment"])
    clock = Clock(dice(spec, "method"), device, draws)
    try:
        first = train(model, method, training, order, clock, recipe, watch, checkpoints, stopwatch, features)
        data_seconds, step_seconds = stopwatch.seconds()
        trained = time.perf_counter()
        waiting = _waiting(training)
    finally:
        training.close()
        forget(recipe, device)
    part = spec.cell.scored_on  # the test set is read here alone, once; a search never reads it
    logits, truth = test_logits(part), labelled[part][1]
    if not np.isfinite(logits).all():
        raise Diverged(f"the {part} logits are not finite")
    metrics, classes, found = evaluate(logits, truth, counts, spec.shots)
    tested = time.perf_counter()
    seconds = {"train_seconds": checkpoints.seconds_before + trained - began, "test_seconds": tested - trained}
    parts = {"data": data_seconds, "step": step_seconds, "evaluation": curve_seconds + tested - trained}
    images = recipe["epochs"] * len(data.train_y)
    return Record(
        spec=spec,
        status="ok",
        metrics=metrics,
        per_class=classes,
        curves=curves,
        environment={
            **seconds,
            **{f"{name}_share": round(part / (tested - began), 4) for name, part in parts.items()},
            **waiting,
            **({"images_per_second": images / seconds["train_seconds"]} if curves["train/loss"] else {}),
            **({} if first is None else {"first_loss": first}),
            "class_names": list(facts.class_names),
        },
        predictions=_pack(found, truth, logits if site.keep_logits else None),
    )


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


def _pack(found: Predictions, truth: NDArray[np.int64], logits: NDArray[np.float32] | None) -> bytes:
    stream = io.BytesIO()
    kept: dict[str, Any] = {**found._asdict(), "truth": truth.astype(np.uint16)}
    if logits is not None:
        kept["logits"] = logits.astype(np.float16)
    np.savez_compressed(stream, **kept)
    return stream.getvalue()
