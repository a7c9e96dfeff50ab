"""Ray Tune for real, on this machine: the same numbers as inline, failures as records, lost workers retried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ltbench.registry import Registry, fingerprint, read_sources
from ltbench.resources import Resources
from ltbench.site import Site
from ltbench.spec import Record, TrialSpec
from ltbench.trial import run_trial

pytestmark = pytest.mark.slow
Make = Callable[..., TrialSpec]

HELPER = """
import os, pathlib, signal

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
}


@pytest.fixture(scope="module")
def user_methods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: methods that fail in three ways, sharing a helper module."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "deadly.py").write_text(HELPER)
    for name, body in METHODS.items():
        (folder / f"{name}.py").write_text(
            f"from ltbench.api import Method\nfrom .deadly import die, once\nMARKER = {str(folder / 'marker')!r}\n\n"
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

    def progressed(self, spec: TrialSpec, fraction: float) -> None:
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
def outcome(specs: dict[str, TrialSpec], site: Site, user_methods: Path) -> Notes:
    """One run of all of them through Ray."""
    from ltbench.schedule import run_on_ray

    notes = Notes()
    run_on_ray(list(specs.values()), replace(site, methods=read_sources(user_methods)), Resources(retries=1), notes)
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


def test_a_trial_that_no_machine_can_hold_is_refused_at_once() -> None:
    from ltbench.cluster import place
    from ltbench.errors import UserError

    with pytest.raises(UserError, match=r"gpus=0 runs on the CPU"):
        place(Resources(gpus=1.0), [{"CPU": 2.0}])
    with pytest.raises(UserError, match=r"lower resources\.per_trial\.cpus"):
        place(Resources(cpus=8.0), [{"CPU": 2.0}, {"CPU": 4.0}])
    assert place(Resources(), [{"CPU": 2.0}]).gpus == 0.0
    assert place(Resources(), [{"CPU": 2.0, "GPU": 1.0}]).gpus == 1.0
