"""Where trials find room: what they ask for, against the machines there are. Knows nothing of Ray."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ltbench.errors import UserError
from ltbench.execution.resources import Need, Resources
from ltbench.spec import TrialSpec
from ltbench.training.limited import NONE, Limits
from ltbench.training.site import Site

GRAIN = 10_000
"""Ray counts shares of a GPU in ten-thousandths."""
GB = 1e9


@dataclass(frozen=True)
class Machine:
    """A node and what it has for trials.

    Attributes:
        id: Ray's. name: for messages.
        gpu_memory: bytes of its smallest GPU; None: not known. memory: bytes that Ray has to give; None: not known.
    """

    id: str
    name: str
    cpus: float
    gpus: float
    gpu_memory: float | None = None
    memory: float | None = None


@dataclass(frozen=True)
class Placed:
    """What a trial is given: CPUs, a share of a GPU (or whole ones), which machines, by id, it must not be sent to
    because their GPUs are too small, and where it is ended."""

    cpus: float
    gpus: float
    too_small: tuple[str, ...] = ()
    limits: Limits = NONE

    @property
    def memory(self) -> float:
        """Bytes of the machine that are kept free for it."""
        return (self.limits.memory_gb or 0.0) * GB

    def site(self, site: Site) -> Site:
        """The same site for a trial that is given this."""
        facts = {**site.provenance, "gpu_share": self.gpus}
        device = "cuda" if self.gpus else "cpu"
        return replace(site, threads=max(1, int(self.cpus)), device=device, provenance=facts)

    def fits(self, machine: Machine) -> bool:
        """Whether such a trial can run on a machine that runs nothing else."""
        room = machine.memory is None or machine.memory >= self.memory
        return room and machine.cpus >= self.cpus and machine.gpus >= self.gpus and machine.id not in self.too_small

    def side_by_side(self, machine: Machine) -> int:
        """How many such trials run at once on a machine that runs nothing else."""
        if not self.fits(machine):
            return 0
        room = machine.cpus / self.cpus
        if self.memory and machine.memory is not None:
            room = min(room, machine.memory / self.memory)
        if 0 < self.gpus <= 1:
            room = min(room, int(machine.gpus) * math.floor(1 / self.gpus + 1e-9))
        elif self.gpus:
            room = min(room, machine.gpus / self.gpus)
        return math.floor(room + 1e-9)


def place_all(trials: Sequence[TrialSpec], resources: Resources, machines: Sequence[Machine]) -> dict[str, Placed]:
    """By key, what every trial is given.

    Raises:
        UserError: no machine can hold a trial; Ray itself would wait for ever.
    """
    known: dict[tuple[Need, str], Placed] = {}
    placed = {}
    for spec in trials:
        asked = resources.of(spec), resources.where(spec)
        if asked not in known:
            known[asked] = place(*asked, machines)
        placed[spec.key] = known[asked]
    return placed


def place(need: Need, where: str, machines: Sequence[Machine]) -> Placed:
    """What one trial is given: `gpus` is decided, memory has become a share of a GPU.

    Args:
        where: the place in the suite that asks for it, for messages.

    Raises:
        UserError: no machine can hold it.
    """
    too_small: tuple[str, ...] = ()
    gpus = need.gpus
    if need.gpu_memory_gb is not None:
        share, too_small = _share(need.gpu_memory_gb, where, machines)
        gpus = max(share, gpus or 0.0)
    elif gpus is None:
        gpus = 1.0 if any(m.gpus >= 1 for m in machines) else 0.0
    placed = Placed(need.cpus, gpus, too_small, need.limits)
    if placed.memory and not any(m.memory is None or m.memory >= placed.memory for m in machines):
        most = max(m.memory or 0.0 for m in machines) / GB
        raise UserError(f"{where}.memory_gb: a trial asks for {need.memory_gb:g} GB of memory, but the machines have "
                        f"at most {most:.1f} GB for trials; lower it, or leave it out")  # fmt: skip
    if not any(placed.fits(m) for m in machines):
        large = [m for m in machines if m.id not in too_small and (m.gpus or not too_small)]
        have = "; ".join(f"{m.cpus:g} CPUs and {m.gpus:g} GPUs" for m in large)
        cure = f"--set {where}.gpus=0 runs on the CPU" if gpus and not too_small else f"lower {where}.cpus"
        which = "the machines with GPUs that are large enough have" if too_small else "the machines have"
        raise UserError(f"{where}: a trial asks for {need.cpus:g} CPUs and {gpus:g} GPUs, but {which} {have}. {cure}")
    return placed


def _share(wanted: float, where: str, machines: Sequence[Machine]) -> tuple[float, tuple[str, ...]]:
    """Memory in GB as a share of a GPU, and the machines whose GPUs are too small. One share serves all GPUs, so it is
    that of the smallest that is large enough: a larger one has memory to spare."""
    have = [m for m in machines if m.gpus >= 1]
    known = {m.id: m.gpu_memory for m in have if m.gpu_memory is not None}
    enough = [memory for memory in known.values() if memory >= wanted * GB]
    if not enough:
        if not have:
            found, cure = "no machine has a GPU", f"with {where}.gpus: 0 instead it runs on the CPU"
        elif not known:
            names = ", ".join(m.name for m in have)
            found, cure = f"how much its GPUs have could not be found out ({names})", f"say {where}.gpus instead"
        else:
            found, cure = f"the largest GPU has {max(known.values()) / GB:.1f} GB", "lower it, or add a larger GPU"
        raise UserError(f"{where}.gpu_memory_gb: a trial asks for {wanted:g} GB of a GPU's memory, but {found}; {cure}")
    share = math.ceil(wanted * GB / min(enough) * GRAIN - 1e-6) / GRAIN
    return share, tuple(sorted(m.id for m in have if (m.gpu_memory or 0) < wanted * GB))


@dataclass(frozen=True)
class Room:
    """What trials of some rows are given, how many of them run at once, by machine, if nothing else runs there; or why
    they cannot run."""

    labels: tuple[str, ...]
    need: Need
    placed: Placed | None
    at_once: Mapping[str, int]
    reason: str = ""


def survey(trials: Sequence[TrialSpec], resources: Resources, machines: Sequence[Machine]) -> list[Room]:
    """The room there is for the rows of a plan; rows that ask for the same stand together."""
    asked: dict[tuple[Need, str], dict[str, None]] = {}
    for spec in trials:
        asked.setdefault((resources.of(spec), resources.where(spec)), {})[spec.row] = None
    rooms = []
    for (need, where), labels in asked.items():
        try:
            placed = place(need, where, machines)
        except UserError as error:
            rooms.append(Room(tuple(labels), need, None, {}, str(error)))
        else:
            found = {m.name: n for m in machines if (n := placed.side_by_side(m))}
            rooms.append(Room(tuple(labels), need, placed, found))
    return rooms
