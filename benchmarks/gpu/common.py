"""What a check is asked, what it is given, and where its answers go."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ltbench.spec import Record, TrialSpec
    from ltbench.training.site import Site

BEGAN = time.monotonic()


@dataclass(frozen=True)
class Check:
    """What is asked of a device.

    Attributes:
        repo: the repository whose recorded trials are run again.
        device: cuda or cpu.
        data: where data sets and caches lie.
        trials: how many recorded trials are run again.
        out: the file that gets every answer as a line of JSON; None: they are only printed.
        share: which methods, every N-th from the I-th on.
    """

    repo: Path
    device: str
    data: Path
    trials: int
    out: Path | None
    share: tuple[int, int] = (0, 1)

    def say(self, name: str, /, **values: Any) -> None:
        """Print an answer, and add it to the file."""
        line = json.dumps({"check": name, **values, "t": round(time.monotonic() - BEGAN, 1)}, default=str)
        print(line, flush=True)
        if self.out:
            with self.out.open("a") as stream:
                stream.write(line + "\n")

    def records(self) -> dict[str, Record]:
        """The recorded trials of the quickstart, by key."""
        from ltbench.results.journal import Unreadable, read_record

        found: dict[str, Record] = {}
        for file in sorted((self.repo / "results/reference/quickstart/records").glob("*.json")):
            record = read_record(file)
            if not isinstance(record, Unreadable):
                found[record.spec.key] = record
        return found

    def site(self, specs: Sequence[TrialSpec]) -> Site:
        """Data, and the class names' vectors that text-guided methods read."""
        from ltbench.data.sources.digits import NAMES
        from ltbench.models.text import text_vectors
        from ltbench.training.site import Site

        vectors = text_vectors({"encoder": "bundled"}, "digits", NAMES, self.data)
        wanted = {spec.text for spec in specs} - {None}
        if wanted - {vectors.digest}:
            self.say("text vectors", problem=f"records name {wanted}, the bundled ones are {vectors.digest}")
        return Site(self.data, texts={vectors.digest: vectors.vectors}, device=self.device, threads=1)

    def short(self, label: str = "ce", **changes: Any) -> TrialSpec:
        """A recorded trial of four epochs, with a changed recipe. A ResNet-32 on images of CIFAR's shape would need
        CIFAR; digits of 8x8 do for what is asked here."""
        spec = next(r.spec for r in self.records().values() if r.spec.label == label)
        return replace(spec, recipe={**spec.recipe, "epochs": 4.0, **changes})


def share_of(text: str) -> tuple[int, int]:
    """`1/4` as numbers: the second of four shares."""
    which, _, of = text.partition("/")
    return int(which), int(of)
