"""What a storm strikes: servers, the nodes of a Ray cluster, the clock, and the processes of a driver."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

MARK = "LTBENCH_STORM"
NODE = "LTBENCH_STORM_NODE"
LIGHT = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""MLflow's server without four processes for other work."""


class Server:
    """A server on loopback, which can be stopped and started, or held up. `uri`: its address."""

    def __init__(self, name: str, folder: Path, *command: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.uri, self._log = f"http://127.0.0.1:{self._port}", folder / f"{name}.log"
        self._command = [sys.executable, *command, "--host", "127.0.0.1", "--port", str(self._port)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns at once."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True, env=LIGHT)

    def wait(self) -> None:
        """Until it accepts a connection."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            except OSError:
                time.sleep(0.2)
            else:
                return
        raise TimeoutError(f"{self._command[2]} does not start")

    def signal(self, number: int) -> None:
        """To all of its processes."""
        if self._process is not None:
            os.killpg(self._process.pid, number)

    def stop(self) -> None:
        """Without a word to those who are connected."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


def tracking_server(folder: Path) -> Server:
    """MLflow's own."""
    store, artifacts = f"sqlite:///{folder / 'server.db'}", str(folder / "artifacts")
    return Server("mlflow", folder, "-m", "mlflow", "server", "--backend-store-uri", store,
                  "--artifacts-destination", artifacts, "--workers", "1")  # fmt: skip


def object_store(folder: Path) -> Server:
    """S3 as far as moto has it, in memory."""
    return Server("s3", folder, "-m", "moto.server")


class Clock:
    """The `time.time` of processes with this `environment` (clock/sitecustomize.py)."""

    def __init__(self, folder: Path) -> None:
        self._file, self._ahead = folder / "clock", 0
        self.environment = {"PYTHONPATH": str(Path(__file__).parent / "clock"), "LTBENCH_STORM_CLOCK": str(self._file)}
        self.set(0)

    def set(self, ahead: int, *stamped: Path) -> None:
        """Seconds ahead of the true time; files that were stamped before then lie in the past or the future."""
        step, self._ahead = ahead - self._ahead, ahead
        aside = self._file.with_suffix(".new")
        aside.write_text(str(ahead))
        aside.replace(self._file)
        for file in stamped:
            with suppress(FileNotFoundError):
                os.utime(file, (now := file.stat().st_mtime - step, now))


class Nodes:
    """A Ray cluster on loopback: a head that runs no trials, and nodes of one CPU that come and go."""

    def __init__(self, number: int, mark: str, environment: Mapping[str, str]) -> None:
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t" * 64, "RAY_USAGE_STATS_ENABLED": "0"}
        os.environ.update(self.environment)
        from ray.cluster_utils import Cluster

        self._mark, self._began, self._variables = mark, 0, dict(environment)
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self._there: dict[str, Any] = {}
        for _ in range(number):
            self.add()
        self._cluster.wait_for_nodes(60)
        self._full = number
        self.address = str(self._cluster.address)

    @property
    def one_is_missing(self) -> bool:
        return len(self._there) < self._full

    def add(self) -> None:
        name, self._began = f"n{self._began}", self._began + 1
        self._there[name] = self._cluster.add_node(
            num_cpus=1, env_vars={**self._variables, MARK: self._mark, NODE: name}
        )

    def kill(self, rng: np.random.Generator) -> int:
        """A node with all that runs there; how many of them were trials."""
        name = str(rng.choice(sorted(self._there)))
        workers = workers_of(self._mark, name)
        self._cluster.remove_node(self._there.pop(name), allow_graceful=False)
        for pid in {*workers, *workers_of(self._mark, name)}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(workers)

    def stop(self) -> None:
        self._cluster.shutdown()


def processes_of(mark: str, part: str, node: str | None = None) -> list[int]:
    """Processes of this driver, or of one of its nodes, with this in their name."""
    wanted = {f"{MARK}={mark}".encode(), *([] if node is None else [f"{NODE}={node}".encode()])}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            name = (folder / "cmdline").read_bytes().split(b"\0")[0]
            if part.encode() in name and wanted <= {*(folder / "environ").read_bytes().split(b"\0")}:
                found.append(int(folder.name))
    return sorted(found)


def workers_of(mark: str, node: str | None = None) -> list[int]:
    """Processes in which a trial runs. (Ray names a worker after what it does: IDLE, a task, or the class of an actor;
    its own agents on a node are named like that, too.)"""
    return processes_of(mark, "ray::ImplicitFunc", node)
