"""Metrics against scikit-learn and plain loops; undefined is None; predictions stored are predictions read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sk

from ltbench.metric_names import METRICS
from ltbench.metrics import (
    Predictions,
    confusion,
    evaluate,
    expected_calibration_error,
    from_predictions,
    negative_log_likelihood,
    per_class,
    predictions,
    summarise,
)

SHOTS = {"many": 100, "few": 20}
TRAIN_COUNTS = (500, 150, 60, 30, 12, 5)


def random_test(seed: int, n: int = 400, strength: float = 1.5) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits of six classes that are right more often than not, and unbalanced truth."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(6, size=n, p=[0.4, 0.2, 0.15, 0.1, 0.1, 0.05])
    logits = rng.normal(size=(n, 6)) + strength * np.eye(6)[truth]
    return logits.astype(np.float32), truth


def scores(logits: NDArray[np.float32], truth: NDArray[np.int64]) -> dict[str, float | None]:
    return evaluate(logits, truth, TRAIN_COUNTS, SHOTS)[0]


def sure_of(classes: Sequence[int], num_classes: int = 6) -> NDArray[np.float32]:
    return (10 * np.eye(num_classes)[np.asarray(classes)]).astype(np.float32)


any_seed = pytest.mark.parametrize("seed", range(5))


@any_seed
def test_accuracy_balanced_accuracy_and_macro_f1_are_scikit_learns(seed: int) -> None:
    logits, truth = random_test(seed)
    found, guess = scores(logits, truth), logits.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(100 * sk.accuracy_score(truth, guess))
    assert found["balanced_accuracy"] == pytest.approx(100 * sk.balanced_accuracy_score(truth, guess))
    assert found["macro_f1"] == pytest.approx(100 * sk.f1_score(truth, guess, average="macro"))


@any_seed
def test_recalls_and_precisions_are_scikit_learns(seed: int) -> None:
    logits, truth = random_test(seed)
    _, table, found = evaluate(logits, truth, TRAIN_COUNTS, SHOTS)
    np.testing.assert_allclose(table["recall"], 100 * sk.recall_score(truth, found.label, average=None))
    np.testing.assert_allclose(table["precision"], 100 * sk.precision_score(truth, found.label, average=None))


@any_seed
def test_the_confusion_matrix_is_scikit_learns(seed: int) -> None:
    logits, truth = random_test(seed)
    guess = predictions(logits).label
    np.testing.assert_array_equal(confusion(truth, guess, 6), sk.confusion_matrix(truth, guess, labels=range(6)))


@any_seed
def test_the_negative_log_likelihood_is_scikit_learns(seed: int) -> None:
    logits, truth = random_test(seed)
    p = np.exp(logits.astype(np.float64))
    expected = sk.log_loss(truth, p / p.sum(axis=1, keepdims=True), labels=range(6))
    assert negative_log_likelihood(logits, truth) == pytest.approx(expected, rel=1e-6)


@any_seed
def test_the_harmonic_mean_and_the_worst_class_are_those_of_the_recalls(seed: int) -> None:
    logits, truth = random_test(seed)
    recalls = [100 * float(np.mean(logits[truth == c].argmax(axis=1) == c)) for c in range(6)]
    found = scores(logits, truth)
    assert found["worst_class"] == pytest.approx(min(recalls))
    assert found["harmonic_mean"] == pytest.approx(6 / sum(1 / r for r in recalls))


def ece_in_loops(confidence: Sequence[float], right: Sequence[bool], bins: int) -> float:
    """Equal-mass bins, the larger ones first; weighted mean gap between accuracy and confidence."""
    order = sorted(range(len(confidence)), key=lambda i: confidence[i])
    bins = min(bins, len(order))
    size, larger = divmod(len(order), bins)
    total, start = 0.0, 0
    for b in range(bins):
        members = order[start : start + size + (b < larger)]
        start += len(members)
        mean = sum(confidence[i] for i in members) / len(members)
        accuracy = sum(right[i] for i in members) / len(members)
        total += len(members) / len(order) * abs(mean - accuracy)
    return 100 * total


@pytest.mark.parametrize("n", [1, 7, 15, 16, 400, 1000])
def test_ece_is_that_of_plain_loops(n: int) -> None:
    rng = np.random.default_rng(n)
    confidence = rng.uniform(0.2, 1.0, n).astype(np.float32)
    right = rng.random(n) < confidence**2
    expected = ece_in_loops(confidence.astype(float).tolist(), right.tolist(), 15)
    assert expected_calibration_error(confidence, right) == pytest.approx(expected, rel=1e-9)


def test_ece_of_the_evaluation_is_that_of_its_predictions() -> None:
    logits, truth = random_test(0)
    p = np.exp(logits.astype(np.float64))
    confidence = (p / p.sum(axis=1, keepdims=True)).max(axis=1)
    expected = ece_in_loops(confidence.tolist(), (logits.argmax(axis=1) == truth).tolist(), 15)
    assert scores(logits, truth)["ece"] == pytest.approx(expected, abs=1e-4)


def test_a_calibrated_predictor_has_almost_no_ece_and_an_overconfident_one_its_overconfidence() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1.0, 50_000)
    assert expected_calibration_error(confidence, rng.random(50_000) < confidence) < 1.0
    right = rng.random(50_000) < confidence - 0.15
    assert expected_calibration_error(confidence, right) == pytest.approx(15.0, abs=0.6)


def test_ece_does_not_depend_on_the_order_of_the_images() -> None:
    rng = np.random.default_rng(0)
    confidence, right, order = rng.random(300), rng.random(300) < 0.5, rng.permutation(300)
    shuffled = expected_calibration_error(confidence[order], right[order])
    assert shuffled == pytest.approx(expected_calibration_error(confidence, right))


def test_confidence_is_the_softmax_of_the_predicted_class_and_never_overflows() -> None:
    found = predictions(np.array([[0.0, math.log(3), 0.0], [1e4, 0.0, -1e4]], dtype=np.float32))
    np.testing.assert_allclose(found.confidence, [0.6, 1.0], rtol=1e-6)
    assert found.label.tolist() == [1, 0]


def test_ties_go_to_the_lower_class() -> None:
    assert predictions(np.zeros((3, 4), dtype=np.float32)).label.tolist() == [0, 0, 0]


def test_class_numbers_above_255_are_kept() -> None:
    logits = np.zeros((3, 65_536), dtype=np.float32)
    logits[range(3), [299, 300, 65_535]] = 1.0
    assert predictions(logits).label.tolist() == [299, 300, 65_535]


# -- shots ------------------------------------------------------------------------------------------------------------


def shot_means(train_counts: Sequence[int], shots: dict[str, int] = SHOTS) -> dict[str, float | None]:
    """Many, medium and few when class c has a recall of c + 1 percent."""
    n = len(train_counts)
    table = {
        "recall": [c + 1.0 for c in range(n)],
        "precision": [50.0] * n,
        "test_images": [10.0] * n,
        "train_images": [float(t) for t in train_counts],
    }
    found = summarise(table, shots)
    return {bucket: found[bucket] for bucket in ("many", "medium", "few")}


def test_101_images_are_many_and_100_are_medium() -> None:
    assert shot_means([101, 100]) == {"many": 1.0, "medium": 2.0, "few": None}


def test_20_images_are_medium_and_19_are_few() -> None:
    assert shot_means([20, 19]) == {"many": None, "medium": 1.0, "few": 2.0}


def test_the_thresholds_are_the_suites() -> None:
    assert shot_means([11, 10, 5, 4], {"many": 10, "few": 5}) == {"many": 1.0, "medium": 2.5, "few": 4.0}


def test_every_class_is_in_exactly_one_bucket() -> None:
    counts = list(range(1, 160))
    found = shot_means(counts)
    sizes = {"many": 59, "medium": 81, "few": 19}
    total = sum(sizes[bucket] * (found[bucket] or 0.0) for bucket in sizes)
    assert total == pytest.approx(sum(range(1, 160)))


def test_an_empty_bucket_is_none_and_a_bucket_without_a_hit_is_0() -> None:
    found = evaluate(sure_of([0, 0]), np.array([0, 1]), (500, 5, 0, 0, 0, 0), SHOTS)[0]
    assert found["many"] == 100.0
    assert found["few"] == 0.0
    assert found["medium"] is None


# -- odd test sets ----------------------------------------------------------------------------------------------------


@any_seed
def test_classes_without_test_images_are_left_out(seed: int) -> None:
    logits, truth = random_test(seed)
    logits, truth = logits[truth < 4], truth[truth < 4]
    guess = logits.argmax(axis=1)
    found = scores(logits, truth)
    expected = sk.recall_score(truth, guess, labels=range(4), average="macro", zero_division=0)
    assert set(guess.tolist()) > {0, 1, 2, 3}, "predicted, though never true"
    assert found["balanced_accuracy"] == pytest.approx(100 * expected)
    f1 = sk.f1_score(truth, guess, labels=range(4), average="macro")
    assert found["macro_f1"] == pytest.approx(100 * f1)
    assert found["few"] is None


def test_a_perfect_predictor_has_100_percent_of_everything_and_no_ece() -> None:
    truth = np.arange(60) % 6
    found = evaluate(100 * sure_of(truth.tolist()), truth, TRAIN_COUNTS, SHOTS)[0]
    assert found.pop("ece") == pytest.approx(0.0, abs=1e-9)
    assert found.pop("nll") == pytest.approx(0.0, abs=1e-9)
    assert list(found.values()) == pytest.approx([100.0] * len(found))


def test_a_constant_predictor_has_the_recall_of_chance_and_a_harmonic_mean_of_0() -> None:
    truth = np.arange(60) % 6
    found = scores(sure_of([2] * 60), truth)
    expected = sk.f1_score(truth, np.full(60, 2), average="macro", zero_division=0)
    assert found["balanced_accuracy"] == pytest.approx(100 / 6)
    assert found["macro_f1"] == pytest.approx(100 * expected)
    assert found["worst_class"] == found["harmonic_mean"] == 0.0


def test_a_class_that_is_never_predicted_has_a_precision_of_0() -> None:
    table = per_class(np.array([[3, 0], [2, 0]]), [10, 5])
    assert table["precision"] == [60.0, 0.0]
    assert table["recall"] == [100.0, 0.0]


def test_the_per_class_table_names_test_and_training_images() -> None:
    logits, truth = random_test(1)
    table = evaluate(logits, truth, TRAIN_COUNTS, SHOTS)[1]
    assert table["train_images"] == list(TRAIN_COUNTS)
    assert table["test_images"] == np.bincount(truth, minlength=6).tolist()


def test_scores_do_not_change_when_all_logits_of_an_image_are_shifted() -> None:
    logits, truth = random_test(2)
    shifted = scores(logits + np.linspace(-5, 5, 400, dtype=np.float32)[:, None], truth)
    for metric, value in scores(logits, truth).items():
        assert shifted[metric] == pytest.approx(value, abs=1e-3)


# -- stored predictions -----------------------------------------------------------------------------------------------


@any_seed
def test_stored_predictions_give_the_same_numbers_back(seed: int, tmp_path: Path) -> None:
    logits, truth = random_test(seed)
    metrics, table, found = evaluate(logits, truth, TRAIN_COUNTS, SHOTS)
    np.savez_compressed(tmp_path / "kept.npz", **found._asdict(), truth=truth.astype(np.uint16))
    kept = np.load(tmp_path / "kept.npz")
    again, table_again = from_predictions(
        Predictions(kept["label"], kept["confidence"]), kept["truth"], TRAIN_COUNTS, SHOTS
    )
    assert table_again == table
    assert again == {metric: value for metric, value in metrics.items() if metric != "nll"}


def test_new_thresholds_need_only_the_per_class_table() -> None:
    logits, truth = random_test(3)
    shots = {"many": 40, "few": 10}
    metrics, table, _ = evaluate(logits, truth, TRAIN_COUNTS, shots)
    from_table = summarise(evaluate(logits, truth, TRAIN_COUNTS, SHOTS)[1], shots)
    assert from_table == {metric: metrics[metric] for metric in from_table}
    assert table["recall"] == evaluate(logits, truth, TRAIN_COUNTS, SHOTS)[1]["recall"]


def test_every_metric_that_is_computed_is_described_and_every_described_one_computed() -> None:
    assert set(scores(*random_test(0))) == set(METRICS)


def test_only_errors_are_better_when_lower() -> None:
    assert {name for name, metric in METRICS.items() if not metric.higher_is_better} == {"ece", "nll"}


@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
def test_working_in_chunks_changes_no_bit(classes: int) -> None:
    rng = np.random.default_rng(classes)
    truth = rng.integers(0, classes, 1777)
    logits = (rng.normal(size=(1777, classes)) * 5).astype(np.float32)
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    total = np.exp(shifted).sum(axis=1)
    metrics, _, found = evaluate(logits, truth, [30] * classes, {"many": 100, "few": 20})
    np.testing.assert_array_equal(found.confidence, (1.0 / total).astype(np.float32))
    np.testing.assert_array_equal(found.label, logits.argmax(axis=1))
    assert metrics["nll"] == float((np.log(total) - shifted[np.arange(1777), truth]).mean())
