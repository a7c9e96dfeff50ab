"""What a trial is made of: its data, method, model and order of batches, all fixed by its spec."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ltbench.api import Method, Task
from ltbench.data.loader import CellData, cell_data
from ltbench.data.longtail import manifest, select_cell
from ltbench.data.order import BatchOrder
from ltbench.data.sources.kinds import source_of
from ltbench.data.sources.source import Facts, Source
from ltbench.errors import UserError
from ltbench.models import build_backbone
from ltbench.parts import Classifier
from ltbench.registry import Registry, fingerprint, unpack_sources
from ltbench.spec import Cell, TrialSpec
from ltbench.training.site import Site


def assemble(
    spec: TrialSpec, site: Site, data: CellData, facts: Facts, device: torch.device
) -> tuple[Method, Classifier, BatchOrder]:
    """The method, the freshly initialised model and the order of batches of a trial, all fixed by its seed."""
    torch.manual_seed(int(dice(spec, "init").integers(2**31)))
    task = Task(
        data.train_y,
        facts.class_names,
        device=device,
        text=site.texts[spec.text] if spec.text else None,
        optimizer=spec.recipe["optimizer"],
        seed=spec.seed,
        logit_scale=spec.recipe.get("logit_scale"),
    )
    method = method_of(spec, site)(task, **spec.hyperparameters)
    tower, weights = spec.recipe.get("tower"), spec.recipe.get("weights")
    checkpoint = site.paths.get((tower or weights or {}).get("pretrained", ""))
    backbone = build_backbone(spec.recipe["backbone"], facts.shape, tower, checkpoint, device, weights)
    model = Classifier(backbone, method.head(backbone.dim)).to(device)
    model.to(memory_format=torch.channels_last)
    order = BatchOrder(data.train_y, task.num_classes, spec.recipe["batch_size"], dice(spec, "order"))
    return method, model, order


def method_of(spec: TrialSpec, site: Site) -> type[Method]:
    """The class of a trial's method.

    Raises:
        UserError: there is none here, or it is not the code that the trial was planned with.
    """
    folder = unpack_sources(site.methods) if site.methods else None
    cls = Registry(folder).get(spec.method)
    if fingerprint(cls) != spec.code:
        raise UserError(
            f"the method {spec.method!r} is other code here (fingerprint {fingerprint(cls)}) than the trial was "
            f"planned with ({spec.code}): install the same, or plan anew with what is here"
        )
    return cls


def dice(spec: TrialSpec, purpose: str) -> np.random.Generator:
    """One stream of random numbers per purpose, all following from the training seed: a method that throws more dice
    than another still sees the same initial weights, order and crops."""
    streams = {"init": 0, "order": 1, "method": 2, "augment": 3, "draw": 6}
    return np.random.default_rng([spec.seed, streams[purpose]])


def load_cell(cell: Cell, site: Site) -> tuple[CellData, Facts]:
    """The images of a cell. The last two are kept in this process: most trials of a suite share few cells.

    Raises:
        UserError: there are none here, or not those that the trial was planned with.
    """
    path = site.paths.get(cell.dataset)
    key = (cell.manifest, site.data, path)
    if key not in _kept_cells:
        source = source_of(cell, site.data, site.paths, site.decoded_cache)
        facts = source.facts()
        found = manifest_here(cell, source)
        if found != cell.manifest:
            raise UserError(
                f"data set {cell.dataset!r} has other images here (manifest {found}) than the trial was planned with "
                f"({cell.manifest}): {source.path or site.data}"
            )
        while len(_kept_cells) >= 2:
            _kept_cells.pop(next(iter(_kept_cells)))
        _kept_cells[key] = cell_data(cell, facts, source.arrays()), facts
    return _kept_cells[key]


def manifest_here(cell: Cell, source: Source) -> str:
    """The manifest of a cell as the images of this machine give it."""
    facts = source.facts()
    train, held = select_cell(cell, facts.train_counts)
    return manifest(facts.fingerprint, source.chosen, train, held)


_kept_cells: dict[tuple[str, Path, str | None], tuple[CellData, Facts]] = {}
