"""One Ray cluster for the whole session, for the tests that only need some cluster; fixtures for all tests.

Nodes and drivers that are killed are killed elsewhere: such tests start a Ray of their own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

STORE = 100_000_000
"""Bytes of each node's object store; records are small."""


class SharedCluster:
    """Two nodes of one CPU each; the second has a data folder of its own, as machines of a cluster may.

    Attributes:
        address: for `--address` and RAY_ADDRESS. own_data: the data folder of the second node.
    """

    def __init__(self, own_data: Path) -> None:
        import ltbench.execution.cluster  # noqa: F401 - first: it chooses the token that the nodes inherit

        from ray.cluster_utils import Cluster  # isort: skip

        head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": STORE}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address, self.own_data = str(self._cluster.address), own_data
        self._cluster.add_node(num_cpus=1, object_store_memory=STORE, env_vars={"LTBENCH_DATA": str(own_data)})
        self._cluster.wait_for_nodes(60)

    @contextmanager
    def node(self, **variables: str) -> Iterator[None]:
        """One more node of one CPU, with these environment variables, until the block is left."""
        there: Any = self._cluster.add_node(num_cpus=1, object_store_memory=STORE, env_vars=variables)
        try:
            self._cluster.wait_for_nodes(60)
            yield
        finally:
            self._cluster.remove_node(there, allow_graceful=True)

    def environment(self) -> dict[str, str]:
        """For drivers in other processes: nothing of this one's but how to join."""
        mine = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_", "LTBENCH_"))}
        return {
            **mine,
            **{k: v for k, v in os.environ.items() if k.startswith(("RAY_AUTH_", "RAY_ENABLE_", "RAY_worker_"))},
        }

    def stop(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedCluster]:
    cluster = SharedCluster(tmp_path_factory.mktemp("own_data"))
    yield cluster
    cluster.stop()


@pytest.fixture
def on_cluster(shared_cluster: SharedCluster, monkeypatch: pytest.MonkeyPatch) -> SharedCluster:
    """From here on in this process, Ray is the shared cluster."""
    monkeypatch.setenv("RAY_ADDRESS", shared_cluster.address)
    return shared_cluster
