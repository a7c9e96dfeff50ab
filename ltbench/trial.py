"""One trial: a TrialSpec in, a Record out. A plain function; it knows nothing of Ray, MLflow or the command line.

Runs on a machine that has only torch, torchvision, numpy and scipy: `python -m ltbench.trial SPEC.json ...`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltbench.api import Method, Task
from ltbench.checkpoint import Checkpoints
from ltbench.data.kinds import open_source
from ltbench.data.loader import Batches, CellData, ImageBatches, VectorBatches, cell_data, channel_statistics
from ltbench.data.order import BatchOrder
from ltbench.data.source import Facts
from ltbench.engine import Clock, Diverged, logits_of, train
from ltbench.errors import UserError, last_line
from ltbench.metrics import Predictions, evaluate
from ltbench.models import build_backbone
from ltbench.parts import Classifier
from ltbench.provenance import environment_of
from ltbench.records import Journal
from ltbench.registry import Registry, unpack_sources
from ltbench.spec import NUMERICS, Cell, Record, TrialSpec

CURVE_POINTS = 20
"""How often at most a trial is evaluated for a learning curve."""


@dataclass(frozen=True)
class Site:
    """Where a trial runs: everything it needs that does not change its numbers.

    Attributes:
        data: root of the data cache. paths: data set name -> folder, for sources that have one.
        texts: digest -> (C, D) class-name vectors. methods: files of the user's methods.
        device: `cpu`, `cuda` or None for the best there is. threads: CPU threads of torch; None leaves them.
        keep_logits: store the test logits with the predictions.
        provenance: facts for the record's environment, such as the git commit.
        checkpoints: an existing folder; a trial that was interrupted goes on from its checkpoint in there. None: off.
        checkpoint_seconds: how often a checkpoint is taken, beside the ends of stages.
    """

    data: Path
    paths: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)
    device: str | None = None
    threads: int | None = None
    keep_logits: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)
    checkpoints: Path | None = None
    checkpoint_seconds: float = 60.0


Progress = Callable[[float, float], None]
"""Called now and then with the fraction of training done and the training loss."""
Stop = Callable[[], bool]
"""Asked after every step whether the trial is to take a checkpoint and stop."""


def run_trial(spec: TrialSpec, site: Site, progress: Progress | None = None, stop: Stop = lambda: False) -> Record:
    """Train and test once. A failure is a Record too: status `failed`, with the traceback and the step it happened in;
    only an interrupt by the user (KeyboardInterrupt, Stopped) leaves this function as an exception."""
    device = torch.device(site.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if site.threads is not None:
        torch.set_num_threads(site.threads)
    checkpoints = _checkpoints(spec, site, device, stop)
    started, started_at = time.perf_counter(), time.time()
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
    facts = {"started": started_at, **environment_of(device, time.perf_counter() - started)}
    facts["resumed"] = checkpoints.resumed
    if record.status == "failed" and checkpoints.step:
        facts["failed_at_step"] = checkpoints.step
    if checkpoints.messages:
        facts["checkpoint_messages"] = checkpoints.messages
    return replace(record, environment={**facts, **site.provenance, **record.environment})


def _checkpoints(spec: TrialSpec, site: Site, device: torch.device, stop: Stop) -> Checkpoints:
    """A checkpoint is of use only where the rest of the training would be the same."""
    folder = None if site.checkpoints is None else site.checkpoints / spec.key
    identity = {"key": spec.key, "numerics": NUMERICS, "curves": spec.curves, "device": device.type,
                "threads": torch.get_num_threads(), "torch": str(torch.__version__)}  # fmt: skip
    return Checkpoints(folder, identity, site.checkpoint_seconds, stop)


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
    data, facts = load_cell(spec.cell, site)
    method, model, order = assemble(spec, site, data, facts, device)
    recipe = spec.recipe
    mean, std = (facts.mean, facts.std) if facts.mean and facts.std else channel_statistics(data.train_x)

    def batches(x: NDArray[Any], y: NDArray[np.int64], augment: str = "none") -> Batches:
        if x.ndim == 2:
            return VectorBatches(x, y, rng=_dice(spec, "augment"), device=device)
        return ImageBatches(x, y, mean, std, augment=augment, rng=_dice(spec, "augment"), device=device)

    def test_logits(x: NDArray[Any], y: NDArray[np.int64]) -> NDArray[np.float32]:
        raw = torch.from_numpy(logits_of(model, batches(x, y), recipe)).to(device)
        return np.asarray(method.predict(raw).float().cpu().numpy())

    counts = [int(n) for n in method.task.class_counts]
    curves: dict[str, list[list[float]]] = {"train/loss": []}
    curve_data = {"holdout": (data.holdout_x, data.holdout_y), "test": (data.test_x, data.test_y)}.get(spec.curves)
    curve_step = recipe["epochs"] / CURVE_POINTS

    def watch(epochs: float, loss: float) -> None:
        curves["train/loss"].append([round(epochs, 4), loss])
        if curve_data is not None:
            points = curves.setdefault(f"curve/{spec.curves}_balanced_accuracy", [])
            if not points or epochs - points[-1][0] >= curve_step - 1e-6:
                scores, _, _ = evaluate(test_logits(*curve_data), curve_data[1], counts, spec.shots)
                points.append([round(epochs, 4), float(scores["balanced_accuracy"] or 0.0)])
        if progress is not None:
            progress(min(1.0, epochs / recipe["epochs"]), loss)

    began = time.perf_counter()
    checkpoints.begin(curves=curves)
    train(model, method, batches(data.train_x, data.train_y, recipe["augment"]), order,
          Clock(_dice(spec, "method"), device), recipe, watch, checkpoints)  # fmt: skip
    trained = time.perf_counter()
    logits = test_logits(data.test_x, data.test_y)
    if not np.isfinite(logits).all():
        raise Diverged("the test logits are not finite")
    metrics, classes, found = evaluate(logits, data.test_y, counts, spec.shots)
    seconds = {
        "train_seconds": checkpoints.seconds_before + trained - began,
        "test_seconds": time.perf_counter() - trained,
    }
    images = recipe["epochs"] * len(data.train_y)
    return Record(
        spec=spec,
        status="ok",
        metrics=metrics,
        per_class=classes,
        curves=curves,
        environment={
            **seconds,
            **({"images_per_second": images / seconds["train_seconds"]} if curves["train/loss"] else {}),
            "class_names": list(facts.class_names),
        },
        predictions=_pack(found, data.test_y, logits if site.keep_logits else None),
    )


def assemble(
    spec: TrialSpec, site: Site, data: CellData, facts: Facts, device: torch.device
) -> tuple[Method, Classifier, BatchOrder]:
    """The method, the freshly initialised model and the order of batches of a trial, all fixed by its seed."""
    folder = unpack_sources(site.methods) if site.methods else None
    torch.manual_seed(int(_dice(spec, "init").integers(2**31)))
    task = Task(
        data.train_y,
        facts.class_names,
        device=device,
        text=site.texts[spec.text] if spec.text else None,
        optimizer=spec.recipe["optimizer"],
        seed=spec.seed,
        logit_scale=spec.recipe.get("logit_scale"),
    )
    method = Registry(folder).get(spec.method)(task, **spec.hyperparameters)
    backbone = build_backbone(spec.recipe["backbone"], facts.shape)
    model = Classifier(backbone, method.head(backbone.dim)).to(device)
    model.to(memory_format=torch.channels_last)
    order = BatchOrder(data.train_y, task.num_classes, spec.recipe["batch_size"], _dice(spec, "order"))
    return method, model, order


def _dice(spec: TrialSpec, purpose: str) -> np.random.Generator:
    """One stream of random numbers per purpose, all following from the training seed: a method that throws more dice
    than another still sees the same initial weights, order and crops."""
    streams = {"init": 0, "order": 1, "method": 2, "augment": 3}
    return np.random.default_rng([spec.seed, streams[purpose]])


def load_cell(cell: Cell, site: Site) -> tuple[CellData, Facts]:
    """The images of a cell. The last two are kept in this process: most trials of a suite share few cells."""
    path = site.paths.get(cell.dataset)
    key = (cell.manifest, site.data, path)
    if key not in _kept_cells:
        source = open_source(cell.kind, site.data, path, cell.options)
        facts = source.facts()
        while len(_kept_cells) >= 2:
            _kept_cells.pop(next(iter(_kept_cells)))
        _kept_cells[key] = cell_data(cell, facts, source.arrays()), facts
    return _kept_cells[key]


_kept_cells: dict[tuple[str, Path, str | None], tuple[CellData, Facts]] = {}


def _pack(found: Predictions, truth: NDArray[np.int64], logits: NDArray[np.float32] | None) -> bytes:
    stream = io.BytesIO()
    kept: dict[str, Any] = {**found._asdict(), "truth": truth.astype(np.uint16)}
    if logits is not None:
        kept["logits"] = logits.astype(np.float16)
    np.savez_compressed(stream, **kept)
    return stream.getvalue()


def read_bundle(file: Path) -> tuple[TrialSpec, dict[str, str], dict[str, NDArray[np.float32]]]:
    """A trial exported by `ltbench plan --export`: its spec, data paths, and class-name vectors from texts.npz."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as JSON ({error})") from error
    if not isinstance(data, dict):
        raise UserError(f"{file}: not a trial written by `ltbench plan --export`")
    paths = data.pop("paths", {})
    try:
        spec = TrialSpec.from_json(data)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    texts: dict[str, NDArray[np.float32]] = {}
    if spec.text:
        try:
            texts[spec.text] = np.load(file.parent / "texts.npz", allow_pickle=False)[spec.text]
        except (OSError, KeyError) as error:
            raise UserError(f"{file}: class-name vectors {spec.text} are not in {file.parent / 'texts.npz'}") from error
    return spec, paths, texts


def run_files(files: list[Path], out: Path, site: Site) -> list[Record]:
    """Run exported trials one after the other; records go to `out`, finished ones are not run again."""
    journal, records = Journal(out), []
    for file in files:
        spec, paths, texts = read_bundle(file)
        record = journal.read(spec.key)
        if record is None:
            record = run_trial(spec, replace(site, paths={**paths, **site.paths}, texts=texts))
            journal.write(record)
        score = record.metrics.get("balanced_accuracy")
        told = f"balanced accuracy {score:.2f} %" if score is not None else last_line(record.error)
        print(f"{spec.key}  {spec.name}: {record.status}, {told}", flush=True)
        records.append(record)
    return records


def main(argv: list[str] | None = None) -> int:
    """`python -m ltbench.trial`: for machines without the command line's own dependencies."""
    parser = argparse.ArgumentParser(prog="python -m ltbench.trial", description=__doc__)
    parser.add_argument("spec", nargs="+", type=Path, help="files written by `ltbench plan SUITE --export DIR`")
    parser.add_argument("--out", type=Path, default=Path("results/trials"), help="folder for the records")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LTBENCH_DATA", "data")))
    parser.add_argument("--methods", type=Path, help="folder with methods of your own")
    parser.add_argument("--device", help="cpu or cuda; default: the best there is")
    parser.add_argument("--threads", type=int)
    chosen = parser.parse_args(argv)
    from ltbench.registry import read_sources

    methods = read_sources(chosen.methods) if chosen.methods else {}
    site = Site(chosen.data, methods=methods, device=chosen.device, threads=chosen.threads)
    try:
        records = run_files(chosen.spec, chosen.out, site)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return int(any(record.status == "failed" for record in records))


if __name__ == "__main__":
    sys.exit(main())
