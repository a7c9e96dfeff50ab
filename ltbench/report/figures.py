"""Figures drawn from records, with matplotlib and no display."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion_figure(matrix: NDArray[np.int64], class_names: Sequence[str], title: str) -> Figure:
    """Confusion matrix in percent of each true class; rows true, columns predicted. Names up to 30 classes."""
    from matplotlib.figure import Figure

    share = 100.0 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    n = len(class_names)
    side = 6.0 if n <= 30 else 8.0
    figure = Figure(figsize=(side, side * 0.92), layout="constrained")
    axes = figure.add_subplot()
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
    figure.colorbar(image, ax=axes, label="% of the true class", shrink=0.8)
    return figure
