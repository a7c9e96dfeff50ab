"""Shared by all tests: a made-up task that trains in a tenth of a second, and where real data lie if they are there."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_worker_niceness", "0")  # else Ray's workers wait for all other tests: theirs is 15

import numpy as np
import pytest
import torch
import typer.main
from hypothesis import settings
from xdist.scheduler.loadscope import LoadScopeScheduling

from ltbench import cli
from ltbench.api import Task
from ltbench.data.longtail import manifest, select, select_cell
from ltbench.data.sources.kinds import open_source
from ltbench.data.sources.source import Source
from ltbench.models import build_backbone
from ltbench.planning.recipes import seen_by
from ltbench.registry import Registry, fingerprint
from ltbench.spec import Cell, TrialSpec
from ltbench.training.site import Site

torch.set_num_threads(1)
typer.main.get_command = cache(typer.main.get_command)  # 20 ms for each call of the command line
settings.register_profile("shared machine", deadline=None)  # one slow example among many says nothing of the code
settings.load_profile("shared machine")

pytest_plugins = ["tests.execution.shared_cluster", "tests.models.towers"]
SHARED = Path(__file__).parent.parent.parent / "shared"


ROWS = {
    "tests/execution/test_cluster.py": "cluster",
    "tests/execution/test_nodes.py": "cluster",
    "tests/execution/test_tune.py": "cluster",
    "tests/execution/test_tune.py::test_every_method_is_given_what_it_asks_for": "processes",
    "tests/faults/test_checkpoints.py::test_a_trial_whose_ray_worker_was_killed": "cluster",
    "tests/faults/test_checkpoints.py::test_the_command_continues_after_a_kill_of_the_driver": "processes",
    "tests/faults/test_failures.py::test_failures_on_ray": "cluster",
    "tests/faults/test_interrupts.py": "processes",
    "tests/faults/test_nodes_lost.py": "processes",
    "tests/faults/test_remote.py::test_the_trial_of_a_killed_worker_goes_on": "cluster",
    "tests/faults/test_storm.py": "processes",
    "tests/test_security.py::test_ray_of_our_own_listens_on_this_machine_only": "processes",
}
"""How the name of a test begins -> its row: tests that follow one another in one process. Those of `cluster` share one
cluster, those of `processes` start Ray, drivers or servers and would only wait for each other."""


def row_of(nodeid: str) -> str | None:
    """The row of the longest beginning that fits."""
    fits = [beginning for beginning in ROWS if nodeid.startswith(beginning)]
    return ROWS[max(fits, key=len)] if fits else None


class Rows(LoadScopeScheduling):  # type: ignore[misc]
    """Shares the tests out: first the rows, then file by file, so that what a file's tests share is made once. By names
    alone: which marks a test has, workers do not tell with every version of pytest."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # the order is that of `pytest_collection_modifyitems`

    def _split_scope(self, nodeid: str) -> str:
        return row_of(nodeid) or nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Rows:
    return Rows(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long begins first: rows, then files with slow tests."""
    for item in items:
        if "shared_cluster" in getattr(item, "fixturenames", ()) and row_of(item.nodeid) != "cluster":
            raise pytest.UsageError(f"{item.nodeid} uses the shared cluster: add it to ROWS in tests/conftest.py")
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (row_of(item.nodeid) is None, item.path not in slow))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What the imports made stays for good: the garbage collector need not walk through it, a second each time, all
    day (statsmodels calls it in every correction)."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _freeze_late_imports() -> Iterator[None]:
    """The same for what the tests of a file imported."""
    yield
    gc.collect()
    gc.freeze()


RECIPE: dict[str, Any] = {
    "backbone": "mlp",
    "epochs": 2.0,
    "batch_size": 32,
    "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 2e-4, "nesterov": False},
    "schedule": {"name": "multistep", "milestones": [0.8, 0.9], "gamma": 0.1, "warmup": 0.05, "warmup_stairs": 0},
    "augment": "crop",
    "precision": "fp32",
}


UNDRAWN = '<svg xmlns="http://www.w3.org/2000/svg" width="1pt" height="1pt" viewBox="0 0 1 1"></svg>'


def leave_undrawn(patch: pytest.MonkeyPatch) -> None:
    """Figures of a report have words and data but are not drawn, which takes a second a page: for tests of what else is
    on it."""
    for name in ("drawing", "narrow"):
        patch.setattr(f"ltbench.page.drawing.Figure.{name}", SimpleNamespace(get_figwidth=lambda: 1.0))
    patch.setattr("ltbench.page.drawing.svg", lambda drawing: UNDRAWN)
    patch.setattr("ltbench.page.write.svg", lambda drawing: UNDRAWN)
    patch.setattr("ltbench.page.write.png", lambda drawing: b"")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `leave_undrawn` says, for one test."""
    leave_undrawn(monkeypatch)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images and vectors; tests that want them skip where they are absent."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the real inputs (../shared/data) are not on this machine")
    return folder


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data cache for the session, so that digits are packed once."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def digits(data_root: Path) -> Source:
    return open_source("digits", data_root)


@pytest.fixture(scope="session")
def digits_cell(digits: Source) -> Cell:
    """Digits at imbalance factor 20."""
    train, held = select(digits.facts().train_counts, imbalance=20, profile="exp", subset_seed=0)
    return Cell(
        dataset="digits", kind="digits", imbalance=20.0, manifest=manifest(digits.facts().fingerprint, {}, train, held)
    )


@pytest.fixture(scope="session")
def held_out_cell(digits_cell: Cell, digits: Source) -> Cell:
    """The same with five images of each class held out."""
    cell = replace(digits_cell, holdout_per_class=5)
    train, held = select_cell(cell, digits.facts().train_counts)
    return replace(cell, manifest=manifest(digits.facts().fingerprint, {}, train, held))


@pytest.fixture(scope="session")
def text_digits() -> Any:
    """Class-name vectors of the digits."""
    from ltbench.data.sources.digits import NAMES
    from ltbench.models.text import text_vectors

    return text_vectors({"encoder": "bundled"}, "digits", NAMES, Path())


@pytest.fixture(scope="session")
def site(data_root: Path, text_digits: Any) -> Site:
    """Beside the real vectors of the names, the same cut to the length of the tiny backbones' features: for methods
    that want both in one space."""
    texts = {text_digits.digest: text_digits.vectors}
    for name in ("mlp", "vit_small"):
        cut = text_digits.vectors[:, : build_backbone(name, (8, 8, 1)).dim]
        texts[f"cut for {name}"] = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    return Site(data_root, texts=texts, device="cpu", threads=1)


@pytest.fixture(scope="session")
def make_spec(digits_cell: Cell, held_out_cell: Cell, text_digits: Any) -> Callable[..., TrialSpec]:
    """`make_spec("mixup", seed=1, alpha=0.5, recipe={"epochs": 1.0})`: a trial of the digits in a tenth of a second."""
    registry = Registry()

    def make(method: str = "ce", *, seed: int = 0, recipe: dict[str, Any] | None = None, **values: Any) -> TrialSpec:
        cls = registry.get(method)
        clip = "clip" in cls.needs
        body = "vit_small" if "blocks" in cls.needs else "cnn_small" if "maps" in cls.needs else RECIPE["backbone"]
        written = {
            **RECIPE,
            "backbone": body,
            **({"head": "text", "logit_scale": 100.0} if clip else {}),
            **(recipe or {}),
        }
        return TrialSpec(
            suite="test",
            cell=held_out_cell if "holdout" in cls.needs else digits_cell,
            label=method,
            method=method,
            hyperparameters=cls.complete(values),
            code=fingerprint(cls),
            recipe_name="tiny",
            recipe=seen_by(cls.views, written),
            seed=seed,
            text=f"cut for {body}" if clip else text_digits.digest if "text" in cls.needs else None,
            text_origin=text_digits.origin if "text" in cls.needs else None,
        )

    return make


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's sqlite file after all its migrations, to be copied as `mlflow.db`: making one takes a second."""
    from ltbench.system.uris import default_uri
    from ltbench.tracking import mlflow_store

    folder = tmp_path_factory.mktemp("store")
    mlflow_store.suites(default_uri(folder))
    return folder / "mlflow.db"


@pytest.fixture
def ltbench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data_root: Path
) -> Callable[..., tuple[int, str, str]]:
    """`ltbench("plan", "quickstart")` -> exit code, stdout, stderr; through the entry point of the console script."""
    monkeypatch.setenv("LTBENCH_DATA", str(data_root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ltbench", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.fixture
def foreground() -> Iterator[None]:
    """As in a foreground shell: one in the background starts its programs with SIGINT ignored, `nohup` with SIGHUP, and
    what is ignored stays so in the programs that these start."""
    before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
              signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_DFL)}  # fmt: skip
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def toy_task() -> Task:
    """Five classes with 100, 50, 20, 10 and 5 images; two-dimensional text vectors on a half circle."""
    labels = np.repeat(np.arange(5), [100, 50, 20, 10, 5]).astype(np.int64)
    angles = np.linspace(0, np.pi, 5)
    text = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    return Task(labels, ["a", "b", "c", "d", "e"], text=text, optimizer=RECIPE["optimizer"])
