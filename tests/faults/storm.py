"""A storm: a suite runs while its workers, its driver and the nodes of its cluster are killed at random times and its
tracking server goes away and comes back. `python -m tests.faults.storm` (or `make storm`) for the long form, on three
nodes; `test_storm.py` runs a short one, on this machine alone."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ltbench.planning.planner import make_plan
from ltbench.planning.resolve import resolve
from ltbench.registry import Registry
from ltbench.results.folders import Folders
from ltbench.spec import Record
from ltbench.suite.load import load_suite
from ltbench.training.site import Site
from ltbench.training.trial import run_trial
from tests.faults.stage import MARK, Nodes, Server, workers_of

SUITE = """
suite: storm
question: Does anything get lost?
text: {{encoder: bundled}}
datasets: [{{name: digits, imbalance: [20, 50]}}]
recipes:
  scratch: {{backbone: cnn_small, epochs: 30, batch_size: 32, augment: crop,
             optimizer: {{name: sgd, lr: 0.05, momentum: 0.9}}}}
methods: [ce, crt, text_guided_mixup]
protocol: {{final: {{seeds: {seeds}}}, reference: ce}}
resources: {{checkpoint_seconds: 0.3, retries: 50}}
"""
LIMIT = 1800.0
"""Seconds after which the storm gives up."""


@dataclass
class Report:
    """What happened, and what is left of it."""

    trials: int
    worker_kills: int = 0
    driver_kills: int = 0
    node_kills: int = 0
    outages: int = 0
    commands: int = 0
    seconds: float = 0.0
    calm_seconds: float | None = None
    """How long the same command takes when nothing happens."""
    hit: int = 0
    """Running trials whose process a kill took along."""
    resumed: int = 0
    """How often a trial went on from a checkpoint."""
    trials_resumed: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        calm = "" if self.calm_seconds is None else (
            f" ({self.calm_seconds:.0f} s undisturbed: {self.seconds - self.calm_seconds:.0f} s lost)"
        )  # fmt: skip
        lines = [
            f"{self.trials} trials; killed: {self.worker_kills} workers, {self.driver_kills} drivers, "
            f"{self.node_kills} nodes; the tracking server away {self.outages} times",
            f"{self.commands} commands, {self.seconds:.0f} s{calm}",
            f"{self.hit} running trials were hit; {self.trials_resumed} trials went on from a checkpoint, "
            f"{self.resumed} times in all; the other hits were before a first checkpoint, or tests of a node",
            *(f"PROBLEM: {problem}" for problem in self.problems),
        ]
        return "\n".join(lines)


def storm(
    folder: Path,
    data: Path,
    seeds: int,
    kills: int,
    outages: int,
    seed: int = 0,
    *,
    nodes: int = 0,
    node_kills: int = 0,
) -> Report:
    """Run the suite in `folder` through `kills` kills of workers and drivers, `node_kills` of nodes, and `outages`
    outages, then until it is done, and look at what is there: every key once in the journal and once in MLflow, every
    record that of an undisturbed run.

    Args:
        nodes: how many the cluster has; 0: the driver's own Ray on this machine.
    """
    rng = np.random.default_rng(seed)
    suite = folder / "storm.yaml"
    suite.write_text(SUITE.format(seeds=list(range(seeds))))
    server, results = Server(folder), folder / "results"
    command = [sys.executable, "-m", "ltbench", "run", str(suite), "--results", str(results), "--data", str(data),
               "--tracking-uri", server.uri]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_"))}
    environment |= {MARK: folder.name, "HF_HUB_OFFLINE": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
    cluster = Nodes(nodes, folder.name) if nodes else None
    if cluster is not None:
        environment |= cluster.environment
        command += ["--address", cluster.address]
    plan, inputs = make_plan(resolve(load_suite(str(suite), []), Registry(), data))
    report, journal = Report(len(plan.trials)), Folders(results, "storm").journal
    events = ["kill"] * kills + ["outage"] * outages + ["node"] * node_kills
    rng.shuffle(events)
    driver: subprocess.Popen[bytes] | None = None
    try:
        server.start()
        server.wait()
        if cluster is not None:
            report.calm_seconds = _calm(command, environment, folder)
        began = time.monotonic()
        while time.monotonic() - began < LIMIT:
            if driver is None:
                driver = _start(command, environment, folder)
                report.commands += 1
                if not events:
                    break
            time.sleep(float(rng.uniform(1.5, 4.0)))
            if driver.poll() is not None:
                if driver.returncode not in (0, 1):
                    report.problems.append(f"the command ended with {driver.returncode}")
                driver = None
            elif events and _strike(events[-1], rng, driver, server, cluster, folder.name, report):
                events.pop()
                driver = None if driver.poll() is not None else driver
            if not events and len(journal.records()) == report.trials:
                break
        if not server.up:
            server.start()
            server.wait()
        _finish(driver, command, environment, folder, report)
        report.seconds = time.monotonic() - began
        undisturbed = {
            t.key: run_trial(t, Site(data, texts=inputs.texts, device="cpu", threads=1)) for t in plan.trials
        }
        report.problems += _differences(undisturbed, journal.records(), journal.predictions)
        report.problems += _in_mlflow(server.uri, set(undisturbed))
        resumed = [r.environment.get("resumed", 0) for r in journal.records().values()]
        report.resumed, report.trials_resumed = sum(resumed), sum(map(bool, resumed))
        if events:
            report.problems.append(f"{len(events)} events never came: the suite was too short")
    finally:
        if driver is not None and driver.poll() is None:
            os.killpg(driver.pid, signal.SIGKILL)
        server.stop()
        if cluster is not None:
            cluster.stop()
    return report


def _calm(command: list[str], environment: Mapping[str, str], folder: Path) -> float:
    """Seconds that the same command takes when nothing happens; its results are left elsewhere."""
    swapped = [str(folder / "calm") if word == str(folder / "results") else word for word in command]
    swapped[swapped.index("--tracking-uri") + 1] = f"sqlite:///{folder / 'calm.db'}"
    began = time.monotonic()
    subprocess.run(swapped, env=dict(environment), check=True, capture_output=True, timeout=LIMIT)
    return time.monotonic() - began


def _start(command: list[str], environment: Mapping[str, str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "driver.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=dict(environment), start_new_session=True)


def _strike(
    event: str,
    rng: np.random.Generator,
    driver: subprocess.Popen[bytes],
    server: Server,
    cluster: Nodes | None,
    mark: str,
    report: Report,
) -> bool:
    """Do one event; False if there was nothing to strike."""
    if event == "outage":
        if server.up:
            server.stop()
            report.outages += 1
            return False  # the event is over when the server is back
        server.start()
        return True
    if event == "node":
        assert cluster is not None
        if not cluster.one_is_missing:
            report.hit += cluster.kill(rng)
            report.node_kills += 1
            return False  # the event is over when another one has joined
        cluster.add()
        return True
    if rng.random() < 0.3:
        report.hit += len(workers_of(mark))
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        report.driver_kills += 1
        return True
    workers = workers_of(mark)
    if not workers:
        return False
    with suppress(ProcessLookupError):
        os.kill(int(rng.choice(workers)), signal.SIGKILL)
    report.worker_kills += 1
    report.hit += 1
    return True


def _finish(
    driver: subprocess.Popen[bytes] | None,
    command: list[str],
    environment: Mapping[str, str],
    folder: Path,
    report: Report,
) -> None:
    """Let it end, and give the same command until it says that all is well."""
    for _ in range(4):
        driver = driver or _start(command, environment, folder)
        try:
            code = driver.wait(LIMIT)
        except subprocess.TimeoutExpired:
            report.problems.append("the command does not end")
            return
        if code == 0:
            return
        driver, report.commands = None, report.commands + 1
    report.problems.append("the same command does not come to an end")


def _differences(undisturbed: Mapping[str, Record], records: Mapping[str, Record], predictions: object) -> list[str]:
    problems = [f"{key} is not in the journal" for key in undisturbed.keys() - records.keys()]
    problems += [f"{key} is in the journal but not in the plan" for key in records.keys() - undisturbed.keys()]
    for key in undisturbed.keys() & records.keys():
        stored = replace(records[key], predictions=predictions(key))  # type: ignore[operator]
        if stored.numbers() != undisturbed[key].numbers():
            problems.append(f"{key}: other numbers than undisturbed ({stored.status}: {stored.error})")
        elif stored.predictions != undisturbed[key].predictions:
            problems.append(f"{key}: other predictions than undisturbed")
    return problems


def _in_mlflow(uri: str, keys: set[str]) -> list[str]:
    from ltbench.tracking import mlflow_store

    found = [result.key for result in mlflow_store.read(uri, "storm")[0]]
    twice = {key for key in found if found.count(key) > 1}
    return [f"{key} is in MLflow {found.count(key)} times" for key in sorted(twice)] + [
        f"{key} is not in MLflow" for key in sorted(keys - set(found))
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.storm", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="trials are six times as many")
    parser.add_argument("--kills", type=int, default=20, help="of workers and drivers")
    parser.add_argument("--node-kills", type=int, default=5)
    parser.add_argument("--nodes", type=int, default=3, help="0: no cluster, the driver starts Ray itself")
    parser.add_argument("--outages", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="storm-") as folder:
        report = storm(
            Path(folder), Path(folder) / "data", chosen.seeds, chosen.kills, chosen.outages, chosen.seed,
            nodes=chosen.nodes, node_kills=chosen.node_kills if chosen.nodes else 0,
        )  # fmt: skip
        print(report)
        if report.problems:
            print((Path(folder) / "driver.log").read_text()[-5000:])
    return int(bool(report.problems))


if __name__ == "__main__":
    sys.exit(main())
