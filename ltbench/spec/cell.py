"""A column of the table: one data set, made long-tailed in one way. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

TESTED_ON_VAL = ", tested on val"
"""Ends the label of a column whose images are those of the data set's val list, not of its test set."""

HELD_OUT = ", held out"
"""Ends the label of a column whose numbers are of training images that were held out: those of a search."""

ELSEWHERE = "elsewhere"
"""The role of a result that was not trained by ltbench, and the recipe of one of which nobody says how."""

ONE_DATASET = (
    *("digits", "cifar10", "cifar100", "svhn", "stl10", "tiny_imagenet"),
    *("imagenet_lt", "places_lt", "inaturalist2018", "inaturalist2019", "inaturalist2021"),
)
"""Kinds that are one data set wherever they lie. Of the others (folder, lists, features) the name says which it is."""


class Column(NamedTuple):
    """A cell as results name it: the data set, `Cell.imbalance_label`, and the manifest."""

    dataset: str
    imbalance: str
    manifest: str

    @property
    def label(self) -> str:
        """As `Cell.label`: `cifar100 IF100`."""
        return f"{self.dataset} {self.imbalance}"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One data set made long-tailed in one way: a column of the table.

    `options` are the choices that shape the data (for example the size a folder's images are resized to); where the
    files lie is not among them. `manifest` is the hash of the data set, the hold-out and the chosen training images:
    rows of different manifests are never compared.
    """

    dataset: str
    kind: str
    imbalance: float | None
    """The imbalance factor n_max / n_min that was asked for; None for the native profile."""
    profile: str = "exp"
    """exp, exp:N (the largest class has N images), step, step:R (R of the classes are frequent), or native."""
    subset_seed: int = 0
    class_order: str = "label"
    holdout_per_class: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    manifest: str = ""

    @property
    def label(self) -> str:
        """Short name for tables and run names: `cifar100 IF100`."""
        return f"{self.dataset} {self.imbalance_label}"

    @property
    def imbalance_label(self) -> str:
        """`IF100`, `IF100exp1000`, `IF100step`, `IF100step0.2` or `native`, and what it was tested on if that is not
        the test set."""
        step = "" if self.profile in ("exp", "native") else self.profile.replace(":", "")
        label = "native" if self.imbalance is None else f"IF{self.imbalance:g}{step}"
        label += TESTED_ON_VAL if self.options.get("tested_on") == "val" else ""
        return label + (HELD_OUT if self.scored_on == "holdout" else "")

    @property
    def column(self) -> Column:
        """What its results are named by."""
        return Column(self.dataset, self.imbalance_label, self.manifest)

    @property
    def scored_on(self) -> Literal["test", "holdout"]:
        """Which images its numbers are of; the trials of a search never see the test set."""
        return "holdout" if self.options.get("scored_on") == "holdout" else "test"

    @property
    def data_options(self) -> dict[str, Any]:
        """The options that say how the data are read."""
        return {k: v for k, v in self.options.items() if k != "scored_on"}

    def held_out(self) -> Cell:
        """The same images, scored on those that are held out."""
        return replace(self, options={**self.options, "scored_on": "holdout"})
