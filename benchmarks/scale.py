"""What one driver carries: very many trials that all but train nothing, through the real scheduler, journal and MLflow.
By hand, for it takes minutes: `python -m benchmarks.scale --trials 1000`."""

from __future__ import annotations

import argparse
import signal
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from benchmarks.timing import machine
from ltbench.execution.resources import Resources
from ltbench.execution.run_plan import run_plan
from ltbench.planning.planner import make_plan
from ltbench.planning.resolve import resolve
from ltbench.registry import Registry
from ltbench.results.folders import Folders
from ltbench.spec import Record
from ltbench.suite import Suite
from ltbench.system.interrupt import Interrupt
from ltbench.system.uris import default_uri
from ltbench.tracking.delivery import Tracker
from ltbench.training.site import Site

PARTS = 10
SUITE = {
    "suite": "scale",
    "datasets": [{"name": "digits", "imbalance": [20.0]}],
    "recipes": {
        "one_step": {"backbone": "mlp", "epochs": 0.05, "batch_size": 32, "optimizer": {"name": "sgd", "lr": 0.05}}
    },
    "methods": {"one_step": [{"method": "ce", "label": "ce"}]},
}


class Moment(NamedTuple):
    """Where the driver stands: seconds and CPU seconds since it began, trials recorded, records not yet in MLflow, and
    its memory."""

    seconds: float
    cpu: float
    recorded: int
    waiting: int
    mib: float


class Watch:
    """Between the journal and MLflow: counts what passes, and looks at the driver when a tenth is done."""

    def __init__(self, tracker: Tracker, trials: int) -> None:
        self.moments: list[Moment] = []
        self._tracker, self._trials, self._step, self._recorded = tracker, trials, max(1, trials // PARTS), 0
        self._began, self._cpu = time.monotonic(), time.process_time()
        self.look()

    def send(self, record: Record) -> None:
        assert record.status == "ok", record.error
        self._tracker.send(record)
        self._recorded += 1
        if self._recorded % self._step == 0:
            self.look()
        if self._recorded == self._trials:
            signal.raise_signal(signal.SIGTERM)

    def look(self) -> None:
        seconds, cpu = time.monotonic() - self._began, time.process_time() - self._cpu
        self.moments.append(Moment(seconds, cpu, self._recorded, self._tracker.waiting, _resident()))


def _resident() -> float:
    """Memory of this process now, MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


def measure(trials: int, planned: int, folder: Path) -> tuple[list[Moment], str, float]:
    """How the driver fares with the first `trials` of a plan; what became of MLflow; the largest memory in MiB."""
    suite = Suite.model_validate({**SUITE, "protocol": {"final": {"seeds": list(range(planned))}, "reference": "ce"}})
    plan, inputs = make_plan(resolve(suite, Registry(), folder / "data"))
    folders = Folders(folder / "results", suite.suite)
    tracker = Tracker(default_uri(folders.results), suite.suite, folders.journal, plan.expectation(), print)
    tracker.deliver_backlog()
    site = Site(folder / "data", texts=inputs.texts, checkpoints=folders.checkpoints)
    watch, largest, over = Watch(tracker, trials), [0.0], threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            largest[0] = max(largest[0], _resident())

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    with Interrupt() as interrupt:
        run_plan(plan, inputs, site, folders.journal, watch, Resources(gpus=0.0), interrupt=interrupt)
    began = time.monotonic()
    unsent = tracker.close()
    over.set()
    told = f"{time.monotonic() - began:.0f} s later MLflow " + (
        f"lacked {unsent} records" if unsent else "had them all"
    )
    return watch.moments, told, largest[0]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--of", type=int, default=0, help="trials in the plan: more than are run; default: as many")
    parser.add_argument("--smoke", action="store_true", help="30 trials, to see that it runs")
    chosen = parser.parse_args()
    trials = 30 if chosen.smoke else chosen.trials
    with tempfile.TemporaryDirectory(prefix="ltbench-scale-") as folder:
        moments, mlflow, largest = measure(trials, max(trials, chosen.of), Path(folder))
    rows = [
        (
            b.recorded,
            *(f"{1000 * (to - since) / (b.recorded - a.recorded):.0f}" for since, to in zip(a[:2], b[:2], strict=True)),
            f"{b.mib:.0f}",
            b.waiting,
        )
        for a, b in pairwise(moments)
    ]
    headers = ["recorded", "ms per trial since the line before", "driver's CPU, ms", "driver, MiB", "not yet in MLflow"]
    print(tabulate(rows, headers=headers, tablefmt="pipe"))
    print(f"\n{moments[-1].seconds:.0f} s; {mlflow}; at most {largest:.0f} MiB; "
          + "; ".join(f"{key}: {value}" for key, value in machine().items()))  # fmt: skip


if __name__ == "__main__":
    main()
