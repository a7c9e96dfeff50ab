"""How figures look and how they are kept: one style, safe for the colour-blind, as SVG and PNG with the same bytes each
time; every figure has a text that stands for it and the data it shows."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#666666")
"""Okabe and Ito's colours (2008), yellow and black replaced: both vanish on one of the two backgrounds."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK = "#010203"
"""Text and axes; becomes the page's own text colour where a figure is part of a page."""
FAINT = "#8b8c8d"
MOST_ROWS = 40
"""A figure with one line per method shows this many, best first."""
MOST_PANELS = 6
"""A figure with a panel per data set shows this many."""
LONGEST = 36
"""Characters of a name in a figure."""
MOST_LINES = 8
"""A figure with one curve per method shows this many, best first, and the reference: there are no more colours."""


@dataclass(frozen=True)
class Figure:
    """A drawing, the words that stand for it, and its data."""

    name: str
    """Of its files and of its place on the page."""
    title: str
    caption: str
    """How to read it, and what it must not be taken for."""
    alt: str
    """What it shows, for whoever cannot see it."""
    drawing: Drawing
    """Matplotlib's own figure."""
    data: pd.DataFrame
    """Every number that is drawn, in full precision."""


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings for all figures; nothing of the user's own configuration gets in."""
    import matplotlib

    settings = {
        "svg.hashsalt": "ltbench", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9.0,
        "font.sans-serif": ["DejaVu Sans"], "text.color": INK, "axes.edgecolor": FAINT, "axes.labelcolor": INK,
        "axes.titlesize": 9.5, "axes.titleweight": "bold", "xtick.color": INK, "ytick.color": INK,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": FAINT,
        "grid.alpha": 0.25, "grid.linewidth": 0.6, "legend.frameon": False, "legend.fontsize": 8.5,
        "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none", "lines.linewidth": 1.6,
    }  # fmt: skip
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # an SVG is drawn with the reader's fonts
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


def canvas(width: float, height: float, columns: int = 1, *, sharey: bool = False) -> tuple[Drawing, list[Axes]]:
    """A drawing with a row of axes; width and height in inches."""
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(width, height), layout="constrained")
    axes = drawing.subplots(1, columns, squeeze=False, sharey=sharey)[0]
    return drawing, list(axes)


def panels(count: int) -> tuple[Drawing, list[Axes]]:
    """So many axes of one size, three to a row."""
    from matplotlib.figure import Figure as Drawing

    columns, rows = min(count, 3), -(-count // 3)
    drawing = Drawing(figsize=(1.2 + 3.6 * columns, 0.7 + 3.0 * rows), layout="constrained")
    axes = list(drawing.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[count:]:
        spare.remove()
    return drawing, axes[:count]


def look(labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Method -> colour and marker: both differ, so that a print in grey is legible. With more methods than colours,
    each pair of the two still comes once (up to 64)."""
    n = len(PALETTE)
    return {m: (PALETTE[i % n], MARKERS[(i + i // n) % n]) for i, m in enumerate(labels)}


def shown(labels: Sequence[str], reference: str | None, most: int = MOST_LINES) -> list[str]:
    """The first methods, and the reference."""
    first = list(labels[:most])
    if reference in labels and reference not in first:
        first[-1] = str(reference)
    return first


def plain(text: str) -> str:
    """A name that matplotlib draws as it is: it would read a pair of dollar signs as mathematics, and leave a name that
    begins with an underscore out of legends. Of a long one the middle is left out, or nothing of the figure would be
    left; the figure's data have it in full."""
    short = text if len(text) <= LONGEST else f"{text[: LONGEST - 12]}…{text[-11:]}"
    drawn = re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", short).replace("$", r"\$")
    return f" {drawn}" if drawn.startswith("_") else drawn


def svg(drawing: Drawing) -> str:
    """As text, without a date."""
    stream = io.StringIO()
    with style():
        drawing.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def png(drawing: Drawing) -> bytes:
    """As pixels on white, 160 to the inch."""
    stream = io.BytesIO()
    with style():
        drawing.savefig(stream, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def inline_svg(figure: Figure) -> str:
    """For a page: no XML header, identifiers of its own, the page's text colour, and a label for screen readers."""
    body = svg(figure.drawing)
    body = body[body.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<[^<>]+>", lambda tag: _of_page(tag[0], figure.name), body)
    head, rest = body.split(">", 1)
    head = re.sub(r' (?:width|height)="[^"]*"', "", head)
    inches = float(figure.drawing.get_figwidth())
    size = f"max-width:{7.5 * inches:.1f}rem;min-width:{min(7.5 * inches, max(30.0, 5 * inches)):.1f}rem"
    return f'{head} role="img" style="{size}" aria-label="{escape(figure.alt)}">{rest}'


def _of_page(tag: str, name: str) -> str:
    """A tag with identifiers and colours of the page; what stands between tags is text, and stays."""
    return re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", tag).replace(INK, "currentColor")
