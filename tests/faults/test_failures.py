"""Trials that fail: what is recorded, what is kept, what runs again, and what the last lines of `ltbench run` say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ltbench.cli.text.run import NAMED_FAILURES, failure_lines
from ltbench.data.sources.source import Source
from ltbench.errors import reason_of
from ltbench.execution.progress import RunDisplay
from ltbench.execution.resources import Resources
from ltbench.execution.run_plan import run_plan, state_of
from ltbench.planning.resolve import Inputs
from ltbench.registry import Registry, fingerprint, read_sources
from ltbench.results.folders import Folders
from ltbench.spec import Plan, Record, Selection, TrialSpec
from ltbench.system.interrupt import Interrupt
from ltbench.training.site import Site
from ltbench.training.trial import run_trial
from ltbench.workflow.run_suite import RunRequest

Make = Callable[..., TrialSpec]
TINY = {"epochs": 2.0, "batch_size": 64}

HEADER = """
import os, pathlib, signal, torch
from ltbench.api import Method

def times(name):
    "How often this was called with this name, by whichever process."
    folder = pathlib.Path(MARKS) / name
    folder.mkdir(exist_ok=True)
    number = len(list(folder.iterdir()))
    (folder / str(number)).touch()
    return number + 1
"""
BODIES = {
    "dies_twice": "if now.progress > 0.5 and times('dies') <= 2: os.kill(os.getpid(), signal.SIGKILL)",
    "runs_out_once": (
        "if now.progress > 0.5 and times('once') == 1: raise torch.cuda.OutOfMemoryError('CUDA out of memory.')"
    ),
    "runs_out": "raise torch.cuda.OutOfMemoryError('CUDA out of memory.')",
    "raises": "\n        if now.progress > 0.5: raise ValueError('a mistake of the author')",
}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (tmp_path / "marks").mkdir()
    (folder / "parts.py").write_text(HEADER.replace("MARKS", repr(str(tmp_path / "marks"))))
    for name, body in BODIES.items():
        (folder / f"{name}.py").write_text(
            f"from .parts import *\n\nclass Mine(Method):\n    'Fails.'\n    def loss(self, logits, target, now):\n"
            f"        {body}\n        return super().loss(logits, target, now)\n"
        )
    return folder


@pytest.fixture
def of_mine(mine: Path, make_spec: Make) -> Callable[[str], TrialSpec]:
    def make(name: str) -> TrialSpec:
        cls = Registry(mine).get(name)
        return replace(make_spec("ce", recipe=TINY), label=name, method=name, code=fingerprint(cls))

    return make


class Sink:
    """Stands for MLflow."""

    def __init__(self) -> None:
        self.sent: list[Record] = []

    def send(self, record: Record) -> None:
        self.sent.append(record)


class Bench:
    """Runs trials, as the command does, into a folder of its own."""

    def __init__(self, folder: Path, site: Site, mine: Path, digits: Source) -> None:
        self.folders = Folders(folder, "test")
        self.site = replace(site, methods=read_sources(mine), checkpoints=self.folders.checkpoints,
                            checkpoint_seconds=0.0)  # fmt: skip
        self.inputs = Inputs({"digits": digits}, {})

    def __call__(
        self, *specs: TrialSpec, retry_failed: bool = False, inline: bool = False, interrupt: Interrupt | None = None
    ) -> dict[str, Record]:
        plan = Plan(suite="test", question="", trials=specs, skips=(), protocol={"primary": "balanced_accuracy"})
        left = state_of(plan, self.folders.journal).to_run(plan, retry_failed)
        sink = Sink()
        resources = Resources(retries=1, inline=inline)
        told = run_plan(
            left, self.inputs, self.site, self.folders.journal, sink, resources, interrupt=interrupt, show=RunDisplay
        )
        assert told == sink.sent
        return {record.spec.label: record for record in told}

    def checkpoints(self) -> set[str]:
        return {f.parent.name for f in self.folders.checkpoints.glob("*/*.ckpt")}


@pytest.fixture
def bench(tmp_path: Path, site: Site, mine: Path, digits: Source) -> Bench:
    return Bench(tmp_path, site, mine, digits)


def test_a_mistake_and_where_it_happened_are_recorded(bench: Bench, of_mine: Callable[[str], TrialSpec]) -> None:
    spec = of_mine("raises")
    record = bench(spec, inline=True)["raises"]
    assert (record.error or "").endswith("ValueError: a mistake of the author\n")
    steps = record.environment["failed_at_step"]
    assert steps > 1
    assert bench.checkpoints() == set(), "it would only fail again from there"


def test_a_loss_that_is_no_number_is_recorded_with_its_step(make_spec: Make, site: Site) -> None:
    wild = {"name": "sgd", "lr": 1e12, "momentum": 0.9, "weight_decay": 0.0, "nesterov": False}
    record = run_trial(make_spec("ce", recipe={**TINY, "optimizer": wild}), site)
    step = record.environment["failed_at_step"]
    assert (record.error or "").startswith("Diverged: ")
    assert f"(step {step})" in (record.error or "")


def test_a_trial_that_runs_out_of_memory_runs_once_more_after_the_others(
    bench: Bench, make_spec: Make, of_mine: Callable[[str], TrialSpec], capsys: pytest.CaptureFixture[str]
) -> None:
    records = bench(of_mine("runs_out_once"), of_mine("runs_out"), make_spec("ce", recipe=TINY), inline=True)
    assert list(records) == ["ce", "runs_out_once", "runs_out"]
    assert [r.status for r in records.values()] == ["ok", "ok", "failed"]
    assert [r.environment["out_of_memory_retries"] for r in records.values()] == [0, 1, 1]
    assert records["runs_out"].environment["out_of_memory"] is True
    assert records["runs_out_once"].environment["resumed"] == 1
    told = capsys.readouterr().out
    assert "again   runs_out_once digits IF20 s0: the GPU's memory did not suffice" in told


def test_nothing_runs_again_when_the_user_stops(
    bench: Bench, of_mine: Callable[[str], TrialSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Interrupt()
    monkeypatch.setattr("ltbench.execution.progress.RunDisplay.waits", lambda *_: setattr(asked, "_number", 2))
    spec = of_mine("runs_out_once")
    assert bench(spec, inline=True, interrupt=asked) == {}
    assert bench.checkpoints() == {spec.key}
    assert bench(spec, inline=True)["runs_out_once"].environment["resumed"] == 1


@pytest.mark.parametrize(
    ("share", "larger"), [(0.25, 0.5), (0.5, 1.0), (0.75, 1.0), (1.0, 1.0), (2.0, 2.0), (0.0, 0.0)]
)
def test_the_larger_share_is_double_and_at_most_one(share: float, larger: float) -> None:
    assert Resources().larger({"gpu_share": share}).gpus == larger


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.usefixtures("on_cluster")
def test_failures_on_ray(
    bench: Bench, make_spec: Make, of_mine: Callable[[str], TrialSpec], site: Site, mine: Path
) -> None:
    """A worker that is lost too often keeps its checkpoint; memory that ran out is tried again; a mistake is not."""
    dies, out, raises = of_mine("dies_twice"), of_mine("runs_out_once"), of_mine("raises")
    records = bench(dies, out, raises, make_spec("ce", recipe=TINY))
    assert {label: r.status for label, r in records.items()} == {
        "ce": "ok", "raises": "failed", "dies_twice": "failed", "runs_out_once": "ok",
    }  # fmt: skip
    assert list(records)[-1] == "runs_out_once"
    facts = records["runs_out_once"].environment
    assert (facts["gpu_share"], facts["out_of_memory_retries"], facts["resumed"]) == (0.0, 1, 1)
    assert records["dies_twice"].environment["workers_lost"] == 2
    assert bench.checkpoints() == {dies.key}
    assert bench(dies, out, raises) == {}, "what failed waits for --retry-failed"
    assert bench.checkpoints() == {dies.key}
    again = bench(dies, retry_failed=True)["dies_twice"]
    assert again.environment["resumed"] == 2
    assert bench.checkpoints() == set()
    undisturbed = run_trial(dies, replace(site, methods=read_sources(mine)))
    assert again.numbers() == undisturbed.numbers()
    assert again.predictions == undisturbed.predictions


OPTIONS = RunRequest(
    suite="my suite.yaml",
    tracking_uri="http://me:secret@host",
    methods=Path("mine"),
    overrides=["a.b=[1, 2]"],
    chosen=Selection(methods=["ce"], seeds=[0, 1]),
)


def test_the_last_lines_name_what_failed_and_how_to_run_it_again(make_spec: Make) -> None:
    facts = {"failed_at_step": 7}
    failed = [Record(spec=make_spec("ce", seed=s), status="failed", error="Traceback\n  boom\nValueError: no\n",
                     environment=facts) for s in range(NAMED_FAILURES + 2)]  # fmt: skip
    lines = list(failure_lines(failed, OPTIONS))
    assert lines[0] == "failed: ce digits IF20 s0: ValueError: no (in step 7)"
    assert len(lines) == NAMED_FAILURES + 2
    assert lines[-2] == "... and 2 more"
    assert lines[-1] == (
        "12 trials failed; run only these again with: ltbench run 'my suite.yaml' --methods mine --only ce --seeds 0,1 "
        "--set 'a.b=[1, 2]' --retry-failed"
    )
    assert list(failure_lines([], OPTIONS)) == []


def test_a_failure_in_a_method_is_told_with_its_line(make_spec: Make, site: Site, tmp_path: Path) -> None:
    (tmp_path / "vs.py").write_text(
        "from ltbench.api import Method\n\n\nclass Vs(Method):\n    def loss(self, logits, target, now):\n"
        "        return self._scaled(logits)\n\n    def _scaled(self, logits):\n        return logits * self.no_such\n"
    )
    spec = replace(make_spec("ce"), method="vs", code=fingerprint(Registry(tmp_path).get("vs")))
    record = run_trial(spec, replace(site, methods=read_sources(tmp_path)))
    line = next(iter(failure_lines([record], OPTIONS)))
    assert "AttributeError: 'Vs' object has no attribute 'no_such' (vs.py, line 9)" in line


@pytest.mark.parametrize(
    ("text", "reason"),
    [(None, "no reason given"), ("UserError: no", "UserError: no"),
     ('File "/x/mine.py", line 3\nFile "/x/torch/nn.py", line 8\nE: no', "E: no (mine.py, line 3)"),
     ('File "C:\\x\\mine.py", line 3\nE: no', "E: no (mine.py, line 3)"),
     ('File "/x/notmine.py", line 3\nE: no', "E: no")],
)  # fmt: skip
def test_the_place_of_a_reason_is_the_innermost_line_of_the_methods_file(text: str | None, reason: str) -> None:
    assert reason_of(text, "mine") == reason
