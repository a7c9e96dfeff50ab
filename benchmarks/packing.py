"""Two one-thread trials side by side against one two-thread trial, by the wall clock: why one thread is the default."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.timing import Rate

_WORK = """
import sys, time, torch, torch.nn.functional as F
from ltbench.allocator import keep_memory
from ltbench.models import build_backbone
from ltbench.parts import Classifier
name, threads, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
torch.set_num_threads(threads)
keep_memory()  # as a trial does
shape, batch = {"resnet32": ((32, 32, 3), 128), "cnn_small": ((8, 8, 1), 32), "mlp": ((8, 8, 1), 32)}[name]
backbone = build_backbone(name, shape)
model = Classifier(backbone, torch.nn.Linear(backbone.dim, 10)).to(memory_format=torch.channels_last)
x = torch.randn(batch, shape[2], *shape[:2]).to(memory_format=torch.channels_last)
y = torch.randint(0, 10, (batch,))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
def step():
    loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
step(); step()
print("ready", flush=True); sys.stdin.readline()
began, steps = time.perf_counter(), 0
while time.perf_counter() - began < seconds:
    step(); steps += 1
print(steps * batch / (time.perf_counter() - began), flush=True)
"""


def measure(rounds: int = 3, seconds: float = 4.0) -> dict[str, Rate]:
    """Summed rate of two one-thread processes over the rate of one two-thread process, per backbone; median round."""
    found = {}
    for name in ("resnet32", "cnn_small", "mlp"):
        ratios = []
        for _ in range(rounds):
            together = sum(_rates(name, processes=2, threads=1, seconds=seconds))
            alone = sum(_rates(name, processes=1, threads=2, seconds=seconds))
            ratios.append(together / alone)
        found[name] = Rate(statistics.median(ratios), min(ratios), max(ratios))
    return found


def _rates(name: str, processes: int, threads: int, seconds: float) -> list[float]:
    command = [sys.executable, "-c", _WORK, name, str(threads), str(seconds)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    time.sleep(0.2)
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    return [float(worker.communicate()[0]) for worker in workers]
