"""What a plan's trials need beside their specs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ltbench.data.sources.kinds import paths_of
from ltbench.data.sources.source import Source


@dataclass(frozen=True)
class Inputs:
    """What the plan's trials need beside their specs."""

    sources: Mapping[str, Source]
    """Data set name -> source."""
    texts: Mapping[str, NDArray[np.float32]]
    """Digest -> class-name vectors; an encoder runs when they are asked for."""
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    """What stands for a tower's checkpoint in a recipe -> where it lies."""

    @property
    def paths(self) -> dict[str, str]:
        """Where things lie on this machine: data set -> folder, checkpoint in a recipe -> file."""
        return {**paths_of(self.sources), **self.checkpoints}
