"""Long computations over images, kept in pieces: what an interruption costs is one piece at most."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltbench.system.files import write_atomically

SHARD = 1024
"""Images to a shard: at 11 images/s on a CPU core, a minute and a half is what an interruption costs at most."""


def kept(file: Path) -> NDArray[np.float32] | None:
    """A shard from an earlier call; a damaged one is made again."""
    try:
        shard: NDArray[np.float32] = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return shard


def keep(file: Path, shard: NDArray[np.float32]) -> None:
    """Write a shard, all of it or nothing. Raises OSError."""
    stream = io.BytesIO()
    np.save(stream, shard)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, stream.getvalue())
