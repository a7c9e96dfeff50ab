"""`ltbench.plan`: what would run, what is finished, what is skipped and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ltbench.frames.words import (
    AnyPath,
    AnyPaths,
    AnySuite,
    Names,
    folder_of,
    frame_of,
    path_of,
    paths_of,
    selection_of,
    table_html,
)
from ltbench.spec import Skip, TrialSpec
from ltbench.suite.places import Overrides
from ltbench.workflow.plan_suite import Estimate, Outlook, plan_suite
from ltbench.workflow.prepare import Request
from ltbench.workflow.tell import Tell, tell_nobody

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SuitePlan:
    """A suite's trials, and where they stand."""

    outlook: Outlook

    @property
    def suite(self) -> str:
        """The suite's name."""
        return self.outlook.plan.suite

    @property
    def trials(self) -> tuple[TrialSpec, ...]:
        """All trials, those of a search first, in the order in which they run."""
        return self.outlook.all_trials.trials

    @property
    def skips(self) -> tuple[Skip, ...]:
        """Rows that cannot run on a cell, with the reason."""
        return self.outlook.plan.skips

    @property
    def estimate(self) -> Estimate | None:
        """How long the trials that are to run would take on this machine; None where a cluster would run them."""
        return self.outlook.estimate

    def status(self, trial: TrialSpec) -> str:
        """`to run`, `finished` or `failed`."""
        states = [state for state in (self.outlook.state, self.outlook.search_state) if state is not None]
        if any(trial.key in state.finished for state in states):
            return "finished"
        return "failed" if any(trial.key in state.failed for state in states) else "to run"

    def to_frame(self) -> pd.DataFrame:
        """One line per trial, and one per cell that is skipped.

        Returns:
            Columns: method (the row's name), dataset, imbalance (`IF100`), seed, role (`final` or `search`), key,
            status (`to run`, `finished`, `failed`, `skipped`; `if undecided`: where seeds run until comparisons are
            decided, and this one may not be needed), reason (of a skip).
        """
        lines: list[dict[str, Any]] = [
            {"method": t.label, "dataset": t.cell.dataset, "imbalance": t.cell.imbalance_label, "seed": t.seed,
             "role": t.role, "key": t.key, "status": self.status(t), "reason": ""}
            for t in self.trials
        ]  # fmt: skip
        lines += [
            {"method": t.label, "dataset": t.cell.dataset, "imbalance": t.cell.imbalance_label, "seed": t.seed,
             "role": t.role, "key": t.key, "status": "if undecided", "reason": ""}
            for t in self.outlook.undecided
        ]  # fmt: skip
        lines += [
            {"method": s.label, "dataset": s.cell.dataset, "imbalance": s.cell.imbalance_label, "seed": None,
             "role": "final", "key": None, "status": "skipped", "reason": s.reason}
            for s in self.skips
        ]  # fmt: skip
        columns = ["method", "dataset", "imbalance", "seed", "role", "key", "status", "reason"]
        return frame_of(lines, columns).astype({"seed": "Int64"})

    def to_table(self) -> pd.DataFrame:
        """How many trials of every row stand where: one line per row, one column per cell."""
        frame = self.to_frame()
        counted = frame.groupby(["method", "dataset", "imbalance", "status"], sort=False).size()
        texts = counted.reset_index(name="n").assign(text=lambda f: f["n"].astype(str) + " " + f["status"])
        texts.loc[texts["status"] == "skipped", "text"] = "skipped"
        joined = texts.groupby(["method", "dataset", "imbalance"], sort=False)["text"].agg(", ".join)
        return joined.unstack(["dataset", "imbalance"], fill_value="").reindex(list(dict.fromkeys(frame["method"])))

    def __len__(self) -> int:
        return len(self.trials)

    def _caption(self) -> str:
        counts = self.to_frame()["status"].value_counts()
        told = ", ".join(f"{counts[name]} {name}" for name in ("to run", "finished", "failed") if name in counts)
        return f"{self.suite}: {len(self)} trials: {told or 'none'}"

    def __repr__(self) -> str:
        return self._caption()

    def _repr_html_(self) -> str:
        return table_html(self.to_table(), self._caption())


def plan(
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
    address: str | None = None,
    measure: bool = False,
    tell: Tell = tell_nobody,
) -> SuitePlan:
    """Plan a suite: what would run, what is finished already, what is skipped and why. Trains nothing.

    Args:
        suite: a suite's file, the name of one that comes with ltbench (`"quickstart"`), or its contents as a mapping.
        only: the rows (methods, by label) to look at; default: all.
        datasets: the data sets to look at; default: all.
        seeds: these training seeds instead of the suite's.
        overrides: values that replace the suite's: `{"recipes.scratch.epochs": 1}`, or `["recipes.scratch.epochs=1"]`.
        results: the folder in which runs write.
        data: where data sets and caches lie; default: the user's cache folder.
        methods: a folder with methods of your own; their code is run.
        plugins: a folder with methods, backbones and data sets of your own, or several, beside those that the suite
            names; their code is run.
        address: a Ray cluster to ask what it has: `"auto"` or `"HOST:PORT"`.
        measure: take ten steps of each row that no earlier records tell the time of.
        tell: called with lines about what goes on; default: nobody is told.

    Returns:
        The plan: `to_frame()` has one line per trial; a notebook shows it as a table.

    Raises:
        ltbench.errors.UserError: anything wrong with the suite, its methods, its data or the selection.

    Examples:
        >>> import ltbench
        >>> plan = ltbench.plan("quickstart", only=["ce", "mixup"], seeds=[0, 1], results="no such folder")
        >>> plan
        quickstart: 8 trials: 8 to run
        >>> plan.to_frame()[["method", "dataset", "imbalance", "seed", "status"]].head(2)
          method dataset imbalance  seed  status
        0     ce  digits      IF20     0  to run
        1  mixup  digits      IF20     0  to run
    """
    request = Request(
        suite=suite,
        overrides=overrides,
        chosen=selection_of(only, datasets, seeds),
        results=folder_of(results),
        data=path_of(data),
        methods=path_of(methods),
        plugins=paths_of(plugins),
        tell=tell,
    )
    return SuitePlan(plan_suite(request, address=address, measure=measure))
