"""Trials as files (`ltbench plan --export`), for machines without Ray or a network."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ltbench.errors import UserError, last_line
from ltbench.execution.sharing import Sharing
from ltbench.planning.bundle import read_bundle
from ltbench.plugins import in_use, read_sources, use
from ltbench.results.journal import Journal
from ltbench.spec import Record
from ltbench.system.messages import show_on_stderr
from ltbench.training.checkpoints.files import discard
from ltbench.training.site import Site, checked_device
from ltbench.training.trial import run_trial

CHECKPOINT_SECONDS = 60.0
"""How often a running trial leaves a checkpoint, beside the ends of its stages."""


def run_files(files: list[Path], out: Path, site: Site) -> list[Record]:
    """Run exported trials one after the other; records go to `out`, finished ones are not run again. One that was
    interrupted goes on from its checkpoint in `out`/checkpoints."""
    journal, place, records = Journal(out), out.absolute() / "checkpoints", []
    site = replace(site, checkpoints=place, checkpoint_seconds=CHECKPOINT_SECONDS)
    specs = [read_bundle(file)[0] for file in files]  # without their vectors: of all of them these may be gigabytes
    sharing = Sharing([spec for spec in specs if journal.read(spec.key) is None], site)
    for file in files:
        spec, paths, texts = read_bundle(file)
        record = journal.read(spec.key)
        if record is None:
            with suppress(OSError):  # the trial says what is wrong
                place.mkdir(parents=True, exist_ok=True)  # another process with the same `out` may have taken it away
            there = replace(site, paths={**paths, **site.paths}, texts=texts, shared=sharing.groups)
            record = run_trial(spec, there)
            journal.write(record)
            discard(place, spec.key)
            sharing.finished(spec.key)
        score = record.metrics.get("balanced_accuracy")
        told = f"balanced accuracy {score:.2f} %" if score is not None else last_line(record.error)
        print(f"{spec.key}  {spec.name}: {record.status}, {told}", flush=True)
        records.append(record)
    with suppress(OSError):
        place.rmdir()
    return records


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
    chosen = parser.parse_args(argv)
    show_on_stderr()
    try:
        if chosen.threads is not None and chosen.threads < 1:
            raise UserError(f"--threads {chosen.threads}: must be at least 1")
        use(chosen.plugins)
        methods = read_sources(chosen.methods) if chosen.methods else {}
        plugins = tuple(read_sources(folder, "--plugins") for folder in in_use())
        site = Site(
            chosen.data, methods=methods, plugins=plugins, device=checked_device(chosen.device), threads=chosen.threads
        )
        records = run_files(chosen.spec, chosen.out, site)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return int(any(record.status == "failed" for record in records))
