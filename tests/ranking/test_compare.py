"""Two methods in full: what is tested is what the leaderboard tests, and the rest adds up."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, permutation_test
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from ltbench.errors import UserError
from ltbench.metrics import Predictions, from_predictions
from ltbench.ranking.build import build
from ltbench.ranking.formats.compare_text import comparison_text
from ltbench.ranking.images import Sampling, strata_of
from ltbench.ranking.views.compare import compare
from ltbench.results.journal import Journal
from ltbench.spec import Plan, Record, Result, TrialSpec
from ltbench.stats.crossed import crossed_variance
from ltbench.stats.fixed_datasets import Verdict
from ltbench.stats.reasons import Reason
from tests.ranking import made

Make = Callable[..., TrialSpec]
TRUTH = np.repeat(np.arange(4), 25)
TRAIN = (200, 60, 30, 8)


@pytest.fixture
def journal(tmp_path: Path, make_spec: Make) -> Journal:
    """Two methods with predictions and five seeds."""
    return filled(tmp_path / "records", make_spec, 5)


def filled(folder: Path, make_spec: Make, seeds: int) -> Journal:
    """Two methods: ce is right on 60 % of the images, mixup on 80 %, but never better on class 0."""
    journal = Journal(folder)
    for method, chance in (("ce", 0.6), ("mixup", 0.8)):
        for seed in range(seeds):
            rng = np.random.default_rng([seed, method == "ce"])
            right = np.where(TRUTH == 0, np.arange(100) % 10 < 9, rng.random(100) < chance)
            label = np.where(right, TRUTH, (TRUTH + 1) % 4).astype(np.uint16)
            found = Predictions(label, np.full(100, 0.7, np.float32))
            spec = make_spec(method, seed=seed)
            metrics, classes = from_predictions(found, TRUTH, TRAIN, spec.shots)
            stream = io.BytesIO()
            np.savez(stream, label=label, confidence=found.confidence, truth=TRUTH.astype(np.uint16))
            environment = {"class_names": ["w", "x", "y", "z"]}
            kept: dict[str, Any] = {"per_class": classes, "predictions": stream.getvalue(), "environment": environment}
            journal.write(Record(spec=spec, status="ok", metrics=metrics, **kept))
    return journal


def both(journal: Journal) -> list[Record]:
    return list(journal.records().values())


def test_the_difference_is_the_leaderboards_as_a_single_comparison(journal: Journal) -> None:
    found = compare(both(journal), journal.predictions, "mixup", "ce")
    board = build([Result.of(r) for r in both(journal)], predictions=journal.predictions)
    gain = next(r for r in board.tables[0].rows if r.label == "mixup").gain
    assert gain is not None
    assert found.overall.test == gain.test
    assert found.overall.p_holm == pytest.approx(found.overall.test.p)
    assert found.overall.verdict is Verdict.better


def test_the_other_way_round_is_the_same_finding_turned(journal: Journal) -> None:
    one, other = (compare(both(journal), journal.predictions, *pair) for pair in (("mixup", "ce"), ("ce", "mixup")))
    assert one.overall.test.diff == pytest.approx(-(other.overall.test.diff or 0))
    assert (one.overall.verdict, other.overall.verdict) == (Verdict.better, Verdict.worse)


def test_the_variance_over_images_is_that_of_the_stored_predictions(journal: Journal) -> None:
    found = compare(both(journal), journal.predictions, "mixup", "ce")
    records = {(r.spec.method, r.spec.seed): r.key for r in both(journal)}
    right = {}
    for place, key in records.items():
        stored = np.load(io.BytesIO(journal.predictions(key) or b""))
        right[place] = (stored["label"] == stored["truth"]).astype(float)
    sampling = Sampling(strata_of(stored["truth"]), np.full(len(stored["truth"]), 100.0))
    drawn = {place: sampling.contributions(x) for place, x in right.items()}
    reference = crossed_variance(np.stack([drawn["mixup", s] - drawn["ce", s] for s in range(5)]))
    assert found.crossed["digits"].variance == pytest.approx(reference.variance)
    assert (found.overall.test.diff, found.overall.test.half) == pytest.approx((reference.diff, reference.half))
    assert found.overall.test.shares == pytest.approx(reference.shares)


def test_classes_stand_from_head_to_tail_with_their_gains(journal: Journal) -> None:
    found = compare(both(journal), journal.predictions, "mixup", "ce")
    (gains,) = found.class_gains.values()
    assert [(name, images) for name, images, _ in gains] == [("w", 200), ("x", 60), ("y", 30), ("z", 8)]
    assert gains[0][2] == 0.0
    assert np.mean([g for _, _, g in gains]) == pytest.approx(found.overall.test.diff)


def test_without_predictions_it_says_that_test_noise_is_left_out(journal: Journal) -> None:
    shown = comparison_text(compare(both(journal), lambda key: None, "mixup", "ce"))
    assert "Seeds only" in shown


def test_the_text_ends_in_plain_words_and_names_the_wins(journal: Journal) -> None:
    shown = comparison_text(compare(both(journal), journal.predictions, "mixup", "ce"))
    assert "mixup is better than ce on these data sets with new seeds and test images." in shown
    assert "5-0-0" in shown
    assert re.search(r"digits: \d+ % seeds, \d+ % test images, \d+ % their interaction", shown)


def test_results_of_older_code_are_not_compared(journal: Journal) -> None:
    records = both(journal)
    old = replace(records[0], spec=replace(records[0].spec, code="older"), metrics={"balanced_accuracy": 1.0})
    protocol = {"primary": "balanced_accuracy", "report": [], "reference": "ce", "seeds": [0, 1, 2, 3, 4]}
    trials = tuple(r.spec for r in records)
    plan = Plan(suite="test", question="", trials=trials, skips=(), protocol=protocol).expectation()
    with_old = compare([*records, old], journal.predictions, "mixup", "ce", plan)
    assert with_old.overall == compare(records, journal.predictions, "mixup", "ce", plan).overall
    assert with_old.by_column == compare(records, journal.predictions, "mixup", "ce", plan).by_column


def test_seeds_that_the_suite_does_not_list_are_not_compared() -> None:
    """Neither in the test, nor below it; their predictions need not be at hand."""
    records = made.records({"ce": 0.5, "good": 0.7}, seeds=4)
    listed = [r for r in records if r.spec.seed < 3]
    found = compare(records, made.stored(listed), "good", "ce", made.plan_of(listed))
    alone = compare(listed, made.stored(listed), "good", "ce", made.plan_of(listed))
    assert comparison_text(found) == comparison_text(alone)
    assert {tuple(by_seed) for by_seed in found.models.values()} == {(0, 1, 2)}


def test_predictions_from_elsewhere_are_compared_in_everything() -> None:
    ours = made.records({"ce": 0.5}, seeds=3)
    cells = [(r.spec.cell.dataset, r.spec.cell.imbalance, r.spec.seed) for r in ours]
    theirs = [made.record(made.spec("good", *cell, role="elsewhere"), 0.7) for cell in cells]
    found = compare([*ours, *theirs], made.stored([*ours, *theirs]), "good", "ce", made.plan_of(ours))
    assert found.by_metric["accuracy"][2].n == 3
    assert set(found.models) == set(found.class_gains) == set(found.table.columns)
    assert set(found.crossed) == {"a", "b"}


def test_draws_of_a_data_set_are_one_in_its_uncertainty_too() -> None:
    """The shares are those of the test above them: their contributions are averaged image by image."""
    records = []
    for one in made.records({"ce": 0.5, "good": 0.7}, {"a": [10.0], "a+1": [10.0], "a+2": [10.0]}, seeds=3, images=30):
        cell = replace(one.spec.cell, subset_seed=int(one.spec.cell.dataset[2:] or 0))
        records.append(replace(one, spec=replace(one.spec, cell=cell)))
    found = compare(records, made.stored(records), "good", "ce", made.plan_of(records))
    assert set(found.table.blocks.values()) == {"a"}
    assert list(found.crossed) == ["a"]
    assert found.crossed["a"].shares == pytest.approx(found.overall.test.shares)


@pytest.mark.parametrize(("a", "b", "says"), [("mixpu", "ce", "'mixup'"), ("ce", "ce", "with itself")])
def test_what_cannot_be_compared_is_refused(journal: Journal, a: str, b: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        compare(both(journal), journal.predictions, a, b)


def third(journal: Journal, make_spec: Make) -> list[Record]:
    """The journal's two methods and copies of ce's records under another name."""
    copies = [replace(r, spec=make_spec("focal", seed=r.spec.seed)) for r in both(journal) if r.spec.label == "ce"]
    return [*both(journal), *copies]


def test_a_pair_among_others_is_shown_with_its_p_among_all_pairs(journal: Journal, make_spec: Make) -> None:
    records = third(journal, make_spec)
    stored = {r.key: r.predictions or journal.predictions(r.key) for r in records}
    found = compare(records, stored.get, "mixup", "ce")
    board = build([Result.of(r) for r in records], predictions=stored.get)
    assert found.in_family == (board.tables[0].pairs.between("mixup", "ce").p_holm, 3)
    assert found.in_family[0] > found.overall.test.p  # type: ignore[operator]
    assert "one of 3\npairs: p (Holm) " in comparison_text(found)


def test_a_pair_alone_is_not_said_to_be_one_of_many(journal: Journal) -> None:
    assert "pair chosen beforehand" not in comparison_text(compare(both(journal), journal.predictions, "mixup", "ce"))


def test_metrics_are_shown_in_their_own_unit_and_direction(journal: Journal) -> None:
    shown = comparison_text(compare(both(journal), journal.predictions, "mixup", "ce"))
    assert re.search(r"^ECE \(lower is better\) +\d+\.\d ", shown, re.M)
    assert "= <" not in shown
    assert "95% CI over seeds and images" in shown
    assert "95% CI over seeds]" in shown


def test_each_pair_of_models_has_mcnemars_test(journal: Journal) -> None:
    found = compare(both(journal), journal.predictions, "mixup", "ce")
    ((_, tests),) = found.models.items()
    assert list(tests) == [0, 1, 2, 3, 4]
    stored = {
        (r.spec.label, r.spec.seed): np.load(io.BytesIO(journal.predictions(r.key) or b"")) for r in both(journal)
    }
    for seed, test in tests.items():
        mine, theirs = (stored[m, seed]["label"] == stored[m, seed]["truth"] for m in ("mixup", "ce"))
        b, c = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
        exact = statsmodels_mcnemar([[0, b], [c, 0]], exact=True).pvalue
        assert (test.b, test.c) == (b, c)
        assert test.p == pytest.approx(exact - binom.pmf(min(b, c), b + c, 0.5))
    shown = comparison_text(found)
    assert f"McNemar per seed, digits IF20: s0 p {'<0.001' if tests[0].p < 1e-3 else '= '}" in shown
    assert "Each test is of two trained models, not of the methods." in shown


def test_without_predictions_no_pair_of_models_is_tested(journal: Journal) -> None:
    found = compare(both(journal), lambda key: None, "mixup", "ce")
    assert found.models == {}
    assert "McNemar" not in comparison_text(found)


def test_six_seeds_have_a_sign_flip_permutation_and_five_have_none(
    journal: Journal, tmp_path: Path, make_spec: Make
) -> None:
    five = compare(both(journal), journal.predictions, "mixup", "ce")
    assert five.flipped == (None, Reason.too_few_seeds, 5)
    assert "Sign-flip" not in comparison_text(five)
    seven = filled(tmp_path / "seven", make_spec, 7)
    found = compare(both(seven), seven.predictions, "mixup", "ce")
    values = {(r.spec.label, r.spec.seed): r.metrics["balanced_accuracy"] or 0.0 for r in both(seven)}
    d = np.array([values["mixup", s] - values["ce", s] for s in range(7)])
    reference = permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert found.flipped == (pytest.approx(reference.pvalue), None, 7)
    assert "Sign-flip permutation of the 7 seeds' differences" in comparison_text(found)
