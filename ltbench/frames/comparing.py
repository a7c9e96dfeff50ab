"""`ltbench.compare`: two methods in full, as one planned comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ltbench.frames.words import AnyPath, AnySuite, Names, folder_of, frame_of, path_of, selection_of, suite_of
from ltbench.ranking.formats.compare_text import comparison_text
from ltbench.ranking.views.compare import Comparison
from ltbench.workflow.make_board import compare_rows

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class CompareResult:
    """Two methods in full, as one planned comparison."""

    comparison: Comparison

    def to_frame(self) -> pd.DataFrame:
        """One line per column (data set and imbalance): dataset, imbalance, diff (a - b, in the primary metric's unit),
        low and high (95 % interval), p."""
        lines = [
            (column.dataset, column.imbalance, test.diff, *_ends(test.diff, test.half), test.p)
            for column, test in self.comparison.by_column.items()
        ]
        return frame_of(lines, ["dataset", "imbalance", "diff", "low", "high", "p"])

    def __str__(self) -> str:
        return comparison_text(self.comparison)

    def __repr__(self) -> str:
        return comparison_text(self.comparison)


def _ends(middle: float | None, half: float | None) -> tuple[float | None, float | None]:
    return (None, None) if half is None or middle is None else (middle - half, middle + half)


def compare(
    a: str,
    b: str,
    *,
    suite: AnySuite | None = None,
    results: AnyPath = "results",
    from_: AnyPath | None = None,
    datasets: Names = None,
) -> CompareResult:
    """Compare two methods in full: by column, metric and class, and how far seeds can tell.

    Args:
        a: a row of the table.
        b: the row it is compared with.
        suite: its name, file or contents; default: the last used.
        results: the folder in which runs wrote.
        from_: a suite's folder of results, or of records, instead of `results`.
        datasets: the data sets to look at; default: all.

    Returns:
        The comparison: printed, it is the text of the command; `to_frame()` has one line per data set and imbalance.

    Raises:
        ltbench.errors.UserError: no such suite or row, or no seed that both have.

    Examples:
        >>> import ltbench
        >>> found = ltbench.compare("balanced_softmax", "ce", from_="results/reference/quickstart")
        >>> found.to_frame()["dataset"].unique().tolist()
        ['digits']
    """
    chosen = selection_of(None, datasets)
    return CompareResult(compare_rows(a, b, suite_of(suite), folder_of(results), path_of(from_), chosen))
