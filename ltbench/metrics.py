"""Logits -> what a leaderboard reports. Numpy only; accuracies in percent; undefined values are None, never 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
ECE_BINS = 15


class Predictions(NamedTuple):
    """What is kept of a test pass: the class and its probability."""

    label: NDArray[np.uint16]
    confidence: NDArray[np.float32]


_CHUNK = 1 << 16
"""Numbers that are worked on at once, so that they stay in a core's cache."""


def _softmax(logits: Floats, truth: NDArray[np.integer] | None = None) -> tuple[Any, Any, Any]:
    """(N, C) logits -> the largest one's class, the sum of all classes' exp(logit - largest) and, where `truth` is
    given, the true class's logit - largest; (N,) each, the latter two in float64."""
    label = logits.argmax(axis=1)
    everywhere = np.arange(len(logits))
    largest = logits[everywhere, label].astype(np.float64)
    total, true = np.empty(len(logits)), np.empty(len(logits) if truth is not None else 0)
    rows = max(1, _CHUNK // max(1, logits.shape[1]))
    for start in range(0, len(logits), rows):
        some = slice(start, start + rows)
        shifted = logits[some].astype(np.float64)
        shifted -= largest[some, None]
        if truth is not None:
            true[some] = shifted[np.arange(len(shifted)), truth[some]]
        total[some] = np.exp(shifted, out=shifted).sum(axis=1)
    return label, total, true


def predictions(logits: Floats) -> Predictions:
    """(N, C) logits -> top-1 label and its softmax probability. Ties go to the lower class."""
    label, total, _ = _softmax(logits)
    return Predictions(label.astype(np.uint16), (1.0 / total).astype(np.float32))


def confusion(truth: NDArray[np.integer], predicted: NDArray[np.integer], num_classes: int) -> NDArray[np.int64]:
    """(C, C) counts, truth down, prediction across."""
    cells = truth.astype(np.int64) * num_classes + predicted.astype(np.int64)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def per_class(matrix: NDArray[np.int64], train_counts: Sequence[int]) -> dict[str, list[float]]:
    """Per class: recall and precision in percent (0 where nothing was predicted), test and training images."""
    return _table(np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0), train_counts)


def _table(
    right: NDArray[np.int64], truth: NDArray[np.int64], predicted: NDArray[np.int64], train_counts: Sequence[int]
) -> dict[str, list[float]]:
    return {
        "recall": (100.0 * right / np.maximum(truth, 1)).tolist(),
        "precision": (100.0 * right / np.maximum(predicted, 1)).tolist(),
        "test_images": truth.astype(float).tolist(),
        "train_images": [float(n) for n in train_counts],
    }


def summarise(classes: Mapping[str, Sequence[float]], shots: Mapping[str, int]) -> dict[str, float | None]:
    """Every metric that follows from the per-class table alone; classes without test images are left out.

    many: more than shots['many'] training images; few: fewer than shots['few']; medium: the rest (Liu et al., CVPR
    2019). A bucket's accuracy is the mean of its classes' recalls; an empty bucket is None.
    """
    tested = np.asarray(classes["test_images"]) > 0
    recall, precision = np.asarray(classes["recall"])[tested], np.asarray(classes["precision"])[tested]
    weight, train = np.asarray(classes["test_images"])[tested], np.asarray(classes["train_images"])[tested]
    total = recall + precision
    f1 = np.where(total > 0, 2 * recall * precision / np.where(total > 0, total, 1), 0.0)
    many, few = train > shots["many"], train < shots["few"]
    return {
        "accuracy": float((recall * weight).sum() / weight.sum()),
        "balanced_accuracy": float(recall.mean()),
        "many": _mean(recall[many]),
        "medium": _mean(recall[~many & ~few]),
        "few": _mean(recall[few]),
        "worst_class": float(recall.min()),
        "harmonic_mean": float(len(recall) / (1.0 / recall).sum()) if recall.min() > 0 else 0.0,
        "macro_f1": float(f1.mean()),
    }


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def expected_calibration_error(confidence: Floats, right: NDArray[np.bool_], bins: int = ECE_BINS) -> float:
    """Gap between confidence and accuracy over `bins` bins of equal mass, in percent (Nguyen and O'Connor, EMNLP 2015).

    Bins hold equal numbers of images rather than equal ranges, so none is empty. Equal confidences are ordered by
    position, which is deterministic.
    """
    order = np.argsort(confidence, kind="stable")
    gap = 0.0
    for part in np.array_split(order, min(bins, len(order))):
        gap += len(part) * abs(float(confidence[part].mean(dtype=np.float64)) - float(right[part].mean()))
    return 100.0 * gap / len(order)


def from_predictions(
    found: Predictions, truth: NDArray[np.integer], train_counts: Sequence[int], shots: Mapping[str, int]
) -> tuple[dict[str, float | None], dict[str, list[float]]]:
    """All metrics that do not need the logits, and the per-class table, from stored predictions."""
    num_classes, right = len(train_counts), truth == found.label
    # Without the matrix, which for 8,142 classes would take half a gigabyte.
    hits, images, named = (np.bincount(y, minlength=num_classes) for y in (truth[right], truth, found.label))
    classes = _table(hits, images, named, train_counts)
    metrics = summarise(classes, shots)
    metrics["ece"] = expected_calibration_error(found.confidence, found.label == truth)
    return metrics, classes


def negative_log_likelihood(logits: Floats, truth: NDArray[np.integer]) -> float:
    """Mean of -log p(true class), in nats."""
    _, total, true = _softmax(logits, truth)
    return float((np.log(total) - true).mean())


def evaluate(
    logits: Floats, truth: NDArray[np.integer], train_counts: Sequence[int], shots: Mapping[str, int]
) -> tuple[dict[str, float | None], dict[str, list[float]], Predictions]:
    """All metrics, the per-class table and the predictions of one test pass: logits (N, C), truth (N,)."""
    label, total, true = _softmax(logits, truth)
    found = Predictions(label.astype(np.uint16), (1.0 / total).astype(np.float32))
    metrics, classes = from_predictions(found, truth, train_counts, shots)
    metrics["nll"] = float((np.log(total) - true).mean())
    return metrics, classes, found
