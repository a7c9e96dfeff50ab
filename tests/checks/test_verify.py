"""Trials that run again: what is the same, what may be, and what cannot be the record of this training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ltbench.checks.verify import Verdict, checks_text, compare, pick, verify
from ltbench.metrics import summarise
from ltbench.results.verified import read_marks
from ltbench.spec import Record, TrialSpec
from ltbench.stats.intervals import apart
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

Make = Callable[..., TrialSpec]
Run = Callable[..., tuple[int, str, str]]
PRIMARY = "balanced_accuracy"
REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "quickstart"


@pytest.fixture(scope="module")
def then(make_spec: Make, site: Site) -> Record:
    return run_trial(make_spec("ce"), site)


def with_losses(record: Record, factor: float) -> Record:
    """As other arithmetic, or another training, would have had it."""
    curve = [[epoch, loss * factor] for epoch, loss in record.curves["train/loss"]]
    environment = {**record.environment, "first_loss": record.environment["first_loss"] * factor}
    return replace(record, curves={**record.curves, "train/loss": curve}, environment=environment)


def with_recall(record: Record, less: float) -> Record:
    """A table of classes whose mean is lower by so much, and the metrics that follow from it."""
    recall = record.per_class["recall"]
    share = 1 - less / (sum(recall) / len(recall))
    per_class = {**record.per_class, "recall": [r * share for r in recall]}
    return replace(record, per_class=per_class, metrics={**record.metrics, **summarise(per_class, record.spec.shots)})


def test_the_same_training_is_identical(then: Record, make_spec: Make, site: Site) -> None:
    (check,) = verify({then.key: then}, [then.spec, make_spec("ce", seed=1)], site, PRIMARY, 5)
    assert (check.verdict, check.words, check.holds) == (Verdict.identical, "", True)


def test_other_thresholds_of_the_buckets_are_no_other_numbers(then: Record) -> None:
    spec = replace(then.spec, shots={"many": 60, "few": 10})
    now = replace(then, spec=spec, metrics={**then.metrics, **summarise(then.per_class, spec.shots)})
    assert compare(then, now, PRIMARY, [90.0]).verdict is Verdict.identical


@pytest.mark.parametrize("metric", ["balanced_accuracy", "few", "worst_class"])
def test_a_metric_that_was_edited_shows_without_running_anything(then: Record, metric: str) -> None:
    edited = replace(then, metrics={**then.metrics, metric: 99.0})
    check = compare(edited, then, PRIMARY, [90.0])
    assert check.verdict is Verdict.differs
    assert "it was edited" in check.words
    assert compare(replace(then, per_class={}), then, PRIMARY, [90.0]).verdict is Verdict.differs


def test_a_table_that_was_edited_with_its_metrics_shows_where_arithmetic_is_the_same(then: Record) -> None:
    check = compare(with_recall(then, 0.5), then, PRIMARY, [80.0, 85.0, 90.0])
    assert check.verdict is Verdict.differs
    assert "its results are not" in check.words


def test_calibration_is_compared_as_well(then: Record) -> None:
    edited = replace(then, metrics={**then.metrics, "ece": 0.0})
    assert compare(edited, then, PRIMARY, [80.0, 90.0]).verdict is Verdict.differs


def test_another_training_shows_in_its_first_loss(then: Record, make_spec: Make, site: Site) -> None:
    """Of another seed, under this one's name."""
    other = run_trial(make_spec("ce", seed=1), site)
    check = compare(replace(other, spec=then.spec), then, PRIMARY, [0.0, 100.0])
    assert check.verdict is Verdict.differs
    assert "another training" in check.words


def test_other_arithmetic_may_end_where_other_seeds_do_and_no_further(then: Record) -> None:
    now, seeds = with_losses(then, 1.0001), [80.0, 80.2, 80.4]
    allowed = apart(0.2, 3, 0.99)
    near, far = (compare(with_recall(then, x), now, PRIMARY, seeds) for x in (0.9 * allowed, 1.5 * allowed))
    moved = abs((near.then.metrics[PRIMARY] or 0) - (near.now.metrics[PRIMARY] or 0))
    assert moved == pytest.approx(0.9 * allowed)
    assert (near.verdict, near.words) == (
        Verdict.agrees, f"off by {moved:.2f}; seeds are up to {allowed:.2f} apart"
    )  # fmt: skip
    assert far.verdict is Verdict.differs
    alone = compare(with_recall(then, 1.0), now, PRIMARY, [80.0])
    assert (alone.verdict, alone.holds) == (Verdict.agrees, True)
    assert "one seed does not tell" in alone.words


@pytest.mark.parametrize(
    ("precision", "factor", "holds"), [("fp32", 1.001, True), ("fp32", 1.004, False), ("bf16", 1.004, True)]
)
def test_the_first_loss_may_round_by_as_much_as_the_precision_does(
    then: Record, precision: str, factor: float, holds: bool
) -> None:
    spec = replace(then.spec, recipe={**then.spec.recipe, "precision": precision})
    check = compare(replace(then, spec=spec), replace(with_losses(then, factor), spec=spec), PRIMARY, [80.0, 90.0])
    assert check.holds is holds


def test_two_runs_are_as_far_apart_as_student_says() -> None:
    """t(4) at 99 %: 4.604095."""
    assert apart(1.5, 5, 0.99) == pytest.approx(4.604095 * 1.5 * 2**0.5, rel=1e-6)


def test_a_record_that_does_not_say_its_first_loss_is_held_against_the_seeds_alone(then: Record) -> None:
    """One of an earlier version, or of a method that trains nothing."""
    silent = replace(with_losses(then, 1.1), environment={})
    assert compare(silent, then, PRIMARY, [80.0, 90.0]).verdict is Verdict.agrees
    assert compare(with_recall(silent, 9.0), then, PRIMARY, [80.0, 80.1]).verdict is Verdict.differs
    none = replace(then, curves={}, environment={})
    assert compare(with_recall(none, 0.001), none, PRIMARY, [80.0, 82.0]).verdict is Verdict.agrees


def test_a_trial_that_fails_now_says_why(then: Record, site: Site) -> None:
    broken = replace(then.spec, code="0" * 12)
    failing = replace(then, spec=broken)
    (check,) = verify({failing.key: failing}, [broken], site, PRIMARY, 1)
    assert (check.verdict, check.holds) == (Verdict.failed, False)
    assert "is other code here" in check.words
    assert "1 of 1 trials: 1 failed" in checks_text([check], PRIMARY, 1)


def test_every_row_is_tried_before_any_is_tried_twice(then: Record, make_spec: Make) -> None:
    records = [replace(then, spec=make_spec(m, seed=s)) for m in ("ce", "mixup", "focal") for s in range(4)]
    for count in (2, 3, 5, 12, 99):
        picked = pick(records, count, 0)
        labels = [r.spec.label for r in picked]
        assert len({r.key for r in picked}) == len(picked) == min(count, 12)
        assert max(map(labels.count, labels)) - min(labels.count(m) for m in {r.spec.label for r in records}) <= 1
    assert pick(records, 6, 0) == pick(records[::-1], 6, 0)
    assert len({tuple(r.key for r in pick(records, 3, draw)) for draw in range(8)}) > 1
    assert pick([], 3, 0) == []


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_reference_holds(ltbench: Run) -> None:
    code, out, err = ltbench("verify", "quickstart", "--from", str(REFERENCE), "--trials", "2", "--only", "ce,mixup")
    assert code == 0, out + err
    assert "2 of 20 trials: 2 " in out
    assert not (REFERENCE / "verified.json").exists(), "somebody else's folder gets no mark unasked"
    assert out.count("recorded on AMD EPYC, torch") == 1


def test_a_record_that_was_made_better_is_found(ltbench: Run, tmp_path: Path) -> None:
    shutil.copytree(REFERENCE, tmp_path / "copy")
    for file in (tmp_path / "copy" / "records").glob("*.json"):
        data: dict[str, Any] = json.loads(file.read_text())
        data["metrics"]["balanced_accuracy"] += 1.0
        file.write_text(json.dumps(data))
    code, out, _ = ltbench("verify", "quickstart", "--from", str(tmp_path / "copy"), "--trials", "1", "--mark")
    assert code == 1
    assert "differs" in out
    assert "1 of 50 trials: 1 differs" in out
    (mark,) = read_marks(tmp_path / "copy" / "records").values()
    assert (mark.verdict, mark.holds) == ("differs", False)
    _, out, _ = ltbench("leaderboard", "--from", str(tmp_path / "copy"))
    assert "NOT CONFIRMED: 1 ran again and came out otherwise" in out


def test_records_of_another_suite_are_refused_with_the_cure(ltbench: Run) -> None:
    code, _, err = ltbench("verify", "quickstart", "--from", str(REFERENCE), "--set", "recipes.scratch.epochs=2")
    assert code == 2
    assert "holds no finished trial of this suite as it is (50 records of others)" in err
