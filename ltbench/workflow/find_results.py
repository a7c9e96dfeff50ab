"""Where the command line finds results: MLflow, a folder of records, a file of scores."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from ltbench.errors import UserError
from ltbench.results.folders import read_plan
from ltbench.workflow.prepare import checked_name, tracking_store, warn

if TYPE_CHECKING:
    from ltbench.ranking.images import Predictions
    from ltbench.results.journal import Journal
    from ltbench.spec import Expectation, Result


class Found(NamedTuple):
    """What a leaderboard is made of: results, the plan kept with them, and where predictions are."""

    results: list[Result]
    expectation: Expectation | None
    predictions: Predictions | None


def find_results(suite: str | None, results: Path, uri: str | None, source: Path | None) -> Found:
    """From a folder of records, a file of scores, or MLflow. Predictions come from the journal beside the store."""
    if source is not None and source.suffix.lower() == ".csv":
        from ltbench.results.scores import read_scores

        if suite is not None:
            raise UserError(f"--from {source}: a file of scores belongs to no suite; leave {suite!r} out")
        return Found(read_scores(source), None, None)
    if source is not None:
        found, expectation = results_of_folder(source)
        predictions = journal_in(source)[0].predictions
        if suite is not None:
            found, expectation = of_suite(found, expectation, suite_name(suite), source)
        return Found(found, expectation, predictions)
    from ltbench.results.journal import Journal
    from ltbench.system.uris import shown_uri
    from ltbench.tracking import sqlite_store

    store = tracking_store(uri, results)
    if suite is None:
        refuse_without_store(store)
        names = sqlite_store.suites(store)
        if names is None:
            names = _mlflow().suites(store)
        if not names:
            raise UserError(f"the MLflow store {shown_uri(store)} holds no suite; run one: ltbench run quickstart")
        suite = names[0]
        if len(names) > 1:
            print(f"{len(names)} suites are there ({', '.join(names)}); showing the last used", file=sys.stderr)
    name = checked_name(suite_name(suite))  # and not `folders_of`, which brings torch: seconds for a mere reader
    found, plan = sqlite_store.read(store, name) or _mlflow().read(store, name)
    return Found(found, plan, Journal(results / name / "records").predictions)


def refuse_without_store(uri: str) -> None:
    """Looking at a sqlite store that is not there would make an empty one."""
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise UserError(f"nothing has been run yet: there is no {uri}. Run a suite first: ltbench run quickstart")


def _mlflow() -> ModuleType:
    """Two seconds and more to import, a third of it for the garbage collector if that is left on."""
    from ltbench.results.journal import without_collecting

    with without_collecting():
        from ltbench.tracking import mlflow_store
    return mlflow_store


def suite_name(suite: str) -> str:
    """The name inside a suite's file, or the argument itself where it is a name already."""
    if Path(suite).suffix in (".yaml", ".yml"):
        from ltbench.suite.load import load_suite

        return load_suite(suite).suite
    return suite


def results_of_folder(folder: Path) -> tuple[list[Result], Expectation | None]:
    """The results in a folder of records, and the plan beside it; damaged files are named and left out."""
    from ltbench.results.journal import Unreadable
    from ltbench.spec import Result

    journal, expectation = journal_in(folder)
    found = []
    for record in journal:
        if isinstance(record, Unreadable):
            warn(f"{record.file}: left out: {record.reason}")
        else:
            found.append(Result.of(record))
    return found, expectation


def of_suite(
    found: list[Result], expectation: Expectation | None, suite: str, folder: Path
) -> tuple[list[Result], Expectation | None]:
    """The part of a folder's results that is of one suite."""
    chosen = [r for r in found if r.suite == suite]
    if not chosen:
        known = ", ".join(sorted({r.suite for r in found})) or "none"
        raise UserError(f"--from {folder}: no results of the suite {suite!r}; it has: {known}")
    return chosen, expectation if expectation and expectation.suite == suite else None


def journal_in(folder: Path) -> tuple[Journal, Expectation | None]:
    """The journal in a suite's folder of results, or in a bare folder of records; and the plan kept with the former."""
    from ltbench.results.journal import Journal

    inner = folder / "records"
    records = inner if inner.is_dir() else folder
    if folder.suffix.lower() == ".csv" and folder.is_file():
        raise UserError(f"--from {folder}: a file of scores has no records; `ltbench leaderboard --from` ranks it")
    if not records.is_dir():
        raise UserError(f"--from {folder}: no such folder")
    return Journal(records), read_plan(records.parent / "plan.json") if records.name == "records" else None


def journal_of(results: Path, suite: str | None, folder: Path | None) -> tuple[Journal, Expectation | None]:
    """The journal to read: of a folder, of a suite by name, or of the only suite there is."""
    if folder is not None:
        return journal_in(folder)
    there = sorted(p.parent.name for p in results.glob("*/records") if p.is_dir())
    if suite is None and len(there) == 1:
        suite = there[0]
    if suite not in there:
        known = ", ".join(there) or "none yet; run one: ltbench run quickstart"
        raise UserError(f"--suite: name one of the suites under {results}: {known}")
    return journal_in(results / suite)
