"""The storm itself: what runs, which faults come when, and what it adds up to."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ltbench.planning.planner import make_plan
from ltbench.planning.resolve import resolve
from ltbench.registry import Registry, read_sources
from ltbench.suite.load import load_suite
from ltbench.system.remote import Remote
from ltbench.training.site import Site
from tests.faults.storm.faults import FAULTS, SHARES, Stage
from tests.faults.storm.judge import differences, in_mlflow, undisturbed
from tests.faults.storm.side import Side
from tests.faults.storm.stage import MARK, Clock, Nodes, object_store, tracking_server

SUITE = """
suite: storm
question: Does anything get lost?
text: {{encoder: bundled}}
datasets: [{{name: digits, imbalance: [20, 50]}}]
recipes:
  scratch: {{backbone: cnn_small, epochs: 20, batch_size: 32, augment: crop,
             optimizer: {{name: sgd, lr: 0.05, momentum: 0.9}}}}
methods: [slow_ce, slow_crt, slow_mixup]
protocol: {{final: {{seeds: {seeds}}}, reference: slow_ce}}
resources: {{checkpoint_seconds: 0.3, retries: 50}}
"""
METHOD = f"""
import os, time
from ltbench.methods.{{module}} import {{parent}}

class Slow({{parent}}):
    "As its parent, and at a walking pace in a storm: there is time to be hit."
    def loss(self, logits, target, now):
        time.sleep(0.01 if "{MARK}" in os.environ else 0)
        return super().loss(logits, target, now)
"""
PARENTS = {"slow_ce": ("ce", "CrossEntropy"), "slow_crt": ("crt", "ClassifierRetraining"),
           "slow_mixup": ("text_guided_mixup", "TextGuidedMixup")}  # fmt: skip
CHANCE = 0.05
"""Of a fault over a side, five times a second: trials have seconds to get on."""
REPAIR = (2.0, 6.0)
"""Seconds until what is broken is mended."""
LIMIT = 1800.0
"""Seconds that a command without faults has to end."""
CHECKPOINTS = "s3://storm/checkpoints"


@dataclass
class Report:
    """What happened, and what is left of it."""

    trials: int
    """Of both sides."""
    faults: Counter[str] = field(default_factory=Counter)
    commands: int = 0
    seconds: float = 0.0
    hit: int = 0
    resumed: list[int] = field(default_factory=list)
    """How often each trial went on from a checkpoint, of those that did."""
    problems: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """Faults that did not come: all trials were there, or the time was over."""

    def __str__(self) -> str:
        kills = sum(number for name, number in self.faults.items() if FAULTS[name].kill)
        return "\n".join([
            f"{self.trials} trials by two drivers, {kills} kills, {self.commands} commands, {self.seconds:.0f} s",
            ", ".join(f"{name}: {self.faults[name]}" for name in FAULTS),
            f"{self.hit} running trials were hit; {len(self.resumed)} trials went on from a checkpoint, "
            f"{sum(self.resumed)} times in all",
            f"did not come: {', '.join(self.left) or 'none'}",
            *(f"PROBLEM: {problem}" for problem in self.problems),
            f"{len(self.problems)} problems",
        ])  # fmt: skip


def storm(folder: Path, seeds: int, kills: int, seed: int = 0, minutes: float = 30.0) -> Report:
    """Two drivers run a suite of `6 * seeds` trials at the same time: one with its own Ray and checkpoints in its
    folder, one on a cluster of two nodes with checkpoints in an object store. Faults come over them, then they run
    until they are done, and it is looked at what is there: every key once in each journal and once in MLflow, every
    record that of an undisturbed run.

    Args:
        folder: for all of it. kills: of all kinds together. seed: of what comes when. minutes: after so long no more
            faults come.
    """
    suite, methods, data = folder / "storm.yaml", folder / "methods", folder / "data"
    suite.write_text(SUITE.format(seeds=list(range(seeds))))
    methods.mkdir()
    for name, (module, parent) in PARENTS.items():
        (methods / f"{name}.py").write_text(METHOD.format(module=module, parent=parent))
    plan, inputs = make_plan(resolve(load_suite(str(suite), []), Registry(methods), data))
    stage = _set_up(folder, ["run", str(suite), "--methods", str(methods), "--data", str(data)], seed)
    report, began = Report(2 * len(plan.trials)), time.monotonic()
    try:
        report.left = _blow(stage, _faults(kills, stage.rng), report, began + 60 * minutes)
        for side in stage.sides:
            side.finish(LIMIT)
        report.seconds, report.hit = time.monotonic() - began, stage.hit
        site = Site(data, texts=inputs.texts, methods=read_sources(methods), device="cpu", threads=1)
        expected = undisturbed(plan.trials, site)
        for side in stage.sides:
            report.commands += side.commands
            report.problems += [*side.problems, *differences(side.name, expected, side.folders.journal)]
            facts = [record.environment for record in side.folders.journal.records().values()]
            report.resumed += [resumed for fact in facts if (resumed := fact.get("resumed", 0))]
        report.problems += in_mlflow(stage.tracking.uri, {*expected})
    finally:
        _take_down(stage)
    return report


def _set_up(folder: Path, arguments: list[str], seed: int) -> Stage:
    """Servers, a cluster, and the two sides, which do nothing yet."""
    tracking, objects, clock = tracking_server(folder), object_store(folder), Clock(folder)
    s3 = {"AWS_ENDPOINT_URL": objects.uri, "AWS_ACCESS_KEY_ID": "storm", "AWS_SECRET_ACCESS_KEY": "storm",
          "AWS_DEFAULT_REGION": "us-east-1"}  # fmt: skip
    os.environ.update(s3)
    for server in (tracking, objects):
        server.start()
    for server in (tracking, objects):
        server.wait()
    checkpoints = Remote(CHECKPOINTS)
    checkpoints.open()[0].mkdir("storm")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_"))}
    ray = {"RAY_worker_niceness": "0"}  # else trials would wait for whatever else the machine does
    environment |= {"HF_HUB_OFFLINE": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5", **ray, **clock.environment}
    nodes = Nodes(2, f"{folder.name}-away", {**s3, **ray, **clock.environment})
    command = [*arguments, "--tracking-uri", tracking.uri]
    sides = [
        Side("home", folder, command, environment),
        Side("away", folder, [*command, "--address", nodes.address, "--checkpoints", CHECKPOINTS],
             environment | nodes.environment, checkpoints / "storm", nodes),
    ]  # fmt: skip
    return Stage(np.random.default_rng(seed), sides, tracking, objects, clock)


def _take_down(stage: Stage) -> None:
    for side in stage.sides:
        side.stop()
        if side.nodes is not None:
            side.nodes.stop()
    stage.tracking.stop()
    stage.objects.stop()


def _faults(kills: int, rng: np.random.Generator) -> list[str]:
    """Names of faults in the order in which they come."""
    unit = sum(share for name, share in SHARES.items() if FAULTS[name].kill)
    names = [name for name, share in SHARES.items() for _ in range(round(share * kills / unit))]
    rng.shuffle(names)
    return names


def _blow(stage: Stage, coming: list[str], report: Report, until: float) -> list[str]:
    """Strike while there is something to strike; the faults that never came."""
    trials = report.trials // len(stage.sides)
    while (coming or stage.mends) and time.monotonic() < until:
        time.sleep(0.2)
        for name, (when, mend) in [*stage.mends.items()]:
            if time.monotonic() > when:
                mend()
                del stage.mends[name]
        standing = [side for side in stage.sides if _drives(side, trials)]
        if not standing:
            break
        for side in standing:
            if not side.struck and stage.rng.random() < CHANCE:
                _strike(stage, coming, side, report)
    for _, mend in stage.mends.values():
        mend()
    stage.tracking.wait()
    return coming


def _drives(side: Side, trials: int) -> bool:
    """Whether a driver runs; it is started again unless all trials are there."""
    if side.driver is not None:
        side.look()
    if side.driver is None and len(side.folders.journal.keys()) < trials:
        side.start()
    return side.driver is not None


def _strike(stage: Stage, coming: list[str], side: Side, report: Report) -> None:
    """The first fault that can come over a side now, if there is one."""
    ready = {check: check(stage, side) for check in {FAULTS[name].ready for name in coming}}
    name = next((name for name in coming if ready[FAULTS[name].ready] and name not in stage.mends), None)
    if name is None:
        return
    mend = FAULTS[name].strike(stage, side)
    side.was_struck()
    coming.remove(name)
    report.faults[name] += 1
    if mend is not None:
        stage.mends[name] = (time.monotonic() + stage.rng.uniform(*REPAIR), mend)
