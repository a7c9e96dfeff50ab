"""Ray Tune for real, on this machine: the same numbers as inline, failures as records, lost workers retried."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ltbench.execution.resources import Need, Resources
from ltbench.execution.sharing import Sharing
from ltbench.registry import Registry, fingerprint, read_sources
from ltbench.results.folders import Folders
from ltbench.spec import Record, TrialSpec
from ltbench.training.site import Site
from ltbench.training.trial import run_trial
from tests.execution.shared_cluster import SharedCluster

pytestmark = pytest.mark.slow
Make = Callable[..., TrialSpec]

HELPER = """
import os, pathlib, signal, time

def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)

def once(marker: str) -> bool:
    path = pathlib.Path(marker)
    if path.exists():
        return False
    path.touch()
    return True
"""
METHODS = {
    "raises": "        raise ValueError('a mistake of the author')\n",
    "dies": "        die()\n",
    "dies_once": "        if once(MARKER):\n            die()\n",
    "hangs": "        time.sleep(600)\n",
}


HOURS = Need(hours=12 / 3600, memory_gb=2)


@pytest.fixture(scope="module")
def user_methods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: methods that fail in three ways, sharing a helper module."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "deadly.py").write_text(HELPER)
    for name, body in METHODS.items():
        (folder / f"{name}.py").write_text(
            "from ltbench.api import Method\nfrom .deadly import die, once, time\n\n"
            f"MARKER = {str(folder / 'marker')!r}\n\n"
            f"class Mine(Method):\n    '''Fails.'''\n    def loss(self, logits, target, now):\n{body}"
            f"        return super().loss(logits, target, now)\n"
        )
    return folder


class Notes:
    """What the scheduler told."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.started_keys: list[str] = []

    def started(self, spec: TrialSpec) -> None:
        self.started_keys.append(spec.key)

    def progressed(self, spec: TrialSpec, fraction: float, loss: float | None = None) -> None:
        assert 0.0 <= fraction <= 1.0

    def noted(self, message: str) -> None:
        raise AssertionError(message)

    def finished(self, record: Record) -> None:
        assert record.key not in self.records, "each trial ends once"
        self.records[record.key] = record


@pytest.fixture(scope="module")
def specs(make_spec: Make, user_methods: Path) -> dict[str, TrialSpec]:
    """Trials by name: four good ones, and one of each kind of failure."""
    registry = Registry(user_methods)
    good = {f"{m}{s}": make_spec(m, seed=s) for m in ("ce", "text_guided_mixup") for s in (0, 1)}
    bad = {
        name: replace(make_spec("ce"), label=name, method=name, code=fingerprint(registry.get(name)))
        for name in METHODS
    }
    return {**good, **bad}


@pytest.fixture(scope="module")
def outcome(specs: dict[str, TrialSpec], site: Site, user_methods: Path, shared_cluster: SharedCluster) -> Notes:
    """One run of all of them through Ray."""
    from ltbench.execution.tune import run_on_ray

    notes, there = Notes(), replace(site, methods=read_sources(user_methods))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", shared_cluster.address)
        run_on_ray(list(specs.values()), there, Resources(retries=1, methods={"hangs": HOURS}), notes)
    return notes


def test_every_trial_ends_in_exactly_one_record(outcome: Notes, specs: dict[str, TrialSpec]) -> None:
    assert set(outcome.records) == {s.key for s in specs.values()}


def test_numbers_are_bit_equal_to_those_of_this_process(
    outcome: Notes, specs: dict[str, TrialSpec], site: Site
) -> None:
    for name in ("ce0", "ce1", "text_guided_mixup0", "text_guided_mixup1"):
        spec = specs[name]
        assert outcome.records[spec.key].numbers() == run_trial(spec, site).numbers()


def test_trials_get_one_thread_per_cpu(outcome: Notes, specs: dict[str, TrialSpec]) -> None:
    assert outcome.records[specs["ce0"].key].environment["threads"] == 1


def test_a_mistake_in_a_method_is_recorded_and_not_retried(outcome: Notes, specs: dict[str, TrialSpec]) -> None:
    record = outcome.records[specs["raises"].key]
    assert record.status == "failed"
    assert "a mistake of the author" in (record.error or "")
    assert outcome.started_keys.count(record.key) == 1


def test_a_worker_that_keeps_dying_becomes_a_failed_record(outcome: Notes, specs: dict[str, TrialSpec]) -> None:
    record = outcome.records[specs["dies"].key]
    assert record.status == "failed"
    assert "worker process was lost" in (record.error or "")


def test_a_worker_that_dies_once_is_retried(outcome: Notes, specs: dict[str, TrialSpec]) -> None:
    assert outcome.records[specs["dies_once"].key].status == "ok"


def test_a_trial_that_hangs_is_ended_and_not_retried(outcome: Notes, specs: dict[str, TrialSpec]) -> None:
    record = outcome.records[specs["hangs"].key]
    assert record.environment["timed_out"] is True
    assert "hangs.py" in (record.error or "")
    assert outcome.started_keys.count(record.key) == 1


# -- GPUs that Ray is told of and that nobody has ----------------------------------------------------------------------

FAKE_GPUS = """
import os, sys
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="t" * 64, RAY_USAGE_STATS_ENABLED="0")
from ray.cluster_utils import Cluster
store = {"object_store_memory": 10**8}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **store})
for name, gpus, memory in (("small", 1, "8"), ("large", 1, "24"), ("plain", 0, "0")):
    cluster.add_node(num_cpus=2, num_gpus=gpus, env_vars={"TEST_NODE": name, "TEST_GPU_GB": memory}, **store)
cluster.wait_for_nodes(60)
from ltbench import cli
from ltbench.execution import nodes

def probe():
    def memories():
        import os
        return [int(os.environ["TEST_GPU_GB"]) * 10**9]
    return memories

nodes.gpu_probe = probe
sys.argv = ["ltbench", *sys.argv[1:], "--address", cluster.address]
cli.main()
"""
MARKS = """
import os, pathlib
from ltbench.api import Method

where = [pathlib.Path(__file__).stem, os.environ.get("TEST_NODE", "-"), os.environ.get("CUDA_VISIBLE_DEVICES", "-")]
(pathlib.Path(MARKS) / " ".join([*where, str(os.getpid())])).touch()

class Marks(Method):
    "Says where it was."
"""
ASKS = """
suite: asks
datasets: [{name: digits, imbalance: [20]}]
recipes:
  scratch: {backbone: mlp, epochs: 1, batch_size: 32, optimizer: {name: sgd, lr: 0.05}}
methods: [{any_gpu: {as: any}}, half_large, on_cpu]
protocol: {final: {seeds: [0, 1]}, reference: any}
resources:
  per_trial: {gpu_memory_gb: 4}
  methods: {half_large: {gpu_memory_gb: 12}, on_cpu: {gpus: 0, cpus: 2}}
"""


@pytest.mark.nightly
def test_every_method_is_given_what_it_asks_for(tmp_path: Path, data_root: Path) -> None:
    """4 GB are half of the small GPU and fit everywhere; 12 GB are half of the large one and must not go to the small
    one; nothing of a GPU may be anywhere, on two threads."""
    mine, marks = tmp_path / "mine", tmp_path / "marks"
    for folder in (mine, marks):
        folder.mkdir()
    for name in ("any_gpu", "half_large", "on_cpu"):
        (mine / f"{name}.py").write_text(MARKS.replace("MARKS", repr(str(marks))))
    (tmp_path / "asks.yaml").write_text(ASKS)
    command = [sys.executable, "-c", FAKE_GPUS, "run", str(tmp_path / "asks.yaml"), "--methods", str(mine),
               "--data", str(data_root), "--results", str(tmp_path / "results")]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_", "LTBENCH_"))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, cwd=tmp_path)
    on_gpu = "ok" if torch.cuda.is_available() else "failed"
    assert done.returncode == int(on_gpu == "failed"), done.stdout + done.stderr
    records = Folders(tmp_path / "results", "asks").journal.records().values()
    assert {r.spec.label: r.status for r in records} == {"any": on_gpu, "half_large": on_gpu, "on_cpu": "ok"}
    given = {r.spec.label: (r.environment["gpu_share"], r.environment["threads"]) for r in records}
    assert given == {"any": (0.5, 1), "half_large": (0.5, 1), "on_cpu": (0.0, 2)}
    seen = {tuple(f.name.split()[:3]) for f in marks.iterdir() if f.name.split()[1] != "-"}
    assert {node for method, node, _ in seen if method == "half_large"} == {"large"}
    assert {node for method, node, _ in seen if method == "any_gpu"} <= {"small", "large"}
    assert {gpu for method, _, gpu in seen if method != "on_cpu"} == {"0"}


BEFORE = """
import ray
from ltbench.execution.cluster import connect
from ltbench.errors import UserError
try:
    connect()
except UserError as error:
    print(error)
"""


def test_a_ray_that_was_imported_without_a_token_is_not_started() -> None:
    """It would listen to everybody on this machine; and Ray's own message says nothing of imports."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", BEFORE], env=mine, capture_output=True, text=True, timeout=120,
                          check=True)  # fmt: skip
    assert done.stdout.startswith("Ray was imported before ltbench could give it a token")


# -- training that trials have in common -------------------------------------------------------------------------------


def test_the_others_of_a_group_are_held_back_while_its_first_trial_trains() -> None:
    from ltbench.execution.tune import InOrder

    order = InOrder(list("abcdef"), {"a": "A", "b": "A", "d": "A", "c": "C", "f": "C"})

    def ask(name: str) -> str | None:
        given = order.suggest(name)
        return given["trial"]["key"] if isinstance(given, dict) else given

    assert [ask("1"), ask("2"), ask("3")] == ["a", "c", "e"], "b, d and f wait; e goes first"
    assert ask("4") is None
    order.on_trial_complete("3")
    assert ask("4") is None, "e trained for nobody"
    order.on_trial_complete("1", error=True)
    assert [ask("5"), ask("6")] == ["b", "d"], "both at once, also after a failure"
    assert ask("7") is None
    order.on_trial_complete("5")
    order.on_trial_complete("2")
    assert [ask("8"), ask("9")] == ["f", "FINISHED"]


def test_without_groups_trials_come_in_the_order_of_the_plan() -> None:
    from ltbench.execution.tune import PART, InOrder

    keys = [f"{n:04d}" for n in range(PART + 2)]
    order = InOrder(keys, {})
    given = [order.suggest(key)["trial"] for key in keys]
    assert given == [{"key": key, "part": n // PART} for n, key in enumerate(keys)]


STAGES = """
from ltbench.api import Method, Stage
from .deadly import die, once

class Mine(Method):
    '''Trains plainly, but not always.'''
    def stages(self, model):
        yield Stage()
        BODY
"""


@pytest.mark.nightly
@pytest.mark.usefixtures("on_cluster")
def test_each_group_trains_once_whatever_its_first_trial_comes_to(
    make_spec: Make, site: Site, user_methods: Path, tmp_path: Path
) -> None:
    """Seed 0: the first one trains. 1: it is killed once, after training, and trains again or takes up what it left.
    2: it fails after training. All are in the numbers of training alone."""
    from ltbench.execution.tune import run_on_ray

    bodies = {"killed": f"if once({str(tmp_path / 'marker')!r}): die()", "broken": "raise ValueError('no')"}
    for name, body in bodies.items():
        (user_methods / f"{name}.py").write_text(STAGES.replace("BODY", body))
    registry = Registry(user_methods)

    def mine(name: str, seed: int) -> TrialSpec:
        return replace(make_spec("ce", seed=seed), label=name, method=name, code=fingerprint(registry.get(name)))

    rest = [make_spec(name, seed=seed) for seed in range(3) for name in ("tau_norm", "logit_adjustment")]
    specs = [make_spec("ce", seed=0), mine("killed", 1), mine("broken", 2), *rest]
    (tmp_path / "checkpoints").mkdir()
    there = replace(site, methods=read_sources(user_methods), checkpoints=tmp_path / "checkpoints")
    notes, sharing = Notes(), Sharing(specs, there)
    run_on_ray(specs, replace(there, shared=sharing.groups), Resources(retries=2), notes)
    assert set(notes.records) == {spec.key for spec in specs}
    assert notes.records[specs[2].key].status == "failed"
    for spec in rest:
        record = notes.records[spec.key]
        assert record.environment.get("trained_by") == specs[spec.seed].key
        assert record.numbers() == run_trial(spec, site).numbers()


def test_a_worker_whose_gpu_is_lost_serves_no_other_trial(
    make_spec: Make, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would fail them all, one after the other, and quickly."""
    from ltbench.execution.tune import worker

    spec, told, ended = make_spec("ce"), list[Any](), list[int]()
    placed = SimpleNamespace(site=lambda there: there, limits=worker.NONE)
    lost = Record(spec=spec, status="failed", error="CUDA error", environment={"gpu_lost": True})
    given = {
        "Asking": lambda token: lambda: False, "node_id": lambda: "here", "_gpu_lost": False,
        "run_limited": lambda *_: lost, "ray": SimpleNamespace(get=lambda part: part),
        "tune": SimpleNamespace(report=told.append), "os": SimpleNamespace(_exit=ended.append),
    }  # fmt: skip
    for name, stand_in in given.items():
        monkeypatch.setattr(worker, name, stand_in)
    home: Any = SimpleNamespace(node="here", checked={"here"})
    config = {"trial": {"key": spec.key, "part": 0}}
    for _ in range(2):
        worker.run_one(config, [{spec.key: (spec, placed)}], site, home, "token")
    assert (told, ended) == ([{"record": lost}] * 2, [1]), "ended before the second"
