"""Logits -> what a leaderboard reports. Numpy only; accuracies in percent; undefined values are None, never 0."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ltbench.errors import UserError, clipped

Floats = NDArray[np.floating]
ECE_BINS = 15


class Metric(NamedTuple):
    """How a metric is read: its title, a short one for table heads, whether more is better, and the difference (in its
    own unit) below which two methods are practically the same."""

    title: str
    short: str
    higher_is_better: bool = True
    rope: float = 0.5
    unit: str = "%"


METRICS: dict[str, Metric] = {
    "accuracy": Metric("accuracy", "acc"),
    "balanced_accuracy": Metric("balanced accuracy", "bal. acc"),
    "many": Metric("many-shot", "many"),
    "medium": Metric("medium-shot", "medium"),
    "few": Metric("few-shot", "few", rope=1.0),
    "worst_class": Metric("worst class", "worst", rope=1.0),
    "harmonic_mean": Metric("harmonic mean of recalls", "harm", rope=1.0),
    "macro_f1": Metric("macro F1", "F1"),
    "ece": Metric("ECE", "ECE", higher_is_better=False, rope=1.0),
    "nll": Metric("negative log-likelihood", "NLL", higher_is_better=False, rope=0.02, unit=""),
}

BUCKETS = ("many", "medium", "few")
SHOTS = {
    "usual": "many > 100, few < 20 training images",
    "le20": "many > 100, few <= 20 training images",
    "thirds": "thirds of the classes by training images",
    "if100": "the partition of imbalance factor 100",
}
"""Conventions of many, medium and few beside a suite's own."""
RATIOS = (2, 5, 10, 25, 50)
"""Imbalance of the test distributions of SADE (Zhang et al., NeurIPS 2022)."""
DERIVED: dict[str, Metric] = {
    "geometric_mean": Metric("geometric mean of recalls", "geom", rope=1.0),
    "uniform": Metric("accuracy, uniform test prior", "uniform"),
    **{
        f"{way}{r}": Metric(f"accuracy, {way} test prior {r}", f"{way} {r}")
        for way in ("forward", "backward")
        for r in RATIOS
    },
    **{
        f"{bucket}_{name}": Metric(f"{METRICS[bucket].title} ({words})", f"{bucket} {name}", rope=METRICS[bucket].rope)
        for name, words in SHOTS.items()
        for bucket in BUCKETS
    },
    **{
        f"{metric}_{bucket}": METRICS[metric]._replace(
            title=f"{METRICS[metric].title} of {bucket}-shot classes",
            short=f"{METRICS[metric].short} {bucket}",
        )
        for metric in ("ece", "nll")
        for bucket in BUCKETS
    },
}
"""Metrics that follow from what a trial left, computed when they are asked for: no record has them."""


COSTS: dict[str, Metric] = {
    name: Metric(title, short, higher_is_better=False, rope=0.0, unit="")
    for name, title, short in (
        ("optimizer_steps", "optimizer steps", "steps"),
        ("images_read", "training images read", "images"),
        ("images_per_example", "images read per example", "images/ex."),
        ("forward_passes", "forward passes", "forward"),
        ("backward_passes", "backward passes", "backward"),
        ("passes_per_step", "passes per step", "passes/step"),
        ("parameters", "parameters", "params"),
        ("trained_parameters", "trained parameters", "trained"),
        ("gpu_hours", "GPU-hours", "GPU-h"),
        ("cpu_hours", "CPU-hours", "CPU-h"),
    )
}
"""What a trial cost, shown beside its accuracy when it is asked for."""

_SHARES_LOWER = (
    *("error", "errors", "err", "ece", "mce", "tce", "ace", "fpr", "fnr", "fpr95", "far", "frr", "eer", "hter", "wer"),
    *("cer", "misclassification", "misclassified"),
)
_SHARES_HIGHER = (
    *("accuracy", "acc", "acc1", "acc5", "top1", "top5", "precision", "recall", "recalls", "sensitivity"),
    *("specificity", "f1", "fscore", "auc", "auroc", "auprc", "aupr", "map", "ap", "iou", "miou", "gmean", "tpr"),
    *("tnr", "many", "medium", "few"),
)
_LIKELIHOODS = ("likelihood", "likelihoods")
_NATS = frozenset({"loss", "losses", "nll", "entropy", "deviance", "divergence", "kl", "brier", *_LIKELIHOODS})
_LOWER = frozenset(
    {*_SHARES_LOWER, *_NATS, "rmse", "mse", "mae", "perplexity", "ppl", "regret", "distance", "latency", "time",
     "seconds", "false", "drop", "forgetting"} - {*_LIKELIHOODS}
)  # fmt: skip
_HIGHER = frozenset({*_SHARES_HIGHER, *_LIKELIHOODS, "dice", "jaccard", "kappa", "mcc", "hits", "ndcg"})
_WHICH = frozenset({"top1", "top5", "many", "medium", "few"})
_PERCENT = frozenset({*_SHARES_LOWER, *_SHARES_HIGHER})
"""Words in the names of metrics, by what they say of direction and unit."""
Directions = Mapping[str, bool]
"""Metric of a user's own -> whether more of it is better, as the user says."""
NONE_DECLARED: Directions = MappingProxyType({})


def declared_directions(lower: Iterable[str] = (), higher: Iterable[str] = ()) -> Directions:
    """What a user says of metrics of their own, by which way is better.

    Raises:
        UserError: one is said to be both, or the other way than ltbench's own metric of that name.
    """
    said, declared = dict.fromkeys(lower, False), dict[str, bool]()
    for name, up in [*said.items(), *dict.fromkeys(higher, True).items()]:
        known = METRICS.get(known_name(name))
        if said.get(name, up) != up or (known is not None and known.higher_is_better != up):
            raise UserError(f"--{'higher' if up else 'lower'}-is-better {clipped(name)}: it is "
                            f"{'lower' if up else 'higher'} is better already")  # fmt: skip
        declared[name] = up
    return declared


def declare_prior(name: str) -> str:
    """Make the accuracy under a test prior of the user's own known; the metric's name."""
    DERIVED[f"prior_{name}"] = Metric(f"accuracy, test prior {name}", f"prior {name}")
    return f"prior_{name}"


def known_name(name: str) -> str:
    """The name that ltbench has for a metric written in another case, with spaces or dashes, or by its title; else the
    name as it is."""
    flat = _flat(name)
    known = {**METRICS, **DERIVED, **COSTS}.items()
    return next((own for own, about in known if flat in (_flat(own), _flat(about.title))), name)


def _flat(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().lower())


def direction_of(name: str, declared: Directions = NONE_DECLARED) -> bool | None:
    """Whether more of a metric is better: as declared, as ltbench knows it, or as the words of its name say; None where
    nothing says it."""
    if name in declared:
        return declared[name]
    if name in METRICS or name in DERIVED or name in COSTS:
        return metric_of(name).higher_is_better
    words = _words(name)
    lower, higher = any(_is_in(w, _LOWER) for w in words), any(_is_in(w, _HIGHER) for w in words)
    if lower and higher and not any(_is_in(w, _HIGHER - _WHICH) for w in words):
        higher = False  # few_error
    if lower == higher:
        return None
    turned = re.match(r"\s*1(00)?\s*-", name) is not None  # 1 - accuracy
    if {"neg", "negative", "inverse", "inverted"} & set(words) and "false" not in words:
        turned = not turned
    return higher != turned


def _words(name: str) -> list[str]:
    """`testLoss`, `Test-Loss` and `test_loss` -> test, loss."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", name)
    spaced = re.sub(r"(?i)\bg[-_ ]?mean", "gmean", spaced)
    return [word for word in re.split(r"[^0-9a-z]+", spaced.lower()) if word]


def _is_in(word: str, known: frozenset[str]) -> bool:
    """A word, or one that ends in it: logloss, toperror, balancedaccuracy."""
    return word in known or word.endswith(tuple(w for w in known if len(w) > 3))


def metric_of(name: str, declared: Directions = NONE_DECLARED) -> Metric:
    """A metric by name. Of one that ltbench does not know (from a file of scores) the words of its name say which way
    is better, as far as they do and nothing is declared, and in which unit it is."""
    for known in (METRICS, DERIVED, COSTS):
        if name in known:
            return known[name]
    words = _words(name)
    percent = any(_is_in(w, _PERCENT) for w in words) and not {"mean", "squared", "absolute"} & set(words)
    nats = any(_is_in(w, _NATS) for w in words)
    up = direction_of(name, declared)
    return Metric(name.replace("_", " "), name, higher_is_better=up is not False, rope=0.02 if nats else 0.5,
                  unit="%" if percent and not nats else "")  # fmt: skip


def usual_primary(metrics: Collection[str]) -> str:
    """The metric that ranks where nobody says which: balanced accuracy, accuracy, else the first that is there."""
    return next((m for m in ("balanced_accuracy", "accuracy", *metrics) if m in metrics), "balanced_accuracy")


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
