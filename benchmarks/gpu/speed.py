"""How fast is it? The engine's step, trials side by side, the project's benchmarks of training."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gpu.common import Check

if TYPE_CHECKING:
    from benchmarks.timing import Rate
    from ltbench.api import Method, Task


PLANS = (
    ("ce", "fp32", "none"),
    ("ce", "bf16", "none"),
    ("text_guided_mixup", "bf16", "none"),
    ("ldam_drw", "bf16", "none"),
    ("mixup", "bf16", "none"),
    ("cb_sampling", "bf16", "none"),
)
"""Method, precision and mode of compiling of the steps that are timed."""
COMPILED = (("ce", "bf16", "reduce-overhead"), ("ce", "bf16", "default"))
"""The same, for GPUs."""
SCHEDULE = {"name": "multistep", "milestones": [0.8, 0.9], "gamma": 0.01, "warmup": 0.025, "warmup_stairs": 5}


def step(check: Check) -> None:
    """The engine's own step, without a data set: CIFAR's shape, several methods, precisions and modes of compiling."""
    task = CifarShaped(check.device)
    for name, precision, mode in (*PLANS, *(COMPILED if task.cuda else ())):
        try:
            check.say("step", method=name, precision=precision, compile=mode, **task.timed(name, precision, mode))
        except Exception as error:
            check.say("step", plan=(name, precision, mode), error=f"{type(error).__name__}: {str(error)[:400]}")


class CifarShaped:
    """Made-up images in CIFAR-100-LT's shape (on a CPU far fewer and smaller ones), and the time that steps on them
    take.

    Args:
        device: cuda or cpu.
    """

    def __init__(self, device: str) -> None:
        import torch

        from ltbench.training.device.determinism import use_deterministic_algorithms

        self.device = torch.device(device)
        self.cuda = self.device.type == "cuda"
        self.images, self.side, self.batch = (10_847, 32, 128) if self.cuda else (200, 8, 4)
        self.steps, self.repeats = (150, 2) if self.cuda else (8, 1)
        rng = np.random.default_rng(0)
        self.y = rng.permutation(np.arange(self.images) % 100)
        self.x = rng.integers(0, 256, (self.images, self.side, self.side, 3), dtype=np.uint8)
        text = rng.normal(size=(100, 64)).astype(np.float32)
        self.text = text / np.linalg.norm(text, axis=1, keepdims=True)
        use_deterministic_algorithms(self.device)

    def timed(self, name: str, precision: str, mode: str) -> dict[str, Any]:
        """How long a step of a method takes, and what follows from that."""
        import torch

        from ltbench.models import build_backbone
        from ltbench.parts import Classifier
        from ltbench.registry import Registry

        torch.manual_seed(0)
        method = Registry().get(name)(self._task())
        backbone = build_backbone("resnet32" if self.cuda else "resnet20", (self.side, self.side, 3))
        model = Classifier(backbone, method.head(64)).to(self.device)
        model.to(memory_format=torch.channels_last)
        recipe = {"batch_size": self.batch, "precision": precision, "compile": mode, "schedule": SCHEDULE}
        took, first = self._run(method, model, recipe, 5)
        seconds = min(self._run(method, model, recipe, self.steps)[0] for _ in range(self.repeats)) / self.steps
        return {
            "ms": round(1e3 * seconds, 3),
            "images_s": round(self.batch / seconds),
            "trial_s": round(16_949 * seconds, 1),
            "first_s": round(took, 2),
            "first_loss": first,
        }

    def _task(self) -> Task:
        from ltbench.api import Task

        names = [str(c) for c in range(100)]
        optimizer = {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 2e-4}
        return Task(self.y, names, device=self.device, text=self.text, optimizer=optimizer)

    def _run(self, method: Method, model: Any, recipe: dict[str, Any], steps: int) -> tuple[float, float | None]:
        """Seconds that some steps take, and their first loss."""
        import torch

        from ltbench.data.loader import ImageBatches
        from ltbench.data.order import BatchOrder
        from ltbench.training.engine import Clock, Setup, train

        batches = ImageBatches(self.x, self.y, (0.5,) * 3, (0.25,) * 3, augment="crop_flip", device=self.device)
        order = BatchOrder(self.y, 100, self.batch, np.random.default_rng(1))
        recipe = {**recipe, "epochs": (steps - 0.5) * self.batch / self.images}
        began = time.perf_counter()
        first = train(model, method, Setup(batches, order, Clock(np.random.default_rng(2), self.device), recipe))
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - began, first


def memory(check: Check) -> None:
    """What `pack: auto` would choose here, from the engine's own measurement."""
    import torch

    from ltbench.execution.packing import COPIES, side_by_side

    spec = check.short(backbone="resnet32", epochs=400.0)
    site = check.site([spec])
    for copies in COPIES if torch.device(check.device).type == "cuda" else (1,):
        try:
            found = side_by_side(spec, site, copies)
            check.say(
                "pack",
                copies=copies,
                steps_per_second=round(found.steps_per_second, 1),
                gb_each=round(found.memory / 1e9, 2),
            )
        except Exception as error:
            check.say("pack", copies=copies, error=f"{type(error).__name__}: {str(error)[:300]}")


def side(check: Check) -> None:
    """The project's own benchmarks of training, without the variants that torch compiles (a minute each): classic loop
    with 8 worker processes, bare step, engine, engine as it runs in a trial here, recorded; each a process, in turns,
    by the clock. Told after every round."""
    from benchmarks import training
    from benchmarks.turns import in_turns

    cuda = check.device == "cuda"
    names = training.NAMES + training.RECORDED * cuda
    rounds = 0

    def tell(rates: dict[str, Rate]) -> None:
        nonlocal rounds
        rounds += 1
        for name, rate in rates.items():
            check.say(
                "side",
                rounds=rounds,
                variant=name,
                images_s=round(rate.median),
                low=round(rate.low),
                high=round(rate.high),
                ms=round(128e3 / rate.median, 3),
            )
        ratios = {name: round(ratio, 3) for name, ratio in training.ratios(rates).items()}
        check.say("side", rounds=rounds, ratios=ratios)

    in_turns("benchmarks.training", names, 60 if cuda else 1, 2 if cuda else 1, wall=cuda, tell=tell)
