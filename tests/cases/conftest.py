"""A working folder for every situation."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases.situation import Run, Situation


@pytest.fixture
def follows(
    ltbench: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path
) -> Callable[[Situation], None]:
    """Tries a situation in a folder of its own. Its store is there already: making one takes a second."""
    monkeypatch.chdir(tmp_path)

    def follows(situation: Situation) -> None:
        if situation.command[0] == "run" and "--results" not in situation.command:
            (tmp_path / "results").mkdir()
            shutil.copy(empty_store, tmp_path / "results" / "mlflow.db")
        situation.try_in(tmp_path, ltbench)

    return follows
