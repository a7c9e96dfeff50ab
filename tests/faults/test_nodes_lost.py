"""Three nodes on this machine, one of which is lost while it trains: its trial goes on elsewhere, numbers and all."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ltbench.registry import read_sources
from ltbench.results.folders import Folders
from ltbench.spec import TrialSpec
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

METHOD = """
import os, pathlib, time
from ltbench.api import Method

class Slow(Method):
    "Leaves marks of where it trained."
    steps = 0
    def loss(self, logits, target, now):
        self.steps += 1
        (pathlib.Path(MARKS) / f"{os.environ.get('TEST_NODE', 'none')} {os.getpid()} {self.steps}").touch()
        time.sleep(0.03 if "TEST_NODE" in os.environ else 0)
        return super().loss(logits, target, now)
"""
SUITE = """
suite: three
datasets: [{name: digits, imbalance: [20]}]
recipes:
  scratch:
    backbone: cnn_small
    epochs: 12
    batch_size: 32
    optimizer: {name: sgd, lr: 0.05, momentum: 0.9}
    augment: crop
methods: [slow]
protocol: {final: {seeds: [0, 1, 2, 3, 4, 5]}, reference: slow}
resources: {checkpoint_seconds: 0.2}
"""
CLUSTER = """
import os, pathlib, subprocess, sys, time
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="t" * 64, RAY_USAGE_STATS_ENABLED="0")
from ray.cluster_utils import Cluster
marks = pathlib.Path(sys.argv[1])
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = {n: cluster.add_node(num_cpus=1, env_vars={"TEST_NODE": n}) for n in ("n1", "n2", "n3")}
driver = subprocess.Popen([sys.executable, "-m", "ltbench", "run", *sys.argv[2:], "--address", cluster.address])
while driver.poll() is None and not any(f.name.startswith("n2 ") and f.name.endswith(" 40") for f in marks.iterdir()):
    time.sleep(0.05)
cluster.remove_node(nodes["n2"], allow_graceful=False)
pids = {int(f.name.split()[1]) for f in marks.iterdir() if f.name.startswith("n2 ")}
for pid in pids:  # a lost machine takes its workers along
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        pass
code = driver.wait()
cluster.shutdown()
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.nightly
def test_the_trial_of_a_lost_node_goes_on_elsewhere(tmp_path: Path, data_root: Path, site: Site) -> None:
    mine, marks = tmp_path / "mine", tmp_path / "marks"
    mine.mkdir()
    marks.mkdir()
    (mine / "slow.py").write_text(METHOD.replace("MARKS", repr(str(marks))))
    (tmp_path / "suite.yaml").write_text(SUITE)
    command = [sys.executable, "-c", CLUSTER, str(marks), str(tmp_path / "suite.yaml"), "--methods", str(mine),
               "--data", str(data_root), "--results", str(tmp_path / "results")]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_", "LTBENCH_"))}
    environment |= {"RAY_worker_niceness": "0"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert {f.name.split()[0] for f in marks.iterdir()} == {"n1", "n2", "n3"}, "trials spread over the nodes"
    folders = Folders(tmp_path / "results", "three")
    records = folders.journal.records()
    assert len(records) == 6
    assert sorted(r.environment["resumed"] for r in records.values()) == [0, 0, 0, 0, 0, 1]
    (moved,) = [r for r in records.values() if r.environment["resumed"]]
    assert "checkpoint_messages" not in moved.environment
    for key, record in records.items():
        spec = TrialSpec.from_json(record.spec.to_json())
        alone = run_trial(spec, replace(site, methods=read_sources(mine)))
        assert alone.numbers() == replace(record, spec=spec).numbers()
        assert alone.predictions == folders.journal.predictions(key)
    assert not list(folders.checkpoints.iterdir())
