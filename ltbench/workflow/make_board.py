"""`ltbench leaderboard` and `ltbench compare`, without a terminal: results that were found, ranked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ltbench.metric_names import declared_directions, known_name
from ltbench.ranking.board import Leaderboard
from ltbench.ranking.build import BoardOptions, build
from ltbench.ranking.images import left_out
from ltbench.ranking.views.compare import Comparison, compare
from ltbench.results.folders import Folders, folders_of, referenced
from ltbench.results.journal import Journal, without_collecting
from ltbench.spec import Expectation, Plan, Result, Selection
from ltbench.workflow.exchange.views import with_views
from ltbench.workflow.find_results import find_results, journal_in, journal_of
from ltbench.workflow.stale import run_again, stale_rows
from ltbench.workflow.tell import Tell, tell_nobody

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class BoardRequest:
    """What a user asks of a leaderboard.

    Attributes:
        suite: a suite's name or file; None: the last used.
        results: where runs wrote.
        tracking_uri: MLflow's store; None: `mlflow.db` in `results`.
        source: a folder of records, a CSV or a frame of scores, or files of another harness, to read instead of MLflow.
        methods: a folder of the user's methods, to tell rows that were trained with other code than theirs.
        plugins: folders of plugins, for the same, beside those that the suite's file names.
        chosen: the part of the suite to look at.
        options: metric, reference and region of practical equivalence, where not the suite's.
        lower_is_better, higher_is_better: metrics of one's own in a file of scores, by which way is better.
        columns: the metrics that tables show beside the one that ranks, also those of `metrics.DERIVED`; None: the
            suite's.
        priors: files with a weight for every class: accuracy under these test distributions is a column, too.
        seeds_only: leave the noise of the test images out of the intervals.
        tell: told what the user should know.
    """

    suite: str | None = None
    results: Path = Path("results")
    tracking_uri: str | None = None
    source: Path | pd.DataFrame | None = None
    methods: Path | None = None
    plugins: Sequence[Path] = ()
    chosen: Selection = field(default_factory=Selection)
    options: BoardOptions = field(default_factory=BoardOptions)
    lower_is_better: tuple[str, ...] = ()
    higher_is_better: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    priors: tuple[str, ...] = ()
    seeds_only: bool = False
    tell: Tell = tell_nobody


@dataclass(frozen=True)
class RankedResults:
    """A board, and where its numbers come from.

    Attributes:
        expectation: the plan kept with the results, if there is one.
        journal: the records behind it; None for scores from elsewhere.
    """

    board: Leaderboard
    expectation: Expectation | None
    journal: Journal | None


@without_collecting()
def make_board(request: BoardRequest) -> RankedResults:
    """Rank the methods of a suite.

    Raises:
        UserError: no such suite, no results, or an unknown row, data set, metric or reference.
    """
    directions = declared_directions(request.lower_is_better, request.higher_is_better)
    source = referenced(request.source) if isinstance(request.source, Path) else request.source
    options = replace(request.options, directions=directions)
    if options.primary is not None:
        options = replace(options, primary=known_name(options.primary))
    found = find_results(
        request.suite, request.results, request.tracking_uri, source, request.tell, options.primary, directions,
        request.plugins,
    )  # fmt: skip
    options = replace(options, directions={**found.directions, **directions})
    journal: Journal | None = None
    if isinstance(source, Path) and source.is_dir() and not found.origin.elsewhere:
        journal = journal_in(source)[0]
    elif source is None:
        journal = folders_of(request.results, found.results[0].suite).journal if found.results else None
    origin = found.origin
    if journal is not None:
        stale = stale_rows(found.results, journal, found.expectation, request.methods)
        origin = replace(origin, stale=stale, again=run_again(found.results, journal))
    results, options, weights = with_views(found.results, request.columns, request.priors, options, journal)
    board = build(
        results,
        found.expectation,
        request.chosen,
        options,
        predictions=left_out if request.seeds_only else found.predictions,
        origin=origin,
        class_weights=weights,
    )
    return RankedResults(board, found.expectation, journal)


def board_of_records(folders: Folders, chosen: Selection, expectation: Expectation | None) -> Leaderboard | None:
    """The board of what a suite's journal holds; None where nothing is finished."""
    records = folders.journal.records().values()
    if not any(r.status == "ok" for r in records):
        return None
    results = [Result.of(r) for r in records]
    return build(results, expectation, chosen, predictions=folders.journal.predictions)


def due_now(plan: Plan, folders: Folders, chosen: Selection) -> tuple[Plan, Leaderboard | None]:
    """The part of a plan that is due by what its journal holds, and the board that says so. All of it, without a board,
    where seeds are fixed, or chosen by hand."""
    if not plan.looks or chosen.seeds is not None:
        return plan, None
    board = board_of_records(folders, chosen, plan.expectation())
    tables = [] if board is None else [table.standing for table in board.tables if table.standing is not None]
    return plan.up_to({label: n for standing in tables for label, n in standing.due.items()}), board


def compare_rows(
    a: str,
    b: str,
    suite: str | None = None,
    results: Path = Path("results"),
    source: Path | None = None,
    chosen: Selection | None = None,
    tell: Tell = tell_nobody,
) -> Comparison:
    """Two rows in full, as one planned comparison.

    Args:
        a: a row of the table. b: the row it is compared with.
        suite: its name or file; None: the last used.
        source: a suite's folder of results, or of records, instead of `results`.

    Raises:
        UserError: no such suite or row.
    """
    journal, expectation = journal_of(results, suite, source, tell)
    records = list(journal.records().values())
    return compare(records, journal.predictions, a, b, expectation, (chosen or Selection()).datasets)
