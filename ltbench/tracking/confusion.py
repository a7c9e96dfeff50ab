"""Figures drawn from records, with matplotlib and no display."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_INCHES_PER_LETTER = 0.065
"""Of the class names, at 7 points."""
_LONGEST = 32
"""Letters of a class name that are shown."""


def confusion_figure(matrix: NDArray[np.int64], class_names: Sequence[str], title: str) -> Figure:
    """Confusion matrix in percent of each true class; rows true, columns predicted. Names up to 30 classes."""
    from matplotlib.figure import Figure

    share = 100.0 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    n = len(class_names)
    side = 6.0 if n <= 30 else 8.0
    class_names = [name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…" for name in class_names]
    # Margins by hand: one is drawn per trial, and matplotlib's own layout would draw each twice.
    margin = (0.6 + (_INCHES_PER_LETTER * max(map(len, class_names)) if n <= 30 else 0.2)) / side
    figure = Figure(figsize=(side, side * 0.92))
    axes = figure.add_axes((margin, margin, 0.86 - margin, 0.94 - margin))
    image = axes.imshow(share, vmin=0, vmax=100, cmap="cividis")
    axes.set(xlabel="predicted", ylabel="true", title=title)
    if n <= 30:
        axes.set_xticks(range(n), class_names, rotation=90, fontsize=7)
        axes.set_yticks(range(n), class_names, fontsize=7)
    if n <= 12:
        for i, j in np.ndindex(n, n):
            dark = share[i, j] < 55
            axes.text(
                j, i, f"{share[i, j]:.0f}", ha="center", va="center", fontsize=6, color="white" if dark else "black"
            )
    bar = figure.add_axes((0.88, margin + 0.1 * (0.94 - margin), 0.025, 0.8 * (0.94 - margin)))
    figure.colorbar(image, cax=bar, label="% of the true class")
    return figure
