"""The files of cluster/: their form as Ray, Kubernetes and a shell want it, and what the script does with a signal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"


# -- the launcher ------------------------------------------------------------------------------------------------------


def launcher() -> Any:
    return yaml.safe_load((CLUSTER / "launcher.yaml").read_text(encoding="utf-8"))


def validated(config: Any) -> Any:
    util = pytest.importorskip("ray.autoscaler._private.util")
    prepared = util.prepare_config(config)
    util.validate_config(prepared)
    return prepared


def test_the_launcher_is_valid_for_ray() -> None:
    assert validated(launcher())["cluster_name"] == "ltbench"


def test_the_validator_would_notice_a_misspelt_key() -> None:
    with pytest.raises(Exception, match="file_mount"):
        validated({**launcher(), "file_mount": {}})


def test_every_ray_of_the_launcher_wants_the_token() -> None:
    config = launcher()
    for part in ("head_start_ray_commands", "worker_start_ray_commands"):
        (start,) = [c for c in config[part] if "ray start" in c]
        assert "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=/opt/ltbench-token" in start
    assert config["file_mounts"]["/opt/ltbench-token"]


# -- KubeRay -----------------------------------------------------------------------------------------------------------


def test_the_manifest_has_what_a_rayjob_needs() -> None:
    job = yaml.safe_load((CLUSTER / "rayjob.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert spec["entrypoint"].split()[:2] == ["ltbench", "run"]
    assert spec["shutdownAfterJobFinishes"] is True
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", cluster["rayVersion"])
    (workers,) = cluster["workerGroupSpecs"]
    assert {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"} <= set(workers)
    pods = [cluster["headGroupSpec"]["template"]["spec"], workers["template"]["spec"]]
    assert len({pod["containers"][0]["image"] for pod in pods}) == 1, "the same ltbench everywhere"
    for pod in pods:
        (container,) = pod["containers"]
        assert set(container["resources"]) == {"requests", "limits"}
        (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
        assert mount["name"] == volume["name"]
        assert f"--results {mount['mountPath']}/" in spec["entrypoint"]
    assert all(isinstance(v, str) for v in cluster["headGroupSpec"]["rayStartParams"].values())


# -- Slurm -------------------------------------------------------------------------------------------------------------

STUBS = {
    "ray": 'echo "ray $@" >> "$LOG"',
    "srun": 'echo "srun $@" >> "$LOG"; sleep 60',
    "scontrol": 'echo "scontrol $@" >> "$LOG"',
    "python": 'until grep -q ^srun "$LOG"; do sleep 0.05; done; echo "nodes wait" >> "$LOG"',  # as it waits for nodes
    "ltbench": 'echo "ltbench $@" >> "$LOG"; trap "sleep 0.3; exit 143" TERM; [ "$2" = quick ] || sleep 60 & wait',
}


def submit(tmp_path: Path, *arguments: str, nodes: int = 2) -> tuple[subprocess.Popen[bytes], Path]:
    """The script in a place where all it calls are stubs that note how they were called."""
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    for name, body in STUBS.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "LOG": str(tmp_path / "log"), "SLURM_SUBMIT_DIR": str(tmp_path),
                   "SLURM_JOB_ID": "123", "SLURM_JOB_NUM_NODES": str(nodes)}  # fmt: skip
    with (tmp_path / "told").open("w") as told:  # a pipe would be held open by the stubs
        script = subprocess.Popen(["bash", str(CLUSTER / "slurm.sbatch"), *arguments], env=environment, stdout=told,
                                  stderr=told, start_new_session=True)  # fmt: skip
    return script, tmp_path / "log"


@pytest.fixture
def group() -> Iterator[list[int]]:
    """Process groups to end with the test."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def test_the_script_is_a_shell_script() -> None:
    assert subprocess.run(["bash", "-n", str(CLUSTER / "slurm.sbatch")], check=False).returncode == 0


def test_the_script_runs_the_suite_on_all_nodes_and_cleans_up(tmp_path: Path, group: list[int]) -> None:
    script, log = submit(tmp_path, "quick", "--seeds", "0,1")
    group.append(script.pid)
    assert script.wait(timeout=30) == 0, (tmp_path / "told").read_text()
    lines = log.read_text().splitlines()
    (driver,) = [line for line in lines if line.startswith("ltbench")]
    assert re.fullmatch(r"ltbench run quick --seeds 0,1 --address \S+:20123", driver)
    assert any(line.startswith("srun --nodes=1 --ntasks=1 --exclude=") for line in lines)
    assert "ray stop --force" in lines
    assert "scontrol requeue 123" not in lines
    assert not list(tmp_path.glob(".ray-token*"))


def test_before_the_time_limit_the_script_stops_the_driver_and_queues_the_job_again(
    tmp_path: Path, group: list[int]
) -> None:
    script, log = submit(tmp_path, "long", nodes=1)
    group.append(script.pid)
    deadline = time.monotonic() + 20
    while not (log.exists() and "ltbench run long" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    assert (tmp_path / ".ray-token-123").stat().st_mode & 0o077 == 0
    script.send_signal(signal.SIGTERM)
    assert script.wait(timeout=30) == 143
    lines = log.read_text().splitlines()
    assert lines.index("scontrol requeue 123") < lines.index("ray stop --force")
    assert not list(tmp_path.glob(".ray-token*"))


def test_without_a_suite_the_script_says_how_to_call_it(tmp_path: Path) -> None:
    script, _ = submit(tmp_path)
    assert script.wait(timeout=10) == 2
    assert "usage: sbatch" in (tmp_path / "told").read_text()
