"""The door for Python: the words of the command line as functions. Nothing in here prints or exits."""

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
