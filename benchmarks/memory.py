"""Peak memory of each way of training, every one in a process of its own."""

from __future__ import annotations

import importlib
import subprocess
import sys

from benchmarks import towers, training


def measure() -> dict[str, float]:
    """MiB while a few steps are taken: of the process (torch itself is about 400), or on a GPU what torch allocated."""
    found = {name: _peak("benchmarks.training", name) / 2**20 for name in training.NAMES}
    return found | {f"ViT: {name}": _peak("benchmarks.towers", name) / 2**20 for name in towers.NAMES}


def _peak(module: str, name: str) -> int:
    command = [sys.executable, "-m", "benchmarks.memory", module, name]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _main(module: str, name: str) -> None:
    import torch

    from ltbench.training.device.provenance import forget_peak_memory, peak_memory

    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    work = importlib.import_module(module).variant(name, 3)
    forget_peak_memory(device)
    work()
    print(peak_memory(device))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2])
