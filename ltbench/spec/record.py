"""What a trial leaves: Record, and the part of it that a leaderboard reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

from ltbench.errors import UserError
from ltbench.spec.budget import budget_of
from ltbench.spec.cell import ELSEWHERE, Column
from ltbench.spec.trial import TrialSpec
from ltbench.spec.validation import RECORD, check

Status = Literal["ok", "failed"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """What one trial left behind. Written once to the journal; everything else is derived from it."""

    spec: TrialSpec
    status: Status
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """Names such as `balanced_accuracy`; accuracies in percent; None where undefined (an empty few-shot bucket)."""
    per_class: Mapping[str, list[float]] = field(default_factory=dict)
    curves: Mapping[str, list[list[float]]] = field(default_factory=dict)
    """Name -> [[epoch, value], ...]."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    """Host, device, versions, threads, seconds: facts about the run that do not change its numbers."""
    error: str | None = None
    predictions: bytes | None = field(default=None, repr=False, compare=False)
    """A compressed npz: `label` and `truth` uint16 (n,), `confidence` float32 (n,), and `logits` float16 (n, C) where
    the suite asks for them."""

    @property
    def key(self) -> str:
        """The trial's key."""
        return self.spec.key

    def to_json(self) -> dict[str, Any]:
        """As plain data for the journal, without the predictions."""
        data = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("spec", "predictions")}
        return {"schema": 1, "spec": self.spec.to_json(), **data}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Record:
        """Inverse of `to_json` (predictions live in a file of their own). Raises UserError on anything else."""
        if not isinstance(data, Mapping) or data.get("schema") != 1:
            raise UserError("not a record of this version of ltbench (no `schema: 1`).")
        try:
            body = {k: v for k, v in data.items() if k not in ("schema", "spec")}
            check(body, RECORD)
            return cls(spec=TrialSpec.from_json(data["spec"]), **body)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"not a record of this version of ltbench: {error}.") from error

    def numbers(self) -> dict[str, Any]:
        """The part that must be bit-equal when the same spec runs again on the same machine."""
        whole = self.to_json()
        return {k: whole[k] for k in ("spec", "status", "metrics", "per_class", "curves")}


@dataclass(frozen=True, kw_only=True)
class Result:
    """The part of a record that a leaderboard reads; what comes back from MLflow."""

    key: str
    suite: str
    dataset: str
    imbalance: str
    """As `Cell.imbalance_label`: `IF100`, `IF100step`, `native`."""
    manifest: str
    label: str
    variant: str
    recipe_name: str
    recipe_id: str
    seed: int
    status: Status
    metrics: Mapping[str, float | None]
    error: str | None = None
    pretraining: str = ""
    """What the model started from, where it was not from scratch."""
    kind: str = ""
    """Of the data set; empty where nothing says so."""
    elsewhere: bool = False
    """Predictions that were taken over: ltbench did not train the model."""
    test_prior: str = ""
    """The test distribution that the method was told of; empty where it was told of none."""
    budget: Mapping[str, float] = field(default_factory=dict)
    """What it cost: of `budget.NAMES`, those that are known."""

    @cached_property
    def column(self) -> Column:
        """Which column of a table it belongs to."""
        return Column(self.dataset, self.imbalance, self.manifest)

    @classmethod
    def of(cls, record: Record) -> Result:
        """The part of a record that a leaderboard reads."""
        spec = record.spec
        return cls(
            key=spec.key,
            suite=spec.suite,
            dataset=spec.cell.dataset,
            imbalance=spec.cell.imbalance_label,
            manifest=spec.cell.manifest,
            label=spec.label,
            variant=spec.variant,
            recipe_name=spec.recipe_name,
            recipe_id=spec.recipe_id,
            seed=spec.seed,
            status=record.status,
            metrics=record.metrics,
            error=record.error,
            pretraining=str(spec.recipe.get("pretraining", "")),
            kind=spec.cell.kind,
            elsewhere=spec.role == ELSEWHERE,
            test_prior=spec.test_prior or "",
            budget=budget_of(record.environment, spec.recipe),
        )
