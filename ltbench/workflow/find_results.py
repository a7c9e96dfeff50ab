"""Where results are found: MLflow, a folder of records, a file of scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from ltbench.errors import UserError, did_you_mean
from ltbench.metric_names import BUCKETS, NONE_DECLARED, Directions
from ltbench.plugins import use
from ltbench.ranking.selection import LTBENCH, Origin
from ltbench.results.folders import REFERENCE, checked_name, last_used, read_plan, referenced
from ltbench.results.journal import Journal, Unreadable, read_record, without_collecting
from ltbench.results.reading import read_results
from ltbench.spec import Expectation, Result
from ltbench.system.extras import need
from ltbench.system.uris import shown_uri, sqlite_file, store_uri
from ltbench.tracking.mlflow_runs import as_tracked
from ltbench.workflow.tell import Tell, tell_nobody

if TYPE_CHECKING:
    import pandas as pd

    from ltbench.ranking.images import Predictions


class Results(NamedTuple):
    """What a leaderboard is made of: results, the plan kept with them, where predictions are, and what is known of
    where the numbers come from."""

    results: list[Result]
    expectation: Expectation | None
    predictions: Predictions | None
    origin: Origin = LTBENCH
    directions: Directions = NONE_DECLARED
    """Which way metrics of others are better, as declared or as their files say."""


def find_results(
    suite: str | None,
    results: Path,
    uri: str | None,
    source: Path | pd.DataFrame | None,
    tell: Tell = tell_nobody,
    primary: str | None = None,
    directions: Directions = NONE_DECLARED,
    plugins: Sequence[Path] = (),
) -> Results:
    """From a folder of records, a file of scores, or MLflow. Predictions come from the journal beside the store.

    Args:
        suite: a suite's name or file; None: the last used, or all that the source holds.
        results: where runs wrote.
        uri: MLflow's store; None: the one in `results`.
        source: a folder of records, a file or a frame of scores; None: MLflow.
        primary: the metric that is asked for; matters for scores, where a trial without it has failed.
        directions: of metrics of one's own in scores, as declared.
        plugins: folders of plugins, beside those that the suite's file names.

    Raises:
        UserError: there is nothing, or it cannot be read.
    """
    if source is not None and (not isinstance(source, Path) or source.suffix.lower() == ".csv"):
        from ltbench.results.scores import read_scores

        if suite is not None:
            shown = source if isinstance(source, Path) else "FRAME"
            raise UserError(f"--from {shown}: a file of scores belongs to no suite; leave {suite!r} out")
        file = source.name if isinstance(source, Path) else "a frame"
        return Results(read_scores(source, primary, directions), None, None, Origin(file=file), directions)
    if isinstance(source, Path) and source.exists():
        from ltbench.results.harnesses import read_harness

        if (taken := read_harness(source, primary, directions)) is not None:
            if suite is not None:
                raise UserError(f"--from {source}: results of another harness belong to no suite; leave {suite!r} out")
            return Results(taken.results, None, taken.predictions, Origin(file=source.name), taken.directions)
    if source is not None:
        if plugins:
            use(plugins)
        found, expectation = results_of_folder(source, tell)
        predictions = journal_in(source)[0].predictions_there()
        if suite is not None:
            found, expectation = of_suite(found, expectation, suite_name(suite, plugins), source)
        return Results(found, expectation, predictions)
    store = store_uri(uri, results)
    if suite is None:
        names = _suites(store, results)
        suite = names[0]
        if len(names) > 1:
            tell(f"{len(names)} suites are there ({', '.join(names)}); showing the last used")
    name = checked_name(suite_name(suite, plugins))
    return _from_both(store, name, results, tell)


def _suites(store: str, results: Path) -> list[str]:
    """The suites in MLflow, the last used first; then those that are in the folder of results alone."""
    from ltbench.tracking import sqlite_store

    with_records = last_used(results)
    if not with_records:
        refuse_without_store(store)
    names: list[str] = []
    if _is_there(store):
        found = sqlite_store.suites(store)
        names = _mlflow().suites(store) if found is None else found
    names += [name for name in with_records if name not in names]
    if not names:
        raise UserError(f"the MLflow store {shown_uri(store)} holds no suite; run one: ltbench run quickstart")
    return names


def _from_both(store: str, suite: str, results: Path, tell: Tell) -> Results:
    """MLflow's results, completed by the journal beside it: by key, a finished record before a failed one, and else the
    journal's. Records that MLflow has as finished are not read again: reading is what takes time."""
    folder = results / suite / "records"
    journal = Journal(folder)
    keys = journal.keys()
    found, plan = _in_mlflow(store, suite, tell, may_lack=bool(keys))
    finished = {r.key for r in found if r.status == "ok"}
    read: dict[str, Result] = {}
    with without_collecting():
        for key in sorted(keys - finished):
            record = read_record(folder / f"{key}.json")
            if isinstance(record, Unreadable):
                tell(f"warning: {record.file}: left out: {record.reason}")
            else:
                read[key] = replace(Result.of(record), suite=suite, metrics=as_tracked(record))
    known = {r.key for r in found}
    kept = [r for r in found if r.key not in read and (r.status == "ok" or r.key not in finished)]
    origin = Origin(journal=folder.as_posix(), only_there=frozenset(read.keys() - known))
    plan = read_plan(results / suite / "plan.json") or plan
    return Results(_without_absent([*kept, *read.values()]), plan, journal.predictions_there(), origin)


def _without_absent(results: list[Result]) -> list[Result]:
    """MLflow does not tell a metric that is undefined from one that nobody computed. Without a value anywhere, only
    buckets of classes are undefined; others are left out."""
    there = {name for r in results for name, value in r.metrics.items() if value is not None} | {*BUCKETS}
    absent = {name for r in results for name in r.metrics} - there
    if not absent:
        return results
    return [replace(r, metrics={n: v for n, v in r.metrics.items() if n not in absent}) for r in results]


def _in_mlflow(store: str, suite: str, tell: Tell, *, may_lack: bool) -> tuple[list[Result], Expectation | None]:
    """What MLflow has of a suite.

    Args:
        may_lack: there are records beside it, so that a store without the suite, or one that does not answer, is told
            and no end.
    """
    from ltbench.tracking import sqlite_store

    if not _is_there(store):
        if not may_lack:
            refuse_without_store(store)
        return [], None
    try:
        return sqlite_store.read(store, suite) or _mlflow().read(store, suite)
    except UserError as error:
        if not may_lack:
            raise
        tell(f"warning: {error}; this board is of the records alone")
        return [], None


def _is_there(store: str) -> bool:
    """Looking at a sqlite store that is not there would make an empty one."""
    file = sqlite_file(store)
    return file is None or file.exists()


def refuse_without_store(uri: str) -> None:
    """Looking at a sqlite store that is not there would make an empty one."""
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise UserError(f"nothing has been run yet: there is no {uri}. Run a suite first: ltbench run quickstart")


def _mlflow() -> ModuleType:
    """Two seconds and more to import, a third of it for the garbage collector if that is left on."""
    need("a board from this MLflow store", "mlflow")
    with without_collecting():
        from ltbench.tracking import mlflow_store
    return mlflow_store


def suite_name(suite: str, plugins: Sequence[Path] = ()) -> str:
    """The name inside a suite's file, or the argument itself where it is a name already. The code of these folders of
    plugins, and of those that the file names, is found from then on."""
    if Path(suite).suffix in (".yaml", ".yml", ".json"):
        from ltbench.suite.load import load_suite

        return load_suite(suite, (), plugins).suite
    if plugins:
        use(plugins)
    return suite


def results_of_folder(folder: Path, tell: Tell = tell_nobody) -> tuple[list[Result], Expectation | None]:
    """The results in a folder of records, and the plan beside it; damaged files are named and left out."""

    journal, expectation = journal_in(folder)
    return list(_readable(read_results(journal.folder, journal.names()), tell)), expectation


def _readable(read: Iterable[Result | Unreadable], tell: Tell) -> Iterator[Result]:
    """Those that could be read; the others are told."""
    for result in read:
        if isinstance(result, Unreadable):
            tell(f"warning: {result.file}: left out: {result.reason}")
        else:
            yield result


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

    folder = referenced(folder)
    inner = folder / "records"
    records = inner if inner.is_dir() else folder
    if folder.suffix.lower() == ".csv" and folder.is_file():
        raise UserError(f"--from {folder}: a file of scores has no records; `ltbench leaderboard --from` ranks it")
    if not records.is_dir():
        shipped = f"; the records that come with ltbench: --from {REFERENCE}{folder.name}"
        raise UserError(f"--from {folder}: no such folder{shipped if folder.parent.name == 'reference' else ''}")
    return Journal(records), read_plan(records.parent / "plan.json") if records.name == "records" else None


def journal_of(
    results: Path, suite: str | None, folder: Path | None, tell: Tell = tell_nobody
) -> tuple[Journal, Expectation | None]:
    """The journal to read: of a folder, of a suite by name or file, or of the last used one."""
    return journal_in(folder) if folder is not None else journal_in(results / suite_there(results, suite, tell))


def suite_there(results: Path, suite: str | None, tell: Tell = tell_nobody) -> str:
    """The name of a suite that has records under a folder of results.

    Args:
        suite: its name or file; None: the last used.

    Raises:
        UserError: there is none, or none of that name.
    """
    there = last_used(results)
    name = suite_name(suite) if suite is not None else there[0] if there else ""
    if name not in there:
        known = did_you_mean(name, there) if there else "There are none yet; run one: ltbench run quickstart"
        raise UserError(f"no suite {name} has records under {results}. {known}".replace("suite  has", "suite has"))
    if suite is None and len(there) > 1:
        tell(f"{len(there)} suites are there ({', '.join(there)}); showing the last used")
    return name
