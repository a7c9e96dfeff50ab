"""`ltbench run --address` on a cluster that is already there: three nodes on this machine, a method from a folder that
only the driver sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CLUSTER = """
import os, subprocess, sys
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="t" * 64, RAY_USAGE_STATS_ENABLED="0")
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
code = subprocess.call([sys.executable, "-m", "ltbench", "run", *sys.argv[1:], "--address", cluster.address])
cluster.shutdown()
sys.exit(code)
"""


def test_a_suite_runs_on_a_cluster_with_a_method_of_the_users(tmp_path: Path, data_root: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "louder.py").write_text(
        "import os\nfrom ltbench.api import Method\nfrom .shared_part import twice\n\n\nclass Louder(Method):\n"
        "    '''Twice the loss.'''\n    def loss(self, logits, target, now):\n"
        f"        assert not __file__.startswith({str(mine)!r}), 'on another machine there is no such folder'\n"
        f"        assert os.getcwd() != {str(tmp_path)!r}, 'a worker is elsewhere'\n"
        "        return twice(super().loss(logits, target, now))\n"
    )
    (mine / "shared_part.py").write_text("def twice(x):\n    return 2 * x\n")
    suite = tmp_path / "s.yaml"
    quickstart = Path(__file__).parents[2] / "suites" / "quickstart.yaml"
    suite.write_text(f"extends: {quickstart}\nsuite: on_cluster\nmethods: {{scratch: [ce, louder]}}\n")
    command = [
        *(sys.executable, "-c", CLUSTER, str(suite), "--methods", str(mine), "--results", str(tmp_path / "results")),
        *("--data", str(data_root), "--seeds", "0,1", "--set", "recipes.scratch.epochs=2"),
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    records = [json.loads(f.read_text()) for f in (tmp_path / "results" / "on_cluster" / "records").glob("*.json")]
    assert sorted(r["spec"]["label"] for r in records) == ["ce"] * 4 + ["louder"] * 4
    assert {r["status"] for r in records} == {"ok"}
    assert "8 of 8 trials, 0 failed, 0 missing" in done.stdout
