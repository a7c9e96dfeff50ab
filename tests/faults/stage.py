"""What a storm strikes: a tracking server, the nodes of a Ray cluster, and the processes in which trials run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

MARK = "LTBENCH_STORM"
NODE = "LTBENCH_STORM_NODE"


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


class Nodes:
    """A Ray cluster on loopback: a head that runs no trials, and nodes of one CPU that come and go."""

    def __init__(self, number: int, mark: str) -> None:
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t" * 64, "RAY_USAGE_STATS_ENABLED": "0"}
        os.environ.update(self.environment)
        from ray.cluster_utils import Cluster

        self._mark, self._began = mark, 0
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
        self._there[name] = self._cluster.add_node(num_cpus=1, env_vars={MARK: self._mark, NODE: name})

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


def workers_of(mark: str, node: str | None = None) -> list[int]:
    """Processes of this storm in which a trial runs: all, or those of a node."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            title = (folder / "cmdline").read_bytes()
            variables = (folder / "environ").read_bytes().split(b"\0")
            ours = f"{MARK}={mark}".encode() in variables
            ours = ours and (node is None or f"{NODE}={node}".encode() in variables)
            if ours and title.startswith(b"ray::") and b"IDLE" not in title:
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue
    return sorted(found)
