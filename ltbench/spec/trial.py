"""TrialSpec: one training run, completely; and the key that names it everywhere."""

from __future__ import annotations

import hashlib
import json
import marshal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from ltbench.errors import UserError
from ltbench.spec.cell import Cell
from ltbench.spec.validation import CELL, SPEC, check

NUMERICS = 1
"""Version of everything in ltbench that can move a number without changing a method's own file: engine, parts, data,
models. Bumped by hand, with a line in CHANGELOG.md; a bump makes every earlier record stale."""


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
_MOST_KEPT = 5_000
"""Rows times data sets of a large board."""
_KEPT: dict[bytes, TrialSpec] = {}
"""Contents without key and seed -> a trial that was read with them. Seeds of one row share everything else, which is so
checked and hashed once."""


def search_suite(suite: str) -> str:
    """The trials of a suite's search are results of their own, under this name: they are never on its leaderboard."""
    return f"{suite}-search"


def canonical(value: object) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN. Equal values have equal texts on every machine."""
    return _CANONICAL.encode(value)


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
    test_prior: str | None = None
    """The test distribution that the method is told of (`backward50`), for methods that read it."""
    curves: str = "none"
    """Where learning curves are drawn: none, holdout or test. Reading curves never changes what is trained."""
    numerics: int = NUMERICS

    @cached_property
    def variant(self) -> str:
        """What was run, apart from where: equal for all seeds and cells of one row."""
        told = [] if self.test_prior is None else [self.test_prior]
        parts = [self.method, self.hyperparameters, self.code, self.recipe, self.text_origin, self.numerics]
        return digest([*parts, *told], 8)

    @cached_property
    def recipe_id(self) -> str:
        """8 hex digits of the recipe's contents: rows with equal ones were trained alike."""
        return recipe_digest(self.recipe)

    @cached_property
    def key(self) -> str:
        """12 hex digits that name this trial everywhere: journal, MLflow, command line.

        Not part of it: the suite's and the row's names, the shot thresholds (buckets are recomputed from the per-class
        table) and the curves, none of which changes what is trained.
        """
        before, after = self._beside_seed
        return hashlib.sha256(before + canonical(self.seed).encode() + after).hexdigest()[:12]

    @cached_property
    def _beside_seed(self) -> tuple[bytes, bytes]:
        """The canonical JSON of what names a trial, up to the seed and from there on: most records of a folder differ
        in their seeds alone."""
        before = {
            "cell": {k: v for k, v in vars(self.cell).items() if k != "dataset"},
            "code": self.code,
            "hyperparameters": dict(self.hyperparameters),
            "method": self.method,
            "numerics": self.numerics,
            "recipe": dict(self.recipe),
            "role": self.role,
        }  # all that comes before "seed" in the alphabet; the rest follows it
        after = {**({} if self.test_prior is None else {"test_prior": self.test_prior}), "text": self.text}
        return f'{canonical(before)[:-1]},"seed":'.encode(), f",{canonical(after)[1:]}".encode()

    @property
    def row(self) -> str:
        """The suite's row: the trials of a search are numbered within theirs."""
        return self.label.rpartition("+")[0] if self.role == "search" else self.label

    @property
    def pretrained(self) -> str:
        """The tag or the content of the weights that the trial begins with; empty from scratch."""
        return str((self.recipe.get("tower") or self.recipe.get("weights") or {}).get("pretrained", ""))

    @property
    def name(self) -> str:
        """Readable run name: `ce cifar10 IF100 s0`."""
        return f"{self.label} {self.cell.label} s{self.seed}"

    def to_json(self) -> dict[str, Any]:
        """As plain data, with the key; without a test prior where there is none, as earlier versions wrote it."""
        data = asdict(self)
        if self.test_prior is None:
            del data["test_prior"]
        return {"key": self.key, **data}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrialSpec:
        """Inverse of `to_json`. Raises UserError for missing or unknown fields, or a key that does not fit."""
        try:
            spec = cls._like_before(data) or cls._checked(data)
            key = spec.key
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"not a trial specification of this version of ltbench: {error}") from error
        if data.get("key", key) != key:
            raise UserError(f"the trial says its key is {data['key']} but its contents give {key}: it was edited")
        return spec

    @classmethod
    def _checked(cls, data: Mapping[str, Any]) -> TrialSpec:
        """Of contents that were not seen before."""
        body = {k: v for k, v in data.items() if k != "key"}
        check(body, SPEC, ["cell"])
        check(body["cell"], CELL)
        contents = _but_seed(data)
        if contents is not None:
            body |= marshal.loads(contents)  # a copy: what is kept must not change with what the caller has
        spec = cls(**{**body, "cell": Cell(**body["cell"])})
        if contents is not None:
            if len(_KEPT) >= _MOST_KEPT:
                _KEPT.clear()
            _KEPT[contents] = spec
        return spec

    @classmethod
    def _like_before(cls, data: Mapping[str, Any]) -> TrialSpec | None:
        """The trial, where one that differs in its seed alone was read and checked before."""
        contents, seed = _but_seed(data), data.get("seed")
        known = None if contents is None else _KEPT.get(contents)
        if known is None or not SPEC["seed"](seed):
            return None
        spec = object.__new__(cls)
        vars(spec).update(vars(known), seed=seed, variant=known.variant, recipe_id=known.recipe_id)
        vars(spec).pop("key", None)
        return spec


def _but_seed(data: Mapping[str, Any]) -> bytes | None:
    """The contents of a trial's JSON without key and seed, as bytes that nothing else has; None where they are no plain
    data. In contrast to Python's `==`, 1, 1.0 and true differ."""
    try:
        return marshal.dumps({k: v for k, v in data.items() if k not in ("key", "seed")}, 2)
    except ValueError:
        return None


def recipe_digest(recipe: Mapping[str, Any]) -> str:
    """8 hex digits of a recipe's contents. Further views of an image are left out: they are there for the methods that
    train on several, which stand in one table with the others."""
    return digest({name: value for name, value in recipe.items() if name != "views"}, 8)
