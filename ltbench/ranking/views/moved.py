"""Two sets of results side by side: which cells moved, by how much, and which trials are not the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

from ltbench.errors import UserError
from ltbench.metric_names import metric_of, usual_primary
from ltbench.ranking.pairs import ALPHA
from ltbench.spec import Result, TrialSpec
from ltbench.stats.fixed_datasets import ScopeATest, Verdict, scope_a, verdict
from ltbench.stats.paired import holm
from ltbench.stats.reasons import Reason


class Place(NamedTuple):
    """A row on a column."""

    label: str
    recipe: str
    dataset: str
    imbalance: str

    @property
    def title(self) -> str:
        """`ce digits IF10`."""
        return f"{self.label} {self.dataset} {self.imbalance}"


class Finding(StrEnum):
    """What became of a cell from A to B."""

    identical = "identical"
    """Every common seed has the same value."""
    equivalent = "equivalent"
    """The 90 % interval of the difference lies within the ROPE."""
    moved = "moved"
    """The difference is significant after Holm over all cells."""
    moved_slightly = "moved, within ROPE"
    """Significant, but smaller than the ROPE."""
    undecided = "undecided"


@dataclass(frozen=True)
class Cell:
    """A row on a column, in both.

    Attributes:
        a, b: means over the common seeds. test: B - A in the metric as it is measured, paired by seed.
        other_seeds: how many seeds only one of the two has.
        changes: what differs between the trials of the two, for example `recipe.epochs: 20 -> 30`; empty: same keys.
    """

    place: Place
    a: float
    b: float
    test: ScopeATest
    p_holm: float | None
    finding: Finding
    other_seeds: int
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Moves:
    """Everything that a printer needs.

    Attributes:
        only_a, only_b: rows on columns that one of the two has alone.
        rope: in the metric's unit.
    """

    primary: str
    rope: float
    cells: tuple[Cell, ...]
    only_a: tuple[Place, ...]
    only_b: tuple[Place, ...]

    @property
    def moved(self) -> tuple[Cell, ...]:
        """The cells that moved by more than the ROPE."""
        return tuple(cell for cell in self.cells if cell.finding is Finding.moved)


@dataclass(frozen=True)
class Side:
    """One of the two sets of results.

    Attributes:
        specs: key -> the trial in full; those that are not at hand are told apart by code, recipe and images alone.
    """

    results: tuple[Result, ...]
    specs: Mapping[str, TrialSpec]


def moves(a: Side, b: Side, primary: str | None = None, rope: float | None = None) -> Moves:
    """Compare two sets of results cell by cell.

    Args:
        primary: the metric; None: balanced accuracy, accuracy, else the first that both have.
        rope: differences below it are practically none; None: the metric's.

    Raises:
        UserError: nothing in common, or a metric that is not in both.
    """
    there = [{name for r in side.results for name, v in r.metrics.items() if v is not None} for side in (a, b)]
    common = sorted(there[0] & there[1])
    metric = primary or usual_primary(common)
    if metric not in common:
        raise UserError(f"--primary {metric}: not in both; both have: {', '.join(common) or 'nothing'}")
    rope = metric_of(metric).rope if rope is None else rope
    mine, theirs = _by_place(a.results), _by_place(b.results)
    found = []
    for place in mine:
        if place in theirs and (cell := _cell(place, mine[place], theirs[place], metric, a, b)) is not None:
            found.append(cell)
    if not found:
        raise UserError("the two have no row, column and seed in common; is it the same suite?")
    adjusted = holm([cell.test.p for cell in found])
    return Moves(
        primary=metric,
        rope=rope,
        cells=tuple(
            replace(c, p_holm=p, finding=_finding(c.test, p, rope)) for c, p in zip(found, adjusted, strict=True)
        ),
        only_a=tuple(place for place in mine if place not in theirs),
        only_b=tuple(place for place in theirs if place not in mine),
    )


def _by_place(results: Iterable[Result]) -> dict[Place, dict[int, Result]]:
    """The finished ones. Two of one seed (an older plan's beside the newer) are one: the last."""
    found: dict[Place, dict[int, Result]] = {}
    for r in sorted(results, key=lambda r: (r.label, r.dataset, r.imbalance, r.seed, r.key)):
        if r.status == "ok":
            found.setdefault(Place(r.label, r.recipe_name, r.dataset, r.imbalance), {})[r.seed] = r
    return found


def _cell(
    place: Place, mine: Mapping[int, Result], theirs: Mapping[int, Result], metric: str, a: Side, b: Side
) -> Cell | None:
    values = [{s: v for s, r in side.items() if (v := r.metrics.get(metric)) is not None} for side in (mine, theirs)]
    seeds = sorted(values[0].keys() & values[1].keys())
    if not seeds:
        return None
    before, after = ({s: side[s] for s in seeds} for side in values)
    test = scope_a({"": after}, {"": before})
    changes = dict.fromkeys(line for s in seeds for line in changes_of(mine[s], theirs[s], a.specs, b.specs))
    return Cell(
        place=place,
        a=sum(before.values()) / len(seeds),
        b=sum(after.values()) / len(seeds),
        test=test,
        p_holm=None,
        finding=Finding.undecided,
        other_seeds=len(mine.keys() ^ theirs.keys()),
        changes=tuple(changes),
    )


def _finding(test: ScopeATest, p: float | None, rope: float) -> Finding:
    if test.reason is Reason.identical:
        return Finding.identical
    if test.reason is Reason.zero_variance and test.diff is not None:  # by the same amount for every seed
        return Finding.equivalent if abs(test.diff) < rope else Finding.moved
    return {
        Verdict.better: Finding.moved, Verdict.worse: Finding.moved,
        Verdict.slightly_better: Finding.moved_slightly, Verdict.slightly_worse: Finding.moved_slightly,
        Verdict.equivalent: Finding.equivalent,
    }.get(verdict(test, p, rope, ALPHA), Finding.undecided)  # fmt: skip


def changes_of(a: Result, b: Result, specs_a: Mapping[str, TrialSpec], specs_b: Mapping[str, TrialSpec]) -> list[str]:
    """What differs between two trials of one name; nothing where they have the same key."""
    if a.key == b.key:
        return []
    if a.key not in specs_a or b.key not in specs_b:
        parts = {"images (manifest)": (a.manifest, b.manifest), "recipe": (a.recipe_id, b.recipe_id),
                 "code, hyper-parameters or recipe": (a.variant, b.variant)}  # fmt: skip
        told = [f"{name}: {old} -> {new}" for name, (old, new) in parts.items() if old != new]
        return told or ["what is not kept in the store"]
    flat = [dict(_flatten(_identity(specs[r.key]))) for r, specs in ((a, specs_a), (b, specs_b))]
    names = [name for name in dict.fromkeys([*flat[0], *flat[1]]) if flat[0].get(name) != flat[1].get(name)]
    return [f"{name}: {_shown(flat[0], name)} -> {_shown(flat[1], name)}" for name in names]


def _identity(spec: TrialSpec) -> dict[str, Any]:
    """What `TrialSpec.key` is made of, but for the seed, which is the same."""
    return {
        "method": spec.method, "hyperparameters": dict(spec.hyperparameters), "code": spec.code,
        "recipe": dict(spec.recipe), "text": spec.text, "role": spec.role, "numerics": spec.numerics,
        "data": {name: value for name, value in vars(spec.cell).items() if name != "dataset"},
    }  # fmt: skip


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flatten(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner


def _shown(flat: Mapping[str, Any], name: str) -> str:
    return str(flat[name])[:60] if name in flat else "(not there)"
