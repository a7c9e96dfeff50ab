"""Trials that are interrupted, killed, or find their checkpoint damaged: the record is that of an undisturbed trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ltbench.engine import LossMeter
from ltbench.registry import Registry
from ltbench.spec import Record, TrialSpec
from ltbench.trial import Site, run_trial

Make = Callable[..., TrialSpec]
Interrupt = Callable[[int], None]
TINY = {"epochs": 3.0, "batch_size": 64}


@pytest.fixture
def saving(site: Site, tmp_path: Path) -> Site:
    """A site where a checkpoint is taken after every step."""
    (tmp_path / "checkpoints").mkdir()
    return replace(site, checkpoints=tmp_path / "checkpoints", checkpoint_seconds=0.0)


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Iterator[Interrupt]:
    """`interrupt(7)`: the user's Ctrl-C in the 7th step from here on, once."""
    left = [math.inf]
    add = LossMeter.add

    def adding(meter: LossMeter, loss: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        add(meter, loss)  # type: ignore[arg-type]

    monkeypatch.setattr(LossMeter, "add", adding)
    return lambda step: left.__setitem__(0, step)


def same(a: Record, b: Record) -> None:
    assert a.status == b.status == "ok", (a.error, b.error)
    assert a.numbers() == b.numbers()
    assert a.predictions == b.predictions


@pytest.mark.parametrize("name", Registry().names())
def test_every_method_resumes_bit_equally(
    name: str, make_spec: Make, site: Site, saving: Site, interrupt: Interrupt
) -> None:
    spec = replace(make_spec(name, recipe=TINY), curves="test")
    plain = run_trial(spec, site)
    for step in (3, 6):
        interrupt(step)
        with pytest.raises(KeyboardInterrupt):
            run_trial(spec, saving)
    resumed = run_trial(spec, saving)
    assert resumed.environment["resumed"] == 2, resumed.environment
    same(plain, resumed)
