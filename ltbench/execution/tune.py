"""Trials on the machines there are, through Ray Tune."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ltbench.execution.cluster import (  # first: it prepares ray's import
    Home,
    check_nodes,
    machines,
    node_id,
    refuse_dead_ray,
)

import ray  # isort: skip
from ray import tune  # isort: skip
from ray.tune.progress_reporter import TrialProgressCallback  # isort: skip
from ray.tune.search import Searcher  # isort: skip

from ltbench.execution import nodes
from ltbench.execution.placement import Placed, place_all
from ltbench.execution.resources import Listener, Resources
from ltbench.execution.session import joined
from ltbench.spec import Record, TrialSpec
from ltbench.system.interrupt import Interrupt
from ltbench.system.messages import show_on_stderr
from ltbench.training.checkpoints.checkpoint import Stopped
from ltbench.training.limited import NONE, run_limited
from ltbench.training.site import Site

REPORT_SECONDS = 2.0
"""How often at most a running trial reports how far it is."""
ASK_SECONDS = 1.0
"""How often at most a running trial asks whether it is to stop."""

PART = 200
"""Trials that travel together: a worker reads those around its own, and not the whole plan."""


def run_on_ray(
    trials: Sequence[TrialSpec],
    site: Site,
    resources: Resources,
    listener: Listener,
    interrupt: Interrupt | None = None,
) -> None:
    """All trials through one Tuner, as many at once as the machines hold: the cluster that RAY_ADDRESS names, or Ray
    started on this machine and stopped afterwards. Returns early, with fewer records, when `interrupt` asks for it.

    Raises:
        UserError: no node can hold a trial, the cluster cannot be reached, or one of its nodes has another ltbench or
            lacks the data.
    """
    interrupt = interrupt or Interrupt()
    with joined(interrupt) as scratch:
        try:
            there = machines(resources, trials)
            placed = place_all(trials, resources, there)
            home = check_nodes(trials, site, set(placed.values()), there, listener)
        except Exception:
            if interrupt.asked:  # a signal to all processes of the group has ended Ray's as well
                return
            raise
        if not interrupt.asked:
            _fit(trials, home, site, placed, resources.retries, _Watch(listener, trials, interrupt), scratch)


def _fit(
    trials: Sequence[TrialSpec],
    home: Home,
    site: Site,
    placed: Mapping[str, Placed],
    retries: int,
    watch: _Watch,
    scratch: Path,
) -> None:
    pairs = [(spec, placed[spec.key]) for spec in trials]
    parts = [ray.put({pair[0].key: pair for pair in pairs[i : i + PART]}) for i in range(0, len(pairs), PART)]
    # As many trials are prepared ahead as Tune itself would for a grid; for a searcher, it would be one.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(max(16, int(1.1 * ray.cluster_resources().get("CPU", 1))))
    _watches[watch.token] = watch
    try:
        # with_parameters makes a fresh function, which matters: with_resources writes on the function it is given.
        trainable = tune.with_parameters(_trial, parts=parts, site=site, home=home, token=watch.token)
        tune.Tuner(
            tune.with_resources(trainable, lambda config: _bundle(placed[_key(config)])),
            tune_config=tune.TuneConfig(
                search_alg=InOrder([spec.key for spec in trials], site.shared),
                num_samples=-1,
                reuse_actors=True,  # else every trial imports torch anew, for seconds
                trial_name_creator=lambda trial: _key(trial.config),
                trial_dirname_creator=lambda trial: _key(trial.config),
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=str(scratch),
                verbose=0,
                stop=_Stopper(watch.token),
                callbacks=[_Relay(watch.token), _Silence()],
                failure_config=tune.FailureConfig(max_failures=retries),
            ),
        ).fit()
    finally:
        del _watches[watch.token]


class InOrder(Searcher):  # type: ignore[misc]
    """Hands Tune the trials one by one, in the order of the plan. (A grid of them would be copied in full for every
    trial: for 10,000 of them, minutes before the first one starts.) While the first trial of a group trains, the others
    that would take its training over are held back, and those behind them go first.

    Args:
        keys: of the trials. groups: key -> group, for trials that share training.
    """

    def __init__(self, keys: Sequence[str], groups: Mapping[str, str]) -> None:
        super().__init__()
        self._left = {key: number // PART for number, key in enumerate(keys)}
        self._groups = groups
        self._trains: dict[str, str] = {}
        """Tune's name of a trial -> the group that it trains for."""
        self._known: set[str] = set()

    def suggest(self, trial_id: str) -> Any:
        if not self._left:
            return Searcher.FINISHED
        waiting = set(self._trains.values())
        key = next((k for k in self._left if self._groups.get(k) not in waiting), None)
        if key is None:
            return None  # Tune asks again
        group = self._groups.get(key)
        if group is not None and group not in self._known:
            self._known.add(group)
            self._trains[trial_id] = group
        return {"trial": {"key": key, "part": self._left.pop(key)}}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Also of a trial that failed: the others then train themselves."""
        self._trains.pop(trial_id, None)

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def save(self, checkpoint_path: str) -> None: ...
    def restore(self, checkpoint_path: str) -> None: ...


def _key(config: Mapping[str, Any]) -> str:
    return str(config["trial"]["key"])


def _bundle(placed: Placed) -> tune.PlacementGroupFactory:
    """What a trial is given, in Ray's words. Nodes are kept out by name, so that one that joins later is not."""
    bundle = {"CPU": placed.cpus, **({"GPU": placed.gpus} if placed.gpus else {})}
    if placed.memory:
        bundle["memory"] = placed.memory
    if not placed.too_small:
        return tune.PlacementGroupFactory([bundle])
    elsewhere = {"ray.io/node-id": f"!in({','.join(placed.too_small)})"}
    return tune.PlacementGroupFactory([bundle], bundle_label_selector=[elsewhere])


def _trial(config: dict[str, Any], parts: Sequence[Any], site: Site, home: Home, token: str) -> None:
    """One trial on a worker; reports how far it is, then its record."""
    global _gpu_lost
    if _gpu_lost:
        os._exit(1)  # Tune starts the trial in another worker, as after any loss of one
    show_on_stderr()
    last = time.monotonic()

    def progress(fraction: float, loss: float) -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT_SECONDS:
            last = time.monotonic()
            tune.report({"fraction": fraction, "loss": loss})

    spec, placed = ray.get(parts[config["trial"]["part"]])[_key(config)]
    stop = _Asking(token)
    if stop():
        tune.report({"stopped": True})
        return
    site = nodes.on_this_node(placed.site(site), node_id() == home.node)
    unfit = None if node_id() in home.checked else nodes.check_late(home.versions, nodes.cells_of([spec]), site)
    if unfit is not None:
        tune.report({"record": Record(spec=spec, status="failed", error=f"UserError: {unfit}")})
        return
    try:
        record = run_limited(spec, site, placed.limits, progress, stop)
    except Stopped:
        tune.report({"stopped": True})
        return
    _gpu_lost = placed.limits == NONE and bool(record.environment.get("gpu_lost"))
    tune.report({"record": record})


_gpu_lost = False
"""A trial of this worker has met a fault of the GPU, which no other can use in the process."""


def _flag(token: str) -> str:
    return f"ltbench-stop-{token}"


class _Flag:
    """An actor whose being there says that trials are to stop: its name reaches every node without a shared disk, and
    until somebody asks to stop there is no process."""


class _Asking:
    """On a worker: is there a flag?"""

    def __init__(self, token: str) -> None:
        self._name, self._next = _flag(token), 0.0

    def __call__(self) -> bool:
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + ASK_SECONDS
        try:
            ray.get_actor(self._name)
        except (ValueError, ray.exceptions.RayError):
            return False
        return True


class _Watch:
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
            self._flag = ray.remote(_Flag).options(num_cpus=0, name=_flag(self.token)).remote()
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


_watches: dict[str, _Watch] = {}
"""By token. Tune pickles its callbacks, and a listener holds a live display, so a callback holds a token."""


class _Stopper(tune.Stopper):  # type: ignore[misc]
    """Ends everything when the watch of a token is over."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return _watches[self._token].over()


class _Relay(tune.Callback):  # type: ignore[misc]
    """Passes Tune's events on to the listener of a token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
        _watches[self._token].look(trials)

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        watch = _watches[self._token]
        if not watch.interrupt.asked:
            watch.listener.started(watch.specs[_key(trial.config)])

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        watch = _watches[self._token]
        # Taken out of the result, or Tune would carry every record in its own state.
        record = result.pop("record", None)
        if record is not None:
            watch.listener.finished(record)
        elif "fraction" in result:
            watch.listener.progressed(watch.specs[_key(trial.config)], result["fraction"], result.get("loss"))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        watch, lost = _watches[self._token], trial.num_failures
        if watch.interrupt.asked:
            return  # lost on the way out: it is left for the next time
        reason = f"the worker process was lost {lost} times (killed, out of memory, or its node is gone)"
        spec, facts = watch.specs[_key(trial.config)], {"workers_lost": lost}
        watch.listener.finished(Record(spec=spec, status="failed", error=reason, environment=facts))


class _Silence(TrialProgressCallback):  # type: ignore[misc]
    """Stands in the place of Tune's own printer, which cannot be switched off."""

    def on_trial_result(self, *args: Any, **info: Any) -> None: ...
    def on_trial_error(self, *args: Any, **info: Any) -> None: ...
    def on_trial_complete(self, *args: Any, **info: Any) -> None: ...
