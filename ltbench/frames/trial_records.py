"""`ltbench.records`: the records of finished trials, as frames."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ltbench.errors import UserError
from ltbench.frames.words import (
    AnyPath,
    AnySuite,
    Names,
    folder_of,
    frame_of,
    path_of,
    selection_of,
    suite_of,
    table_html,
)
from ltbench.results.journal import Journal
from ltbench.spec import Record, TrialSpec
from ltbench.workflow.find_results import journal_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TrialRecord:
    """What one trial left behind."""

    record: Record
    journal: Journal | None = None

    @property
    def spec(self) -> TrialSpec:
        """The trial: method, hyper-parameters, recipe, cell and seed."""
        return self.record.spec

    @property
    def key(self) -> str:
        """12 hex digits that name the trial everywhere."""
        return self.record.key

    @property
    def status(self) -> str:
        """`ok` or `failed`."""
        return self.record.status

    @property
    def error(self) -> str | None:
        """Why it failed."""
        return self.record.error

    @property
    def metrics(self) -> dict[str, float | None]:
        """Name -> value; accuracies in percent; None where undefined."""
        return dict(self.record.metrics)

    @property
    def environment(self) -> dict[str, Any]:
        """Facts about the run: host, device, versions, seconds."""
        return dict(self.record.environment)

    def per_class(self) -> pd.DataFrame:
        """One line per class: name, train_images, test_images, recall and precision (percent), and what else is
        kept."""
        columns = self.record.per_class
        names = self.record.environment.get("class_names") or []
        frame = frame_of({name: list(values) for name, values in columns.items()})
        frame.insert(0, "name", names if len(names) == len(frame) else [str(i) for i in range(len(frame))])
        frame.index.name = "class"
        counts = [name for name in ("train_images", "test_images") if name in frame]
        return frame.astype(dict.fromkeys(counts, int))[["name", *counts, *(c for c in columns if c not in counts)]]

    def curves(self) -> pd.DataFrame:
        """Learning curves: columns curve, epoch, value."""
        lines = [(name, epoch, value) for name, points in self.record.curves.items() for epoch, value in points]
        return frame_of(lines, ["curve", "epoch", "value"])

    def predictions(self) -> pd.DataFrame:
        """One line per test image: truth and label (class numbers), confidence (0 to 1); where the suite keeps logits,
        a column `logit_C` for every class C.

        Raises:
            UserError: none were kept.
        """
        content = self.record.predictions
        if content is None and self.journal is not None:
            content = self.journal.predictions(self.key)
        if content is None:
            raise UserError(f"the predictions of {self.key} ({self.spec.name}) were not kept")
        with np.load(io.BytesIO(content), allow_pickle=False) as kept:
            frame = frame_of({name: kept[name] for name in ("truth", "label", "confidence")})
            if "logits" in kept:
                logits = kept["logits"]
                frame = frame.join(frame_of(logits, [f"logit_{c}" for c in range(logits.shape[1])]))
        return frame

    def __repr__(self) -> str:
        if self.status == "failed":
            return f"{self.key}  {self.spec.name}: failed"
        score = self.metrics.get("balanced_accuracy")
        return f"{self.key}  {self.spec.name}: {'ok' if score is None else f'balanced accuracy {score:.2f} %'}"

    def _repr_html_(self) -> str:
        return table_html(self.per_class(), repr(self))


class Records(Sequence[TrialRecord]):
    """The records of a suite, in the order of their keys."""

    def __init__(self, records: Sequence[Record], journal: Journal | None) -> None:
        self._records, self._journal = list(records), journal

    @overload
    def __getitem__(self, index: int) -> TrialRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: int | slice) -> TrialRecord | Records:
        if isinstance(index, slice):
            return Records(self._records[index], self._journal)
        return TrialRecord(self._records[index], self._journal)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[TrialRecord]:
        return (TrialRecord(record, self._journal) for record in self._records)

    def to_frame(self) -> pd.DataFrame:
        """One line per trial: key, suite, method, dataset, imbalance, seed, role, recipe, status, every metric (percent
        where it is a share), and seconds of training."""
        lines = [
            {"key": r.key, "suite": r.spec.suite, "method": r.spec.label, "dataset": r.spec.cell.dataset,
             "imbalance": r.spec.cell.imbalance_label, "seed": r.spec.seed, "role": r.spec.role,
             "recipe": r.spec.recipe_name, "status": r.status, **r.metrics,
             "train_seconds": r.environment.get("train_seconds")}
            for r in self._records
        ]  # fmt: skip
        return frame_of(lines)

    def __repr__(self) -> str:
        failed = sum(record.status == "failed" for record in self._records)
        return f"{len(self)} records{f', {failed} failed' if failed else ''}"

    def _repr_html_(self) -> str:
        return table_html(self.to_frame(), repr(self))


def records(
    suite: AnySuite | None = None,
    *,
    results: AnyPath = "results",
    from_: AnyPath | None = None,
    only: Names = None,
    datasets: Names = None,
    seeds: int | list[int] | None = None,
) -> Records:
    """The records of a suite's trials.

    Args:
        suite: its name, file or contents; default: the last used.
        results: the folder in which runs wrote.
        from_: a suite's folder of results, or of records, instead of `results`.
        only: the rows (methods, by label) to look at; default: all.
        datasets: the data sets to look at; default: all.
        seeds: the training seeds to look at; default: all.

    Returns:
        A sequence of records; `to_frame()` has one line per trial.

    Raises:
        ltbench.errors.UserError: no such suite or folder.

    Examples:
        >>> import ltbench
        >>> found = ltbench.records(from_="results/reference/quickstart", only="mixup")
        >>> len(found), found[0].spec.method
        (10, 'mixup')
        >>> list(found[0].per_class().columns[:3])
        ['name', 'train_images', 'test_images']
    """
    journal, _ = journal_of(folder_of(results), suite_of(suite), path_of(from_))
    chosen = selection_of(only, datasets, seeds)
    found = [
        record
        for record in journal.records().values()
        if (chosen.methods is None or record.spec.label in chosen.methods)
        and chosen.takes(record.spec.cell.dataset)
        and (chosen.seeds is None or record.spec.seed in chosen.seeds)
    ]
    return Records(found, journal)
