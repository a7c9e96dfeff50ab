"""`ltbench sync`: what a store lacks, delivered by hand: records, and the summary of a suite's board."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ltbench.errors import UserError, did_you_mean
from ltbench.ranking.board import Leaderboard
from ltbench.ranking.build import build
from ltbench.results.folders import folders_of, read_plan, suites_in
from ltbench.spec import Selection, digest
from ltbench.system.extras import lacking
from ltbench.system.uris import shown_uri, store_uri
from ltbench.tracking.aggregates import summary
from ltbench.tracking.delivery import Delivered, deliver
from ltbench.workflow.find_results import find_results, refuse_without_store, suite_name
from ltbench.workflow.make_board import board_of_records
from ltbench.workflow.tell import Tell, tell_nobody, warner

_LAYOUT = 1
"""Changes when the runs of a summary say something else about the same numbers."""


def sync(
    suite: str | None, results: Path, tracking_uri: str | None = None, tell: Tell = tell_nobody
) -> Iterator[tuple[str, Delivered]]:
    """Deliver the records of one suite, or of all under a folder; suite by suite, what became of them.

    Args:
        suite: its name or file; None: all.
        tracking_uri: MLflow's store; None: `mlflow.db` in `results`.

    Raises:
        UserError: no such suite, or nothing there.
    """
    there = suites_in(results)
    if not there:
        raise UserError(f"--results {results}: holds no records; run a suite first: ltbench run quickstart")
    name = suite_name(suite) if suite is not None else None
    if name is not None and name not in there:
        raise UserError(f"no records of {name!r} under {results}. {did_you_mean(name, there)}")
    for each in there if name is None else [name]:
        folders = folders_of(results, each)
        plan = read_plan(folders.plan_file)
        done = deliver(store_uri(tracking_uri, results), each, folders.journal, plan, warner(tell))
        if not done.left:
            summarise(whole_board(each, results), store_uri(tracking_uri, results), tell)
        yield each, done


def summarise(board: Leaderboard | None, uri: str, tell: Tell = tell_nobody) -> str | None:
    """Put the mean, interval and gain of every method and cell among the suite's trials in MLflow, where its page shows
    them. Whatever goes wrong is a warning: the trials are there.

    Args:
        board: of the whole suite; None: nothing is finished.

    Returns:
        The suite's experiment; None where there is none, or it could not be told.
    """
    if board is None or lacking("mlflow"):
        return None
    try:
        from ltbench.tracking import mlflow_board

        version = digest([_LAYOUT, board.data, dict(board.config)])
        return mlflow_board.put_summary(uri, board.suite, version, summary(board))
    except Exception as error:  # whatever MLflow raises
        warner(tell)(f"MLflow at {shown_uri(uri)} has the trials of {board.suite}, but not their means "
                     f"({type(error).__name__}); `ltbench sync {board.suite}` sends them")  # fmt: skip
        return None


def whole_board(suite: str, results: Path, tracking_uri: str | None = None) -> Leaderboard | None:
    """The board of all that there is of a suite: of its records, or of MLflow where there are none; None where nothing
    is finished.

    Raises:
        UserError: there are no results of the suite, or they cannot be read.
    """
    folders = folders_of(results, suite)
    if folders.journal.keys():
        return board_of_records(folders, Selection(), read_plan(folders.plan_file))
    found = find_results(suite, results, tracking_uri, None)
    if not any(r.status == "ok" for r in found.results):
        return None
    return build(found.results, found.expectation, Selection(), predictions=found.predictions)


class Shown(NamedTuple):
    """What MLflow's page is opened on: a suite, its experiment, and the other suites of the store."""

    suite: str
    experiment: str
    others: tuple[str, ...]


def shown_suite(
    suite: str | None, results: Path, tracking_uri: str | None = None, tell: Tell = tell_nobody
) -> Shown | None:
    """The suite to show in MLflow, with its summary brought up to date; None where no suite is asked for and none is
    found.

    Args:
        suite: its name or file; None: the last used.

    Raises:
        UserError: there is no store, or the suite that is asked for is not in it.
    """
    uri = store_uri(tracking_uri, results)
    refuse_without_store(uri)
    from ltbench.tracking import mlflow_store

    try:
        there = mlflow_store.suites(uri)
    except UserError as error:
        if suite is not None:
            raise
        warner(tell)(str(error))
        return None
    if suite is None and not there:
        return None
    name = there[0] if suite is None else suite_name(suite)
    if name not in there:
        known = did_you_mean(name, there) if there else "It holds none yet; run one: ltbench run quickstart"
        raise UserError(f"the MLflow store {shown_uri(uri)} has no suite {name!r}. {known}")
    experiment = summarise(whole_board(name, results, tracking_uri), uri, tell)
    return Shown(name, experiment or mlflow_store.experiment_of_suite(uri, name), tuple(n for n in there if n != name))
