"""What a trial is made of: its data, method, model and order of batches, all fixed by its spec."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltbench.api import Method, Task
from ltbench.data.cell import CellData, cell_data, normalisation
from ltbench.data.longtail import manifest, select_cell
from ltbench.data.order import BatchOrder
from ltbench.data.sources.kinds import source_of
from ltbench.data.sources.source import Facts, Source
from ltbench.errors import UserError
from ltbench.models import build_backbone, code_of
from ltbench.models.prompts import TextTower, text_tower
from ltbench.parts import Classifier
from ltbench.plugins import unpack_sources, use_sources
from ltbench.registry import Registry, fingerprint
from ltbench.spec import Cell, TrialSpec
from ltbench.stats.priors import prior_weights
from ltbench.training.site import Site


@dataclass(frozen=True)
class Generators:
    """The random generators of a trial, one per purpose, all following from its seed: a method that draws more numbers
    than another still sees the same initial weights, order and crops.

    Attributes:
        init: of the initial weights. order: of the batches. method: of the method's hooks. augment: of crops and flips.
        draw: of the method's `draw` where it runs ahead of its other hooks (data/stream.py).
    """

    init: np.random.Generator
    order: np.random.Generator
    method: np.random.Generator
    augment: np.random.Generator
    draw: np.random.Generator

    @classmethod
    def of(cls, seed: int) -> Generators:
        """Those of a training seed. The streams' numbers are part of every result; `Task` has the fifth."""
        streams = {"init": 0, "order": 1, "method": 2, "augment": 3, "draw": 6}
        return cls(**{purpose: np.random.default_rng([seed, stream]) for purpose, stream in streams.items()})


@dataclass(frozen=True)
class Assembled:
    """What a trial is made of: the images of its cell, and what is trained on them, freshly made."""

    data: CellData
    facts: Facts
    method: Method
    model: Classifier
    order: BatchOrder
    generators: Generators


def assemble(spec: TrialSpec, site: Site, device: torch.device) -> Assembled:
    """Load the images of a trial and make its method, model and order of batches; seeds torch's global generators.

    Raises:
        UserError: the method, the images or the weights are not here, or are others than the trial was planned with.
    """
    method_class = method_of(spec, site)  # before anything that takes time
    data, facts = load_cell(spec.cell, site)
    generators, recipe = Generators.of(spec.seed), spec.recipe
    torch.manual_seed(int(generators.init.integers(2**31)))
    counts = np.bincount(data.train_y, minlength=len(facts.class_names))
    task = Task(
        data.train_y,
        facts.class_names,
        device=device,
        text=site.texts[spec.text] if spec.text else None,
        optimizer=recipe["optimizer"],
        seed=spec.seed,
        logit_scale=recipe.get("logit_scale"),
        test_prior=prior_weights(spec.test_prior, counts) if spec.test_prior else None,
    )
    if data.train_x.ndim != 2:
        mean, std = normalisation(recipe, facts, data)
        task.pixel_mean, task.pixel_std = torch.tensor(mean, device=device), torch.tensor(std, device=device)
    if "words" in method_class.needs and "tower" in recipe:
        task.make_text_tower = _text_tower(recipe["tower"], site)
    method = method_class(task, **spec.hyperparameters)
    model = _model(method, recipe, facts, site)
    order = BatchOrder(data.train_y, task.num_classes, recipe["batch_size"], generators.order)
    return Assembled(data, facts, method, model, order, generators)


def _model(method: Method, recipe: Mapping[str, Any], facts: Facts, site: Site) -> Classifier:
    if code_of(recipe["backbone"]) != recipe.get("backbone_code"):
        raise UserError(
            f"the backbone {recipe['backbone']!r} is other code here ({code_of(recipe['backbone'])}) than the trial "
            f"was planned with ({recipe.get('backbone_code')}): install the same package, or plan anew"
        )
    tower, weights, device = recipe.get("tower"), recipe.get("weights"), method.task.device
    checkpoint = site.paths.get((tower or weights or {}).get("pretrained", ""))
    backbone = build_backbone(recipe["backbone"], facts.shape, tower, checkpoint, device, weights)
    model = Classifier(backbone, method.head(backbone.dim)).to(device)
    model.to(memory_format=torch.channels_last)
    return model


def _text_tower(tower: Mapping[str, Any], site: Site) -> Callable[[], TextTower]:
    """What makes the text tower beside an image tower. A function and no object with state: the tower is a part of the
    model where a method makes it one."""
    return lambda: text_tower(tower, site.paths.get(tower["pretrained"]))


def method_of(spec: TrialSpec, site: Site) -> type[Method]:
    """The class of a trial's method.

    Raises:
        UserError: there is none here, or it is not the code that the trial was planned with.
    """
    use_sources(site.plugins)
    folder = unpack_sources(site.methods) if site.methods else None
    cls = Registry(folder).get(spec.method)
    if fingerprint(cls) != spec.code:
        raise UserError(
            f"the method {spec.method!r} is other code here (fingerprint {fingerprint(cls)}) than the trial was "
            f"planned with ({spec.code}): install the same, or plan anew with what is here"
        )
    return cls


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
        train, holdout = select_cell(cell, facts.train_counts)
        here = manifest(facts.fingerprint, source.chosen, train, holdout)
        if here != cell.manifest:
            raise UserError(
                f"data set {cell.dataset!r} has other images here (manifest {here}) than the trial was planned with "
                f"({cell.manifest}): {source.path or site.data}"
            )
        while len(_kept_cells) >= 2:
            _kept_cells.pop(next(iter(_kept_cells)))
        _kept_cells[key] = cell_data(source.arrays(), train, holdout), facts
    return _kept_cells[key]


_kept_cells: dict[tuple[str, Path, str | None], tuple[CellData, Facts]] = {}


def manifest_here(cell: Cell, source: Source) -> str:
    """The manifest of a cell as the images of this machine give it."""
    facts = source.facts()
    return manifest(facts.fingerprint, source.chosen, *select_cell(cell, facts.train_counts))
