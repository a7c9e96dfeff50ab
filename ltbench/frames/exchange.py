"""`ltbench.split`, `import_predictions` and `diff`: what other repositories need, what comes back, what changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ltbench.data.sources.source import data_folder
from ltbench.frames.words import AnyPath, AnySuite, folder_of, frame_of, path_of, suite_of, table_html
from ltbench.ranking.formats.moves_text import moves_table, moves_text
from ltbench.results.splits import Split, write_split
from ltbench.system.extras import need
from ltbench.workflow.exchange import take_over
from ltbench.workflow.exchange.diff import Diff
from ltbench.workflow.exchange.diff import diff as compare_two
from ltbench.workflow.exchange.make_split import SplitRequest, make_split
from ltbench.workflow.exchange.take_over import TakenOver
from ltbench.workflow.tell import Tell, tell_nobody

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SplitFile:
    """The images that ltbench trains and tests on, for one data set and imbalance factor."""

    split: Split

    @property
    def manifest(self) -> str:
        """Names the data set, how it is read, and the chosen images. Predictions must carry it."""
        return self.split.manifest

    @property
    def train_index(self) -> NDArray[np.int64]:
        """Rows of the data set's training part, class by class in ascending label."""
        return self.split.train_index

    @property
    def train_labels(self) -> NDArray[np.int64]:
        """The class of each of them."""
        return self.split.train_labels

    @property
    def test_labels(self) -> NDArray[np.int64]:
        """The class of every test image, in the data set's order."""
        return self.split.test_labels

    def to_frame(self) -> pd.DataFrame:
        """One line per class: name, train_images, test_images."""
        names = self.split.class_names
        tested = np.bincount(self.split.test_labels, minlength=len(names))
        frame = frame_of({"name": names, "train_images": self.split.class_counts, "test_images": tested})
        frame.index.name = "class"
        return frame

    def write(self, file: AnyPath) -> list[Path]:
        """Write it as `.json`, `.npz`, or `.txt` (lists of `path label` lines, with the JSON beside them).

        Raises:
            ltbench.errors.UserError: another ending, or a file that cannot be written.
        """
        return write_split(self.split, Path(file).expanduser())

    def __repr__(self) -> str:
        return self.split.summary

    def _repr_html_(self) -> str:
        return table_html(self.to_frame(), repr(self))


def split(
    dataset: str,
    *,
    imbalance: float | None = None,
    profile: Literal["exp", "step"] = "exp",
    subset_seed: int = 0,
    class_order: str | int = "label",
    holdout_per_class: int = 0,
    path: AnyPath | None = None,
    data: AnyPath | None = None,
    options: Mapping[str, Any] | None = None,
) -> SplitFile:
    """Say which images ltbench trains and tests on, to train on the same ones in another repository.

    Args:
        dataset: the kind of data set: `cifar100`, `digits`, `imagenet_lt`, `folder` ...
        imbalance: the imbalance factor; default: the data set as it is.
        profile: the shape of the tail: `exp` or `step`.
        subset_seed: which images are kept; 0 gives CIFAR's subsets of LDAM-DRW.
        class_order: classes from head to tail: `label`, `frequency`, or the seed of a permutation.
        holdout_per_class: training images of each class that are left out.
        path: the data set's own place, for kinds that have one.
        data: where data sets and caches lie; default: the user's cache.
        options: options of the kind, as in a suite.

    Returns:
        The split: indices, labels, class counts, manifest; `write(file)` puts it into a file.

    Raises:
        ltbench.errors.UserError: no such data set, data that cannot be had, or an imbalance that they cannot give.

    Examples:
        >>> import ltbench
        >>> found = ltbench.split("digits", imbalance=10)
        >>> found.to_frame()["train_images"].tolist()
        [128, 99, 76, 59, 46, 35, 27, 21, 16, 12]
    """
    need("ltbench.split", "train")
    request = SplitRequest(
        dataset=dataset,
        data=data_folder(path_of(data)),
        path=None if path is None else str(path),
        imbalance=imbalance,
        profile=profile,
        subset_seed=subset_seed,
        class_order=str(class_order),
        holdout_per_class=holdout_per_class,
        options=options or {},
    )
    return SplitFile(make_split(request))


def import_predictions(
    file: AnyPath,
    *,
    split: AnyPath,
    suite: str,
    recipe: str | None = None,
    results: AnyPath = "results",
    tell: Tell = tell_nobody,
) -> TakenOver:
    """Take predictions of models that were trained elsewhere on a split of ltbench over into a suite's results.

    Args:
        file: a `.csv` with the columns method, seed, image, label, manifest and, if you like, confidence; or an `.npz`
            with the arrays method, seed, label, manifest, confidence.
        split: the file of the split that the models were trained on, `.json` or `.npz`.
        suite: the name of the suite whose board they go on; it need not have run.
        recipe: a recipe of the suite that the models were trained by, as you say: they are ranked with its rows.
            Default: they have a table of their own.
        results: the folder in which runs write.
        tell: called with lines that the user should know; default: nobody is told.

    Returns:
        The suite, the rows with their number of models, how many are new, and the recipe.

    Raises:
        ltbench.errors.UserError: unreadable files, another split, a name that a row of the suite has, or other
            predictions for a model that is there already.

    Examples:
        >>> import ltbench, numpy as np, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> pinned = ltbench.split("digits", imbalance=10)
        >>> file = pinned.write(f"{folder}/digits.json")[0]
        >>> np.savez(f"{folder}/mine.npz", method="mine", seed=0, label=pinned.test_labels, manifest=pinned.manifest)
        >>> ltbench.import_predictions(f"{folder}/mine.npz", split=file, suite="shared", results=folder).rows
        {'mine': 1}
    """
    return take_over.import_predictions(Path(file).expanduser(), Path(split).expanduser(), suite, folder_of(results),
                                        recipe, tell)  # fmt: skip


@dataclass(frozen=True)
class DiffResult:
    """Two sets of results side by side."""

    found: Diff

    @property
    def moved(self) -> list[str]:
        """The cells that moved by more than the region of practical equivalence: `ce digits IF10`."""
        return [cell.place.title for cell in self.found.moves.moved]

    def to_frame(self) -> pd.DataFrame:
        """One line per cell: method, dataset, imbalance, a, b, diff (b - a) with its interval, p, p_holm, finding
        (`identical`, `equivalent`, `moved`, ...), and changes: what differs between the trials."""
        table = moves_table(self.found.moves)
        return frame_of(table.lines, table.columns)

    def __repr__(self) -> str:
        return moves_text(self.found.moves, self.found.a, self.found.b)

    def _repr_html_(self) -> str:
        return table_html(self.to_frame(), f"A: {self.found.a}; B: {self.found.b}")


def diff(
    a: AnyPath,
    b: AnyPath,
    *,
    suite: AnySuite | None = None,
    primary: str | None = None,
    rope: float | None = None,
    tell: Tell = tell_nobody,
) -> DiffResult:
    """Compare two sets of results cell by cell.

    Args:
        a: a suite's folder of results, a folder of records, or the URI of an MLflow store.
        b: the same; differences are b - a.
        suite: which suite, where there are several.
        primary: the metric; default: that of a's suite.
        rope: differences below this are practically none; default: the suite's.
        tell: called with lines that the user should know; default: nobody is told.

    Returns:
        The comparison: `moved`, `to_frame()`; printed, it is the text of the command.

    Raises:
        ltbench.errors.UserError: no results there, or no row, column and seed in common.

    Examples:
        >>> import ltbench
        >>> found = ltbench.diff("results/reference/quickstart", "results/reference/quickstart")
        >>> found.moved, set(found.to_frame()["finding"])
        ([], {'identical'})
    """
    return DiffResult(compare_two(str(a), str(b), suite_of(suite), primary, rope, tell))
