"""The nouns of the harness: Cell, TrialSpec, Record, Result, Skip, Plan, Expectation. Standard library only."""

from ltbench.spec.cell import ELSEWHERE, Cell, Column
from ltbench.spec.expectation import Expectation
from ltbench.spec.plan import Plan, Selection, Skip
from ltbench.spec.record import Record, Result, Status
from ltbench.spec.trial import NUMERICS, TrialSpec, canonical, digest, search_suite
from ltbench.spec.validation import KEY, SAFE_NAME

__all__ = ["ELSEWHERE", "KEY", "NUMERICS", "SAFE_NAME", "Cell", "Column", "Expectation", "Plan", "Record", "Result"]
__all__ += ["Selection", "Skip", "Status", "TrialSpec", "canonical", "digest", "search_suite"]
