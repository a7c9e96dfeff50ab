"""Results with the metrics that are derived when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ltbench.errors import UserError
from ltbench.metric_names import COSTS, known_name
from ltbench.ranking.build import BoardOptions
from ltbench.ranking.views.derived import Views, class_weights, refuse_unknown_columns, views_of
from ltbench.results.journal import Journal, without_collecting
from ltbench.spec import Column, Result

Weights = Mapping[Column, NDArray[np.float64]]


def with_views(
    results: Sequence[Result],
    columns: Sequence[str] | None,
    priors: Sequence[str],
    options: BoardOptions,
    journal: Journal | None,
) -> tuple[Sequence[Result], BoardOptions, Weights]:
    """The results with the derived metrics that the columns or the primary metric name, the options with these columns,
    and the weights of the classes where the primary metric is an accuracy under a test prior.

    Args:
        columns: metrics to show beside the one that ranks; None: the suite's. priors: files of given test priors.
        journal: the records, which derived metrics are made of.

    Raises:
        UserError: an unknown column, an unusable prior, or no records to derive from.
    """
    names = None if columns is None else tuple(map(known_name, columns))
    refuse_unknown_columns(names or (), {name for r in results for name in r.metrics})
    views = views_of([*(names or ()), *filter(None, [options.primary])], priors)
    if priors and names is not None:
        names = tuple(dict.fromkeys([*names, *views.given]))
    options = replace(options, columns=names)
    if costs := [name for name in dict.fromkeys([*(names or ()), options.primary]) if name in COSTS]:
        results = [
            replace(r, metrics={**r.metrics, **{name: r.budget.get(name) for name in costs}}) if r.status == "ok" else r
            for r in results
        ]
    if not views.names:
        return results, options, {}
    if journal is None:
        raise UserError(f"{', '.join(views.names)}: follows from the records of trials, which scores are not")
    derived, train = derive(results, views, journal)
    return derived, options, class_weights(views, options.primary, train)


def derive(results: Sequence[Result], views: Views, journal: Journal) -> tuple[list[Result], dict[Column, list[float]]]:
    """The results with the derived metrics, None where there is no record to derive them from; and the training images
    of the classes of each column."""
    found, train = [], dict[Column, list[float]]()
    with without_collecting():
        for result in results:
            record = journal.read(result.key) if result.status == "ok" else None
            if result.status != "ok":
                found.append(result)
                continue
            metrics = dict.fromkeys(views.names) if record is None else views.of(record, journal.predictions)
            found.append(replace(result, metrics={**result.metrics, **metrics}))
            if record is not None and record.per_class and result.column not in train:
                train[result.column] = list(record.per_class["train_images"])
    return found, train
