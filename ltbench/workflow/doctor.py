"""`ltbench doctor` and `ltbench fetch`: what a machine has, what a suite still needs, and getting it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ltbench
from ltbench.data.sources.source import data_folder
from ltbench.errors import UserError
from ltbench.spec import TrialSpec
from ltbench.system.extras import EXTRAS, cure, lacking
from ltbench.system.uris import shown_uri, sqlite_file
from ltbench.tracking import sqlite_store

if TYPE_CHECKING:
    from ltbench.workflow.prepare import Prepared, Request

GB = 1e9
LITTLE_DISK, LITTLE_SHARED = 2 * GB, 1 * GB
"""Below these many free bytes a folder, or the memory that processes share, is worth a word."""
OF_EXTRAS = ("pandas", "torch", "torchvision", "open_clip_torch", "ray", "mlflow")
PACKAGES = ("numpy", "scipy", *OF_EXTRAS)
USES = {
    "train": "training",
    "ray": "trials side by side and on clusters; `ltbench run --inline` goes without",
    "mlflow": "results in MLflow; boards and reports go without",
    "report": "reports and sites",
    "frames": "results as DataFrames, from Python",
    "text": "only for suites with `text: {encoder: sentence_transformers}`",
}


class Health(StrEnum):
    """How a finding is meant."""

    ok = "ok"
    note = "note"
    problem = "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        area: what it is about: software, machine, folders, tracking, suite.
        text: what was found. cure: what to do about it; empty where nothing is to be done.
    """

    area: str
    health: Health
    text: str
    cure: str = ""


def examine(request: Request | None, results: Path, data: Path | None, tracking_uri: str) -> list[Finding]:
    """Look at this machine, and, where a suite is given, at what it needs here. Fetches and trains nothing.

    Args:
        request: the suite; None: only the machine.
        results: where runs write. data: where data sets lie; None: the user's cache.
        tracking_uri: MLflow's store.
    """
    machine = () if lacking("train") else _machine()
    wanted = ("train", "ray") if request is not None else ()
    found = [*_software(wanted), *machine, *_folders(results, data_folder(data)), *_tracking(tracking_uri)]
    return found if request is None else [*found, *_suite(request)]


def _software(wanted: Sequence[str]) -> Iterator[Finding]:
    """Packages and extras. `wanted`: extras without which the suite does not run."""
    yield Finding("software", Health.ok, f"ltbench {ltbench.__version__}, Python {platform.python_version()}")
    there = []
    for name in PACKAGES:
        try:
            there.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            if name not in OF_EXTRAS:
                yield Finding("software", Health.problem, f"{name} is not installed",
                              f"{sys.executable} -m pip install {name}")  # fmt: skip
    yield Finding("software", Health.ok, ", ".join(there))
    for extra in EXTRAS:
        if missing := lacking(extra):
            health = Health.problem if extra in wanted else Health.note
            yield Finding("software", health, f"not installed: {', '.join(missing)} ({USES[extra]})", cure(extra))


def _machine() -> Iterator[Finding]:
    import torch

    from ltbench.execution.nodes import cpus_here
    from ltbench.training.device.provenance import device_name

    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GB
    cpu = device_name(torch.device("cpu"))
    yield Finding("machine", Health.ok, f"{cpus_here()} CPUs ({cpu}), {pages:.0f} GB of memory, {platform.platform()}")
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(i)
            memory, cuda = properties.total_memory / GB, torch.version.cuda
            yield Finding("machine", Health.ok, f"GPU {i}: {properties.name}, {memory:.0f} GB, CUDA {cuda}")
        yield Finding("machine", Health.ok, _mps())
    elif torch.version.cuda is None:
        yield Finding("machine", Health.note, "this torch was built for CPUs only: trials run on the CPU",
                      "on a machine with a GPU, install torch with CUDA (pytorch.org/get-started)")  # fmt: skip
    else:
        cure = "if there is one: nvidia-smi must list it, and CUDA_VISIBLE_DEVICES must not hide it"
        yield Finding("machine", Health.note, "torch finds no GPU: trials run on the CPU", cure)
    shared = Path("/dev/shm")
    if shared.is_dir() and (free := shutil.disk_usage(shared).free) < LITTLE_SHARED:
        yield Finding("machine", Health.note, f"/dev/shm has {free / GB:.1f} GB free; Ray shares memory there",
                      "in a container: docker run --shm-size=2g")  # fmt: skip
    if address := os.environ.get("RAY_ADDRESS"):
        yield Finding("machine", Health.note, f"RAY_ADDRESS is set: trials run on the cluster at {address}",
                      "unset RAY_ADDRESS to run here")  # fmt: skip


def _mps() -> str:
    """Whether the processes of several trials compute on a GPU at the same time: NVIDIA's daemon leaves its number in
    the folder of its pipes."""
    folder, others = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")), ""
    try:
        os.kill(int((folder / "nvidia-cuda-mps-control.pid").read_text()), 0)
    except PermissionError:  # it is another user's, most often root's
        others = "; it serves one user at a time, and lets programs of others wait at their first use of the GPU"
    except (OSError, ValueError):
        return "NVIDIA's MPS daemon does not run here: trials that share a GPU take turns (docs/cluster.md)"
    return f"NVIDIA's MPS daemon runs: trials that share a GPU compute at the same time{others}"


def _folders(results: Path, data: Path) -> Iterator[Finding]:
    for title, folder in (
        ("results", results.absolute()),
        ("data", data),
        ("temporary files", Path(tempfile.gettempdir())),
    ):
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            yield Finding("folders", Health.problem, f"{title}: {folder} cannot be written",
                          "choose another with --results, --data or TMPDIR")  # fmt: skip
            continue
        free = shutil.disk_usage(existing).free
        low = free < LITTLE_DISK
        yield Finding("folders", Health.note if low else Health.ok, f"{title}: {folder}, {free / GB:.1f} GB free",
                      "make room, or choose another folder" if low else "")  # fmt: skip
    packed = sorted(done.parent.name for done in data.glob("packed/*/done.json"))
    if packed:
        yield Finding("folders", Health.ok, f"data sets that are ready: {', '.join(packed)}")


def _tracking(uri: str) -> Iterator[Finding]:
    file = sqlite_file(uri)
    if file is None:
        yield Finding("tracking", Health.note, f"MLflow's store is {shown_uri(uri)}; it was not asked")
    elif not file.exists():
        yield Finding("tracking", Health.ok, f"MLflow's store {file} is made by the first run")
    else:
        try:
            suites = sqlite_store.suites(uri)
        except UserError as error:
            yield Finding("tracking", Health.problem, str(error))
            return
        if suites is None:
            yield Finding("tracking", Health.note, f"MLflow's store {file} has a layout that only MLflow itself reads: "
                          "boards take some seconds longer")  # fmt: skip
        else:
            yield Finding("tracking", Health.ok, f"MLflow's store {file} holds {', '.join(suites) or 'no suite yet'}")


def _suite(request: Request) -> Iterator[Finding]:
    """What a suite needs, and what of it is not here."""
    from ltbench.workflow.prepare import prepare

    try:
        prepared = prepare(request)
    except UserError as error:
        yield Finding("suite", Health.problem, str(error))
        return
    plan, name = prepared.plan, prepared.suite.suite
    yield Finding("suite", Health.ok, f"{name}: {len(plan.trials) + len(plan.later)} trials can be planned")
    for label, source in prepared.inputs.sources.items():
        cells = [t.cell for t in plan.trials if t.cell.dataset == label]
        manifests = ", ".join(dict.fromkeys(f"{cell.imbalance_label} {cell.manifest}" for cell in cells))
        if (source.packed / "done.json").exists():
            yield Finding("suite", Health.ok, f"data set {label} is ready ({manifests})")
        else:
            yield Finding("suite", Health.note, f"data set {label} is not packed yet ({manifests})",
                          f"the first run makes it ready; ltbench fetch {request.suite} does so now")  # fmt: skip
    for weights, problem in _weights(prepared, fetch=False):
        health = Health.ok if problem is None else Health.problem
        yield Finding("suite", health, f"weights {weights}" + (" are here" if problem is None else f": {problem}"),
                      "" if problem is None else f"with a network: ltbench fetch {request.suite}")  # fmt: skip
    reasons: dict[str, list[str]] = {}
    for skip in plan.skips:
        reasons.setdefault(skip.reason, []).append(skip.label)
    for reason, labels in reasons.items():
        yield Finding("suite", Health.note, f"skipped: {', '.join(dict.fromkeys(labels))}: {reason}")


def _weights(prepared: Prepared, *, fetch: bool) -> Iterator[tuple[str, str | None]]:
    """The pre-trained weights that the trials begin with, and why one cannot be had."""
    from ltbench.planning.towers import missing

    found = _towers(prepared.plan.trials)
    for name, tower in found.items():
        with _network(fetch):
            yield name, missing(tower, prepared.inputs.paths)


def _towers(trials: Sequence[TrialSpec]) -> dict[str, Mapping[str, Any]]:
    from ltbench.models.towers import weights_of

    return {weights_of(t.recipe[key]): t.recipe[key] for t in trials for key in ("tower", "weights") if key in t.recipe}


class _network:  # noqa: N801 - reads as a statement
    """Weights may be fetched in here, or are only looked for."""

    def __init__(self, allowed: bool) -> None:
        self._allowed = allowed

    def __enter__(self) -> None:
        from huggingface_hub import constants

        self._before = constants.HF_HUB_OFFLINE
        if not self._allowed:
            constants.HF_HUB_OFFLINE = True

    def __exit__(self, *_: object) -> None:
        from huggingface_hub import constants

        constants.HF_HUB_OFFLINE = self._before


@dataclass(frozen=True)
class Fetched:
    """One thing that a suite needs.

    Attributes:
        what: in words. where: the folder or file. problem: why it cannot be had; None: it is here.
    """

    what: str
    where: str
    problem: str | None = None


def fetch(request: Request) -> Iterator[Fetched]:
    """Get all that a suite needs onto this machine: data sets, pre-trained weights, class-name vectors. What is here
    already stays.

    Raises:
        UserError: the suite cannot be planned here, for example because its lists are not there.
    """
    from ltbench.workflow.prepare import prepare

    prepared = prepare(request)
    for label, source in prepared.inputs.sources.items():
        request.tell(f"data set {label} ...")
        try:
            yield Fetched(f"data set {label}", str(source.prepare()))
        except UserError as error:
            yield Fetched(f"data set {label}", str(source.path or prepared.data), str(error))
    for name, problem in _weights(prepared, fetch=True):
        yield Fetched(f"weights {name}", _weights_folder(), problem)
    for digest in dict.fromkeys(t.text for t in prepared.plan.trials if t.text is not None):
        origin = next(t.text_origin for t in prepared.plan.trials if t.text == digest)
        request.tell(f"class-name vectors {origin} ...")
        try:
            prepared.inputs.texts[digest]  # runs the encoder, where there is one
            kept = prepared.data / "text" / f"{digest}.npy"
            yield Fetched(f"class-name vectors {origin}", str(kept) if kept.exists() else "they need no encoder")
        except UserError as error:
            yield Fetched(f"class-name vectors {origin}", str(prepared.data / "text"), str(error))


def _weights_folder() -> str:
    """Where published weights are kept on this machine."""
    import torch

    with suppress(ImportError):
        from huggingface_hub import constants

        return f"{constants.HF_HOME} (HF_HOME) or {torch.hub.get_dir()} (TORCH_HOME)"
    return torch.hub.get_dir()
