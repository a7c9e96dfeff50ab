"""`ltbench.verify`: do records hold? Some finished trials run again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ltbench.checks.verify import Check, checks_text
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
from ltbench.suite.places import Overrides
from ltbench.workflow.prepare import Request
from ltbench.workflow.tell import Tell, tell_nobody
from ltbench.workflow.verify_suite import Verification, suite_to_verify, verify_suite

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class VerifyResult:
    """What came of running some trials again."""

    verification: Verification

    @property
    def holds(self) -> bool:
        """Every record that was tried holds."""
        return self.verification.holds

    @property
    def checks(self) -> Sequence[Check]:
        """One for each trial that ran again."""
        return self.verification.checks

    def to_frame(self) -> pd.DataFrame:
        """One line per trial: key, trial, verdict (`identical`, `agrees`, `differs` or `failed`), recorded and again
        (the primary metric), reason."""
        primary = self.verification.primary
        lines = [
            (c.then.key, c.then.spec.name, c.verdict.value, c.then.metrics.get(primary), c.now.metrics.get(primary),
             c.words)
            for c in self.checks
        ]  # fmt: skip
        return frame_of(lines, ["key", "trial", "verdict", "recorded", "again", "reason"])

    def __repr__(self) -> str:
        found = self.verification
        return checks_text(found.checks, found.primary, found.finished)

    def _repr_html_(self) -> str:
        tried = f"{len(self.checks)} of {self.verification.finished} trials ran again"
        return table_html(self.to_frame(), f"{tried}: {'all records hold' if self.holds else 'not all records hold'}")


def verify(
    suite: AnySuite | None = None,
    *,
    trials: int = 3,
    draw: int = 0,
    results: AnyPath = "results",
    from_: AnyPath | None = None,
    only: Names = None,
    datasets: Names = None,
    seeds: int | Iterable[int] | None = None,
    overrides: Overrides = (),
    data: AnyPath | None = None,
    methods: AnyPath | None = None,
    plugins: AnyPaths = (),
    device: str | None = None,
    mark: bool = False,
    tell: Tell = tell_nobody,
) -> VerifyResult:
    """Run some finished trials again, here, and say whether their records hold.

    Args:
        suite: a suite's file, the name of one that comes with ltbench or ran here, or its contents as a mapping;
            default: the last used.
        trials: how many run again.
        draw: which ones: another number picks others.
        results: the folder in which runs wrote.
        from_: a suite's folder of results, or of records, instead of `results`.
        only: the rows (methods, by label) to pick from; default: all.
        datasets: the data sets to pick from; default: all.
        seeds: the training seeds to pick from; default: the suite's.
        overrides: values that replaced the suite's when it ran.
        data: where data sets and caches lie; default: the user's cache folder.
        methods: a folder with methods of your own; their code is run.
        plugins: a folder with methods, backbones and data sets of your own, or several, beside those that the suite
            names; their code is run.
        device: `"cpu"` or `"cuda"`; default: the best there is.
        mark: leave the mark for boards beside the records of `from_`, too, as it is left in `results`.
        tell: called with the trial that runs; default: nobody is told.

    Returns:
        The verdicts: `holds`, `to_frame()`.

    Raises:
        ltbench.errors.UserError: the suite cannot be planned, or there is no finished trial of it as it is.

    Examples:
        >>> import ltbench
        >>> found = ltbench.verify("quickstart", trials=1, from_="results/reference/quickstart", device="cpu")
        >>> found.holds
        True
    """
    request = Request(
        suite=suite_to_verify(suite, folder_of(results), path_of(from_), tell),
        overrides=overrides,
        chosen=selection_of(only, datasets, seeds),
        results=folder_of(results),
        data=path_of(data),
        methods=path_of(methods),
        plugins=paths_of(plugins),
        tell=tell,
    )
    return VerifyResult(verify_suite(request, path_of(from_), trials, draw, device, mark))
