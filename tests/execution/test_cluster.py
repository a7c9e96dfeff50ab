"""`ltbench run --address` on a cluster that is already there: two nodes on this machine, a method from a folder that
only the driver sees."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.execution.shared_cluster import SharedCluster

pytestmark = pytest.mark.slow


@pytest.mark.nightly
def test_a_suite_runs_on_a_cluster_with_a_method_of_the_users(
    shared_cluster: SharedCluster, tmp_path: Path, data_root: Path
) -> None:
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
        *(sys.executable, "-m", "ltbench", "run", str(suite), "--methods", str(mine), "--data", str(data_root)),
        *("--results", str(tmp_path / "results"), "--seeds", "0,1", "--set", "recipes.scratch.epochs=2"),
        *("--address", shared_cluster.address),
    ]
    environment = shared_cluster.environment()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    records = [json.loads(f.read_text()) for f in (tmp_path / "results" / "on_cluster" / "records").glob("*.json")]
    assert sorted(r["spec"]["label"] for r in records) == ["ce"] * 4 + ["louder"] * 4
    assert {r["status"] for r in records} == {"ok"}
    assert "8 of 8 trials, 0 failed, 0 missing" in done.stdout
    assert list((shared_cluster.own_data / "packed").iterdir()), "the second node used its own folder"
