"""What a trial is given, and who is told what happens to it: shared by the ways of running a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ltbench.spec import Record, TrialSpec


class Listener(Protocol):
    """Told what happens to the trials, in the driver."""

    def started(self, spec: TrialSpec) -> None: ...
    def progressed(self, spec: TrialSpec, fraction: float) -> None: ...
    def finished(self, record: Record) -> None: ...
    def noted(self, message: str) -> None: ...


@dataclass(frozen=True)
class Resources:
    """What a trial is given. gpus None: one if there are any, else none. One CPU is one thread: on a CPU, two
    one-thread trials side by side beat one two-thread trial (1.1 to 2.6 times, benchmarks/README.md)."""

    cpus: float = 1.0
    gpus: float | None = None
    retries: int = 2

    @property
    def threads(self) -> int:
        return max(1, int(self.cpus))

    def larger(self, environment: Mapping[str, Any]) -> Resources:
        """For a trial whose GPU's memory did not suffice: twice the share of a GPU that its record names, at most
        one."""
        share = environment.get("gpu_share")
        return self if share is None else replace(self, gpus=max(share, min(1.0, 2 * share)))
