"""The kinds of faults: when one can come over a side, and what it does. What it breaks for a while is mended later."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ltbench.system.lock import NAME
from tests.faults.storm.side import Side
from tests.faults.storm.stage import Clock, Server, processes_of

Mend = Callable[[], object]


@dataclass
class Stage:
    """What the sides share. hit: running trials whose process a fault took along, or asked to stop."""

    rng: np.random.Generator
    sides: list[Side]
    tracking: Server
    objects: Server
    clock: Clock
    mends: dict[str, tuple[float, Mend]] = field(default_factory=dict)
    """What is broken now -> when it is mended, and how."""
    hit: int = 0


@dataclass(frozen=True)
class Fault:
    """A kind.

    Attributes:
        kill: it counts as one. ready: whether it can come over a side now.
        strike: does it; what mends it, where it does not end by itself.
    """

    kill: bool
    ready: Callable[[Stage, Side], bool]
    strike: Callable[[Stage, Side], Mend | None]


def _trains(stage: Stage, side: Side) -> bool:
    """There is something to go on from."""
    return bool(side.workers()) and ("object store" in stage.mends or side.has_checkpoint())


def _trains_at_home(stage: Stage, side: Side) -> bool:
    return side.nodes is None and _trains(stage, side)


def _starts(stage: Stage, side: Side) -> bool:
    """Python, ltbench, or Ray."""
    return not side.workers()


def _kill_worker(stage: Stage, side: Side) -> None:
    with suppress(ProcessLookupError, ValueError):  # it ended by itself
        os.kill(int(stage.rng.choice(side.workers())), signal.SIGKILL)
        stage.hit += 1


def _kill_driver(stage: Stage, side: Side) -> None:
    assert side.driver is not None
    stage.hit += len(side.workers())
    side.expect(-signal.SIGKILL)
    side.driver.kill()


def _kill_ray(title: str, stage: Stage, side: Side) -> None:
    """The command ends with a message and exit code 2, or had its worker's loss told first."""
    stage.hit += len(side.workers())
    side.expect(2)
    for pid in processes_of(side.mark, title):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _kill_node(stage: Stage, side: Side) -> Mend:
    assert side.nodes is not None
    stage.hit += side.nodes.kill(stage.rng)
    return side.nodes.add


def _signal(stage: Stage, side: Side) -> None:
    assert side.driver is not None
    number = int(stage.rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP]))
    stage.hit += len(side.workers())
    side.expect(128 + number, -number)  # the latter before Python has set up a handler
    side.driver.send_signal(number)


def _rival(stage: Stage, side: Side) -> None:
    side.start_rival()


def _tracking_away(stage: Stage, side: Side) -> Mend:
    stage.tracking.stop()
    return stage.tracking.start


def _objects_held_up(stage: Stage, side: Side) -> Mend:
    stage.objects.signal(signal.SIGSTOP)
    return partial(stage.objects.signal, signal.SIGCONT)


def _set_clock(stage: Stage, side: Side) -> None:
    ahead = int(stage.rng.choice([-86_400, -3_600, -120, 0, 120, 3_600, 86_400]))
    stage.clock.set(ahead, *(each.folders.suite_folder / NAME for each in stage.sides))


FAULTS = {
    "worker": Fault(True, _trains, _kill_worker),
    "driver": Fault(True, _trains, _kill_driver),
    "driver at start": Fault(True, _starts, _kill_driver),
    "raylet": Fault(True, _trains_at_home, partial(_kill_ray, "raylet")),
    "gcs": Fault(True, _trains_at_home, partial(_kill_ray, "gcs_server")),
    "node": Fault(True, lambda stage, side: side.nodes is not None and _trains(stage, side), _kill_node),
    "signal at start": Fault(True, _starts, _signal),
    "signal": Fault(True, _trains, _signal),
    "second driver": Fault(False, lambda stage, side: side.rival is None and _trains(stage, side), _rival),
    "tracking server": Fault(False, _trains, _tracking_away),
    "object store": Fault(False, lambda stage, side: side.nodes is not None and _trains(stage, side), _objects_held_up),
    "clock": Fault(False, _trains, _set_clock),
}
"""By name."""
SHARES = {"worker": 9, "driver": 4, "driver at start": 1, "raylet": 2, "gcs": 2, "node": 3,
          "signal at start": 2, "signal": 2, "second driver": 1, "tracking server": 2.5,
          "object store": 1, "clock": 1.5}  # fmt: skip
"""How many there are of each in 25 kills."""
