"""Metrics that follow from what a finished trial left: other test distributions, other shots, calibration by shot.

Nothing is trained or tested again: accuracies follow from the stored table of classes, calibration from the stored
predictions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltbench.errors import UserError, clipped, did_you_mean
from ltbench.metric_names import BUCKETS, COSTS, DERIVED, METRICS, SHOTS, declare_prior
from ltbench.metrics import expected_calibration_error, negative_log_likelihood
from ltbench.ranking.images import Predictions, read_arrays, read_logits
from ltbench.spec import Column, Record
from ltbench.stats.priors import PRIOR, frequency_rank, prior_weights

Floats = NDArray[np.float64]
GIVEN = "prior_"
"""Begins the names of accuracies under priors that a user gives."""


@dataclass(frozen=True)
class Views:
    """Which derived metrics are asked for.

    Attributes:
        names: of `metrics.DERIVED`, or `prior_NAME` of a given prior.
        given: `prior_NAME` -> a weight for every class.
    """

    names: tuple[str, ...] = ()
    given: Mapping[str, Floats] = field(default_factory=dict)

    def of(self, record: Record, predictions: Predictions | None) -> dict[str, float | None]:
        """The metrics of a finished trial; None where what is needed is not there."""
        if not record.per_class:
            return dict.fromkeys(self.names)
        return {name: self._one(name, record, predictions) for name in self.names}

    def _one(self, name: str, record: Record, predictions: Predictions | None) -> float | None:
        table = {column: np.asarray(values, dtype=np.float64) for column, values in record.per_class.items()}
        recall, train, tested = table["recall"], table["train_images"], table["test_images"] > 0
        if name == "geometric_mean":
            return float(np.exp(np.log(recall[tested]).mean())) if recall[tested].min() > 0 else 0.0
        if is_prior(name):
            weight = np.where(tested, self.weights(name, train), 0.0)
            return float(weight @ recall / weight.sum()) if weight.sum() > 0 else None
        first, _, last = name.partition("_")
        if last in BUCKETS:  # ece_few
            inside = shots_of(train, "", record.spec.shots) == BUCKETS.index(last)
            return _calibration(first, inside, record.key, predictions)
        chosen = tested & (shots_of(train, last, record.spec.shots) == BUCKETS.index(first))
        return float(recall[chosen].mean()) if chosen.any() else None

    def weights(self, name: str, train: Sequence[float] | Floats) -> Floats:
        """The test distribution of a prior over the classes, (C,), up to a factor.

        Raises:
            UserError: a given prior has not a weight for every class.
        """
        if name in self.given:
            if len(self.given[name]) != len(train):
                raise UserError(f"--prior {name.removeprefix(GIVEN)}: has {len(self.given[name])} weights for "
                                f"{len(train)} classes")  # fmt: skip
            return self.given[name]
        return prior_weights(name, train)


def is_prior(name: str) -> bool:
    """It is an accuracy under a test distribution."""
    named = name == "uniform" or name.startswith(GIVEN) or PRIOR.fullmatch(name) is not None
    return named and name in DERIVED


def shots_of(train: Floats, convention: str, shots: Mapping[str, int]) -> NDArray[np.int64]:
    """0 (many), 1 (medium) or 2 (few) for every class.

    Args:
        convention: of `metrics.SHOTS`; empty: the suite's own thresholds.
        shots: those thresholds.
    """
    if convention == "thirds":
        return np.asarray(frequency_rank(train) * 3 // len(train), dtype=np.int64)
    if convention == "if100":
        train = np.floor(train.max() * 100.0 ** (-frequency_rank(train) / max(len(train) - 1, 1)) + 1e-9)
    many, few = (100, 20) if convention else (shots["many"], shots["few"])
    in_few = train <= few if convention == "le20" else train < few
    return np.where(train > many, 0, np.where(in_few, 2, 1)).astype(np.int64)


def _calibration(metric: str, inside: NDArray[np.bool_], key: str, predictions: Predictions | None) -> float | None:
    """ECE or NLL over the test images of some classes."""
    stored = predictions(key) if predictions is not None else None
    kept = read_arrays(stored, "label", "truth", "confidence")
    if kept is None:
        return None
    label, truth, confidence = kept
    chosen = inside[truth.astype(np.int64)]
    if not chosen.any():
        return None
    if metric == "ece":
        return expected_calibration_error(confidence[chosen], (label == truth)[chosen])
    logits = read_logits(stored, len(truth))
    return None if logits is None else negative_log_likelihood(logits[chosen], truth[chosen].astype(np.int64))


TABLED = tuple(name for name in DERIVED if name == "geometric_mean" or name.rpartition("_")[2] in SHOTS)
"""Other averages over classes and other shots, which follow from the table of classes alone."""


def by_shot(record: Record, predictions: Predictions | None) -> dict[str, float | None]:
    """All shot conventions of a finished trial, its averages over classes, and ECE and NLL by shot; None where what is
    needed is not there. Predictions are read once."""
    stored = predictions(record.key) if predictions is not None else None
    found = {name: record.metrics.get(name) for name in (*BUCKETS, "worst_class", "harmonic_mean")}
    calibration = tuple(f"{metric}_{bucket}" for metric in ("ece", "nll") for bucket in BUCKETS)
    return {**found, **Views((*TABLED, *calibration)).of(record, lambda key: stored)}


def views_of(names: Collection[str], priors: Iterable[str] = ()) -> Views:
    """The derived ones among the names of metrics, and those of given priors.

    Args:
        priors: files with a weight for every class in label order: a JSON list, or numbers apart by blanks or commas.

    Raises:
        UserError: a file that cannot be read, or is no prior.
    """
    read = {Path(file).stem: _read_prior(Path(file).expanduser()) for file in priors}
    given = {declare_prior(name): weights for name, weights in read.items()}  # one that cannot be read has no name
    wanted = [name for name in dict.fromkeys([*names, *given]) if name in DERIVED]
    for name in wanted:
        if name.startswith(GIVEN) and name not in given:
            raise UserError(f"{clipped(name)}: no such prior is given; --prior FILE gives one")
    return Views(tuple(wanted), given)


def _read_prior(file: Path) -> Floats:
    try:
        text = file.read_text(encoding="utf-8").strip()
        values = json.loads(text) if text.startswith("[") else [float(word) for word in re.split(r"[\s,;]+", text)]
        weights = np.asarray(values, dtype=np.float64)
    except OSError as error:
        known = [name for name in DERIVED if is_prior(name)]
        raise UserError(f"--prior {file}: no such file, and no prior of that name. {did_you_mean(str(file), known)}"
                        ) from error  # fmt: skip
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"--prior {file}: holds no list of numbers ({error})") from error
    if weights.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
        raise UserError(f"--prior {file}: weights are numbers from 0 up, one for each class, not all 0")
    return weights


def refuse_unknown_columns(names: Iterable[str], there: Collection[str]) -> None:
    """Raises UserError for a column that is no metric of the results, no cost, and none that can be derived."""
    known = [*METRICS, *DERIVED, *COSTS, *there]
    for name in names:
        if name not in known:
            raise UserError(f"--columns {clipped(name)}: unknown metric. {did_you_mean(name, known)}")


def class_weights(views: Views, name: str | None, train: Mapping[Column, Sequence[float]]) -> dict[Column, Floats]:
    """Column -> the prior's weights of its classes; nothing where the metric is no prior."""
    if name is None or not is_prior(name):
        return {}
    return {column: views.weights(name, counts) for column, counts in train.items()}


def primary_of_prior(primary: str | None, prior: str | None) -> tuple[str | None, tuple[str, ...]]:
    """The metric that ranks where a test prior is asked for, and the file that gives it.

    Args:
        prior: `forward50`, `uniform` ..., or a file of weights; None: none is asked for.

    Raises:
        UserError: another metric is asked for, too.
    """
    if prior is None:
        return primary, ()
    if primary is not None:
        raise UserError(f"--prior {prior} ranks by accuracy under that prior; leave --primary {primary} out")
    if prior in DERIVED and is_prior(prior):
        return prior, ()
    return f"{GIVEN}{Path(prior).stem}", (prior,)
