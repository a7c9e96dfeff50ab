"""Peak memory of each way of training, every one in a process of its own."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.training import NAMES


def measure() -> dict[str, float]:
    """MiB while a few steps are taken: of the process (torch itself is about 400), or on a GPU what torch allocated."""
    return {name: _peak(name) / 2**20 for name in NAMES}


def _peak(name: str) -> int:
    command = [sys.executable, "-m", "benchmarks.memory", name]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _main(name: str) -> None:
    import torch

    from benchmarks.training import variant
    from ltbench.provenance import forget_peak_memory, peak_memory

    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    work = variant(name, 3)
    forget_peak_memory(device)
    work()
    print(peak_memory(device))


if __name__ == "__main__":
    _main(sys.argv[1])
