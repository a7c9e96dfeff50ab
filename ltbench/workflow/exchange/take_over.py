"""`ltbench import PREDICTIONS --split FILE`: models trained elsewhere on a split of ltbench, as results of a suite."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ltbench
from ltbench.errors import UserError, clipped, did_you_mean
from ltbench.metrics import Predictions, from_predictions
from ltbench.ranking.images import read_arrays
from ltbench.results.folders import Folders, folders_of, read_plan
from ltbench.results.predictions import Predicted, read_predictions
from ltbench.results.splits import Split, read_split
from ltbench.spec import ELSEWHERE, Cell, Expectation, Record, TrialSpec
from ltbench.system.lock import SuiteLock
from ltbench.workflow.tell import Tell, tell_nobody, warner

USUAL_SHOTS = {"many": 100, "few": 20}


@dataclass(frozen=True)
class TakenOver:
    """What came of it.

    Attributes:
        suite: where the results are now.
        rows: method -> its number of models. new: how many were not there before.
        recipe: the recipe in whose table they are ranked; `elsewhere`: they have a table of their own.
    """

    suite: str
    rows: Mapping[str, int]
    new: int
    recipe: str


def import_predictions(
    file: Path,
    split_file: Path,
    suite: str,
    results: Path = Path("results"),
    recipe: str | None = None,
    tell: Tell = tell_nobody,
) -> TakenOver:
    """Take predictions that were made elsewhere over into a suite's records, marked as such.

    Args:
        file: the predictions, .csv or .npz, as `results.predictions.read_predictions` reads them.
        split_file: the split that the models were trained on, as `ltbench split` wrote it (.json or .npz).
        suite: the suite whose board they go on; it need not have run.
        results: where its results lie.
        recipe: a recipe of the suite that the models were trained by, says the user: they are ranked with its rows.
            None: they have a table of their own.

    Raises:
        UserError: unreadable files, another split, a name that a row of the suite has, or other predictions for a
            model that is there already.
    """
    found, split, folders = read_predictions(file), read_split(split_file), folders_of(results, suite)
    plan = read_plan(folders.plan_file)
    for one in found:
        _refuse_misfit(file, one, split, split_file)
        if plan is not None and one.method in plan.rows:
            raise UserError(f"{file}: {one.method} is a row of the suite {suite} itself; give the one from elsewhere "
                            f"another name, such as {one.method}_ours")  # fmt: skip
    cell, (recipe_name, recipe_values) = _cell(split, plan, split_file), _recipe(recipe, plan, suite)
    shots = dict((plan.protocol.get("shots") if plan else None) or USUAL_SHOTS)
    with SuiteLock(folders.suite_folder, warner(tell)):
        _refuse_other_test_set(folders, cell, split, split_file)
        new = 0
        for one in found:
            spec = TrialSpec(
                suite=suite, cell=cell, label=one.method, method=one.method, hyperparameters={}, code=ELSEWHERE,
                recipe_name=recipe_name, recipe=recipe_values, seed=one.seed, shots=shots, role=ELSEWHERE,
            )  # fmt: skip
            new += _keep(folders, _record(spec, one, split, file.name), file)
    rows: dict[str, int] = {}
    for one in found:
        rows[one.method] = rows.get(one.method, 0) + 1
    return TakenOver(suite, rows, new, recipe_name)


def _refuse_misfit(file: Path, one: Predicted, split: Split, split_file: Path) -> None:
    """Predictions are of a split only if they say so, and have a class for each of its test images."""
    who = f"{file}: {one.method} seed {one.seed}"
    if one.manifest != split.manifest:
        raise UserError(f"{who}: is of manifest {clipped(one.manifest)!r}, but {split_file} has {split.manifest!r}: "
                        f"other images. Train on those of that file, or name the split it was trained on")  # fmt: skip
    if len(one.label) != len(split.test_labels):
        raise UserError(f"{who}: has {len(one.label):,} labels for {len(split.test_labels):,} test images")
    if not 0 <= one.label.min() <= one.label.max() < len(split.class_names):
        raise UserError(f"{who}: has labels from {one.label.min()} to {one.label.max()}; classes are 0 to "
                        f"{len(split.class_names) - 1}")  # fmt: skip


def _cell(split: Split, plan: Expectation | None, split_file: Path) -> Cell:
    """The split's cell, by the suite's name for the data set."""
    if plan is None:
        return split.cell
    names = [column.dataset for column in plan.columns if column.manifest == split.manifest]
    if not names:
        known = ", ".join(f"{column.label} ({column.manifest})" for column in plan.columns)
        raise UserError(f"{split_file}: the suite {plan.suite} has no column with manifest {split.manifest}: {known}. "
                        f"Make the split with the suite's settings, or take the predictions over under another "
                        f"suite's name")  # fmt: skip
    return replace(split.cell, dataset=names[0])


def _recipe(name: str | None, plan: Expectation | None, suite: str) -> tuple[str, Mapping[str, Any]]:
    if name is None:
        return ELSEWHERE, {"trained": ELSEWHERE}
    recipes = (plan.recipes if plan else None) or {}
    if name not in recipes:
        raise UserError(f"--recipe {name}: the suite {suite} has no such recipe here. {did_you_mean(name, recipes)}")
    return name, recipes[name]


def _refuse_other_test_set(folders: Folders, cell: Cell, split: Split, split_file: Path) -> None:
    """A split file can be edited; where the suite has a result on the same images, its labels must be the same."""
    journal = folders.journal
    for record in journal.records().values():
        if record.spec.cell.manifest == cell.manifest and record.status == "ok":
            kept = read_arrays(journal.predictions(record.key), "truth")
            if kept is not None:
                if not np.array_equal(kept[0], split.test_labels):
                    raise UserError(f"{split_file}: its test labels are not those that {record.spec.name} of the suite "
                                    f"was tested on; make the split again with `ltbench split`")  # fmt: skip
                return


def _record(spec: TrialSpec, one: Predicted, split: Split, name: str) -> Record:
    """What the labels say, computed as for ltbench's own trials."""
    sure = np.zeros(len(one.label), np.float32) if one.confidence is None else one.confidence
    said = Predictions(one.label.astype(np.uint16), sure)
    metrics, classes = from_predictions(said, split.test_labels, split.class_counts, spec.shots)
    if one.confidence is None:
        del metrics["ece"]
    environment = {"trained": ELSEWHERE, "file": name, "class_names": list(split.class_names),
                   "ltbench": ltbench.__version__}  # fmt: skip
    return Record(spec=spec, status="ok", metrics=metrics, per_class=classes, environment=environment,
                  predictions=_npz(one, split.test_labels))  # fmt: skip


def _npz(one: Predicted, truth: NDArray[np.int64]) -> bytes:
    arrays: dict[str, Any] = {"label": one.label.astype(np.uint16), "truth": truth.astype(np.uint16)}
    if one.confidence is not None:
        arrays["confidence"] = one.confidence
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def _keep(folders: Folders, record: Record, file: Path) -> bool:
    """Write it unless it is there; whether it is new."""
    known = folders.journal.read(record.key)
    if known is None:
        folders.journal.write(record)
        return True
    before = read_arrays(folders.journal.predictions(record.key), "label")
    after = read_arrays(record.predictions, "label")
    if before is None or after is None or not np.array_equal(before[0], after[0]):
        raise UserError(f"{file}: other predictions of {record.spec.name} were taken over before; give these another "
                        f"name, or remove {folders.journal.folder / record.key}.json and .npz")  # fmt: skip
    return False
