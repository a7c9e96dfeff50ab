"""Does everything run? What is installed, every method on the made-up task, a trial without Ray."""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.gpu.common import Check

ABSENT = ("ray", "mlflow", "pydantic", "typer", "rich", "open_clip", "platformdirs")
"""What a machine of this kind need not have."""


def imports(check: Check) -> None:
    import torch

    check.say(
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
        check.say("gpu", name=torch.cuda.get_device_name(), tf32_conv=torch.backends.cudnn.allow_tf32)


class Losses:
    """Watches a training: its first and its last mean loss."""

    first = last = float("nan")

    def __call__(self, epochs: float, loss: float) -> None:
        self.first = loss if self.first != self.first else self.first
        self.last = loss


def methods(check: Check) -> None:
    """Every method trains on the made-up task of `ltbench check`, on this device, without a warning that it waits."""
    import warnings

    import torch

    from ltbench.registry import Registry
    from ltbench.training.madeup import model_for, task_for, train_on_it

    device = torch.device(check.device)
    registry = Registry()
    for name in registry.names()[check.share[0] :: check.share[1]]:
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
            check.say(
                "method",
                name=name,
                losses=[round(v, 4) for v in (losses.first, losses.last)],
                synchronising=waits,
                warnings=other[:3],
            )
        except Exception as error:
            check.say("method", name=name, error=f"{type(error).__name__}: {str(error)[:300]}")


def loop(check: Check) -> None:
    """`python -m ltbench.trial` on exported trials, as a user without Ray would: here made from the records."""
    from ltbench.execution.exported import main as run_exported

    folder = Path(tempfile.mkdtemp(prefix="bundle"))
    spec = check.short()
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
            check.device,
            "--threads",
            "1",
        ]
    )
    check.say("exported trial", rc=code)
