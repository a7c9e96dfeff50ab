"""`ltbench plan`: how long its trials would take on this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from ltbench.cli.plan_text import hours_text
from ltbench.execution.measure import measured_pace
from ltbench.execution.nodes import this_machine
from ltbench.execution.placement import survey
from ltbench.planning.forecast import Device, Pace, Size, forecast
from ltbench.planning.inputs import Inputs
from ltbench.planning.sizes import size_of
from ltbench.results.journal import Unreadable
from ltbench.spec import Plan, TrialSpec
from ltbench.suite import Suite
from ltbench.training.device.provenance import device_name
from ltbench.training.site import Site
from ltbench.workflow.prepare import folders_of, resources_of


def hours(
    suite: Suite,
    to_run: Plan,
    inputs: Inputs,
    results: Path,
    site: Callable[[], Site] | None,
    taken: Mapping[str, TrialSpec],
) -> str:
    """How long the plan's trials would take on this machine, in words.

    Args:
        site: where to measure rows of which no records tell; None: they are left open. taken: trials that only test, as
            another one trains.
    """
    resources = resources_of(suite)
    rooms = survey(to_run.trials, resources, [this_machine(ask_memory=True)])
    inline = suite.resources.executor == "inline"
    at_once = {label: 1 if inline else sum(room.at_once.values()) for room in rooms for label in room.labels}
    kind = "cuda" if any(room.placed and room.placed.gpus for room in rooms) else "cpu"
    device = Device(device_name(torch.device(kind)), resources.threads)
    sizes = {}
    for cell in {spec.cell.manifest: spec.cell for spec in to_run.trials}.values():
        found = size_of(cell, inputs)
        sizes[cell.manifest] = Size(sum(found.train), found.test)

    def measure(spec: TrialSpec) -> Pace | None:
        if site is None:
            return None
        print(f"measuring {spec.label} on {spec.cell.dataset} ...", file=sys.stderr, flush=True)
        return measured_pace(spec, replace(site(), device=kind, threads=device.threads))

    journals = [folders_of(results, p.parent.name).journal for p in sorted(results.glob("*/records")) if p.is_dir()]
    records = (r for journal in journals for r in journal if not isinstance(r, Unreadable))
    lines = forecast(to_run.trials, sizes, records, device, at_once, measure, taken)
    return hours_text(lines, device, measured=site is not None)
