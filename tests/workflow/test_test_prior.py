"""`protocol.test_prior`: a method that asks for the test distribution is told it, and its row says so everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ltbench as lt
from ltbench.api import Task
from ltbench.checks.contract import check_method
from ltbench.errors import UserError
from ltbench.frames import SuiteRun
from ltbench.ranking.formats.render import FORMATS
from ltbench.registry import Registry
from ltbench.spec import Result, TrialSpec
from ltbench.stats.priors import prior_weights
from ltbench.suite.load import load_suite
from ltbench.tracking.mlflow_runs import result_of, tags_of
from tests.ranking.made import spec

TOLD = '''"""Cross-entropy whose test logits are moved from the training to the test distribution."""

from torch import Tensor

from ltbench.api import Method


class Told(Method):
    """Cross-entropy, moved to the declared test distribution."""

    paper = "Hong et al. Disentangling Label Distribution for Long-tailed Visual Recognition. CVPR 2021."
    defaults_from = "nothing to choose"
    needs = frozenset({"test_prior"})

    def predict(self, logits: Tensor) -> Tensor:
        assert self.task.test_prior is not None
        return logits - self.task.log_prior + self.task.test_prior.log()
'''
TINY: dict[str, Any] = {
    "recipes.scratch.epochs": 1, "recipes.scratch.backbone": "mlp", "recipes.scratch.augment": "none",
    "datasets.0.imbalance": [20], "methods": ["ce", "told"], "protocol.final.seeds": [0, 1, 2],
}  # fmt: skip


@pytest.fixture(scope="module")
def methods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("methods")
    (folder / "told.py").write_text(TOLD)
    return folder


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, data_root: Path, methods: Path) -> SuiteRun:
    return lt.run("quickstart", overrides={**TINY, "protocol.test_prior": "backward50"}, methods=methods,
                  results=tmp_path_factory.mktemp("results"), data=data_root, inline=True)  # fmt: skip


def test_the_row_is_marked_on_the_board(ran: SuiteRun) -> None:
    assert ran.complete
    assert ran.board is not None
    board = ran.board.ranked.board
    assert {row.label: row.test_prior for row in board.tables[0].rows} == {"ce": "", "told": "backward50"}
    assert [row.name for row in board.tables[0].rows if row.test_prior] == ["told (told backward50)"]
    text = " ".join(FORMATS["text"](board).split())
    assert "Told the test distribution (backward50, protocol.test_prior): told; the other rows were not." in text
    for name in ("markdown", "latex", "json", "csv"):
        assert "backward50" in FORMATS[name](board), name


def test_the_page_marks_the_row(ran: SuiteRun, tmp_path: Path) -> None:
    lt.report("quickstart", results=ran.request.results, out=tmp_path / "page")
    assert "told (told backward50)" in (tmp_path / "page" / "report.html").read_text()


def test_only_the_trials_of_the_row_are_other_trials(ran: SuiteRun, data_root: Path, tmp_path: Path) -> None:
    plain = lt.plan("quickstart", only=["ce"], overrides={**TINY, "methods": ["ce"]}, results=tmp_path, data=data_root)
    assert {t.key for t in plain.trials} == {r.spec.key for r in ran.finished if r.spec.label == "ce"}
    told = next(r.spec for r in ran.finished if r.spec.label == "told")
    assert told.test_prior == "backward50"
    assert TrialSpec.from_json(told.to_json()) == told


def test_without_a_declared_distribution_the_row_is_skipped(methods: Path, data_root: Path, tmp_path: Path) -> None:
    plan = lt.plan("quickstart", overrides=TINY, methods=methods, results=tmp_path, data=data_root)
    assert {t.label for t in plan.trials} == {"ce"}
    assert {skip.reason for skip in plan.skips} == {"reads the test distribution: `protocol.test_prior` declares it"}


def test_mlflow_keeps_what_a_row_was_told(ran: SuiteRun) -> None:
    record = next(r for r in ran.outcome.state.finished.values() if r.spec.label == "told")
    stored = {name: value for name, value in record.metrics.items() if value is not None}
    assert result_of(tags_of(record, ""), stored, record.spec.suite).test_prior == Result.of(record).test_prior


def test_specifications_without_it_are_written_as_before() -> None:
    assert "test_prior" not in spec().to_json()


def test_a_task_has_the_shares_of_the_classes() -> None:
    task = Task(np.array([0, 0, 0, 1]), ["a", "b"], test_prior=prior_weights("backward4", [3, 1]))
    assert task.test_prior is not None
    assert task.test_prior.tolist() == pytest.approx([0.2, 0.8])
    assert Task(np.array([0]), ["a"]).test_prior is None


def test_the_contract_tells_such_a_method_one(methods: Path) -> None:
    assert check_method(Registry(methods).get("told")).problems == []


def test_a_distribution_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="'backwards' is no test distribution: uniform, forwardR or backwardR"):
        load_suite("quickstart", {"protocol.test_prior": "backwards"})
