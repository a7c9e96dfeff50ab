"""What is shown of running trials: here, in a file for another terminal, and there."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from ltbench.cli.watch import watch_lines
from ltbench.execution.display import file
from ltbench.execution.display.file import NAME, ProgressFile, Seen, read_progress
from ltbench.execution.display.lines import Running, shortened, trial_line, trial_lines
from ltbench.execution.progress import Display, RunDisplay
from ltbench.spec import Record, TrialSpec

Make = Callable[..., TrialSpec]


def half_way(name: str = "ldam_drw cifar10_lt IF100 s0") -> Running:
    """Told 0.1 at second 10 and 0.5 at second 50: 0.01 a second."""
    trial = Running(name, 200.0, images=1000.0)
    trial.progressed(10.0, 0.1, 2.0)
    trial.progressed(50.0, 0.5, 0.512)
    return trial


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (120, "  ldam_drw cifar10_lt IF100 s0  epoch 100/200  loss 0.512  2,000 images/s  50 s left"),
        (60, "  ldam_drw cif…10_lt IF100 s0  epoch 100/200  50 s left"),
        (40, "  ldam_drw cifa…0_lt IF100 s0  50 s left"),
    ],
)
def test_a_trial_is_a_line_of_what_there_is_room_for(width: int, line: str) -> None:
    found = trial_line(half_way(), 50.0, width)
    assert len(found) <= width
    assert found.split()[0] == "ldam_drw"
    assert found.endswith("50 s left")
    if width == 120:
        assert found == line


def test_the_time_left_goes_down_between_two_reports() -> None:
    trial = half_way()
    assert trial.left(50.0) == pytest.approx(50.0)
    assert trial.left(60.0) == pytest.approx(40.0)
    assert trial.left(1000.0) == 0.0


def test_a_trial_that_said_nothing_is_starting_and_foretells_nothing() -> None:
    trial = Running("ce a IF10 s0", 4.0)
    assert trial_line(trial, 0.0, 80) == "  ce a IF10 s0  epoch 0/4  starting"
    trial.progressed(1.0, 0.25, None)
    assert trial.left(2.0) is None
    assert trial_line(trial, 2.0, 80) == "  ce a IF10 s0  epoch 1/4"


def test_of_many_trials_the_farthest_are_shown_and_the_others_counted() -> None:
    trials = [Running(f"t{i}", 10.0, fraction=i / 10) for i in range(8)]
    lines = trial_lines(trials, 0.0, 80, 3)
    assert [line.split()[0] for line in lines[:3]] == ["t7", "t6", "t5"]
    assert lines[3] == "  ... and 5 more"


def test_both_ends_of_a_long_name_are_left() -> None:
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghij", 7) == "abc…hij"


def test_a_run_leaves_what_watch_shows_and_takes_it_away_again(make_spec: Make, tmp_path: Path) -> None:
    specs = [make_spec(seed=seed) for seed in range(3)]
    with ProgressFile(Display(), specs, tmp_path / NAME) as display:
        display.phase("starting Ray ...")
        found = read_progress(tmp_path)
        assert found is not None
        assert (found.phase, found.total, found.done) == ("starting Ray ...", 3, 0)
        display.started(specs[0])
        display.finished(Record(spec=specs[0], status="failed", error="boom"))
        display.started(specs[1])
        display.progressed(specs[1], 0.5, 1.25)
        display.phase("")  # writes at once
        found = read_progress(tmp_path)
        assert found is not None
        assert (found.done, found.failed, [r.loss for r in found.running]) == (1, 1, [1.25])
    assert not (tmp_path / NAME).exists()


def test_a_run_leaves_how_long_it_will_take(make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [make_spec(seed=seed) for seed in range(4)]
    monkeypatch.setattr(file.time, "monotonic", iter(range(0, 1000, 10)).__next__)
    with ProgressFile(Display(), specs, tmp_path / NAME) as display:
        display.phase("starting Ray ...")
        early = read_progress(tmp_path)
        for spec in specs[:3]:
            display.started(spec)
            display.finished(Record(spec=spec, status="ok"))
        display.phase("")  # writes at once
        found = read_progress(tmp_path)
    assert early is not None
    assert early.left is None
    assert found is not None
    assert found.left is not None


def test_the_speed_is_told_before_any_trial_has_ended(make_spec: Make, tmp_path: Path) -> None:
    spec = make_spec()
    with ProgressFile(Display(), [spec], tmp_path / NAME) as display:
        display.images({spec.cell.manifest: 500})
        display.started(spec)
        for fraction in (0.1, 0.5):
            display.progressed(spec, fraction, 1.0)
        display.phase("")  # writes at once
        found = read_progress(tmp_path)
    assert found is not None
    assert [r.images for r in found.running] == [500]
    assert "images/s" in trial_line(found.running[0], found.written, 120)


def test_without_a_terminal_it_is_said_what_is_made_ready(make_spec: Make) -> None:
    out = io.StringIO()
    with RunDisplay([make_spec()], "balanced_accuracy", Console(file=out, width=100)) as display:
        display.phase("starting Ray ...")
    assert out.getvalue() == "starting Ray ...\n"


def test_a_progress_file_that_cannot_be_written_stops_nothing(make_spec: Make, tmp_path: Path) -> None:
    with ProgressFile(Display(), [make_spec()], tmp_path / "away" / "further" / NAME) as display:
        display.phase("starting")
        display.started(make_spec())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"running": 3}', '{"running": [{}]}', json.dumps({"total": 1})])
def test_a_file_that_is_none_is_as_if_nothing_ran(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    assert read_progress(tmp_path) is None


def test_watch_says_how_far_a_run_is_and_when_it_has_been_quiet() -> None:
    seen = Seen(1000.0, 8, 2, 1, "", [half_way()])
    trial, totals = watch_lines("s", seen, 2, 1001.0, 100, 24)
    assert trial.split()[0] == "ldam_drw"
    assert totals == "s: 2 of 8 done, 1 running, 1 failed, time left: too early to say"
    assert watch_lines("s", replace(seen, left=700.0), 2, 1040.0, 100, 24)[-1].endswith("1 failed, about 11 min left")
    assert "left" not in watch_lines("s", replace(seen, left=700.0), 2, 1300.0, 100, 24)[-2], "nobody knows"
    assert "left" not in watch_lines("s", replace(seen, running=[], done=0), 2, 1001.0, 100, 24)[0], "none has begun"
    assert "no word from the run for 5 min" in watch_lines("s", seen, 2, 1300.0, 100, 24)[-1]
    assert watch_lines("s", None, 7, 0.0, 80, 24) == ["s: 7 records; no run is going on"]
