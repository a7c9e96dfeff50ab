"""What the driver knows while Tune runs: who is told of it, and how it comes to an end."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ltbench.execution.cluster import refuse_dead_ray  # first: it prepares ray's import

import ray  # isort: skip
from ray import tune  # isort: skip
from ray.tune.progress_reporter import TrialProgressCallback  # isort: skip

from ltbench.execution.resources import Listener
from ltbench.execution.tune.worker import ASK_SECONDS, flag_of, key_of
from ltbench.spec import Record, TrialSpec
from ltbench.system.interrupt import Interrupt


class _Flag:
    """An actor whose being there says that trials are to stop: its name reaches every node without a shared disk, and
    until somebody asks to stop there is no process."""


class Watch:
    """What the driver knows while trials run: who is to be told, and, once it is asked to stop, for whom it waits."""

    def __init__(self, listener: Listener, trials: Sequence[TrialSpec], interrupt: Interrupt) -> None:
        self.token = secrets.token_hex(8)
        self.listener, self.interrupt = listener, interrupt
        self.specs = {spec.key: spec for spec in trials}
        self._flag: Any = None
        self._until = self._next_look = 0.0
        self._running: list[Any] = []

    def look(self, trials: Sequence[Any]) -> None:
        """Called many times a second: tell the workers, once, that they are asked to stop.

        Raises:
            UserError: Ray itself has come to an end.
        """
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + ASK_SECONDS
            refuse_dead_ray()
        if self._flag is None and self.interrupt.asked:
            self._flag = ray.remote(_Flag).options(num_cpus=0, name=flag_of(self.token)).remote()
            self._until = time.monotonic() + self.interrupt.grace
            self._running = [trial for trial in trials if trial.status == "RUNNING"]

    def over(self) -> bool:
        """Trials that ran when it was asked to stop have stopped, or had their time. (Those that start after it find
        the flag and end.)"""
        if self._flag is None:
            return False
        late = [trial for trial in self._running if trial.status == "RUNNING"]
        if late and time.monotonic() <= self._until:
            return False
        for trial in late:  # Tune would wait for them
            with suppress(Exception):
                ray.kill(trial.temporary_state.ray_actor)
        self._running = []
        return True


WATCHES: dict[str, Watch] = {}
"""By token. Tune pickles its callbacks, and a listener holds a live display, so a callback holds a token."""


class Stopper(tune.Stopper):  # type: ignore[misc]
    """Ends everything when the watch of a token is over."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return WATCHES[self._token].over()


class Relay(tune.Callback):  # type: ignore[misc]
    """Passes Tune's events on to the listener of a token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
        WATCHES[self._token].look(trials)

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        watch = WATCHES[self._token]
        if not watch.interrupt.asked:
            watch.listener.started(watch.specs[key_of(trial.config)])

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        watch = WATCHES[self._token]
        # Taken out of the result, or Tune would carry every record in its own state.
        record = result.pop("record", None)
        if record is not None:
            watch.listener.finished(record)
        elif "fraction" in result:
            watch.listener.progressed(watch.specs[key_of(trial.config)], result["fraction"], result.get("loss"))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        watch, lost = WATCHES[self._token], trial.num_failures
        if watch.interrupt.asked:
            return  # lost on the way out: it is left for the next time
        reason = f"the worker process was lost {lost} times (killed, out of memory, or its node is gone)"
        spec, facts = watch.specs[key_of(trial.config)], {"workers_lost": lost}
        watch.listener.finished(Record(spec=spec, status="failed", error=reason, environment=facts))


class Silence(TrialProgressCallback):  # type: ignore[misc]
    """Stands in the place of Tune's own printer, which cannot be switched off."""

    def on_trial_result(self, *args: Any, **info: Any) -> None: ...
    def on_trial_error(self, *args: Any, **info: Any) -> None: ...
    def on_trial_complete(self, *args: Any, **info: Any) -> None: ...
