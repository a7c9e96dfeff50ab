"""The nouns of the harness: Cell, TrialSpec, Record, Result, Skip, Plan. Frozen data; standard library only."""

from ltbench.spec.cell import Cell
from ltbench.spec.plan import Plan, Selection, Skip
from ltbench.spec.record import Record, Result, Status
from ltbench.spec.trial import NUMERICS, TrialSpec, canonical, digest, search_suite
from ltbench.spec.validation import KEY, SAFE_NAME

__all__ = ["KEY", "NUMERICS", "SAFE_NAME", "Cell", "Plan", "Record", "Result", "Selection", "Skip", "Status"]
__all__ += ["TrialSpec", "canonical", "digest", "search_suite"]
