"""What a run shows while it runs: the time that is left."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from ltbench.errors import did_you_mean
from ltbench.execution import progress
from ltbench.spec import Record, TrialSpec

Make = Callable[..., TrialSpec]


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    return clock


def done(spec: TrialSpec) -> Record:
    return Record(spec=spec, status="ok", metrics={"balanced_accuracy": 50.0})


def test_what_the_workers_need_to_start_is_not_taken_for_the_pace_of_trials(make_spec: Make, clock: Clock) -> None:
    """Found on the quickstart: `about 19 min left` after the first of 50 trials, which took two minutes in all."""
    specs = [make_spec(seed=seed) for seed in range(20)]
    out = io.StringIO()
    display = progress.RunDisplay(specs, "balanced_accuracy", Console(file=out, width=200))
    clock.now += 20  # processes start, libraries are imported
    for spec in specs[:12]:
        clock.now += 2
        display.finished(done(spec))
    lines = out.getvalue().splitlines()
    assert "left" not in lines[0]
    assert lines[11].endswith("about 16 s left")


def test_nothing_is_foretold_from_two_trials_that_ended_together(make_spec: Make, clock: Clock) -> None:
    specs = [make_spec(seed=seed) for seed in range(20)]
    out = io.StringIO()
    display = progress.RunDisplay(specs, "balanced_accuracy", Console(file=out, width=200))
    clock.now += 60
    for spec in specs[:2]:
        display.finished(done(spec))
        clock.now += 0.1
    assert "left" not in out.getvalue()


@pytest.mark.parametrize(
    ("name", "known", "says"),
    [
        ("resnet33", ["resnet20", "resnet32", "resnet34"], "Did you mean 'resnet34' or 'resnet32'?"),
        ("mnist", ["lists", "cifar10"], "Did you mean 'lists'? Known: cifar10, lists."),
        ("mixpu", ["mixup", "remix"], "Did you mean 'mixup'?"),
        ("xyz", ["mixup", "remix"], "Known: mixup, remix."),
        ("xyz", [], "There are none."),
    ],
)
def test_a_suggestion_is_one_that_was_likely_meant(name: str, known: list[str], says: str) -> None:
    assert did_you_mean(name, known) == says
