"""`ltbench split`: the images that ltbench trains and tests on, for use in any other repository."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ltbench.data.longtail import manifest, select_cell, to_index
from ltbench.data.sources.files import FileSource
from ltbench.data.sources.kinds import open_source
from ltbench.errors import UserError
from ltbench.results.splits import Split
from ltbench.spec import Cell


@dataclass(frozen=True, kw_only=True)
class SplitRequest:
    """Which subset of which data set.

    Attributes:
        dataset: its kind: cifar10, imagenet_lt, folder ...
        data: where data sets and caches lie. path: the data set's own place, for kinds that have one.
        imbalance: the imbalance factor; None: as the data set is.
        profile: exp or step, where there is an imbalance factor.
        subset_seed, class_order, holdout_per_class: as in a suite.
        options: the kind's own, as in a suite.
    """

    dataset: str
    data: Path
    path: str | None = None
    imbalance: float | None = None
    profile: Literal["exp", "step"] = "exp"
    subset_seed: int = 0
    class_order: str = "label"
    holdout_per_class: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


def options_of(given: Iterable[str]) -> dict[str, Any]:
    """`NAME=VALUE` texts as options of a kind; a value that is JSON is what it says, else a text.

    Raises:
        UserError: a text without `=`.
    """
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--option {text}: expected NAME=VALUE, for example size=64")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def make_split(request: SplitRequest) -> Split:
    """The pinned subset. Its manifest is that of a suite's cell with the same settings.

    Raises:
        UserError: no such data set, data that cannot be had, or an imbalance factor that the data cannot give.
    """
    if request.imbalance is not None and not request.imbalance >= 1:
        raise UserError(f"--imbalance {request.imbalance:g}: an imbalance factor is 1 or more")
    if request.class_order not in ("label", "frequency") and not _is_seed(request.class_order):
        raise UserError(f"--class-order {request.class_order}: expected label, frequency, or the seed of a permutation")
    if request.subset_seed >= 1 << 32:
        raise UserError(f"--subset-seed {request.subset_seed}: expected a number below 2^32")
    source = open_source(request.dataset, request.data, request.path, request.options)
    facts = source.facts()
    cell = Cell(
        dataset=request.dataset,
        kind=source.kind,
        imbalance=request.imbalance,
        profile=request.profile if request.imbalance is not None else "native",
        subset_seed=request.subset_seed,
        class_order=request.class_order,
        holdout_per_class=request.holdout_per_class,
        options=source.chosen,
    )
    train, held = select_cell(cell, facts.train_counts)
    if isinstance(source, FileSource):
        labels, tested = source.labels("train"), source.labels("test")
        names = {part: source.names(part) for part in ("train", "test")}
    else:
        arrays = source.arrays()
        labels, tested, names = np.asarray(arrays.train_y), np.asarray(arrays.test_y), {}
    rows = to_index(labels, train)
    return Split(
        cell=Cell(**{**vars(cell), "manifest": manifest(facts.fingerprint, source.chosen, train, held)}),
        class_names=facts.class_names,
        train_index=rows,
        train_labels=labels[rows],
        test_labels=tested,
        train_files=tuple(names["train"][row] for row in rows.tolist()) if names else (),
        test_files=tuple(names["test"]) if names else (),
    )


def _is_seed(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < 1 << 32
