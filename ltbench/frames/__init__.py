"""The door for Python: the words of the command line as functions. Nothing in here prints or exits.

Each is imported when it is first asked for: `leaderboard` works where torch is not installed, and `run` says what it
needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ltbench.system.extras import need

if TYPE_CHECKING:
    from ltbench.frames.boards import Board, Report, leaderboard, report
    from ltbench.frames.catalog import methods
    from ltbench.frames.comparing import CompareResult, compare
    from ltbench.frames.exchange import DiffResult, SplitFile, diff, import_predictions, split
    from ltbench.frames.plans import SuitePlan, plan
    from ltbench.frames.runs import SuiteRun, run
    from ltbench.frames.trial_records import Records, TrialRecord, records
    from ltbench.frames.verifying import VerifyResult, verify

__all__ = ["Board", "CompareResult", "DiffResult", "Records", "Report", "SplitFile", "SuitePlan", "SuiteRun"]
__all__ += ["TrialRecord", "VerifyResult", "compare", "diff", "import_predictions", "leaderboard", "methods", "plan"]
__all__ += ["records", "report", "run", "split", "verify"]

_MODULES = {
    "boards": ("Board", "Report", "leaderboard", "report"),
    "catalog": ("methods",),
    "comparing": ("CompareResult", "compare"),
    "exchange": ("DiffResult", "SplitFile", "diff", "import_predictions", "split"),
    "plans": ("SuitePlan", "plan"),
    "runs": ("SuiteRun", "run"),
    "trial_records": ("Records", "TrialRecord", "records"),
    "verifying": ("VerifyResult", "verify"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
_TRAIN = ("catalog", "plans", "runs", "verifying")
"""These import torch."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _HOME[name] in _TRAIN:
        need(f"ltbench.{name}", "train")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
