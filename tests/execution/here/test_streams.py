"""Several trials in one process: each computes what it computes alone, whatever becomes of the others."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ltbench.errors import UserError
from ltbench.execution.here import inline, streams
from ltbench.execution.here.inline import run_inline
from ltbench.execution.here.streams import run_on_streams
from ltbench.execution.here.turns import Lane, Turns
from ltbench.execution.resources import Resources
from ltbench.spec import Record, TrialSpec
from ltbench.system.interrupt import Interrupt
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

Make = Callable[..., TrialSpec]
CPU = torch.device("cpu")
THREE = Resources(inline=True, streams=3)
TINY = {"backbone": "cnn_small", "epochs": 1.0}


class Told:
    """A listener that keeps what it is told.

    Args:
        act: called with what happened.
    """

    def __init__(self, act: Callable[[str], None] = lambda what: None) -> None:
        self.records: dict[str, Record] = {}
        self.events: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self._act = act

    def started(self, spec: TrialSpec) -> None:
        self._event("started", spec)

    def progressed(self, spec: TrialSpec, fraction: float, loss: float | None = None) -> None:
        self._event("progressed", spec)

    def finished(self, record: Record) -> None:
        self.records[record.key] = record
        self._event("finished", record.spec)

    def noted(self, message: str) -> None:
        self.notes.append(message)

    def _event(self, what: str, spec: TrialSpec) -> None:
        self.events.append((what, spec.key))
        self._act(what)


def numbers(record: Record) -> Any:
    assert record.status == "ok", record.error
    assert record.predictions is not None
    logits = np.load(io.BytesIO(record.predictions))["logits"]
    return record.metrics, record.curves, record.per_class, record.environment["first_loss"], logits.tobytes()


@pytest.fixture
def specs(make_spec: Make) -> list[TrialSpec]:
    """Methods with random numbers of numpy, and of torch while they train (batchformer's dropout); several stages."""
    names = ("batchformer", "mixup", "crt", "batchformer", "ldam_drw")
    return [make_spec(name, seed=seed, recipe=TINY) for seed, name in enumerate(names)]


def test_trials_in_turns_have_the_numbers_that_they_have_alone(specs: list[TrialSpec], site: Site) -> None:
    site, told = replace(site, keep_logits=True), Told()
    alone = {spec.key: numbers(run_trial(spec, site)) for spec in specs}
    run_on_streams(specs, site, THREE, told, Interrupt())
    assert {key: numbers(record) for key, record in told.records.items()} == alone
    begun = [what for what, _ in told.events].index("finished")
    assert [what for what, _ in told.events[:begun]].count("started") == 3, "three at once"
    assert {record.environment["trials_at_once"] for record in told.records.values()} == {3}
    assert "on a CPU trials only take turns" in told.notes[0]


def test_a_trial_that_fails_leaves_the_others_alone(specs: list[TrialSpec], site: Site) -> None:
    broken = replace(specs[1], cell=replace(specs[1].cell, manifest="0" * 64))
    told = Told()
    run_on_streams([specs[0], broken, specs[2]], site, THREE, told, Interrupt())
    assert {key: record.status for key, record in told.records.items()} == {
        specs[0].key: "ok", broken.key: "failed", specs[2].key: "ok"
    }  # fmt: skip


def test_interrupted_trials_go_on_from_their_checkpoints(specs: list[TrialSpec], site: Site, tmp_path: Path) -> None:
    site = replace(site, keep_logits=True)
    alone = {spec.key: numbers(run_trial(spec, site)) for spec in specs[:3]}
    there, interrupt = replace(site, checkpoints=tmp_path), Asked(after=20)
    first = Told()
    run_on_streams(specs[:3], there, THREE, first, interrupt)
    assert not first.records
    assert {file.parent.name for file in tmp_path.rglob("*.ckpt")} == set(alone)
    told = Told()
    run_on_streams(specs[:3], there, THREE, told, Interrupt())
    assert {key: numbers(record) for key, record in told.records.items()} == alone
    assert {record.environment["resumed"] for record in told.records.values()} == {1}


class Asked(Interrupt):
    """Is asked to stop after it was looked at so many times."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after

    @property
    def asked(self) -> bool:
        self._after -= 1
        return self._after < 0


def test_where_records_cannot_be_kept_all_stop_with_checkpoints(
    specs: list[TrialSpec], site: Site, tmp_path: Path
) -> None:
    def fails(what: str) -> None:
        if what == "finished":
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        run_on_streams(specs, replace(site, checkpoints=tmp_path), THREE, Told(fails), Interrupt())
    assert list(tmp_path.rglob("*.ckpt"))


def lost(spec: TrialSpec, site: Site, *how: Any) -> Record:
    """What a trial leaves that met a fault of the GPU."""
    return Record(spec=spec, status="failed", error="CUDA error: unspecified", environment={"gpu_lost": True})


def test_a_fault_of_the_gpu_ends_all_and_records_none(
    specs: list[TrialSpec], site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them may have caused it: they go on from their checkpoints."""

    def run(spec: TrialSpec, site: Site, progress: Any, stop: Callable[[], bool]) -> Record:
        if spec is not specs[1]:
            return run_trial(spec, site, progress, stop)
        for _ in range(5):
            stop()
        return lost(spec, site)

    monkeypatch.setattr(streams, "run_trial", run)
    told = Told()
    with pytest.raises(UserError, match=r"unspecified\).* none is recorded.*from their checkpoints.*streams: 1"):
        run_on_streams(specs, replace(site, checkpoints=tmp_path), THREE, told, Interrupt())
    assert not told.records
    assert {file.parent.name for file in tmp_path.rglob("*.ckpt")} == {specs[0].key, specs[2].key}


def test_a_fault_of_the_gpu_that_a_trial_met_alone_is_its_own(
    specs: list[TrialSpec], site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "run_trial", lost)
    told = Told()
    run_on_streams(specs[:1], site, THREE, told, Interrupt())
    assert list(told.records) == [specs[0].key]
    one = replace(THREE, streams=1)
    with pytest.raises(UserError, match=r"batchformer .*is recorded as failed; the same command runs the others"):
        run_on_streams(specs, site, one, told, Interrupt())
    monkeypatch.setattr(inline, "run_limited", lost)
    with pytest.raises(UserError, match="is recorded as failed; the same command runs the others"):
        run_inline(specs, site, one, told, Interrupt())
    run_inline(specs[:1], site, one, told, Interrupt())
    assert list(told.records) == [specs[0].key]


def test_limits_are_refused(specs: list[TrialSpec], site: Site) -> None:
    with pytest.raises(UserError, match=r"resources\.executor: `streams` .*leave out hours and memory_gb"):
        run_on_streams(specs, site, replace(THREE, hours=1.0), Told(), Interrupt())


def test_what_ran_out_of_memory_runs_again_by_itself(specs: list[TrialSpec], site: Site) -> None:
    told = Told()
    again = replace(THREE, trials={specs[1].key: THREE.of(specs[1])})
    run_on_streams(specs[1:2], site, again, told, Interrupt())
    assert told.records[specs[1].key].environment["trials_at_once"] == 1


def test_every_lane_has_random_numbers_of_its_own() -> None:
    """Python's, numpy's and torch's: as if it were alone."""

    def drawn(lane: Lane | None, seed: int) -> list[tuple[float, ...]]:
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        found = []
        for _ in range(4):
            found.append((random.random(), float(np.random.rand()), torch.rand(()).item()))  # noqa: NPY002
            if lane is not None:
                lane.hand_on()
        return found

    alone, together = [drawn(None, seed) for seed in range(3)], dict[int, Any]()
    torch.manual_seed(11)
    Turns(CPU).run([lambda lane, seed=seed: together.update({seed: drawn(lane, seed)}) for seed in range(3)])  # type: ignore[misc]
    assert [together[seed] for seed in range(3)] == alone
    after = torch.rand(())
    torch.manual_seed(11)
    assert torch.equal(after, torch.rand(())), "and so has whoever started them"


def test_lanes_take_turns_until_all_have_ended() -> None:
    order: list[tuple[int, int]] = []

    def work(which: int) -> Callable[[Lane], None]:
        def steps(lane: Lane) -> None:
            for step in range(which + 1):
                order.append((which, step))
                lane.hand_on()

        return steps

    Turns(CPU).run([work(0), work(1), work(2)])
    assert order == [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1), (2, 2)]


def test_an_error_asks_the_others_to_stop_and_is_raised_at_the_end() -> None:
    ended: list[int] = []

    def fails(lane: Lane) -> None:
        lane.hand_on()
        raise KeyError("mine")

    def goes_on(lane: Lane) -> None:
        while not lane.stopping:
            lane.hand_on()
        ended.append(1)

    with pytest.raises(KeyError, match="mine"):
        Turns(CPU).run([goes_on, fails, goes_on])
    assert ended == [1, 1]


def test_an_interrupt_of_the_main_thread_waits_until_all_have_left_their_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ctrl-C in a notebook, where nobody catches the signal."""
    turns, ended = Turns(CPU), list[int]()
    plain, times = turns._calls.get, iter(range(100))

    def interrupted() -> Any:
        if next(times) == 0:
            raise KeyboardInterrupt
        return plain()

    def goes_on(lane: Lane) -> None:
        while not lane.stopping:
            lane.hand_on()
        ended.append(1)

    monkeypatch.setattr(turns._calls, "get", interrupted)
    with pytest.raises(KeyboardInterrupt):
        turns.run([goes_on, goes_on])
    assert ended == [1, 1]
