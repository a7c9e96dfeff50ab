"""The nouns of the harness: Cell, TrialSpec, Record, Result, Skip, Plan. Frozen data; standard library only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal

from ltbench.errors import UserError
from ltbench.spec.cell import Cell
from ltbench.spec.validation import CELL, KEY, RECORD, SAFE_NAME, SPEC, check

__all__ = ["KEY", "NUMERICS", "SAFE_NAME", "Cell", "Plan", "Record", "Result", "Selection"]
__all__ += ["Skip", "Status", "TrialSpec", "canonical", "digest"]

NUMERICS = 1
"""Version of everything in ltbench that can move a number without changing a method's own file: engine, parts, data,
models. Bumped by hand, with a line in CHANGELOG.md; a bump makes every earlier record stale."""

Status = Literal["ok", "failed"]


def search_suite(suite: str) -> str:
    """The trials of a suite's search are results of their own, under this name: they are never on its leaderboard."""
    return f"{suite}-search"


def canonical(value: object) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN. Equal values have equal texts on every machine."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: object, length: int = 12) -> str:
    """First `length` hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """One training run, completely: everything that can change its numbers, and nothing else.

    `variant` (method, hyper-parameters, code, recipe, text) says what is compared; `cell` and `seed` say where.
    """

    suite: str
    cell: Cell
    label: str
    """The row's name in tables; the method's name unless the suite gives another with `as:`."""
    method: str
    hyperparameters: Mapping[str, Any]
    code: str
    """Fingerprint of the method's source: syntax trees without docstrings, of its file and of those it builds on."""
    recipe_name: str
    recipe: Mapping[str, Any]
    seed: int
    text: str | None = None
    """Digest of the class-name vectors, for methods that read them."""
    text_origin: str | None = None
    """The same in words, for people: which encoder or file they come from."""
    shots: Mapping[str, int] = field(default_factory=lambda: {"many": 100, "few": 20})
    role: str = "final"
    curves: str = "none"
    """Where learning curves are drawn: none, holdout or test. Reading curves never changes what is trained."""
    numerics: int = NUMERICS

    @property
    def variant(self) -> str:
        """What was run, apart from where: equal for all seeds and cells of one row."""
        return digest([self.method, self.hyperparameters, self.code, self.recipe, self.text_origin, self.numerics], 8)

    @property
    def recipe_id(self) -> str:
        return digest(self.recipe, 8)

    @cached_property
    def key(self) -> str:
        """12 hex digits that name this trial everywhere: journal, MLflow, command line.

        Not part of it: the suite's and the row's names, the shot thresholds (buckets are recomputed from the per-class
        table) and the curves, none of which changes what is trained.
        """
        identity = {
            "cell": {k: v for k, v in vars(self.cell).items() if k != "dataset"},
            "method": self.method,
            "hyperparameters": dict(self.hyperparameters),
            "code": self.code,
            "recipe": dict(self.recipe),
            "text": self.text,
            "role": self.role,
            "seed": self.seed,
            "numerics": self.numerics,
        }
        return digest(identity)

    @property
    def row(self) -> str:
        """The suite's row: the trials of a search are numbered within theirs."""
        return self.label.rpartition("+")[0] if self.role == "search" else self.label

    @property
    def name(self) -> str:
        """Readable run name: `ce cifar10 IF100 s0`."""
        return f"{self.label} {self.cell.label} s{self.seed}"

    def to_json(self) -> dict[str, Any]:
        return {"key": self.key, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrialSpec:
        """Inverse of `to_json`. Raises UserError for missing or unknown fields, or a key that does not fit."""
        try:
            body = {k: v for k, v in data.items() if k != "key"}
            check(body, SPEC, ["cell"])
            check(body["cell"], CELL)
            spec = cls(**{**body, "cell": Cell(**body["cell"])})
            key = spec.key
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"not a trial specification of this version of ltbench: {error}") from error
        if data.get("key", key) != key:
            raise UserError(f"the trial says its key is {data['key']} but its contents give {key}: it was edited")
        return spec


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
        return self.spec.key

    def to_json(self) -> dict[str, Any]:
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

    @classmethod
    def of(cls, record: Record) -> Result:
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
        )


@dataclass(frozen=True, kw_only=True)
class Skip:
    """A row that cannot run on a cell, and why: a reported fact, not a hole."""

    label: str
    cell: Cell
    reason: str


@dataclass(frozen=True)
class Selection:
    """`--only`, `--datasets`, `--seeds`: the part of a suite to look at; None is everything."""

    methods: Sequence[str] | None = None
    datasets: Sequence[str] | None = None
    seeds: Sequence[int] | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All trials of a suite, in the order they start, and what was left out."""

    suite: str
    question: str
    trials: tuple[TrialSpec, ...]
    skips: tuple[Skip, ...]
    protocol: Mapping[str, Any]
    """reference, primary metric, reported metrics, shots, seeds: how the leaderboard reads the records."""
    search: Plan | None = None
    """The trials that choose hyper-parameters, finished or not: a plan of its own, since they are scored on held-out
    images."""
    later: tuple[TrialSpec, ...] = ()
    """What rows that wait for their search would train as they are written: as many trials, and as long ones, as there
    will be. Their keys say nothing."""

    def without(self, finished: set[str]) -> Plan:
        """The same plan minus the trials whose keys are given."""
        return replace(self, trials=tuple(t for t in self.trials if t.key not in finished))

    def after(self, search: Plan) -> Plan:
        """The same plan with the trials of a search before its own."""
        return replace(self, trials=(*search.trials, *self.trials))

    def expectation(self) -> dict[str, Any]:
        """What a complete set of results looks like, small enough to be kept beside them: a leaderboard made
        anywhere then knows what is missing, and which results belong to this plan rather than to an earlier one."""
        cells = {t.cell.label: [t.cell.dataset, t.cell.imbalance_label, t.cell.manifest] for t in self.trials}
        as_published = [
            t.cell.label
            for t in self.trials
            if t.cell.holdout_per_class == 0 and t.cell.class_order == "label" and "tested_on" not in t.cell.options
        ]
        skips: dict[tuple[str, str], list[str]] = {}
        for skip in self.skips:
            skips.setdefault((skip.label, skip.reason), []).append(skip.cell.label)
        return {
            "suite": self.suite,
            "question": self.question,
            "protocol": dict(self.protocol),
            "rows": {t.label: [t.recipe_name, t.variant] for t in self.trials},
            "cells": list(cells.values()),
            "kinds": {t.cell.dataset: t.cell.kind for t in self.trials},
            "as_published": [cells[label][:2] for label in dict.fromkeys(as_published)],
            "recipes": {t.recipe_name: dict(t.recipe) for t in self.trials},
            "methods": {t.label: [t.method, dict(t.hyperparameters)] for t in self.trials},
            "skips": [[label, reason, where] for (label, reason), where in skips.items()],
        }
