"""What a run shows while it runs: the time that is left."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from ltbench.errors import did_you_mean
from ltbench.execution import progress
from ltbench.execution.display.time_left import TimeLeft, left_text
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


# -- the time left of a whole run --------------------------------------------------------------------------------------


def test_work_is_counted_in_images_where_they_are_known(make_spec: Make) -> None:
    small = make_spec(seed=0)
    large = replace(make_spec(seed=1), cell=replace(small.cell, manifest="other"))
    time_left = TimeLeft([small, large], 0.0)
    time_left.images({small.cell.manifest: 100})
    time_left.images({small.cell.manifest: 100, "other": 900})
    time_left.progressed(small.key, 0.5, 1.0)
    time_left.progressed(small.key, 1.0, 11.0)
    assert time_left.seconds(11.0) == pytest.approx(10 * 900 / 50)
    assert time_left.seconds(21.0) == pytest.approx(10 * 900 / 50 - 10), "it goes down between two reports"
    assert time_left.seconds(1000.0) == pytest.approx(90), "a run that is late does not seem to end at once"


def test_what_trials_had_done_before_they_were_interrupted_is_soon_forgotten(make_spec: Make) -> None:
    specs = [make_spec(seed=seed) for seed in range(10)]
    time_left = TimeLeft(specs, 0.0)
    for spec in specs[:4]:
        time_left.progressed(spec.key, 0.8, 1.0)
    for second in range(2, 40):
        time_left.progressed(specs[0].key, 0.8 + second / 1000, float(second))
    assert time_left.seconds(39.0) == pytest.approx((10 - 3.2 - 0.039) / 0.001, rel=0.01)


def test_a_trial_that_is_run_again_counts_as_not_begun(make_spec: Make) -> None:
    specs = [make_spec(seed=seed) for seed in range(4)]
    time_left = TimeLeft(specs, 0.0)
    for second, spec in enumerate(specs[:3], 1):
        time_left.progressed(spec.key, 1.0, float(second))
    assert time_left.seconds(3.0) == pytest.approx(1.0)
    time_left.progressed(specs[2].key, 0.0, 3.0)
    assert time_left.seconds(3.0) == pytest.approx(2.0)
    time_left.progressed(specs[3].key, 1.0, 5.0)
    assert time_left.seconds(5.0) == pytest.approx(2.0)


def test_it_is_said_when_it_is_too_early_to_say(make_spec: Make, clock: Clock) -> None:
    specs = [make_spec(seed=seed) for seed in range(4)]
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True)
    display = progress.RunDisplay(specs, "balanced_accuracy", console)

    def shown() -> str:
        out.seek(0)
        out.truncate()
        console.print(display._render())
        return out.getvalue()

    assert "left" not in shown()
    display.started(specs[0])
    assert "time left: too early to say" in shown()
    for spec in specs[:3]:
        clock.now += 10
        display.finished(done(spec))
    assert "about 10 s left" in shown()
    display.finished(done(specs[3]))
    assert "left" not in shown()


@pytest.mark.parametrize(("seconds", "says"), [(None, "time left: too early to say"), (0.0, "about 1 s left"),
                                               (720.0, "about 12 min left"), (9000.0, "about 2.5 h left")])  # fmt: skip
def test_the_time_left_in_words(seconds: float | None, says: str) -> None:
    assert left_text(seconds) == says
