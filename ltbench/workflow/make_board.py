"""`ltbench leaderboard` and `ltbench compare`, without a terminal: results that were found, ranked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ltbench.ranking.board import Leaderboard
from ltbench.ranking.build import BoardOptions, build
from ltbench.ranking.compare import Comparison, compare
from ltbench.ranking.images import left_out
from ltbench.results.folders import Folders
from ltbench.spec import Plan, Result, Selection
from ltbench.workflow.find_results import find_results, journal_of
from ltbench.workflow.tell import Tell, tell_nobody


@dataclass(frozen=True, kw_only=True)
class BoardRequest:
    """What a user asks of a leaderboard.

    Attributes:
        suite: a suite's name or file; None: the last used.
        results: where runs wrote.
        tracking_uri: MLflow's store; None: `mlflow.db` in `results`.
        source: a folder of records, or a CSV of scores, to read instead of MLflow.
        chosen: the part of the suite to look at.
        options: metric, reference and region of practical equivalence, where not the suite's.
        seeds_only: leave the noise of the test images out of the intervals.
        tell: told what the user should know.
    """

    suite: str | None = None
    results: Path = Path("results")
    tracking_uri: str | None = None
    source: Path | None = None
    chosen: Selection = field(default_factory=Selection)
    options: BoardOptions = field(default_factory=BoardOptions)
    seeds_only: bool = False
    tell: Tell = tell_nobody


def make_board(request: BoardRequest) -> Leaderboard:
    """Rank the methods of a suite.

    Raises:
        UserError: no such suite, no results, or an unknown row, data set, metric or reference.
    """
    found = find_results(request.suite, request.results, request.tracking_uri, request.source, request.tell)
    predictions = left_out if request.seeds_only else found.predictions
    return build(found.results, found.expectation, request.chosen, request.options, predictions=predictions)


def board_of_records(folders: Folders, chosen: Selection, plan: Plan) -> Leaderboard | None:
    """The board of what a suite's journal holds; None where nothing is finished."""
    records = folders.journal.records().values()
    if not any(r.status == "ok" for r in records):
        return None
    results = [Result.of(r) for r in records]
    return build(results, plan.expectation(), chosen, predictions=folders.journal.predictions)


def compare_rows(
    a: str,
    b: str,
    suite: str | None = None,
    results: Path = Path("results"),
    source: Path | None = None,
    chosen: Selection | None = None,
) -> Comparison:
    """Two rows in full, as one planned comparison.

    Args:
        a: a row of the table. b: the row it is compared with.
        suite: its name; None: the only one there is.
        source: a suite's folder of results, or of records, instead of `results`.

    Raises:
        UserError: no such suite or row.
    """
    journal, expectation = journal_of(results, suite, source)
    records = list(journal.records().values())
    return compare(records, journal.predictions, a, b, expectation, (chosen or Selection()).datasets)
