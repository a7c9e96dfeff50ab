"""`ltbench submit`: a suite's records made ready for a repository of records, and what such a repository checks."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import ltbench
from ltbench.errors import UserError, last_line
from ltbench.ranking.build import build
from ltbench.results.folders import read_plan
from ltbench.results.journal import Journal, Unreadable
from ltbench.spec import NUMERICS, Record, Result, Selection
from ltbench.system.files import write_atomically
from ltbench.workflow.find_results import journal_of
from ltbench.workflow.tell import Tell, tell_nobody

_KNOWN = re.compile(
    r"records/[0-9a-f]{6,64}\.(json|npz)|plan\.json|suite\.json|submission\.json|verified\.json|README\.md"
)
_LARGEST = 20_000_000
"""Bytes of a file: 10,000 predictions with all logits of 100 classes are 2 MB."""
_PRIVATE = ("host", "checkpoint_messages")
"""Facts about a run that name a machine or its folders."""
_SLACK = 0.005
"""In points: metrics are recorded with more digits than predictions can move."""


@dataclass(frozen=True)
class Found:
    """What is to be said of a submission.

    Attributes:
        problems: why it cannot be merged; none is a pass. notes: what a reader should know. trials: finished ones.
    """

    problems: list[str]
    notes: list[str]
    trials: int


def make_submission(
    suite: str | None, results: Path, source: Path | None, out: Path, tell: Tell = tell_nobody
) -> tuple[Path, Found]:
    """Copy a suite's records, its plan and the suite itself into `out`/SUITE, without names of machines and folders.

    Args:
        suite: a suite's name or file; None: the last used in `results`. source: a suite's folder of results instead.

    Returns:
        The folder, and what a repository would say of it.

    Raises:
        UserError: no such suite, no plan, or a folder that is there already and holds something else.
    """
    journal, plan = journal_of(results, suite, source, tell)
    folder = journal.folder.parent
    if plan is None or not (folder / "plan.json").is_file():
        raise UserError(f"{folder}: has no plan.json, which says what a complete set is; run the suite once more: it "
                        f"trains nothing that is finished")  # fmt: skip
    place = out / plan.suite
    if place.exists() and not (place / "submission.json").is_file():
        raise UserError(f"{place}: is there already, and is no submission; give another --out")
    shutil.rmtree(place, ignore_errors=True)
    try:
        (place / "records").mkdir(parents=True)
        shutil.copyfile(folder / "plan.json", place / "plan.json")
        if (folder / "suite.json").is_file():
            shown = without_folders(json.loads((folder / "suite.json").read_text(encoding="utf-8")))
            shown.pop("plugins", None)
            write_atomically(place / "suite.json", (json.dumps(shown, indent=1) + "\n").encode())
        target, count = Journal(place / "records"), 0
        for record in journal:
            if isinstance(record, Unreadable):
                tell(f"warning: {record.file}: left out: {record.reason}")
                continue
            target.write(replace(without_names(record), predictions=journal.predictions(record.key)))
            count += 1
        about = {"ltbench": ltbench.__version__, "numerics": NUMERICS, "suite": plan.suite, "records": count}
        write_atomically(place / "submission.json", (json.dumps(about, indent=1) + "\n").encode())
    except OSError as error:
        raise UserError(f"{place}: cannot be written ({error.strerror})") from error
    return place, check_submission(place)


def without_names(record: Record) -> Record:
    """A record without the name of the machine; of an error the last line, whose trace names folders."""
    environment = {name: value for name, value in record.environment.items() if name not in _PRIVATE}
    return replace(record, environment=environment, error=last_line(record.error) if record.error else None)


def without_folders(value: Any) -> Any:
    """Plain data in which paths are the names at their ends."""
    if isinstance(value, Mapping):
        return {key: without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_folders(item) for item in value]
    if isinstance(value, str) and re.match(r"(/|~|[A-Za-z]:[\\/]).", value):
        return re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    return value


def check_submission(folder: Path, board: Path | None = None) -> Found:
    """What a repository of records asks before it takes a folder. Nothing of the folder is run.

    Args:
        board: the records that are there already, a folder per suite; None: none are.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    problems, notes = [*_odd_files(folder), *_named_code(folder / "suite.json")], list[str]()
    plan = read_plan(folder / "plan.json") if (folder / "plan.json").is_file() else None
    if plan is None:
        return Found(
            [*problems, "plan.json is missing or damaged: nobody can tell which trials there should be"], [], 0
        )
    journal, records = Journal(folder / "records"), list[Record]()
    for found in journal:
        if isinstance(found, Unreadable):
            problems.append(f"{Path(found.file).name}: {found.reason}")
            continue
        records.append(found)
        problems += _problems_of(found, journal)
    if not records:
        return Found([*problems, "there are no records"], notes, 0)
    results = [Result.of(record) for record in records]
    made = build(results, plan, Selection(None, None, None))
    if made.missing:
        problems.append(f"{made.missing} of {made.trials} planned trials have no record; a table that leaves out seeds "
                        f"or rows cannot be compared")  # fmt: skip
    if made.failed:
        notes.append(f"{made.failed} trials failed")
    notes += [f"left out: {count} results ({reason})" for reason, count in made.left_out.items()]
    if board is not None:
        more, told = _against(records, folder.resolve(), board)
        problems, notes = problems + more, notes + told
    return Found(problems, notes, made.finished)


def _odd_files(folder: Path) -> Iterator[str]:
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_symlink():
            yield f"{name}: is a link"
        elif file.is_file() and not _KNOWN.fullmatch(name):
            yield f"{name}: is no file of a submission"
        elif file.is_file() and file.stat().st_size > _LARGEST:
            yield f"{name}: has {file.stat().st_size / 1e6:.0f} MB, at most {_LARGEST / 1e6:.0f} are taken"


def _named_code(file: Path) -> Iterator[str]:
    """A suite that names folders of code: who checks its records by training some of them again would run it."""
    try:
        suite = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        yield f"suite.json: cannot be read ({error})"
        return
    if not isinstance(suite, dict):
        yield "suite.json: is no suite"
    elif "plugins" in suite:
        yield "suite.json: names plugins, which are code; a board runs no code that it is sent. Leave the key out"


def _problems_of(record: Record, journal: Journal) -> Iterator[str]:
    """A record against its predictions. (That it is the trial that it says it is, reading it has found.)"""
    name = f"{record.key} ({record.spec.name})"
    if record.status != "ok":
        return
    told = record.metrics.get("balanced_accuracy")
    found = _balanced_accuracy(journal.predictions(record.key))
    if found is not None and told is not None and abs(found - told) > _SLACK:
        yield f"{name}: its record says balanced accuracy {told:.2f}, its predictions {found:.2f}"


def _balanced_accuracy(predictions: bytes | None) -> float | None:
    """The mean recall over the classes with test images, in percent; None without predictions."""
    if predictions is None:
        return None
    try:
        with np.load(io.BytesIO(predictions), allow_pickle=False) as file:
            label, truth = file["label"], file["truth"]
    except (OSError, ValueError, KeyError):
        return None
    right = np.bincount(truth, weights=label == truth)
    count = np.bincount(truth)
    return float(100 * (right[count > 0] / count[count > 0]).mean())


def _against(records: list[Record], own: Path, board: Path) -> tuple[list[str], list[str]]:
    """Against the records that are there: the same key has the same numbers, the same column the same images."""
    if not board.is_dir():
        raise UserError(f"--board {board}: no such folder")
    problems, notes = list[str](), Counter[str]()
    manifests: dict[tuple[Any, ...], str] = {}
    there: dict[str, Record] = {}
    for place in sorted(p for p in board.iterdir() if (p / "records").is_dir() and p.resolve() != own):
        for record in Journal(place / "records"):
            if isinstance(record, Record):
                there[record.key] = record
                manifests.setdefault(_images_of(record), record.spec.cell.manifest)
    for record in records:
        other = there.get(record.key)
        if other is not None and other.status == record.status == "ok":
            same = other.metrics == record.metrics
            notes["trials are on the board already, with the same numbers"] += same
            if not same:
                problems.append(f"{record.key} ({record.spec.name}): is on the board with other numbers")
        manifest = manifests.get(_images_of(record))
        if manifest is not None and manifest != record.spec.cell.manifest:
            text = f"{record.spec.cell.dataset}: its images are others than those of the board under the same name"
            problems += [text] if text not in problems else []
    return problems, [f"{count} {words}" for words, count in notes.items() if count]


def _images_of(record: Record) -> tuple[Any, ...]:
    """What fixes the images of a trial, beside the files themselves."""
    cell = {k: v for k, v in record.spec.to_json()["cell"].items() if k != "manifest"}
    return (json.dumps(cell, sort_keys=True),)
