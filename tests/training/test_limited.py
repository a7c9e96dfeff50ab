"""Trials with limits: each that passes one is ended, whatever it does, and its record says where it stood."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ltbench.errors import UserError, reason_of
from ltbench.execution.resources import Resources, resources_of
from ltbench.execution.run_plan import keeps_checkpoints
from ltbench.registry import Registry, fingerprint, read_sources
from ltbench.spec import TrialSpec
from ltbench.suite.load import load_suite
from ltbench.training import limited
from ltbench.training.checkpoints.checkpoint import Stopped
from ltbench.training.checkpoints.files import keys_in
from ltbench.training.limited import Limits, Lost, run_limited
from ltbench.training.site import Site
from ltbench.training.trial import run_trial
from tests.sampling import sampled

pytestmark = pytest.mark.slow
Make = Callable[..., TrialSpec]
BODIES = {
    # Holds Python's lock: no thread of the process can do anything.
    "searches": "        re.match('(a+)+$', 'a' * 40 + 'b')\n",
    "sleeps": "        for s in (1, 2, 15): signal.signal(s, signal.SIG_IGN)\n        time.sleep(60)\n",
    "allocates": (
        "        while True:\n            HELD.append(bytearray(b'x') * 50_000_000)\n            time.sleep(0.05)\n"
    ),
    "forks": "        HELD.append(subprocess.Popen([sys.executable, '-c', GREEDY]))\n        time.sleep(60)\n",
    "dies": "        os.kill(os.getpid(), signal.SIGKILL)\n",
}
GREEDY = "import time; held = bytearray(b'x') * 900_000_000; time.sleep(60)"


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mine")
    for name, body in BODIES.items():
        (folder / f"{name}.py").write_text(
            "import os, re, signal, subprocess, sys, time\nfrom ltbench.api import Method\n"
            f"GREEDY, HELD = {GREEDY!r}, []\n\nclass Mine(Method):\n    'Goes on for ever.'\n"
            f"    def loss(self, logits, target, now):\n{body}        return super().loss(logits, target, now)\n"
        )
    return folder


@pytest.fixture(scope="module")
def run(mine: Path, make_spec: Make, site: Site) -> Iterator[Callable[..., object]]:
    """`run("sleeps", hours=...)`: its record and the seconds that it took."""
    there = replace(site, methods=read_sources(mine))

    def run(name: str, **limits: float) -> object:
        spec = replace(make_spec("ce"), label=name, method=name, code=fingerprint(Registry(mine).get(name)))
        if "hours" in limits:  # what a process imports for its first trial is not to be what the time is over in
            run_limited(make_spec("ce"), there, Limits(hours=1))
        began = time.monotonic()
        return run_limited(spec, there, Limits(**limits)), time.monotonic() - began

    yield run
    limited._end_process()


@sampled("name", ["sleeps", "searches"], ["sleeps"])
def test_a_trial_that_hangs_is_ended_where_it_stands(run: Callable[..., tuple], name: str) -> None:
    record, took = run(name, hours=4 / 3600)
    assert record.status == "failed"
    assert took < 50
    assert record.environment["timed_out"] is True
    assert record.environment["seconds"] >= 4.0
    said = reason_of(record.error, name)
    line = {"sleeps": 9, "searches": 8}[name]
    assert said.startswith("timed out after "), record.error
    assert said.endswith(f"({name}.py, line {line})"), record.error
    assert record.error.startswith("Traceback (most recent call last):")
    assert keeps_checkpoints(record), "with more hours, --retry-failed goes on"


@sampled("name", ["allocates", "forks"], ["forks"])
def test_a_trial_over_its_memory_is_ended(run: Callable[..., tuple], name: str) -> None:
    """Also where a process that it started holds the memory."""
    record, took = run(name, memory_gb=1.0)
    assert record.status == "failed"
    assert took < 50
    assert record.environment["over_memory"] is True
    assert "timed_out" not in record.environment
    assert reason_of(record.error, name).startswith("over its memory: 1.")
    assert f"{name}.py" in record.error


def test_within_its_limits_a_trial_gives_the_same_numbers(run: object, make_spec: Make, site: Site) -> None:
    """To the bit, and the process serves the next trial, too."""
    heard: list[float] = []
    for seed in (0, 1):
        spec = make_spec("mixup", seed=seed)
        beside = run_limited(spec, site, Limits(hours=1, memory_gb=20), lambda fraction, loss: heard.append(fraction))
        assert beside.numbers() == run_trial(spec, site).numbers()
        assert beside.predictions == run_trial(spec, site).predictions
    assert heard[-1] == 1.0
    process = limited._beside
    assert process is not None
    run_limited(spec, site, Limits(hours=1))
    assert limited._beside is process


def test_a_trial_that_is_asked_to_stop_leaves_a_checkpoint(make_spec: Make, site: Site, tmp_path: Path) -> None:
    spec = make_spec("ce", recipe={"epochs": 500.0})
    with pytest.raises(Stopped):
        run_limited(spec, replace(site, checkpoints=tmp_path), Limits(hours=1), stop=lambda: True)
    assert list(keys_in(tmp_path)) == [spec.key]


def test_a_process_that_ends_by_itself_is_lost(run: Callable[..., tuple], make_spec: Make, site: Site) -> None:
    """Not a failure of the trial: on Ray it goes on in another worker."""
    with pytest.raises(Lost, match="ended by signal 9"):
        run("dies", hours=1)
    assert run_limited(make_spec("ce"), site, Limits(hours=1)).status == "ok", "the next one has a process of its own"


SUITE = {
    "suite": "limits",
    "datasets": [{"name": "digits", "imbalance": [20]}],
    "recipes": {"tiny": {"backbone": "mlp", "epochs": 1, "batch_size": 32, "optimizer": {"name": "sgd", "lr": 0.05}}},
    "methods": ["ce", "focal"],
    "protocol": {"final": {"seeds": [0]}},
}


def _resources(said: dict[str, object]) -> Resources:
    return resources_of(load_suite({**SUITE, "resources": said}))


def test_a_suite_says_the_limits(make_spec: Make) -> None:
    """A row that says nothing of them has those of all; they can stand beside `pack: auto`."""
    methods = {"focal": {"cpus": 2, "hours": 3}}
    resources = _resources({"per_trial": {"hours": 2, "memory_gb": 8}, "methods": methods})
    assert resources.of(make_spec("ce")).limits == Limits(2.0, 8.0)
    assert resources.of(make_spec("focal")).limits == Limits(3.0, 8.0)
    assert _resources({"pack": "auto", "per_trial": {"hours": 2}}).limits == Limits(2.0)
    assert _resources({}).of(make_spec("ce")).limits == Limits()


@pytest.mark.parametrize("value", [0, -1, "2 h", True, float("nan")])
def test_a_limit_is_a_positive_number(value: object) -> None:
    with pytest.raises(UserError, match=r"resources\.per_trial\.hours"):
        _resources({"per_trial": {"hours": value}})
