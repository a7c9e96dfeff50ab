"""Which metrics there are: their titles and units, and which way each is better. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from ltbench.errors import UserError, clipped


class Metric(NamedTuple):
    """How a metric is read: its title, a short one for table heads, whether more is better, the difference (in its own
    unit) below which two methods are practically the same, and the decimals that boards show."""

    title: str
    short: str
    higher_is_better: bool = True
    rope: float = 0.5
    unit: str = "%"
    digits: int = 1


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
    "nll": Metric("negative log-likelihood", "NLL", higher_is_better=False, rope=0.02, unit="", digits=3),
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
    name: Metric(title, short, higher_is_better=False, rope=0.0, unit="", digits=3 if "hours" in name else 1)
    for name, title, short in (
        ("optimizer_steps", "optimizer steps", "steps"),
        ("images_read", "training images read", "images"),
        ("images_per_example", "images read per example", "images/ex."),
        ("views_per_image", "views of an image", "views"),
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
    share = percent and not nats
    return Metric(name.replace("_", " "), name, higher_is_better=up is not False, rope=0.02 if nats else 0.5,
                  unit="%" if share else "", digits=1 if share else 3)  # fmt: skip


def usual_primary(metrics: Collection[str]) -> str:
    """The metric that ranks where nobody says which: balanced accuracy, accuracy, else the first that is there."""
    return next((m for m in ("balanced_accuracy", "accuracy", *metrics) if m in metrics), "balanced_accuracy")
