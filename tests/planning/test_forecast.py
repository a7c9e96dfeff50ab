"""How long trials will take: from records of the same device, or from steps measured now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from ltbench.cli import app
from ltbench.cli.text.plan import hours_text
from ltbench.errors import UserError
from ltbench.execution.measure import _Ticks, measure_steps, measured_pace
from ltbench.planning.forecast import WARM_UP, Device, Line, Pace, Size, as_pace, forecast, seconds_of, total
from ltbench.results.journal import Journal
from ltbench.spec import Record, TrialSpec
from ltbench.training.site import Site
from ltbench.training.trial import run_trial
from ltbench.workflow.plan_suite import Estimate, _images_per_example
from ltbench.workflow.prepare import Request, prepare

Make = Callable[..., TrialSpec]
HERE = Device("a CPU", 1)
SIZE = Size(1000, 500)


def record(spec: TrialSpec, train: float, test: float = 5.0, start: float = 1.0, **facts: Any) -> Record:
    """Of a trial of 1,000 training and 500 test images."""
    seconds = {"seconds": train + test + start, "train_seconds": train, "test_seconds": test}
    images = {"train_images": [900.0, 100.0], "test_images": [250.0, 250.0]}
    known = {"device": HERE.name, "threads": HERE.threads, **seconds, **facts}
    return Record(spec=spec, status="ok", per_class=images, environment=known)


def predicted(spec: TrialSpec, records: list[Record], **options: Any) -> Line:
    (line,) = forecast([spec], {spec.cell.manifest: SIZE}, records, HERE, {spec.label: 1}, **options)
    return line


def test_a_row_that_ran_before_takes_as_long_again(make_spec: Make) -> None:
    spec = make_spec("ce")
    earlier = [record(replace(spec, seed=s), train) for s, train in ((1, 90.0), (2, 100.0), (3, 500.0))]
    line = predicted(spec, earlier)
    assert line.seconds == pytest.approx(106.0)  # the median: one trial stood still for a while
    assert line.basis == "3 earlier trials of this row"


def test_twice_the_epochs_take_twice_the_training_but_one_test(make_spec: Make) -> None:
    spec = make_spec("ce")
    longer = replace(spec, recipe={**spec.recipe, "epochs": 2 * spec.recipe["epochs"]})
    assert predicted(longer, [record(spec, 100.0)]).seconds == pytest.approx(206.0)


def test_another_imbalance_is_another_number_of_images(make_spec: Make) -> None:
    spec = make_spec("ce")
    other = replace(spec, cell=replace(spec.cell, imbalance=100.0, manifest="other"))
    line = forecast([other], {"other": Size(500, 500)}, [record(spec, 100.0)], HERE, {})[0]
    assert line.seconds == pytest.approx(50.0 + 6.0)
    assert line.basis == "1 earlier trial of this method on this data set"


def test_a_method_without_records_is_taken_for_the_others_unless_it_is_measured(make_spec: Make) -> None:
    spec, others = make_spec("mixup"), [record(make_spec("ce"), 100.0)]
    assert predicted(spec, others).basis == "1 earlier trial of other methods on this data set"
    pace = Pace(0.5, 0.1, 0.0, "measured")
    line = predicted(spec, others, measure=lambda spec: pace)
    assert line.seconds == pytest.approx(seconds_of(pace, spec.recipe["epochs"], SIZE))
    assert line.basis == "measured"


def test_with_equal_images_a_row_that_reads_two_takes_half_the_steps(make_spec: Make) -> None:
    """Seconds for an example are the same under both budgets, so records of either tell about the other."""
    plain = make_spec("text_guided_mixup")
    alike = replace(plain, recipe={**plain.recipe, "budget": "images"})
    earlier = record(plain, 100.0, images_per_example=2.0)
    assert predicted(alike, [earlier], each=lambda spec: 2.0).seconds == pytest.approx(50.0 + 6.0)
    half = record(alike, 50.0, images_per_example=2.0)
    assert predicted(alike, [half], each=lambda spec: 2.0).seconds == pytest.approx(50.0 + 6.0)
    assert predicted(plain, [half], each=lambda spec: 2.0).seconds == pytest.approx(100.0 + 6.0)
    other = make_spec("ce", recipe={**plain.recipe, "budget": "images"})
    line = predicted(other, [half], each=lambda spec: 1.0)
    assert line.seconds == pytest.approx(100.0 + 6.0)
    pace = Pace(0.5, 0.1, 0.0, "measured")
    line = predicted(alike, [], measure=lambda spec: pace, each=lambda spec: 2.0)
    assert line.seconds == pytest.approx(seconds_of(pace, alike.recipe["epochs"] / 2, SIZE))


def test_a_record_that_does_not_say_what_it_read_tells_no_pace_under_equal_images(make_spec: Make) -> None:
    spec = make_spec("ce")
    alike = replace(spec, recipe={**spec.recipe, "budget": "images"})
    assert predicted(alike, [record(alike, 100.0)]).seconds is None


def test_a_plan_asks_draw_how_many_images_it_reads(tmp_path: Path, data_root: Path) -> None:
    prepared = prepare(Request(suite="quickstart", overrides={"protocol.budget": "images"}, results=tmp_path,
                               data=data_root))  # fmt: skip
    each = _images_per_example(prepared)
    found = {t.label: each(t) for t in prepared.plan.trials}
    assert found == {"ce": 1, "cb_reweight": 1, "balanced_softmax": 1, "mixup": 1, "text_guided_mixup": 2}


def test_trials_whose_training_another_one_does_take_a_test_pass(make_spec: Make) -> None:
    """Two of three seeds; the third has nobody to train for it."""
    specs = [make_spec("tau_norm", seed=seed) for seed in range(3)]
    taken = {spec.key: make_spec("ce", seed=spec.seed) for spec in specs[:2]}
    earlier = [record(make_spec("ce", seed=9), 100.0)]
    (line,) = forecast(specs, {specs[0].cell.manifest: SIZE}, earlier, HERE, {}, trainers=taken)
    assert line.seconds == pytest.approx((106.0 + 2 * 6.0) / 3)
    assert line.basis == "1 earlier trial of other methods on this data set, 2 trained with ce"
    (line,) = forecast(specs, {specs[0].cell.manifest: SIZE}, [], HERE, {}, trainers=taken)
    assert line.seconds is None
    assert line.basis == "2 trained with ce"


@pytest.mark.parametrize(
    "facts",
    [
        {"trained_by": "a" * 12},
        {"device": "another CPU"},
        {"threads": 2},
        {"resumed": 1},
        {"seconds": None},
        {"train_seconds": "long"},
    ],
)
def test_records_that_say_nothing_of_this_device_are_not_used(make_spec: Make, facts: dict[str, Any]) -> None:
    assert predicted(make_spec("ce"), [record(make_spec("ce", seed=1), 100.0, **facts)]).seconds is None


def test_another_recipe_is_another_pace(make_spec: Make) -> None:
    spec = make_spec("ce")
    for change in ({"precision": "bf16"}, {"backbone": "cnn_small"}, {"batch_size": 64}):
        assert predicted(replace(spec, recipe={**spec.recipe, **change}), [record(spec, 100.0)]).seconds is None
    cheaper = replace(spec, recipe={**spec.recipe, "optimizer": {**spec.recipe["optimizer"], "lr": 1e-3}})
    assert predicted(cheaper, [record(spec, 100.0)]).seconds == pytest.approx(106.0)


def test_a_row_is_measured_once_for_all_its_cells_and_seeds(make_spec: Make) -> None:
    spec = make_spec("ce")
    other = replace(spec, cell=replace(spec.cell, imbalance=100.0, manifest="other"))
    asked: list[TrialSpec] = []

    def measure(spec: TrialSpec) -> Pace:
        asked.append(spec)
        return Pace(1.0, 1.0, 0.0, "measured")

    sizes = {spec.cell.manifest: SIZE, "other": Size(10, 10)}
    lines = forecast([spec, replace(spec, seed=1), other], sizes, [], HERE, {"ce": 2}, measure)
    assert len(asked) == 1
    assert [(line.trials, line.at_once) for line in lines] == [(2, 2), (1, 2)]


def test_trials_side_by_side_share_the_clock_but_none_is_cut(make_spec: Make) -> None:
    lines = [Line("a", "x", 4, 3600.0, 2, ""), Line("b", "x", 1, 1800.0, 1, ""), Line("c", "x", 3, None, 1, "")]
    assert total(lines) == (4.5, 2.5, 3)
    assert total([Line("a", "x", 1, 7200.0, 8, "")]) == (2.0, 2.0, 0)
    assert total([]) == (0.0, 0.0, 0)


def test_steps_become_a_pace() -> None:
    pace = as_pace([0.5, 0.3], batch_size=4)
    assert pace.per_image == pytest.approx(0.1)
    assert pace.per_test_image == pytest.approx(0.1 / 3)


def test_the_text_says_what_is_known_and_what_is_not() -> None:
    lines = [
        Line("ce", "digits IF20", 4, 1800.0, 2, "3 earlier trials of this row"),
        Line("x", "digits IF20", 2, None, 1, ""),
    ]
    text = hours_text(Estimate(lines, HERE, measured=False))
    assert "about 60 min by the clock for 4 trials (2.0 h one after the other)" in text
    assert "3 earlier trials of this row" in text
    assert "2 trials: no earlier records of their recipe and data on this device; --measure takes" in text
    assert "--measure" not in hours_text(Estimate(lines, HERE, measured=True))
    assert hours_text(Estimate(lines[1:], HERE, measured=False)).startswith("2 trials: no earlier records")
    assert hours_text(Estimate([], HERE, measured=False)) == ""


def test_a_measured_pace_is_near_the_whole_trial(make_spec: Make, site: Site) -> None:
    spec = make_spec("ce")
    longer = replace(spec, recipe={**spec.recipe, "epochs": 200.0})
    steps, memory = measure_steps(longer, site)  # type: ignore[misc]
    assert len(steps) >= 10
    assert memory > 2**20
    pace = measured_pace(longer, site)
    assert pace is not None
    found = run_trial(replace(longer, recipe={**longer.recipe, "epochs": 40.0}), site)
    size = Size(*(int(sum(found.per_class[name])) for name in ("train_images", "test_images")))
    ratio = seconds_of(pace, 40.0, size) / found.environment["seconds"]
    assert 0.1 < ratio < 10  # the order of magnitude: others may run beside a test


def test_measuring_a_trial_that_is_soon_over_measures_all_of_it(make_spec: Make, site: Site) -> None:
    spec = make_spec("ce")
    short = replace(spec, recipe={**spec.recipe, "epochs": 0.05})
    found = measure_steps(short, site)
    assert isinstance(found, Record)
    assert found.curves["train/loss"]
    pace = measured_pace(short, site)
    assert pace is not None
    assert pace.basis == "the whole trial, measured now"


def test_measuring_leaves_nothing_behind(make_spec: Make, site: Site, tmp_path: Path) -> None:
    spec = make_spec("ce")
    longer = replace(spec, recipe={**spec.recipe, "epochs": 200.0})
    measure_steps(longer, replace(site, checkpoints=tmp_path, checkpoint_seconds=0.0))
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_cannot_be_measured_says_why(make_spec: Make, site: Site) -> None:
    broken = replace(make_spec("ce"), code="0" * 12)
    with pytest.raises(UserError, match=r"--measure: ce .* failed: .*other code"):
        measure_steps(broken, site)
    assert WARM_UP > 0


def test_the_plan_command_tells_hours_from_records_and_measures_on_request(tmp_path: Path, make_spec: Make) -> None:
    small = ["plan", "quickstart", "--results", str(tmp_path), "--data", str(tmp_path / "data"), "--only", "ce"]
    runner = CliRunner()
    plain = runner.invoke(app, small)
    assert "10 trials: no earlier records of their recipe and data on this device; --measure" in plain.stdout
    measured = runner.invoke(app, [*small, "--measure", "--set", "recipes.scratch.backbone=mlp"])
    assert measured.exit_code == 0, measured.output
    assert "measured now" in measured.stdout, "ten steps, or the whole of a trial that is over within half a second"
    assert "by the clock for 10 trials" in measured.stdout
    assert not Journal(tmp_path / "quickstart" / "records").records()


def test_a_gpu_is_waited_for_where_a_measurement_begins_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """In between the host is ahead of it, as in a training."""
    now, waits = [0.0], list[float]()

    def waits_for_it(device: torch.device) -> None:
        waits.append(round(now[0], 3))
        now[0] += 0.2

    monkeypatch.setattr(torch.cuda, "synchronize", waits_for_it)
    monkeypatch.setattr("ltbench.execution.measure.time.perf_counter", lambda: now[0])
    ticks = _Ticks(torch.device("cuda"))
    steps = 0
    while not ticks():
        now[0] += 0.02
        steps += 1
    assert steps == 19 + 25
    assert waits == [0.38, 1.08]
    assert len(ticks.counted) == 26
    assert ticks.counted[-1] - ticks.counted[0] == pytest.approx(0.7)
