"""One trial: a TrialSpec in, a Record out. A plain function; it knows nothing of Ray, MLflow or the command line.

Runs on a machine that has only torch, torchvision, numpy and scipy: `python -m ltbench.trial SPEC.json ...`.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from ltbench.errors import UserError
from ltbench.spec import NUMERICS, Record, TrialSpec
from ltbench.training.attempt import Progress, Trial
from ltbench.training.checkpoints.checkpoint import Checkpoints
from ltbench.training.checkpoints.files import place_for
from ltbench.training.checkpoints.shared_stage import SharedStage
from ltbench.training.device.allocator import give_back, keep_memory
from ltbench.training.device.determinism import use_deterministic_algorithms
from ltbench.training.device.health import gpu_lost, out_of_memory
from ltbench.training.device.provenance import environment_of, forget_peak_memory
from ltbench.training.engine import Diverged
from ltbench.training.graph.passes import Unfaithful
from ltbench.training.site import Site

Stop = Callable[[], bool]
"""Asked after every step whether the trial is to take a checkpoint and stop."""


def run_trial(spec: TrialSpec, site: Site, progress: Progress | None = None, stop: Stop = lambda: False) -> Record:
    """Train and test once. A failure is a Record too: status `failed`, with the traceback and the step it happened in;
    only an interrupt by the user (KeyboardInterrupt, Stopped) leaves this function as an exception. Where the record's
    environment has `gpu_lost`, no other trial can use the GPU in this process.

    Args:
        site: where it runs. progress: told how far it is. stop: asked after every step whether to leave the rest to
            another process, which continues from the checkpoint that is then taken.
    """
    try:
        return _observed(spec, site, progress, stop)
    except Exception:  # before or after the trial itself: a device or a disk that fails
        facts = {"gpu_lost": True} if gpu_lost(torch.device("cpu" if site.device == "cpu" else "cuda")) else {}
        return Record(
            spec=spec, status="failed", error=traceback.format_exc(), environment={**facts, **site.provenance}
        )


def _observed(spec: TrialSpec, site: Site, progress: Progress | None, stop: Stop) -> Record:
    """The trial, and what is to be said of the machine, the time and the memory it took."""
    device = _prepared_device(site)
    checkpoints = _checkpoints(spec, site, device, stop)
    forget_peak_memory(device)
    started, started_at, cpu = time.perf_counter(), time.time(), time.process_time()
    record = _outcome(spec, site, device, progress, checkpoints)
    lost = record.status == "failed" and gpu_lost(device)
    if record.environment.get("out_of_memory") and not lost:
        torch.cuda.empty_cache()  # the process goes on with other trials
    if device.type == "cpu":
        give_back()
    facts = {"started": started_at, **environment_of(device, time.perf_counter() - started)}
    facts["cpu_seconds"] = round(time.process_time() - cpu, 3)  # of this process and all its threads
    facts["resumed"] = checkpoints.resumed
    peak = max(facts["peak_memory_bytes"], checkpoints.reused.get("peak_memory_bytes", 0))
    facts |= {**checkpoints.reused, "peak_memory_bytes": peak}
    if record.status == "failed" and checkpoints.step:
        facts["failed_at_step"] = checkpoints.step
    if lost:
        facts["gpu_lost"] = True
    if checkpoints.messages:
        facts["checkpoint_messages"] = checkpoints.messages
    return replace(record, environment={**facts, **site.provenance, **record.environment})


def _prepared_device(site: Site) -> torch.device:
    """Where the trial runs, set up for it."""
    device = torch.device(site.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if site.threads is not None:
        torch.set_num_threads(site.threads)
    if device.type == "cpu":
        keep_memory()
    use_deterministic_algorithms(device)
    return device


def _checkpoints(spec: TrialSpec, site: Site, device: torch.device, stop: Stop) -> Checkpoints:
    """A checkpoint, or what another trial trained, is of use only where the training would be the same."""
    machine = {"numerics": NUMERICS, "curves": spec.curves, "device": device.type,
               "threads": torch.get_num_threads(), "torch": str(torch.__version__)}  # fmt: skip
    key, shared = spec.key, None
    if site.checkpoints is not None and key in site.shared:
        shared = SharedStage(site.checkpoints, site.shared[key], key, machine, device)
    folder = place_for(site.checkpoints, key)
    return Checkpoints(folder, {"key": key, **machine}, site.checkpoint_seconds, stop, shared)


def _outcome(
    spec: TrialSpec, site: Site, device: torch.device, progress: Progress | None, checkpoints: Checkpoints
) -> Record:
    """The record of the trial, whatever happens to it."""
    try:
        try:
            return Trial(spec, site, device, checkpoints, progress).run()
        except Unfaithful as error:
            if site.step == "graph" or gpu_lost(device):  # then checkpoints are right, and wanted
                raise
            checkpoints.train_anew()
            site = replace(site, step=f"eager: {error}")
        except Exception as error:
            if not checkpoints.replaying:
                raise
            checkpoints.start_over(f"{type(error).__name__}: {error}")  # what was read may be at fault
        return Trial(spec, site, device, checkpoints, progress).run()
    except Diverged as error:
        return Record(spec=spec, status="failed", error=f"Diverged: {error}")
    except UserError as error:
        return Record(spec=spec, status="failed", error=f"UserError: {error}")
    except SystemExit as error:  # of the method's own code; whoever else ends the process is let
        if not _left_by(error, spec):
            raise
        return Record(spec=spec, status="failed", error=traceback.format_exc())
    except Exception as error:
        facts = {"out_of_memory": True} if out_of_memory(error, device) else {}
        return Record(spec=spec, status="failed", error=traceback.format_exc(), environment=facts)


def _left_by(error: SystemExit, spec: TrialSpec) -> bool:
    """Whether `exit()` or `sys.exit()` was called in the method's file or one beside it."""
    frames = traceback.extract_tb(error.__traceback__)
    folders = {Path(frame.filename).parent for frame in frames if Path(frame.filename).name == f"{spec.method}.py"}
    return any(Path(frame.filename).parent in folders for frame in frames[-2:])
