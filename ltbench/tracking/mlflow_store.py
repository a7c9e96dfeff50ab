"""Records -> MLflow runs, runs -> Results. `delivery` decides what is sent when, `mlflow_runs` what a run looks like,
`mlflow_client` opens the store."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from enum import Enum
from pathlib import Path
from typing import NamedTuple

# First: it sets what MLflow reads when it is imported.
from ltbench.tracking.mlflow_client import client_of, experiment_of, opened, runs_of

# isort: split
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run
from mlflow.exceptions import MlflowException

from ltbench.errors import UserError
from ltbench.metric_names import METRICS
from ltbench.ranking.images import read_arrays
from ltbench.results.journal import Journal, without_collecting
from ltbench.spec import Expectation, Record, Result
from ltbench.system.uris import shown_uri, sqlite_file
from ltbench.tracking.ledger import record_digest
from ltbench.tracking.mlflow_page import VIEW, Order, experiment_note, view_tag
from ltbench.tracking.mlflow_runs import (
    FINISHED,
    KIND,
    PLAN,
    Times,
    confusion_picture,
    metrics_of,
    params_of,
    per_class_table,
    plan_of,
    plan_tags,
    result_of,
    tags_of,
)
from ltbench.tracking.sqlite_making import alone


class _Known(NamedTuple):
    """A run that the store has."""

    run_id: str
    status: str
    digest: str | None


class Put(Enum):
    """What became of a record: sent, in the store before, or left out for that of another results folder."""

    SENT = "sent"
    THERE = "there"
    ANOTHERS = "another's"


class Store:
    """One experiment of an MLflow store.

    Args:
        own: the store holds nothing but what the records hold, and may be made anew.

    Attributes:
        made: why it was made just now, and so lacks all records; None: it was there. notes: what the user should know.
    """

    def __init__(self, uri: str, suite: str, expectation: Expectation | None, own: bool = False) -> None:
        self.notes = list[str]()
        self._client, self.made = opened(uri, own)
        self._file = sqlite_file(uri)
        with self._one_at_a_time():  # MLflow fails where two set the same tag for the first time
            self._experiment = experiment_of(self._client, uri, suite)
            if expectation is None:  # imported records may come without a plan; they are a suite all the same
                self._client.set_experiment_tag(self._experiment, KIND, "suite")
            else:
                self._describe(expectation)

    def _look(self, key: str) -> list[_Known]:
        """What there is under a key now: others write to the store, too."""
        return [
            _Known(run.info.run_id, run.info.status, run.data.tags.get("ltbench.digest"))
            for run in runs_of(self._client, self._experiment, f"tags.`ltbench.key` = '{key}'")
            if run.data.tags.get(KIND) == "trial"
        ]

    def _describe(self, expectation: Expectation) -> None:
        primary = str(expectation.protocol.get("primary", "balanced_accuracy"))
        told = {"mlflow.note.content": experiment_note(expectation), **dict(plan_tags(expectation))}
        if VIEW not in self._client.get_experiment(self._experiment).tags:  # until there is a summary
            columns = [f"test/{name}" for name in dict.fromkeys((primary, *expectation.protocol.get("report", ())))]
            rising = primary in METRICS and not METRICS[primary].higher_is_better
            told[VIEW] = view_tag(columns, Order(columns[0], rising))
        for name, text in told.items():
            self._client.set_experiment_tag(self._experiment, name, text)

    def put(self, record: Record, journal: Journal, before: Collection[str] = ()) -> Put:
        """Log a record as one run, unless that very record is there. What this folder sent under its key before is
        replaced; a run of another folder's record of the trial is kept, unless it failed and this one did not: two
        folders on one store must not undo each other's work.

        Args:
            before: digests of the records of this key that were sent from here.
        """
        digest, wanted = record_digest(record), FINISHED[record.status]
        with self._one_at_a_time():
            runs = self._look(record.key)
            there = [run for run in runs if run[1:] == (wanted, digest)]
            others = [run for run in runs if run not in there and not self._is_ours(run, digest, before)]
            if record.status == "ok" and all(run.status == FINISHED["failed"] for run in others):
                others = []
            kept = there[:1] or others
            for run in runs:
                if run not in kept:
                    self._client.delete_run(run.run_id)
            if kept:
                return Put.THERE if there else Put.ANOTHERS
            made = self._log(record, digest, journal)
            return self._settled(record.key, made)

    def _is_ours(self, run: _Known, digest: str, before: Collection[str]) -> bool:
        """One that is not finished is a leftover where nobody else can be sending at this moment."""
        finished = run.status in FINISHED.values()
        return run.digest is None or run.digest in {digest, *before} or (not finished and self._file is not None)

    def _one_at_a_time(self) -> AbstractContextManager[None]:
        return nullcontext() if self._file is None else alone(self._file)

    def _settled(self, key: str, made: _Known) -> Put:
        """On a server two can send the same key at once: both then see both, and keep the same one."""
        finished = [] if self._file is not None else [r for r in self._look(key) if r.status in FINISHED.values()]
        kept = min(finished, default=made)
        for run in finished:
            if run != kept:
                with suppress(MlflowException):  # the other one was quicker
                    self._client.delete_run(run.run_id)
        return Put.SENT if kept.run_id == made.run_id else Put.ANOTHERS

    def _log(self, record: Record, digest: str, journal: Journal) -> _Known:
        times = Times.of(record)
        run = self._client.create_run(
            self._experiment, run_name=record.spec.name, start_time=times.started, tags=tags_of(record, digest)
        )
        run_id = run.info.run_id
        self._client.log_inputs(run_id, [_dataset_input(record)])
        metrics = [Metric(p.name, p.value, times.started, p.step) for p in metrics_of(record)]
        self._client.log_batch(run_id, metrics=metrics, params=[Param(*item) for item in params_of(record).items()])
        self._log_artifacts(run_id, record, journal)
        self._client.set_terminated(run_id, FINISHED[record.status], end_time=times.ended)
        return _Known(run_id, FINISHED[record.status], digest)

    def _log_artifacts(self, run_id: str, record: Record, journal: Journal) -> None:
        self._client.log_dict(run_id, record.to_json(), "record.json")
        if record.error:
            self._client.log_text(run_id, record.error, "error.txt")
        if record.per_class:
            self._client.log_table(run_id, per_class_table(record), "per_class.json")
        predictions = record.predictions or journal.predictions(record.key, needed=True)
        if predictions is not None and read_arrays(predictions, "label", "truth") is None:
            self.notes.append(f"{record.key}.npz in {journal.folder} is damaged: the record {record.key} was sent "
                              f"without its predictions")  # fmt: skip
            predictions = None
        if predictions is not None:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "predictions.npz"
                file.write_bytes(predictions)
                self._client.log_artifact(run_id, str(file))
            picture = confusion_picture(record, predictions)
            if picture is not None:
                with warnings.catch_warnings():  # class names in scripts that matplotlib's font lacks: boxes, no words
                    warnings.filterwarnings("ignore", "Glyph .* missing from font")
                    self._client.log_figure(run_id, picture, "confusion.png")


def _dataset_input(record: Record) -> DatasetInput:
    cell = record.spec.cell
    images = int(sum(record.per_class.get("train_images", [])))
    dataset = Dataset(
        name=cell.label,
        digest=cell.manifest,
        source_type="ltbench",
        source=json.dumps({"kind": cell.kind, "profile": cell.profile, "subset_seed": cell.subset_seed}),
        profile=json.dumps({"training_images": images}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def suites(uri: str) -> list[str]:
    """Names of the store's experiments that ltbench made, the last used first.

    Raises:
        UserError: the store cannot be reached.
    """
    with _reading(uri):
        found = [e for e in client_of(uri).search_experiments() if PLAN in e.tags or KIND in e.tags]
        return [e.name for e in sorted(found, key=lambda e: e.last_update_time or 0, reverse=True)]


def experiment_of_suite(uri: str, suite: str) -> str:
    """The id of the experiment of a suite that the store has.

    Raises:
        UserError: the store cannot be reached.
    """
    with _reading(uri):
        return str(client_of(uri).get_experiment_by_name(suite).experiment_id)


def read(uri: str, suite: str) -> tuple[list[Result], Expectation | None]:
    """The results of a suite, and the plan that was kept with them.

    Raises:
        UserError: the store cannot be reached or has no such suite, or what it has was changed.
    """
    # Without collecting: MLflow makes fifty objects per run, and looking through them takes two thirds of the time.
    with _reading(uri), without_collecting():
        client = client_of(uri)
        experiment = client.get_experiment_by_name(suite)
        if experiment is None:
            known = ", ".join(suites(uri)) or "none"
            raise UserError(f"no suite {suite!r} in the MLflow store {shown_uri(uri)}; it has: {known}")
        trials = runs_of(client, experiment.experiment_id, f"tags.`{KIND}` = 'trial'")
        return _results(trials, suite), plan_of(experiment.tags)


@contextmanager
def _reading(uri: str) -> Iterator[None]:
    """Whatever MLflow raises is a store that cannot be read; its messages hold the address with the password."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the MLflow store {shown_uri(uri)} cannot be read ({type(error).__name__}); `ltbench sync` makes one that "
            f"was left half made anew, and `--from DIR` reads a folder of records instead"
        ) from error


def _results(trials: Iterable[Run], suite: str) -> list[Result]:
    results = []
    for run in trials:
        if run.info.status in FINISHED.values():
            try:
                results.append(result_of(run.data.tags, run.data.metrics, suite))
            except (KeyError, ValueError) as error:
                cure = "delete it there, and `ltbench sync` sends its record again"
                raise UserError(f"the run {run.info.run_id} is not as ltbench made it ({error}); {cure}") from error
    return results
