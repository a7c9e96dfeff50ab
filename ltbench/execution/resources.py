"""What a trial is given, and who is told what happens to it: shared by the ways of running a plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, Self

from ltbench.errors import last_line
from ltbench.spec import Record, TrialSpec
from ltbench.training.limited import Limits

if TYPE_CHECKING:
    from ltbench.suite import Suite


class Listener(Protocol):
    """Told what happens to the trials, in the driver."""

    def started(self, spec: TrialSpec) -> None:
        """A trial began."""

    def progressed(self, spec: TrialSpec, fraction: float, loss: float | None = None) -> None:
        """A trial has come so far, from 0 to 1, and its training loss, if it was told."""

    def finished(self, record: Record) -> None:
        """A trial ended, one way or the other."""

    def noted(self, message: str) -> None:
        """Something to know about the whole run."""


def gpu_lost_words(record: Record, *, alone: bool) -> str:
    """Why no other trial can run in this process, and what to do.

    Args:
        record: of a trial that met a fault of the GPU. alone: no other was on it in this process.
    """
    why = f"after a fault of the GPU no trial can use it in this process ({last_line(record.error)})"
    if alone:
        return f"{why}. {record.spec.name} is recorded as failed; the same command runs the others"
    return (f"{why}. Any of those that ran may be its cause, so none is recorded. The same command goes on from their "
            f"checkpoints; if it comes again, run them one at a time (streams: 1) to learn which it is")  # fmt: skip


@dataclass(frozen=True)
class Need:
    """What one trial asks for. One CPU is one thread: on a CPU, two one-thread trials side by side beat one two-thread
    trial (1.1 to 2.6 times, benchmarks/README.md).

    Attributes:
        cpus: CPUs, and threads of torch.
        gpus: a share of a GPU, or whole ones. None: what `gpu_memory_gb` says, else one if there are any, else none.
        gpu_memory_gb: memory of a GPU in GB (10^9 bytes), CUDA's own part included; becomes a share of the GPUs there
            are, of at least `gpus`.
        hours, memory_gb: where a trial is ended (training/limited.py). Ray keeps as much memory free for it.
    """

    cpus: float = 1.0
    gpus: float | None = None
    gpu_memory_gb: float | None = None
    hours: float | None = None
    memory_gb: float | None = None

    @property
    def threads(self) -> int:
        """CPU threads of torch."""
        return max(1, int(self.cpus))

    @property
    def limits(self) -> Limits:
        """Where a trial is ended."""
        return Limits(self.hours, self.memory_gb)

    def larger(self, environment: Mapping[str, Any]) -> Self:
        """For a trial whose GPU's memory did not suffice: twice the share of a GPU that its record names, at most
        one."""
        share = environment.get("gpu_share")
        return self if share is None else replace(self, gpus=max(share, min(1.0, 2 * share)))


@dataclass(frozen=True)
class Resources(Need):
    """What the trials of a suite ask for: by itself what all of them do, unless their method says otherwise.

    Attributes:
        retries: how often a trial goes on whose worker was lost.
        share_training: whether training that trials have in common is done once (shared.py).
        inline: run in this process, without Ray. streams: so many trials at once there, each on a CUDA stream.
        methods: what differs, by a row's name or, for all of its rows, by a method's.
        trials: what differs once more, by key.
    """

    retries: int = 2
    share_training: bool = True
    inline: bool = False
    streams: int = 1
    methods: Mapping[str, Need] = field(default_factory=dict)
    trials: Mapping[str, Need] = field(default_factory=dict)

    def of(self, spec: TrialSpec) -> Need:
        """What a trial asks for."""
        return self.trials.get(spec.key) or self.of_row(spec.row, spec.method)

    def of_row(self, label: str, method: str) -> Need:
        """What the trials of a row ask for."""
        whole = Need(self.cpus, self.gpus, self.gpu_memory_gb, self.hours, self.memory_gb)
        return self.methods.get(label) or self.methods.get(method) or whole

    def where(self, spec: TrialSpec) -> str:
        """The place in the suite that says so."""
        named = [name for name in (spec.row, spec.method) if name in self.methods]
        return f"resources.methods.{named[0]}" if named else "resources.per_trial"

    def again(self, records: Iterable[Record]) -> Resources:
        """For trials whose GPU's memory did not suffice: each with a larger share than before."""
        return replace(self, trials={r.key: self.of(r.spec).larger(r.environment) for r in records})


def resources_of(suite: Suite) -> Resources:
    """What the suite gives its trials; where it says nothing of a method's, what it gives all of them."""
    given = suite.resources
    whole = given.per_trial
    methods = {}
    for name, own in given.methods.items():
        gpu = whole if own.gpus is None and own.gpu_memory_gb is None else own
        methods[name] = Need(
            whole.cpus if own.cpus is None else own.cpus,
            gpu.gpus,
            gpu.gpu_memory_gb,
            whole.hours if own.hours is None else own.hours,
            whole.memory_gb if own.memory_gb is None else own.memory_gb,
        )
    return Resources(
        whole.cpus,
        whole.gpus,
        whole.gpu_memory_gb,
        whole.hours,
        whole.memory_gb,
        retries=given.retries,
        share_training=given.share_training,
        inline=given.executor != "ray",
        streams=given.streams if given.executor == "streams" else 1,
        methods=methods,
    )
