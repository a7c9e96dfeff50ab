"""Trials on the machines there are, through Ray Tune. The only file that imports ray."""

from __future__ import annotations

import gc
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

# Read by ray when it is imported: no output but ours, no usage statistics, no log files per trial. Tune's own state is
# never read again, because the journal is what counts, so it is hardly ever saved.
os.environ.update(
    RAY_AIR_NEW_OUTPUT="0",
    RAY_USAGE_STATS_ENABLED="0",
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
    TUNE_GLOBAL_CHECKPOINT_S="3600",
)


def _choose_authentication() -> None:
    """Ray reads this, too, when it is imported. A Ray of our own gets a token of its own rather than one written to
    the home folder; a cluster's (RAY_ADDRESS) is the one its nodes use, unless the user says otherwise."""
    if any(name in os.environ for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        return
    if "RAY_ADDRESS" not in os.environ:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    elif (Path.home() / ".ray" / "auth_token").exists():
        os.environ["RAY_AUTH_MODE"] = "token"


_choose_authentication()

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.progress_reporter import TrialProgressCallback  # noqa: E402

from ltbench.errors import UserError  # noqa: E402
from ltbench.resources import Listener, Resources  # noqa: E402
from ltbench.spec import Record, TrialSpec  # noqa: E402
from ltbench.trial import Site, run_trial  # noqa: E402

REPORT_SECONDS = 2.0
"""How often at most a running trial reports how far it is."""


def run_on_ray(trials: Sequence[TrialSpec], site: Site, resources: Resources, listener: Listener) -> None:
    """All trials through one Tuner, as many at once as the machines hold: the cluster that RAY_ADDRESS names, or Ray
    started on this machine and stopped afterwards.

    Raises:
        UserError: no node can hold a trial, or the cluster cannot be reached.
    """
    _connect()
    scratch = Path(tempfile.mkdtemp(prefix="ltbench-ray-"))
    try:
        placed = _placed(resources, [n["Resources"] for n in ray.nodes() if n["Alive"]])
        _fit(trials, site, placed, listener, scratch)
    finally:
        _disconnect()
        shutil.rmtree(scratch, ignore_errors=True)


def _connect() -> None:
    """Join the cluster that RAY_ADDRESS names, or start Ray on this machine."""
    address = os.environ.get("RAY_ADDRESS")
    local = {} if address else {"include_dashboard": False}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **local)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        place = f"the Ray cluster at {address} could not be joined" if address else "Ray could not be started"
        raise UserError(f"{place}: {str(error).strip().splitlines()[0]}") from error
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _disconnect() -> None:
    """Leave Ray. Another thread (the one that talks to MLflow) must not collect garbage meanwhile: freeing a leftover
    object reference of Tune's in the middle of the shutdown ends the whole process."""
    gc.collect()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        gc.enable()


def _placed(resources: Resources, nodes: Sequence[Mapping[str, float]]) -> Resources:
    """The resources with `gpus` decided, once it is certain that some node can hold a trial; Ray itself would wait
    for ever."""
    gpus = resources.gpus
    if gpus is None:
        gpus = 1.0 if any(node.get("GPU", 0) >= 1 for node in nodes) else 0.0
    if not any(node.get("CPU", 0) >= resources.cpus and node.get("GPU", 0) >= gpus for node in nodes):
        have = "; ".join(f"{n.get('CPU', 0):g} CPUs and {n.get('GPU', 0):g} GPUs" for n in nodes)
        cure = "--set resources.per_trial.gpus=0 runs on the CPU" if gpus else "lower resources.per_trial.cpus"
        raise UserError(
            f"resources.per_trial: a trial asks for {resources.cpus:g} CPUs and {gpus:g} GPUs, but the machines have "
            f"{have}. {cure}"
        )
    return replace(resources, gpus=gpus)


def _fit(trials: Sequence[TrialSpec], site: Site, resources: Resources, listener: Listener, scratch: Path) -> None:
    specs = {spec.key: spec for spec in trials}
    site = replace(site, threads=resources.threads, device="cuda" if resources.gpus else "cpu")
    bundle = {"CPU": resources.cpus, **({"GPU": resources.gpus} if resources.gpus else {})}
    token = secrets.token_hex(8)
    _listening[token] = (listener, specs)
    try:
        # with_parameters makes a fresh function, which matters: with_resources writes on the function it is given.
        trainable = tune.with_parameters(_trial, specs=specs, site=site)
        tune.Tuner(
            tune.with_resources(trainable, tune.PlacementGroupFactory([bundle])),
            param_space={"key": tune.grid_search(list(specs))},
            tune_config=tune.TuneConfig(
                reuse_actors=True,  # else every trial imports torch anew, for seconds
                trial_name_creator=lambda trial: trial.config["key"],
                trial_dirname_creator=lambda trial: trial.config["key"],
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=str(scratch),
                verbose=0,
                callbacks=[_Relay(token), _Silence()],
                failure_config=tune.FailureConfig(max_failures=resources.retries),
            ),
        ).fit()
    finally:
        del _listening[token]


def _trial(config: dict[str, Any], specs: Mapping[str, TrialSpec], site: Site) -> None:
    """One trial on a worker; reports how far it is, then its record."""
    last = time.monotonic()

    def progress(fraction: float, loss: float) -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT_SECONDS:
            last = time.monotonic()
            tune.report({"fraction": fraction})

    tune.report({"record": run_trial(specs[config["key"]], site, progress)})


_listening: dict[str, tuple[Listener, Mapping[str, TrialSpec]]] = {}
"""Listeners by token. Tune pickles its callbacks, and a listener holds a live display, so a callback holds a token."""


class _Relay(tune.Callback):  # type: ignore[misc]
    """Passes Tune's events on to the listener of a token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        listener, specs = _listening[self._token]
        listener.started(specs[trial.config["key"]])

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        listener, specs = _listening[self._token]
        # Taken out of the result, or Tune would carry every record in its own state.
        record = result.pop("record", None)
        if record is not None:
            listener.finished(record)
        elif "fraction" in result:
            listener.progressed(specs[trial.config["key"]], result["fraction"])

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        listener, specs = _listening[self._token]
        reason = f"the worker process was lost {trial.num_failures} times (killed, out of memory, or its node is gone)"
        listener.finished(Record(spec=specs[trial.config["key"]], status="failed", error=reason))


class _Silence(TrialProgressCallback):  # type: ignore[misc]
    """Stands in the place of Tune's own printer, which cannot be switched off."""

    def on_trial_result(self, *args: Any, **info: Any) -> None: ...
    def on_trial_error(self, *args: Any, **info: Any) -> None: ...
    def on_trial_complete(self, *args: Any, **info: Any) -> None: ...
