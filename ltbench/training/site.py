"""Where a trial runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltbench.errors import UserError
from ltbench.plugins import Sources
from ltbench.system.remote import Remote


def checked_device(name: str | None) -> str | None:
    """`--device` as it was given; None stands for the best there is.

    Raises:
        UserError: it is neither `cpu` nor a GPU that torch finds here.
    """
    if name is None or name == "cpu":
        return name
    if not re.fullmatch(r"cuda(:\d+)?", name):
        raise UserError(f"--device {name}: is none; give cpu, cuda, or cuda:1 for the second GPU")
    import torch

    there, wanted = torch.cuda.device_count(), int(name.partition(":")[2] or 0)
    if wanted >= there:
        found = f"finds {there} GPU{'s' * (there > 1)} here, cuda:0 being the first" if there else "finds no GPU here"
        raise UserError(f"--device {name}: torch {torch.__version__} {found}; leave the option out, or give cpu")
    return name


@dataclass(frozen=True)
class Site:
    """Where a trial runs: everything it needs that does not change its numbers.

    Attributes:
        data: root of the data cache. paths: data set name -> folder, for sources that have one; `sha256:...` -> file,
            for checkpoints of image towers.
        towers: the image towers of the trials, by the name of their weights, so that a machine can be asked for them.
        cache_features: what trains only what sits on a frozen image tower reads its features once (frozen.py). Off, the
            numbers agree to rounding.
        texts: digest -> (C, D) class-name vectors. methods: files of the user's folder of methods. plugins: the same of
            the folders of plugins.
        device: `cpu`, `cuda` or None for the best there is. threads: CPU threads of torch; None leaves them.
        step: how a training step runs on a GPU: auto, graph or eager (graph/use.py); changes no number.
        decoded_cache: whether large images are kept decoded on the disk; None: if there is room.
        data_workers: processes that decode large images for a trial; None: one per thread where it trains on a GPU.
        keep_logits: store the test logits with the predictions.
        provenance: facts for the record's environment, such as the git commit.
        checkpoints: an existing folder, or a URI; a trial that was interrupted goes on from its checkpoint in there.
            None: off.
        checkpoint_seconds: how often a checkpoint is taken, beside the ends of stages.
        shared: key of a trial -> its group, for trials that may reuse each other's training
            (checkpoints/shared_stage.py).
    """

    data: Path
    paths: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    towers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cache_features: bool = True
    methods: Sources = field(default_factory=dict)
    plugins: tuple[Sources, ...] = ()
    device: str | None = None
    threads: int | None = None
    step: str = "auto"
    decoded_cache: bool | None = None
    data_workers: int | None = None
    keep_logits: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)
    checkpoints: Path | Remote | None = None
    checkpoint_seconds: float = 60.0
    shared: Mapping[str, str] = field(default_factory=dict)
