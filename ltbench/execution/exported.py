"""Trials as files (`ltbench plan --export`), for machines without Ray or a network."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ltbench.errors import UserError, last_line
from ltbench.execution.here.streams import run_on_streams
from ltbench.execution.resources import Resources, gpu_lost_words
from ltbench.execution.sharing import Sharing
from ltbench.planning.bundle import read_bundle
from ltbench.plugins import in_use, read_sources, use
from ltbench.results.journal import Journal
from ltbench.spec import Record, TrialSpec
from ltbench.system.interrupt import Interrupt
from ltbench.system.messages import show_on_stderr
from ltbench.training.checkpoints.files import discard
from ltbench.training.site import Site, checked_device
from ltbench.training.trial import run_trial

CHECKPOINT_SECONDS = 60.0
"""How often a running trial leaves a checkpoint, beside the ends of its stages."""


def run_files(files: list[Path], out: Path, site: Site, streams: int = 1) -> list[Record]:
    """Run exported trials one after the other; records go to `out`, finished ones are not run again. One that was
    interrupted goes on from its checkpoint in `out`/checkpoints.

    Args:
        streams: so many at once, each on a CUDA stream of its own. Those whose GPU's memory did not suffice run again
            by themselves.

    Raises:
        UserError: the GPU fails, and there are trials left.
    """
    journal, place, records = Journal(out), out.absolute() / "checkpoints", []
    site = replace(site, checkpoints=place, checkpoint_seconds=CHECKPOINT_SECONDS)
    specs = [read_bundle(file)[0] for file in files]  # without their vectors: of all of them these may be gigabytes
    left = list({spec.key: spec for spec in specs if journal.read(spec.key) is None}.values())
    keeper = _Keeper(journal, place, Sharing(left, site))
    if streams > 1 and left:
        keeper.make_place()
        there = replace(_site_of_all(files, site), shared=keeper.sharing.groups)
        resources = Resources(float(site.threads or 1), inline=True, streams=streams)
        keeper.together = True
        run_on_streams(left, there, resources, keeper, Interrupt())
        keeper.together = False
    for file in files:
        spec, paths, texts = read_bundle(file)
        record = journal.read(spec.key)
        if record is None:
            keeper.make_place()
            there = replace(site, paths={**paths, **site.paths}, texts=texts, shared=keeper.sharing.groups)
            record = run_trial(spec, there)
            keeper.finished(record)
            if record.environment.get("gpu_lost") and file is not files[-1]:
                raise UserError(gpu_lost_words(record, alone=True))
        elif spec.key not in keeper.told:
            _tell(record)
        keeper.told.discard(spec.key)  # a file that is named twice is told of twice
        records.append(record)
    with suppress(OSError):
        place.rmdir()
    return records


class _Keeper:
    """Keeps the records of trials and tells of them; a listener of `run_on_streams`.

    Attributes:
        together: several trials run at once. One for which the GPU's memory does not suffice then is left for later.
    """

    def __init__(self, journal: Journal, place: Path, sharing: Sharing) -> None:
        self.sharing, self.told, self.together = sharing, set[str](), False
        self._journal, self._place = journal, place

    def make_place(self) -> None:
        """For checkpoints; another process with the same `out` may have taken it away."""
        with suppress(OSError):  # the trial says what is wrong
            self._place.mkdir(parents=True, exist_ok=True)

    def started(self, spec: TrialSpec) -> None:
        """Nothing is said of it."""
        self.make_place()

    def progressed(self, spec: TrialSpec, fraction: float, loss: float | None = None) -> None:
        """Nothing is said of it."""

    def finished(self, record: Record) -> None:
        """Keep the record, then tell of it."""
        if self.together and record.environment.get("out_of_memory"):
            print(
                f"{record.key}  {record.spec.name}: the GPU's memory did not suffice; runs again by itself", flush=True
            )
            return
        self._journal.write(record)
        discard(self._place, record.key)
        self.sharing.finished(record.key)
        self.told.add(record.key)
        _tell(record)

    def noted(self, message: str) -> None:
        """Something to know."""
        print(message, flush=True)


def _tell(record: Record) -> None:
    score = record.metrics.get("balanced_accuracy")
    told = f"balanced accuracy {score:.2f} %" if score is not None else last_line(record.error)
    print(f"{record.key}  {record.spec.name}: {record.status}, {told}", flush=True)


def _site_of_all(files: list[Path], site: Site) -> Site:
    """With the paths and the vectors of all trials.

    Raises:
        UserError: two of them look for the same data set in different folders.
    """
    paths, texts = dict(site.paths), dict(site.texts)
    for file in files:
        _, own, vectors = read_bundle(file)
        for name, path in own.items():
            if name not in site.paths and paths.setdefault(name, path) != path:
                raise UserError(f"{file}: looks for {name} in {path}, another trial in {paths[name]}; run them one "
                                f"after the other, without --streams")  # fmt: skip
        texts |= vectors
    return replace(site, paths=paths, texts=texts)


def main(argv: list[str] | None = None) -> int:
    """`python -m ltbench.trial`: for machines without the command line's own dependencies."""
    parser = argparse.ArgumentParser(prog="python -m ltbench.trial", description="Run exported trials in this process.")
    parser.add_argument("spec", nargs="+", type=Path, help="files written by `ltbench plan SUITE --export DIR`")
    parser.add_argument("--out", type=Path, default=Path("results/trials"), help="folder for the records")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LTBENCH_DATA", "data")))
    parser.add_argument("--methods", type=Path, help="folder with methods of your own")
    parser.add_argument("--plugins", type=Path, action="append", default=[], help="folder of plugins; several: again")
    parser.add_argument("--device", help="cpu or cuda; default: the best there is")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--streams", type=int, default=1, help="trials at once on a GPU, each on a CUDA stream")
    chosen = parser.parse_args(argv)
    show_on_stderr()
    try:
        if chosen.threads is not None and chosen.threads < 1:
            raise UserError(f"--threads {chosen.threads}: must be at least 1")
        if chosen.streams < 1:
            raise UserError(f"--streams {chosen.streams}: must be at least 1")
        use(chosen.plugins)
        methods = read_sources(chosen.methods) if chosen.methods else {}
        plugins = tuple(read_sources(folder, "--plugins") for folder in in_use())
        site = Site(
            chosen.data, methods=methods, plugins=plugins, device=checked_device(chosen.device), threads=chosen.threads
        )
        records = run_files(chosen.spec, chosen.out, site, chosen.streams)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return int(any(record.status == "failed" for record in records))
