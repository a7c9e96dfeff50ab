"""`ltbench.run`: run what is missing of a suite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from ltbench.execution.progress import CallbackDisplay, Display, Progress, RunDisplay, Show, show_nothing
from ltbench.frames.boards import Board
from ltbench.frames.trial_records import Records
from ltbench.frames.words import AnyPath, AnyPaths, AnySuite, Names, folder_of, path_of, paths_of, selection_of
from ltbench.spec import TrialSpec
from ltbench.suite.places import Overrides
from ltbench.system.interrupt import Interrupt
from ltbench.workflow.make_board import RankedResults
from ltbench.workflow.run_suite import RunOutcome, RunRequest, run_suite
from ltbench.workflow.tell import Tell, tell_nobody

AnyProgress = bool | Callable[[Progress], object] | None


@dataclass(frozen=True)
class SuiteRun:
    """What became of a run."""

    outcome: RunOutcome
    request: RunRequest
    folder: AnyPath

    @property
    def complete(self) -> bool:
        """Every trial that was asked for is finished."""
        return self.outcome.complete

    @property
    def stopped(self) -> bool:
        """It was interrupted (Ctrl-C); the same call continues."""
        return self.outcome.stopped

    @property
    def finished(self) -> Records:
        """The records of the trials that are finished, those of earlier runs too."""
        return Records(list(self.outcome.state.finished.values()), self.outcome.journal)

    @property
    def failed(self) -> Records:
        """The records of the trials that failed, with the reason in `error`."""
        return Records(self.outcome.failures, self.outcome.journal)

    @property
    def left(self) -> Sequence[TrialSpec]:
        """Trials that did not run."""
        return self.outcome.left

    @property
    def board(self) -> Board | None:
        """The leaderboard of what is finished; None where nothing is."""
        if self.outcome.board is None:
            return None
        return Board(RankedResults(self.outcome.board, self.outcome.plan.expectation(), self.outcome.journal))

    def __repr__(self) -> str:
        told = f"{len(self.finished)} finished, {len(self.failed)} failed, {len(self.left)} left"
        return f"{self.outcome.plan.suite}: {told}{', stopped' if self.stopped else ''}"

    def _repr_html_(self) -> str:
        board = self.board
        return f"<p>{self!r}</p>" + ("" if board is None else board._repr_html_())


def run(
    suite: AnySuite,
    *,
    only: Names = None,
    datasets: Names = None,
    seeds: int | Iterable[int] | None = None,
    overrides: Overrides = (),
    results: AnyPath = "results",
    data: AnyPath | None = None,
    methods: AnyPath | None = None,
    plugins: AnyPaths = (),
    tracking_uri: str | None = None,
    inline: bool = False,
    address: str | None = None,
    retry_failed: bool = False,
    checkpoints: AnyPath | None = None,
    progress: AnyProgress = None,
    tell: Tell = tell_nobody,
) -> SuiteRun:
    """Run what is missing of a suite. The same call always continues, also after a crash.

    Records go to `results`/SUITE/records and to MLflow. In a notebook, the interrupt button stops gently: running
    trials take a checkpoint first.

    Args:
        suite: a suite's file, the name of one that comes with ltbench (`"quickstart"`), or its contents as a mapping.
        only: the rows (methods, by label) to run; default: all.
        datasets: the data sets to run; default: all.
        seeds: these training seeds instead of the suite's.
        overrides: values that replace the suite's: `{"recipes.scratch.epochs": 1}`, or `["recipes.scratch.epochs=1"]`.
        results: the folder to write in.
        data: where data sets and caches lie; default: the user's cache folder.
        methods: a folder with methods of your own; their code is run.
        plugins: a folder with methods, backbones and data sets of your own, or several, beside those that the suite
            names; their code is run.
        tracking_uri: MLflow's store; default: `mlflow.db` in `results`.
        inline: run in this process, one trial after the other, without Ray.
        address: an existing Ray cluster: `"auto"` or `"HOST:PORT"`.
        retry_failed: run only the trials that failed.
        checkpoints: where running trials leave checkpoints: a folder, or a URI that every node reaches; default: in
            `results`.
        progress: a function that is called with an `ltbench.execution.progress.Progress` whenever something happens;
            True: a live display; False: nothing; None: a display in a notebook, nothing elsewhere.
        tell: called with lines about what goes on; a line with a warning begins `warning: `. Default: nobody is told.

    Returns:
        What became of it: `finished`, `failed`, `left`, `board`.

    Raises:
        ltbench.errors.UserError: anything wrong with the suite, its methods, its data or the selection. A trial that
            fails raises nothing: it is in `failed`.

    Examples:
        >>> import ltbench, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> tiny = {"recipes.scratch.epochs": 1}
        >>> run = ltbench.run("quickstart", only=["ce", "mixup"], seeds=[0, 1], overrides=tiny, results=folder,
        ...                   inline=True)
        >>> run
        quickstart: 8 finished, 0 failed, 0 left
        >>> run.board.to_frame()["method"].unique().tolist() == run.board.methods
        True
    """
    request = RunRequest(
        suite=suite,
        overrides=overrides,
        chosen=selection_of(only, datasets, seeds),
        results=folder_of(results),
        data=path_of(data),
        methods=path_of(methods),
        plugins=paths_of(plugins),
        tracking_uri=tracking_uri,
        tell=tell,
        inline=inline,
        address=address,
        retry_failed=retry_failed,
        checkpoints=None if checkpoints is None else str(checkpoints),
        show=_show(progress),
    )
    with Interrupt() as interrupt:
        outcome = run_suite(request, interrupt)
    return SuiteRun(outcome, request, results)


def _show(progress: AnyProgress) -> Show:
    """What makes the display that the user asks for."""
    if progress is None:
        progress = _in_a_notebook()
    if callable(progress):
        return partial(_calling, progress)
    return RunDisplay if progress else show_nothing


def _calling(callback: Callable[[Progress], object], trials: Sequence[TrialSpec], metric: str) -> Display:
    return CallbackDisplay(trials, callback)


def _in_a_notebook() -> bool:
    """Whether the process is a notebook's kernel."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return False
    return type(get_ipython()).__name__ == "ZMQInteractiveShell"
