"""A storm: a suite runs while its workers and its driver are killed at random times and its tracking server goes away
and comes back. `python -m tests.faults.storm` (or `make storm`) for the long form; `test_storm.py` runs a short one."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ltbench.plan import make_plan
from ltbench.registry import Registry
from ltbench.run import Folders
from ltbench.site import Site
from ltbench.spec import Record
from ltbench.suiteload import load_suite
from ltbench.trial import run_trial

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
MARK = "LTBENCH_STORM"
LIMIT = 900.0
"""Seconds after which the storm gives up."""


@dataclass
class Report:
    """What happened, and what is left of it."""

    trials: int
    worker_kills: int = 0
    driver_kills: int = 0
    outages: int = 0
    commands: int = 0
    seconds: float = 0.0
    resumed: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{self.trials} trials, {self.worker_kills} workers and {self.driver_kills} drivers killed, the tracking "
            f"server away {self.outages} times: {self.commands} commands, {self.seconds:.0f} s, {self.resumed} trials "
            f"went on from a checkpoint",
            *(f"PROBLEM: {problem}" for problem in self.problems),
        ]
        return "\n".join(lines)


class Server:
    """MLflow's own server on loopback, which can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.uri, self._folder = f"http://127.0.0.1:{self.port}", folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def up(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        store, artifacts = f"sqlite:///{self._folder / 'server.db'}", str(self._folder / "artifacts")
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store,
                   "--artifacts-destination", artifacts, "--host", "127.0.0.1", "--port", str(self.port),
                   "--workers", "1"]  # fmt: skip
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.2)
            else:
                return
        raise TimeoutError("the tracking server does not start")

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def storm(folder: Path, data: Path, seeds: int, kills: int, outages: int, seed: int = 0) -> Report:
    """Run the suite in `folder` through `kills` kills and `outages` outages, then until it is done, and look at what
    is there: every key once in the journal and once in MLflow, every record that of an undisturbed run."""
    rng = np.random.default_rng(seed)
    suite = folder / "storm.yaml"
    suite.write_text(SUITE.format(seeds=list(range(seeds))))
    server, results = Server(folder), folder / "results"
    command = [sys.executable, "-m", "ltbench", "run", str(suite), "--results", str(results), "--data", str(data),
               "--tracking-uri", server.uri]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_"))}
    environment |= {MARK: folder.name, "HF_HUB_OFFLINE": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
    plan, inputs = make_plan(load_suite(str(suite), []), Registry(), data)
    report, journal = Report(len(plan.trials)), Folders(results, "storm").journal
    events = ["kill"] * kills + ["outage"] * outages
    rng.shuffle(events)
    began = time.monotonic()
    driver: subprocess.Popen[bytes] | None = None
    try:
        server.start()
        server.wait()
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
            elif events and _strike(events[-1], rng, driver, server, folder.name, report):
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
        report.resumed = sum(bool(r.environment.get("resumed")) for r in journal.records().values())
        if events:
            report.problems.append(f"{len(events)} events never came: the suite was too short")
    finally:
        if driver is not None and driver.poll() is None:
            os.killpg(driver.pid, signal.SIGKILL)
        server.stop()
    return report


def _start(command: list[str], environment: Mapping[str, str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "driver.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=dict(environment), start_new_session=True)


def _strike(
    event: str, rng: np.random.Generator, driver: subprocess.Popen[bytes], server: Server, mark: str, report: Report
) -> bool:
    """Do one event; False if there was nothing to strike."""
    if event == "outage":
        if server.up:
            server.stop()
            report.outages += 1
            return False  # the event is over when the server is back
        server.start()
        return True
    if rng.random() < 0.3:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        report.driver_kills += 1
        return True
    workers = _workers(mark)
    if not workers:
        return False
    os.kill(int(rng.choice(workers)), signal.SIGKILL)
    report.worker_kills += 1
    return True


def _workers(mark: str) -> list[int]:
    """Processes of this storm in which a trial runs."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            title = (folder / "cmdline").read_bytes()
            ours = f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0")
            if ours and title.startswith(b"ray::") and b"IDLE" not in title:
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue
    return sorted(found)


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
    from ltbench import track

    found = [result.key for result in track.read(uri, "storm")[0]]
    twice = {key for key in found if found.count(key) > 1}
    return [f"{key} is in MLflow {found.count(key)} times" for key in sorted(twice)] + [
        f"{key} is not in MLflow" for key in sorted(keys - set(found))
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.storm", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="trials are six times as many")
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--outages", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="storm-") as folder:
        report = storm(Path(folder), Path(folder) / "data", chosen.seeds, chosen.kills, chosen.outages, chosen.seed)
        print(report)
        if report.problems:
            print((Path(folder) / "driver.log").read_text()[-5000:])
    return int(bool(report.problems))


if __name__ == "__main__":
    sys.exit(main())
