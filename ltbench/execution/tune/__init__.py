"""Trials on the machines there are, through Ray Tune."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ltbench.execution.cluster import Home, check_nodes, machines  # first: it prepares ray's import

import ray  # isort: skip
from ray import tune  # isort: skip
from ray.tune.search import Searcher  # isort: skip

from ltbench.execution.placement import Placed, place_all
from ltbench.execution.resources import Listener, Resources
from ltbench.execution.session import joined
from ltbench.execution.tune.watch import WATCHES, Relay, Silence, Stopper, Watch
from ltbench.execution.tune.worker import key_of, run_one
from ltbench.spec import TrialSpec
from ltbench.system.interrupt import Interrupt
from ltbench.training.site import Site

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
            _fit(trials, home, site, placed, resources.retries, Watch(listener, trials, interrupt), scratch)


def _fit(
    trials: Sequence[TrialSpec],
    home: Home,
    site: Site,
    placed: Mapping[str, Placed],
    retries: int,
    watch: Watch,
    scratch: Path,
) -> None:
    pairs = [(spec, placed[spec.key]) for spec in trials]
    parts = [ray.put({pair[0].key: pair for pair in pairs[i : i + PART]}) for i in range(0, len(pairs), PART)]
    # As many trials are prepared ahead as Tune itself would for a grid; for a searcher, it would be one.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(max(16, int(1.1 * ray.cluster_resources().get("CPU", 1))))
    WATCHES[watch.token] = watch
    try:
        # with_parameters makes a fresh function, which matters: with_resources writes on the function it is given.
        trainable = tune.with_parameters(run_one, parts=parts, site=site, home=home, token=watch.token)
        tune.Tuner(
            tune.with_resources(trainable, lambda config: _bundle(placed[key_of(config)])),
            tune_config=tune.TuneConfig(
                search_alg=InOrder([spec.key for spec in trials], site.shared),
                num_samples=-1,
                reuse_actors=True,  # else every trial imports torch anew, for seconds
                trial_name_creator=lambda trial: key_of(trial.config),
                trial_dirname_creator=lambda trial: key_of(trial.config),
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=str(scratch),
                verbose=0,
                stop=Stopper(watch.token),
                callbacks=[Relay(watch.token), Silence()],
                failure_config=tune.FailureConfig(max_failures=retries),
            ),
        ).fit()
    finally:
        del WATCHES[watch.token]


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


def _bundle(placed: Placed) -> tune.PlacementGroupFactory:
    """What a trial is given, in Ray's words. Nodes are kept out by name, so that one that joins later is not."""
    bundle = {"CPU": placed.cpus, **({"GPU": placed.gpus} if placed.gpus else {})}
    if placed.memory:
        bundle["memory"] = placed.memory
    if not placed.too_small:
        return tune.PlacementGroupFactory([bundle])
    elsewhere = {"ray.io/node-id": f"!in({','.join(placed.too_small)})"}
    return tune.PlacementGroupFactory([bundle], bundle_label_selector=[elsewhere])
