"""ltbench: a benchmark harness for long-tailed recognition.

The words of the command line are functions here: `plan`, `run`, `leaderboard`, `records`, `compare`, `report`,
`verify`, `split`, `diff`, `import_predictions` and `methods`. What the author of a method imports is in `ltbench.api`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ltbench.frames import compare, diff, import_predictions, leaderboard, plan, records, report, run, split, verify
    from ltbench.frames import methods as methods  # a package, and, called, this function

__version__ = "0.2.0"
__all__ = ["compare", "diff", "import_predictions", "leaderboard", "methods", "plan", "records", "report", "run"]
__all__ += ["split", "verify"]


def __getattr__(name: str) -> Any:
    """The functions are imported when they are first asked for: `import ltbench` costs nothing."""
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("ltbench.frames"), name)
    raise AttributeError(f"module 'ltbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
