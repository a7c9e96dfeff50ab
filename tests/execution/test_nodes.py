"""What is asked of a machine before trials are sent there: the same ltbench, the same images, the results folder."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ltbench
from ltbench.data.longtail import manifest, select
from ltbench.data.sources.kinds import open_source
from ltbench.errors import UserError
from ltbench.execution import nodes
from ltbench.execution.placement import Placed
from ltbench.execution.resources import Resources
from ltbench.spec import Cell, Record, TrialSpec
from ltbench.training.site import Site
from tests.execution.shared_cluster import SharedCluster

ROOT = Path(__file__).parents[2]


def test_the_probe_travels_without_this_package(tmp_path: Path) -> None:
    importlib.import_module(
        "ltbench.execution.cluster"
    )  # before ray, which reads how to authenticate when it is imported
    from ray import cloudpickle

    probe = nodes.version_probe()
    mine = probe()
    (tmp_path / "probe").write_bytes(cloudpickle.dumps(probe))
    script = f"import pickle, sys; print(pickle.load(open({str(tmp_path / 'probe')!r}, 'rb'))())"

    def asked(path: str) -> str:
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path,
                              env=environment)  # fmt: skip
        return done.stdout.strip()

    assert asked(str(ROOT)) == repr(mine)
    other = tmp_path / "other"
    (other / "ltbench").mkdir(parents=True)
    (other / "ltbench" / "__init__.py").write_text("__version__ = '0.0.9'")
    assert asked(str(other)).startswith("('0.0.9', '")
    (other / "ltbench" / "__init__.py").write_text("raise ImportError")
    assert asked(str(other)) == "('none', '')"


def test_other_versions_are_refused_with_both() -> None:
    mine = ("1.0", "aaaaaaaaaaaa")
    nodes.refuse_other_versions(mine, {"node a": mine})
    found = {"node a": mine, "node b": ("1.0", "bbbbbbbbbbbb"), "node c": ("none", "")}
    with pytest.raises(UserError) as refused:
        nodes.refuse_other_versions(mine, found)
    told = str(refused.value)
    assert "this machine has ltbench 1.0 (files aaaaaaaaaaaa), node b has ltbench 1.0 (files bbbbbbbbbbbb)" in told
    assert "node c has no ltbench" in told
    assert "node a" not in told


def test_a_node_may_have_its_data_elsewhere(site: Site) -> None:
    theirs = {"LTBENCH_DATA": "/scratch/data"}
    assert nodes.on_this_node(site, False, theirs).data == Path("/scratch/data")
    assert nodes.on_this_node(site, True, theirs) == site, "the driver was told --data"
    assert nodes.on_this_node(site, False, {}) == site


def images(folder: Path, per_class: int) -> Path:
    for part in ("train", "test"):
        for name in ("a", "b"):
            (folder / part / name).mkdir(parents=True)
            for i in range(per_class):
                pixels = np.full((8, 8, 3), i * 10 + ord(name) % 7, np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{i}.png")
    return folder


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    """A cell of a folder of images."""
    source = open_source("folder", tmp_path / "data", str(images(tmp_path / "images", 6)), {"size": 8})
    train, held = select(source.facts().train_counts, imbalance=2.0, profile="exp", subset_seed=0)
    mark = manifest(source.facts().fingerprint, source.chosen, train, held)
    return Cell(dataset="mine", kind="folder", imbalance=2.0, options=source.chosen, manifest=mark)


def test_the_right_images_are_packed_where_they_are_needed(cell: Cell, tmp_path: Path) -> None:
    site = Site(tmp_path / "there", paths={"mine": str(tmp_path / "images")})
    assert nodes.check_data([cell], site) is None
    assert list((tmp_path / "there" / "packed").iterdir())


def test_a_machine_without_the_images_is_told_so(cell: Cell, tmp_path: Path) -> None:
    problem = nodes.check_data([cell], Site(tmp_path / "there", paths={"mine": str(tmp_path / "nowhere")}))
    assert problem is not None
    assert "data set 'mine'" in problem
    assert "nowhere" in problem


def test_other_images_are_noticed_by_the_manifest(cell: Cell, tmp_path: Path) -> None:
    other = images(tmp_path / "other", 7)
    problem = nodes.check_data([cell], Site(tmp_path / "there", paths={"mine": str(other)}))
    assert problem == f"data set 'mine' has other images there ({other})"


def test_every_machine_without_data_is_named_with_the_cure() -> None:
    nodes.refuse_nodes_without_data({"node a": None})
    with pytest.raises(UserError, match=r"node b: no images; node c: .*LTBENCH_DATA"):
        nodes.refuse_nodes_without_data({"node c": "no space", "node a": None, "node b": "no images"})


def test_a_node_that_joins_later_is_looked_at_when_its_first_trial_comes(cell: Cell, tmp_path: Path) -> None:
    site = Site(tmp_path / "there", paths={"mine": str(tmp_path / "images")})
    mine = nodes.version_probe()()
    assert nodes.check_late(mine, [cell], site) is None
    assert "joined later" in (nodes.check_late(("0.0.9", "bbbbbbbbbbbb"), [cell], site) or "")
    lacking = replace(site, paths={"mine": str(tmp_path / "nowhere")})
    assert "lacks the data" in (nodes.check_late(mine, [cell], lacking) or "")


def test_cells_are_named_once(make_spec: Callable[..., TrialSpec]) -> None:
    assert nodes.cells_of([make_spec("ce"), make_spec("mixup", seed=3)]) == [make_spec("ce").cell]


class Notes:
    """What the scheduler told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.begun: list[TrialSpec] = []

    def started(self, spec: TrialSpec) -> None:
        self.begun.append(spec)

    def progressed(self, spec: TrialSpec, fraction: float, loss: float | None = None) -> None: ...
    def finished(self, record: Record) -> None: ...
    def noted(self, message: str) -> None:
        self.notes.append(message)


def test_nodes_that_do_not_see_the_results_are_told_of_once(
    make_spec: Callable[..., TrialSpec], site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ltbench.execution import cluster

    machines = [
        {"NodeID": n, "NodeManagerHostname": f"host-{n}", "NodeManagerAddress": "10.0.0.1", "Alive": n != "d",
         "Resources": {"CPU": 0.0 if n == "e" else 4.0}} for n in "abcde"
    ]  # fmt: skip

    def ask(names: dict[str, str], function: Any, *arguments: Any) -> dict[str, Any]:
        assert set(names) == set("abc"), "one node is lost, and one holds no trial"
        if not arguments:
            return {n: function() for n in names}
        (mark,) = tmp_path.iterdir()
        assert arguments[-1] == mark
        return {n: (None, n == "a") for n in names}

    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(cluster.ray, "nodes", lambda: machines)
    monkeypatch.setattr(cluster, "node_id", lambda: "a")
    monkeypatch.setattr(cluster, "_on_nodes", ask)
    spec, listener = make_spec("ce"), Notes()
    there = cluster.machines(Resources(gpus=0.0), [spec])
    placed = {Placed(cpus=1.0, gpus=0.0)}
    home = cluster.check_nodes([spec], replace(site, checkpoints=tmp_path), placed, there, listener)
    assert (home.node, home.checked) == ("a", frozenset("abc"))
    (note,) = listener.notes
    assert "is not visible from node host-b (10.0.0.1), node host-c (10.0.0.1): trials there take no" in note
    assert list(tmp_path.iterdir()) == []


# -- on a cluster ------------------------------------------------------------------------------------------------------


@pytest.mark.nightly
@pytest.mark.slow
def test_a_cluster_is_looked_at_before_anything_trains(
    on_cluster: SharedCluster, make_spec: Callable[..., TrialSpec], site: Site, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A node with another ltbench, then one without data. (One with data of its own: test_cluster.py.)"""
    from ltbench.execution.tune import run_on_ray

    monkeypatch.chdir(tmp_path)  # Ray lets workers import from the driver's folder
    other = tmp_path / "other" / "ltbench"
    shutil.copytree(Path(ltbench.__file__).parent, other)
    (other / "__init__.py").write_text('__version__ = "0.0.9"\n')
    listener = Notes()
    with on_cluster.node(PYTHONPATH=str(other.parent)), pytest.raises(UserError) as version:
        run_on_ray([make_spec("ce")], site, Resources(), listener)
    assert str(version.value).startswith("ltbench is not the same everywhere: this machine has ltbench ")
    assert " has ltbench 0.0.9 (files " in str(version.value)
    with on_cluster.node(LTBENCH_DATA="/proc/none"), pytest.raises(UserError) as data:
        run_on_ray([make_spec("ce")], site, Resources(), listener)
    assert str(data.value).startswith("not every machine has the data: node ")
    assert "LTBENCH_DATA" in str(data.value)
    assert listener.begun == []


def test_two_nodes_on_one_host_are_told_apart() -> None:
    """Else one would answer for both."""
    from ltbench.execution import cluster

    hosts = {"a": "x", "b": "x", "c": "y"}
    machines = [
        {"NodeID": i * 16, "NodeManagerHostname": h, "NodeManagerAddress": "10.0.0.1"} for i, h in hosts.items()
    ]
    names = cluster._names(machines)
    assert names["c" * 16] == "node y (10.0.0.1)"
    assert names["a" * 16] == "node x (10.0.0.1, aaaaaaaa)"
    assert len(set(names.values())) == 3
