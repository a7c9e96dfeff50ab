"""Is the fast path as accurate as the classic loop? Both train under one recipe, seed by seed, on an image folder.

    python -m benchmarks.parity FOLDER --out figures.jsonl

One line of JSON per training is appended as it ends, so that it can be stopped and goes on where it was; the summary is
printed at the end. With `--show` it is only printed.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from benchmarks import classic
from ltbench.data.loader import channel_statistics
from ltbench.planning.planner import make_plan
from ltbench.planning.resolve import resolve
from ltbench.registry import Registry
from ltbench.spec import TrialSpec
from ltbench.suite import Suite
from ltbench.training.assemble import assemble
from ltbench.training.schedule import lr_factor
from ltbench.training.site import Site
from ltbench.training.trial import run_trial


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="train/CLASS/* and test/CLASS/*, for example CIFAR-10 as JPEG files")
    parser.add_argument("--out", type=Path, default=Path("parity.jsonl"))
    parser.add_argument("--data", type=Path, default=Path("parity-data"), help="cache of decoded images")
    parser.add_argument("--imbalance", type=float, default=100.0)
    parser.add_argument("--epochs", type=float, default=4.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ways", default="classic,engine", help="of: classic, engine, engine-bf16")
    parser.add_argument("--show", action="store_true", help="only print what is there")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    done = _read(chosen.out)
    if not chosen.show:
        for seed in range(chosen.seeds):
            for way in chosen.ways.split(","):
                if not any(d["way"] == way and d["seed"] == seed and d["epochs"] == chosen.epochs for d in done):
                    found = _train(way, seed, chosen)
                    with chosen.out.open("a") as stream:
                        stream.write(json.dumps(found) + "\n")
                    print(json.dumps(found), flush=True)
        done = _read(chosen.out)
    print(summary([d for d in done if d["epochs"] == chosen.epochs]))


def _read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _train(way: str, seed: int, chosen: argparse.Namespace) -> dict[str, Any]:
    spec, site = _spec(chosen, seed, "bf16" if way == "engine-bf16" else "fp32")
    began, cpu = time.perf_counter(), time.process_time()
    if way == "classic":
        accuracy, balanced = train_classic(spec, site)
    else:
        record = run_trial(spec, site)
        assert record.status == "ok", record.error
        accuracy, balanced = (float(record.metrics[m] or 0.0) for m in ("accuracy", "balanced_accuracy"))
    return {"way": way, "seed": seed, "epochs": chosen.epochs, "accuracy": accuracy, "balanced_accuracy": balanced,
            "seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}  # fmt: skip


def _spec(chosen: argparse.Namespace, seed: int, precision: str) -> tuple[TrialSpec, Site]:
    data = {"name": "images", "kind": "folder", "path": str(chosen.folder), "size": 32, "imbalance": [chosen.imbalance]}
    recipe = {
        "backbone": "resnet32", "epochs": chosen.epochs, "batch_size": 128, "augment": "crop_flip",
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 2.0e-4},
        "schedule": {"name": "cosine", "warmup": 0.1}, "precision": precision,
    }  # fmt: skip
    suite = Suite.model_validate({
        "suite": "parity", "datasets": [data], "recipes": {"scratch": recipe},
        "methods": {"scratch": [{"method": "ce", "label": "ce"}]}, "protocol": {"final": {"seeds": [seed]}},
    })  # fmt: skip
    plan, inputs = make_plan(resolve(suite, Registry(), chosen.data.absolute()))
    return plan.trials[0], Site(chosen.data.absolute(), paths=inputs.paths, device="cpu", threads=1)


def train_classic(spec: TrialSpec, site: Site) -> tuple[float, float]:
    """A trial's recipe in the classic loop, from the same initial weights: accuracy and mean class accuracy."""
    device, recipe = torch.device("cpu"), spec.recipe
    parts = assemble(spec, site, device)
    data, method, model = parts.data, parts.method, parts.model
    model.to(memory_format=torch.contiguous_format)
    mean, std = channel_statistics(data.train_x)
    shuffle = torch.Generator().manual_seed(spec.seed)
    loader = classic.train_loader(
        data.train_x, data.train_y, mean, std, batch_size=recipe["batch_size"], generator=shuffle
    )
    optimizer = method.task.optimizer(model.parameters())
    total, done = math.ceil(recipe["epochs"] * len(loader)), 0
    while done < total:
        model.train()
        meters = [classic.Average(), classic.Average(), classic.Average()]
        for x, y in loader:
            if done == total:
                break
            for group in optimizer.param_groups:
                group["lr"] = recipe["optimizer"]["lr"] * lr_factor(recipe["schedule"], done / total)
            classic.step(model, optimizer, x, y, meters)
            done += 1
    loader = classic.evaluation_loader(data.test_x, data.test_y, mean, std)
    found = classic.evaluate(model, loader, len(parts.facts.class_names), device)
    return found.accuracy, float(np.mean(found.per_class))


def summary(done: list[dict[str, Any]]) -> str:
    """Means with 95 % intervals over seeds, and whether the engine's lies within the classic loop's."""
    lines, of_classic = [], None
    for way in dict.fromkeys(d["way"] for d in done):
        values = np.array([d["accuracy"] for d in done if d["way"] == way])
        cpu = np.array([d["cpu_seconds"] for d in done if d["way"] == way])
        mean, n = float(values.mean()), len(values)
        half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / n**0.5) if n > 1 else math.nan
        lines.append(f"{way}: accuracy {mean:.2f} +- {half:.2f} over {n} seeds, {cpu.mean():.0f} CPU s each")
        if way == "classic":
            of_classic = mean - half, mean + half
        elif of_classic is not None:
            inside = of_classic[0] <= mean <= of_classic[1]
            lines.append(f"  mean {'inside' if inside else 'OUTSIDE'} the classic loop's interval")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
