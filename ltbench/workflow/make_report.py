"""`ltbench report`: from a suite's journal to its report, and from there to MLflow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ltbench.errors import UserError
from ltbench.fingerprints import stated_in
from ltbench.page.write import write_report
from ltbench.plugins import use
from ltbench.ranking.board import Leaderboard
from ltbench.ranking.build import BoardOptions, build
from ltbench.ranking.selection import Origin
from ltbench.results.harnesses import read_harness
from ltbench.spec import Expectation, Record, Result, Selection, digest
from ltbench.system.extras import need
from ltbench.system.shipped import shipped_folder
from ltbench.tracking.aggregates import aggregates
from ltbench.workflow.find_results import find_results, journal_of, suite_name
from ltbench.workflow.stale import run_again, stale_rows
from ltbench.workflow.tell import Tell, tell_nobody, warner


@dataclass(frozen=True)
class Made:
    """A report on the disk."""

    board: Leaderboard
    files: list[Path]

    @property
    def page(self) -> Path:
        """The page to open."""
        return self.files[0]

    def upload(self, uri: str, tell: Tell = tell_nobody) -> None:
        """Put the board's numbers and the report's files into MLflow, apart from the trials. A store that cannot be
        reached is a warning: the report is on the disk."""
        from ltbench.system.uris import shown_uri

        folder = self.page.parent
        try:
            need("MLflow", "mlflow")
            from ltbench.tracking import mlflow_board

            files = {file.relative_to(folder).as_posix(): file for file in self.files}
            version = digest([self.board.data, dict(self.board.config)])
            mlflow_board.put_board(uri, self.board.suite, version, aggregates(self.board), files)
        except UserError as error:
            warner(tell)(f"the report is not in MLflow: {error}")
        except Exception as error:  # whatever MLflow raises: the report itself is made
            warner(tell)(f"the report is not in MLflow at {shown_uri(uri)} ({type(error).__name__})")


def make_report(
    suite: str | None,
    results: Path,
    source: Path | None,
    out: Path | None,
    chosen: Selection,
    tell: Tell = tell_nobody,
    tracking_uri: str | None = None,
    plugins: Sequence[Path] = (),
) -> Made:
    """Write the report of a suite. Its board is that of `ltbench leaderboard`: of MLflow and the records beside it, or
    of `source` alone. What stands behind the board comes from the records; scores and other harnesses' files have none.

    Args:
        plugins: folders of plugins, beside those that the suite's file names: to tell rows that were trained with other
            code than theirs, and the papers of their methods.

    Raises:
        UserError: no such suite, no results, or a folder that cannot be written.
    """
    if suite is None and plugins:
        use(plugins)
    if source is not None and _of_others(source):
        scores = find_results(suite, results, tracking_uri, source, tell)
        options = BoardOptions(directions=scores.directions)
        board = build(scores.results, None, chosen, options, predictions=scores.predictions, origin=scores.origin)
        return Made(board, write_report(board, [], None, None, out or Path("report")))
    journal, expectation = journal_of(results, suite_name(suite, plugins) if suite else None, source, tell)
    records = []
    for found in journal:
        if isinstance(found, Record):
            records.append(found)
        else:
            warner(tell)(f"{found.file}: left out: {found.reason}")
    if not records:
        raise UserError(f"{journal.folder}: holds no records; run the suite first: ltbench run {suite or 'SUITE'}")
    there, origin = [Result.of(r) for r in records], Origin()
    if source is None:
        name = journal.folder.parent.name
        both = find_results(name, results, tracking_uri, None)  # what is left out was told above
        there, expectation, origin = both.results, both.expectation, both.origin
        if all(r.key in origin.only_there for r in there):  # all of one place, the records
            origin = Origin()
    origin = replace(origin, stale=stale_rows(there, journal, expectation), again=run_again(there, journal))
    board = build(there, expectation, chosen, predictions=journal.predictions, origin=origin)
    folder = out or (journal.folder.parent / "report" if source is None else Path("report"))
    files = write_report(
        board,
        records,
        journal.predictions,
        expectation,
        folder,
        papers=papers_of(expectation),
        records_folder=journal.folder,
        suite=suite_of(journal.folder.parent),
    )
    return Made(board, files)


def _of_others(source: Path) -> bool:
    """A file of scores, or another harness's files."""
    if source.suffix.lower() == ".csv":
        return source.is_file()
    return source.exists() and read_harness(source) is not None


def suite_of(folder: Path) -> str:
    """The suite as it was run, merged, as YAML; empty where none was kept."""
    from ltbench.suite.yaml_file import as_yaml

    try:
        kept = json.loads((folder / "suite.json").read_bytes())
    except (OSError, ValueError):
        return ""
    return as_yaml(kept) if isinstance(kept, dict) else ""


def papers_of(expectation: Expectation | None) -> dict[str, str]:
    """Row -> the paper of its method; of one that does not come with ltbench, that its paper is not known here."""
    papers = {}
    for label, method in ((expectation and expectation.methods) or {}).items():
        files = [shipped_folder("methods") / f"{name}.py" for name in method.name.split("+")]
        if all(file.is_file() for file in files):
            papers[label] = " ".join(stated_in(file).paper for file in files)
        else:
            papers[label] = f"{method.name} does not come with ltbench; whoever brought it knows its paper"
    return {label: paper for label, paper in papers.items() if paper}
