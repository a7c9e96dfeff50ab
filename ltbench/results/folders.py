"""Where a suite's results lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ltbench.errors import UserError
from ltbench.results.journal import Journal

if TYPE_CHECKING:
    from ltbench.spec import Expectation


@dataclass(frozen=True)
class Folders:
    """Where a suite's results lie: records/ is the journal, plan.json what a complete set looks like, checkpoints/ what
    running trials leave for the case that they are interrupted."""

    results: Path
    suite: str

    @property
    def suite_folder(self) -> Path:
        return self.results / self.suite

    @property
    def journal(self) -> Journal:
        return Journal(self.suite_folder / "records")

    @property
    def checkpoints(self) -> Path:
        return self.suite_folder.absolute() / "checkpoints"

    @property
    def plan_file(self) -> Path:
        return self.suite_folder / "plan.json"


def read_plan(file: Path) -> Expectation | None:
    """What `ltbench run` kept of the plan, or None."""
    import json

    from ltbench.spec import Expectation

    if not file.exists():
        return None
    try:
        return Expectation.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: damaged ({error}); remove it; the next run writes it anew") from error
