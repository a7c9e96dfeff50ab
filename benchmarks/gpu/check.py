#!/usr/bin/env python3
"""ltbench itself on a GPU, with nothing installed but torch, torchvision, numpy, scipy, tabulate (and scikit-learn for
the digits, or --data with their packed copy): no ray, mlflow, pydantic, typer, rich, open_clip, platformdirs.

    PYTHONPATH=REPO python3 benchmarks/gpu/check.py --repo REPO [--device cuda] [--out FILE] PART...

Parts: imports, verify, twice, resume, step, methods, memory, loop, side. Each prints JSON lines; one that fails
does not end the others.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ltbench.spec import Record, TrialSpec
    from ltbench.training.site import Site

ABSENT = ("ray", "mlflow", "pydantic", "typer", "rich", "open_clip", "platformdirs")
OUT: str | None = None
BEGAN = time.monotonic()


def say(name: str, /, **values: Any) -> None:
    line = json.dumps({"check": name, **values, "t": round(time.monotonic() - BEGAN, 1)}, default=str)
    print(line, flush=True)
    if OUT:
        with open(OUT, "a") as stream:
            stream.write(line + "\n")


def records_of(repo: Path) -> dict[str, Record]:
    from ltbench.results.journal import Unreadable, read_record

    found: dict[str, Record] = {}
    for file in sorted((repo / "results/reference/quickstart/records").glob("*.json")):
        record = read_record(file)
        if not isinstance(record, Unreadable):
            found[record.spec.key] = record
    return found


def site_of(args: argparse.Namespace, specs: Sequence[TrialSpec]) -> Site:
    """Data, and the class names' vectors that text-guided methods read."""
    from ltbench.data.sources.digits import NAMES
    from ltbench.models.text import text_vectors
    from ltbench.training.site import Site

    data = Path(args.data or tempfile.mkdtemp(prefix="ltbench-data"))
    vectors = text_vectors({"encoder": "bundled"}, "digits", NAMES, data)
    wanted = {spec.text for spec in specs} - {None}
    if wanted - {vectors.digest}:
        say("text vectors", problem=f"records name {wanted}, the bundled ones are {vectors.digest}")
    return Site(data, texts={vectors.digest: vectors.vectors}, device=args.device, threads=1)


def imports(args: argparse.Namespace) -> None:
    import importlib.util

    import torch

    say(
        "imports",
        torch=torch.__version__,
        cuda=torch.cuda.is_available(),
        python=sys.version.split()[0],
        absent=[n for n in ABSENT if importlib.util.find_spec(n) is None],
    )
    import ltbench.execution.exported
    import ltbench.execution.packing
    import ltbench.training.trial  # noqa: F401

    if torch.cuda.is_available():
        say("gpu", name=torch.cuda.get_device_name(), tf32_conv=torch.backends.cudnn.allow_tf32)


def verify(args: argparse.Namespace) -> None:
    """Recorded trials of the quickstart run again on this device: the same first loss, then the spread of seeds."""
    from ltbench.checks.verify import checks_text
    from ltbench.checks.verify import verify as run_again

    records = records_of(args.repo)
    specs = [record.spec for record in records.values()]
    checks = run_again(records, specs, site_of(args, specs), "balanced_accuracy", args.trials, tell=lambda line: None)
    print(checks_text(checks, "balanced_accuracy", len(records)), flush=True)
    say(
        "verify",
        holds=sum(c.holds for c in checks),
        of=len(checks),
        failed=[c.words for c in checks if not c.holds],
        verdicts=[f"{c.then.spec.name}: {c.verdict.value}" for c in checks],
    )


def _short(args: argparse.Namespace, **changes: Any) -> TrialSpec:
    """A ResNet-32 on made-up images of CIFAR's shape would need a source; digits at 8x8 do for what is asked here."""
    spec = next(r.spec for r in records_of(args.repo).values() if r.spec.label == changes.pop("label", "ce"))
    return replace(spec, recipe={**spec.recipe, "epochs": 4.0, **changes})


def _numbers(record: Record) -> list[Any]:
    return [record.metrics, record.per_class, record.curves, record.environment.get("first_loss")]


def twice(args: argparse.Namespace) -> None:
    """The same trial twice on this device: equal to the bit?"""
    from ltbench.training.trial import run_trial

    for label in ("ce", "text_guided_mixup", "mixup"):
        for backbone, precision in (("cnn_small", "fp32"), ("resnet32", "fp32"), ("resnet32", "bf16")):
            spec = _short(args, label=label, backbone=backbone, precision=precision)
            site = site_of(args, [spec])
            began = time.perf_counter()
            a, b = run_trial(spec, site), run_trial(spec, site)
            say(
                "twice",
                method=label,
                backbone=backbone,
                precision=precision,
                same=_numbers(a) == _numbers(b),
                status=[a.status, b.status],
                error=(a.error or b.error or "")[-400:] or None,
                seconds=round(time.perf_counter() - began, 2),
                shares={
                    k: a.environment.get(k)
                    for k in ("data_share", "step_share", "evaluation_share", "images_per_second")
                },
            )


def _is_17th(asked: Iterator[int]) -> bool:
    return next(asked) == 17


def resume(args: argparse.Namespace) -> None:
    """Interrupted after some steps and taken up: the numbers of the uninterrupted trial?"""
    from ltbench.training.checkpoints.checkpoint import Stopped
    from ltbench.training.trial import run_trial

    for label in ("ce", "text_guided_mixup"):
        spec = _short(args, label=label)
        site = site_of(args, [spec])
        whole = run_trial(spec, site)
        place = Path(tempfile.mkdtemp(prefix="checkpoints"))
        there = replace(site, checkpoints=place, checkpoint_seconds=1e9)
        asked = count(1)
        with suppress(Stopped):
            run_trial(spec, there, stop=partial(_is_17th, asked))
        again = run_trial(spec, there)
        say(
            "resume",
            method=label,
            same=_numbers(whole) == _numbers(again),
            resumed=again.environment.get("resumed"),
            messages=again.environment.get("checkpoint_messages"),
            status=again.status,
        )


def step(args: argparse.Namespace) -> None:
    """The engine's own step, without a data set: CIFAR's shape, several methods, precisions and modes of compiling."""
    import numpy as np
    import torch

    from ltbench.api import Task
    from ltbench.data.loader import ImageBatches
    from ltbench.data.order import BatchOrder
    from ltbench.models import build_backbone
    from ltbench.parts import Classifier
    from ltbench.registry import Registry
    from ltbench.training.device.determinism import use_deterministic_algorithms
    from ltbench.training.engine import Clock, Setup, train

    device = torch.device(args.device)
    cuda = device.type == "cuda"
    small = not cuda
    count, side, batch = (200, 8, 4) if small else (10_847, 32, 128)
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(count) % 100)
    x = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    text = rng.normal(size=(100, 64)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    use_deterministic_algorithms(device)

    def one(name: str, precision: str, compile_: str) -> None:
        torch.manual_seed(0)
        task = Task(
            y,
            [str(c) for c in range(100)],
            device=device,
            text=text,
            optimizer={"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 2e-4},
        )
        method = Registry().get(name)(task)
        backbone = build_backbone("resnet20" if small else "resnet32", (side, side, 3))
        model = Classifier(backbone, method.head(64)).to(device)
        model.to(memory_format=torch.channels_last)
        batches = ImageBatches(x, y, (0.5,) * 3, (0.25,) * 3, augment="crop_flip", device=device)

        def run(steps: int) -> tuple[float, float | None]:
            recipe = {
                "batch_size": batch,
                "epochs": (steps - 0.5) * batch / count,
                "precision": precision,
                "compile": compile_,
                "schedule": {
                    "name": "multistep",
                    "milestones": [0.8, 0.9],
                    "gamma": 0.01,
                    "warmup": 0.025,
                    "warmup_stairs": 5,
                },
            }
            order = BatchOrder(y, 100, batch, np.random.default_rng(1))
            began = time.perf_counter()
            first = train(model, method, Setup(batches, order, Clock(np.random.default_rng(2), device), recipe))
            if cuda:
                torch.cuda.synchronize()
            return time.perf_counter() - began, first

        took, first = run(5)
        many = 8 if small else 150
        seconds = min(run(many)[0] for _ in range(1 if small else 2)) / many
        say(
            "step",
            method=name,
            precision=precision,
            compile=compile_,
            ms=round(1e3 * seconds, 3),
            images_s=round(batch / seconds),
            trial_s=round(16_949 * seconds, 1),
            first_s=round(took, 2),
            first_loss=first,
        )

    plans = [
        ("ce", "fp32", "none"),
        ("ce", "bf16", "none"),
        ("text_guided_mixup", "bf16", "none"),
        ("ldam_drw", "bf16", "none"),
        ("mixup", "bf16", "none"),
        ("cb_sampling", "bf16", "none"),
    ]
    if cuda:
        plans += [("ce", "bf16", "reduce-overhead"), ("ce", "bf16", "default")]
    for plan in plans:
        try:
            one(*plan)
        except Exception as error:
            say("step", plan=plan, error=f"{type(error).__name__}: {str(error)[:400]}")


class Losses:
    """Watches a training: its first and its last mean loss."""

    first = last = float("nan")

    def __call__(self, epochs: float, loss: float) -> None:
        self.first = loss if self.first != self.first else self.first
        self.last = loss


def methods(args: argparse.Namespace) -> None:
    """Every method trains on the made-up task of `ltbench check`, on this device, without a warning that it waits."""
    import warnings

    import torch

    from ltbench.registry import Registry
    from ltbench.training.madeup import model_for, task_for, train_on_it

    device = torch.device(args.device)
    registry = Registry()
    for name in registry.names():
        cls = registry.get(name)
        try:
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                method = cls(task_for(cls, device=device))
                model = model_for(method)
                if device.type == "cuda":
                    torch.cuda.set_sync_debug_mode("warn")
                try:
                    losses = Losses()
                    train_on_it(method, model, watch=losses)
                finally:
                    if device.type == "cuda":
                        torch.cuda.set_sync_debug_mode("default")
            texts = [str(w.message).splitlines()[0][:120] for w in seen]
            waits = sum("synchroniz" in t for t in texts)
            other = sorted({t for t in texts if "synchroniz" not in t})
            say(
                "method",
                name=name,
                losses=[round(v, 4) for v in (losses.first, losses.last)],
                synchronising=waits,
                warnings=other[:3],
            )
        except Exception as error:
            say("method", name=name, error=f"{type(error).__name__}: {str(error)[:300]}")


def memory(args: argparse.Namespace) -> None:
    """What `pack: auto` would choose here, from the engine's own measurement."""
    import torch

    from ltbench.execution.packing import COPIES, side_by_side

    spec = _short(args, backbone="resnet32", epochs=400.0)
    site = site_of(args, [spec])
    for copies in COPIES if torch.device(args.device).type == "cuda" else (1,):
        try:
            found = side_by_side(spec, site, copies)
            say(
                "pack",
                copies=copies,
                steps_per_second=round(found.steps_per_second, 1),
                gb_each=round(found.memory / 1e9, 2),
            )
        except Exception as error:
            say("pack", copies=copies, error=f"{type(error).__name__}: {str(error)[:300]}")


def loop(args: argparse.Namespace) -> None:
    """`python -m ltbench.trial` on exported trials, as a user without Ray would: here made from the records."""
    from ltbench.execution.exported import main as run_exported

    folder = Path(tempfile.mkdtemp(prefix="bundle"))
    spec = _short(args)
    file = folder / f"{spec.key}.json"
    file.write_text(json.dumps({**spec.to_json(), "paths": {}}))
    code = run_exported(
        [
            str(file),
            "--out",
            str(folder / "out"),
            "--data",
            str(folder / "data"),
            "--device",
            args.device,
            "--threads",
            "1",
        ]
    )
    say("exported trial", rc=code)


def side(args: argparse.Namespace) -> None:
    """The project's own benchmarks of training, without the compiled variants (a minute of compiling each): classic
    loop, bare step, engine; each a process, in turns, by the clock."""
    from benchmarks import training
    from benchmarks.turns import in_turns

    cuda = args.device == "cuda"
    rates = in_turns("benchmarks.training", training.NAMES, 60 if cuda else 1, 3 if cuda else 1, wall=cuda)
    for name, rate in rates.items():
        say(
            "side",
            variant=name,
            images_s=round(rate.median),
            low=round(rate.low),
            high=round(rate.high),
            ms=round(128e3 / rate.median, 3),
        )
    say("side", ratios={name: round(ratio, 3) for name, ratio in training.ratios(rates).items()})


PARTS = {f.__name__: f for f in (imports, verify, twice, resume, step, methods, memory, loop, side)}


def main() -> int:
    global OUT
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--repo", type=Path, default=Path.cwd())
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", help="data folder; default: a new one")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--out")
    parser.add_argument("--seconds", type=float, default=300.0)
    args = parser.parse_args()
    args.data = args.data or tempfile.mkdtemp(prefix="ltbench-data")
    OUT, bad = args.out, 0
    for name in args.parts:
        if time.monotonic() - BEGAN > args.seconds:
            say(name, skipped="no time left")
            continue
        began = time.monotonic()
        try:
            PARTS[name](args)
        except BaseException as error:  # also SystemExit
            bad += 1
            say(name, error=f"{type(error).__name__}: {str(error)[:500]}", trace=traceback.format_exc()[-900:])
        say(name, ended=round(time.monotonic() - began, 1))
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
