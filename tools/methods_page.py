"""Make methods/README.md: what every method does, whose it is, which hooks it changes, what it costs.

    python -m tools.methods_page              write the page
    python -m tools.methods_page --measure    first measure what methods cost that were not measured yet

All but the costs is read from the methods and from ltbench/ranking/published.csv; the costs are in
tools/method_costs.json. A test holds the page against what this writes.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ltbench.api import Method, Task
from ltbench.checks.contract import HOOKS
from ltbench.data.loader import ImageBatches
from ltbench.data.order import BatchOrder
from ltbench.models import build_backbone
from ltbench.parts import Classifier
from ltbench.ranking.published import RECIPES, Published, published
from ltbench.registry import Registry
from ltbench.training.engine import Clock, Setup, train
from ltbench.training.madeup import text_tower

ROOT = Path(__file__).resolve().parents[1]
PAGE, COSTS = ROOT / "methods" / "README.md", ROOT / "tools" / "method_costs.json"
STEPS, BATCH = 40, 32
HEAD = """# The methods

One file each. A method is its difference from plain cross-entropy: the table says which of the hooks it changes,
by itself or through the methods that it builds on. `ltbench methods NAME` shows one in full, and
[a template](_template.py) begins a new one.

* **cost**: CPU time of a whole training, against that of `ce` on the same images: a ResNet-20 (a small vision
  transformer for methods that need its blocks), {steps} steps of {batch} images of 32 x 32 pixels, one core. Stages
  share out the same steps, and `coop` has a tiny text tower ([docs/clip.md](../docs/clip.md) has the cost of a real
  one). It says how much computation a method adds, to a
  tenth or so; it is not what a GPU needs for it. The training is as short as one epoch, so a look at all training
  images (`ncm`) weighs more than it would in a real one.
* **published**: accuracy on CIFAR-100-LT, imbalance factor 100, ResNet-32, with these hyper-parameters, by recipe
  ([below](#recipes-of-the-published-numbers), with [sources](#sources-of-the-published-numbers)).
  [published.csv](../ltbench/ranking/published.csv) has what differs from ours, and the other data sets. A leaderboard
  shows our numbers beside these; on this data set there are none of ours yet.

"""


def page() -> str:
    """The whole page."""
    registry, costs = Registry(), json.loads(COSTS.read_text())
    rows = [_row(name, registry.get(name), costs) for name in registry.names()]
    used = {number.recipe for name in registry.names() for number in _numbers(name, registry.get(name))}
    return "".join([
        HEAD.format(steps=STEPS, batch=BATCH),
        f"{len(rows)} methods:\n\n",
        "| method | what it does | venue | hooks | lines | cost | published |\n|---|---|---|---|---|---|---|\n",
        *rows,
        "\n## Recipes of the published numbers\n\n| recipe | what it is | source |\n|---|---|---|\n",
        *(f"| {name} | {group.title} | {group.source} |\n" for name, group in RECIPES.items() if name in used),
        "\n## Sources of the published numbers\n\n",
        *(f"* **{name}**: {_sources(_numbers(name, registry.get(name)))}\n" for name in registry.names()
          if _numbers(name, registry.get(name))),
        "\n## Papers and defaults\n\n",
        *(f"* **{name}**: {registry.get(name).paper} Defaults: {registry.get(name).defaults_from}.\n"
          for name in registry.names()),
    ])  # fmt: skip


def _row(name: str, cls: type[Method], costs: dict[str, float]) -> str:
    lines = len(Path(inspect.getfile(cls)).read_text(encoding="utf-8").splitlines())
    first = {number.recipe: number.value for number in reversed(_numbers(name, cls))}  # of each recipe
    numbers = [f"{value:.1f} ({recipe})" for recipe, value in sorted(first.items())]
    cost = f"{costs[name]:.2f}" if name in costs else "-"
    cells = [f"[{name}]({name}.py)", cls.summary().rstrip("."), venue(cls.paper), ", ".join(hooks(cls)) or "none",
             str(lines), cost, ", ".join(numbers) or "-"]  # fmt: skip
    return f"| {' | '.join(cells)} |\n"


def _sources(numbers: list[Published]) -> str:
    """`42.6 (bbn): Zhou et al. CVPR 2020 (BBN), table 1`, of each."""
    return "; ".join(f"{n.value:.1f} ({n.recipe}): {n.source}" + f", {n.note.replace(';', ',')}" * bool(n.note)
                     for n in numbers) + "."  # fmt: skip


def hooks(cls: type[Method]) -> Iterator[str]:
    """The hooks that a method changes, by itself or through the methods that it builds on."""
    return (hook for hook in HOOKS if getattr(cls, hook) is not getattr(Method, hook))


def venue(paper: str) -> str:
    """`CVPR 2020` of a reference."""
    found = re.search(r"\b(arXiv|[A-Z][A-Za-z]+(?: Workshops)?) ((?:19|20)\d\d)\b", paper)
    return f"{found[1]} {found[2]}" if found else "-"


def _numbers(name: str, cls: type[Method]) -> list[Published]:
    """What is published of a method as it is by default."""
    wanted = ("cifar100", "IF100", name, "balanced_accuracy")
    return [
        row for row in published()
        if (row.dataset, row.imbalance, row.method, row.metric) == wanted and row.identity == cls.complete({})
    ]  # fmt: skip


def measure(costs: dict[str, float]) -> None:
    """Add every method's CPU time over that of `ce`, which trains beside it; those that are there already are left."""
    torch.set_num_threads(1)
    registry = Registry()
    _seconds(Method, "resnet20")  # the first training also warms up
    for name in registry.names():
        cls = registry.get(name)
        if name not in costs:
            body = "vit_small" if "blocks" in cls.needs else "resnet20"
            costs[name] = round(_seconds(cls, body) / _seconds(Method, body), 2)
            COSTS.write_text(json.dumps(dict(sorted(costs.items())), indent=1) + "\n")


def _seconds(cls: type[Method], backbone: str) -> float:
    """CPU seconds of a short training on random images of ten long-tailed classes."""
    body = build_backbone(backbone, (32, 32, 3))
    rng = np.random.default_rng(0)
    counts = [int(500 * 0.01 ** (c / 9)) for c in range(10)]
    labels = np.repeat(np.arange(10), counts).astype(np.int64)
    x = rng.integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
    text = rng.normal(size=(10, body.dim)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    optimizer = {"name": "sgd", "lr": 0.01, "momentum": 0.9}
    task = Task(labels, [f"class {c}" for c in range(10)], text=text, optimizer=optimizer)
    task.make_text_tower = partial(text_tower, body.dim)
    torch.manual_seed(0)
    method, body = cls(task), build_backbone(backbone, (32, 32, 3))
    model = Classifier(body, method.head(body.dim)).to(memory_format=torch.channels_last)
    recipe = {
        "epochs": STEPS * BATCH / len(labels), "batch_size": BATCH, "precision": "fp32",
        "schedule": {"name": "constant", "warmup": 0.0, "warmup_stairs": 0},
    }  # fmt: skip
    batches = ImageBatches(x, labels, (0.5,) * 3, (0.25,) * 3, augment="crop_flip",
                           further=("crop_flip",) * (len(cls.views) - 1), rng=rng)  # fmt: skip
    order, clock = BatchOrder(labels, 10, BATCH, rng), Clock(rng, torch.device("cpu"))
    began = time.process_time()
    train(model, method, Setup(batches, order, clock, recipe))
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.methods_page", description=__doc__)
    parser.add_argument("--measure", action="store_true", help="measure what is not measured yet")
    if parser.parse_args().measure:
        measure(json.loads(COSTS.read_text()) if COSTS.is_file() else {"ce": 1.0})
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
