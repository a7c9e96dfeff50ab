"""How figures look and how they are kept: one style, safe for the colour-blind, as SVG and PNG with the same bytes each
time; every figure has a text that stands for it and the data it shows."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from ltbench.ranking.board import Leaderboard

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#666666")
"""Okabe and Ito's colours (2008), yellow and black replaced: both vanish on one of the two backgrounds."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_SERIES = "series-"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
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
WIDTH = 4.8
"""Of a figure with one panel, inches: its letters are legible on a telephone, too."""

Looks = Mapping[str, tuple[str, str]]
"""Method -> colour and marker, for all figures of a page."""


@dataclass(frozen=True)
class Figure:
    """A drawing, the words that stand for it, and its data. It is drawn when its drawing is first asked for: words and
    data alone do without matplotlib."""

    name: str
    """Of its files and of its place on the page."""
    title: str
    caption: str
    """How to read it, and what it must not be taken for."""
    alt: str
    """What it shows, for whoever cannot see it."""
    draw: Callable[[], Drawing]
    """Makes the drawing; `drawing` calls it, once."""
    data: pd.DataFrame
    """Every number that is drawn, in full precision."""
    draw_narrow: Callable[[], Drawing] | None = None
    """Makes the same with its panels below each other, for a telephone; None: the drawing itself is narrow."""

    @cached_property
    def drawing(self) -> Drawing:
        """Matplotlib's own figure."""
        with style():
            return self.draw()

    @cached_property
    def narrow(self) -> Drawing | None:
        """The narrow drawing; None where there is none."""
        if self.draw_narrow is None:
            return None
        with style():
            return self.draw_narrow()


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


def stack(width: float, heights: Sequence[float]) -> tuple[Drawing, list[Axes]]:
    """A drawing with axes below each other; width and heights in inches."""
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(width, sum(heights)), layout="constrained")
    axes = drawing.subplots(len(heights), 1, squeeze=False, height_ratios=heights)
    return drawing, list(axes.flat)


def panels(count: int, across: int = 3) -> tuple[Drawing, list[Axes]]:
    """So many axes of a usual size; `across`: how many to a row."""
    columns, rows = min(count, across), -(-count // across)
    return grid(count, columns, (WIDTH if columns == 1 else 1.2 + 3.6 * columns, 0.7 + 3.0 * rows))


def grid(count: int, across: int, size: tuple[float, float]) -> tuple[Drawing, list[Axes]]:
    """So many axes of one size, `across` to a row, in a drawing of this width and height in inches."""
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=size, layout="constrained")
    axes = list(drawing.subplots(-(-count // across), across, squeeze=False).flat)
    for spare in axes[count:]:
        spare.remove()
    return drawing, axes[:count]


def look(labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Method -> colour and marker: both differ, so that a print in grey is legible. With more methods than colours,
    each pair of the two still comes once (up to 64)."""
    n = len(PALETTE)
    return {m: (PALETTE[i % n], MARKERS[(i + i // n) % n]) for i, m in enumerate(labels)}


def looks_of(board: Leaderboard) -> Looks:
    """How each method looks in every figure of a board. References come first: in a figure with as many lines as there
    are colours, the reference and the best have different ones."""
    references = [t.reference for t in board.tables if t.reference is not None and t.rows]
    return look(list(dict.fromkeys([*references, *(row.label for t in board.tables for row in t.rows)])))


def of_method(looks: Looks, label: str, text: str, *artists: Any) -> None:
    """Say whose artists these are: a page shows `text` where the pointer rests, and can show or hide the method."""
    number = list(looks).index(label)
    for artist in artists:
        artist.set_gid(f"{_SERIES}{number}|{_CONTROL.sub(' ', text)}")


def legend(drawing: Drawing, axis: Axes, looks: Looks) -> None:
    """Below the drawing, in as many columns as its width holds, so that no name is cut off."""
    handles, labels = axis.get_legend_handles_labels()
    inches = 0.55 + 0.078 * max((len(label) for label in labels), default=1)
    columns = max(1, min(4, int(drawing.get_figwidth() / inches)))
    drawn = drawing.legend(handles, labels, loc="outside lower center", ncols=columns)
    named = {plain(label): label for label in looks}
    for text, handle in zip(drawn.get_texts(), drawn.legend_handles, strict=True):
        label = named.get(text.get_text())
        if label is not None:
            of_method(looks, label, label, text, handle)


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
    drawn = _CONTROL.sub(" ", short).replace("$", r"\$")
    return f" {drawn}" if drawn.startswith("_") else drawn


def svg(drawing: Drawing) -> str:
    """As text, without a date."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    stream = io.StringIO()
    with style():  # `savefig` would draw once for the layout and once more for the file
        FigureCanvasSVG(drawing).print_svg(stream, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    for number, name in enumerate(re.findall(r'<clipPath id="(p[0-9a-f]+)"', text)):
        text = text.replace(name, f"clip{number}")  # a hash of a layout's last digits, which are not the same each time
    return re.sub(rf'<g id="{_SERIES}(\d+)\|([^"]*)">', r'<g data-method="\1"><title>\2</title>', text)


def png(drawing: Drawing) -> bytes:
    """As pixels on white, 160 to the inch."""
    stream = io.BytesIO()
    with style():
        drawing.savefig(stream, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def inline_svg(figure: Figure) -> str:
    """For a page: no XML header, identifiers of its own, the page's text colour, and a label for screen readers."""
    return _inline(figure.drawing, figure.name, figure.alt)


def inline_narrow(figure: Figure) -> str:
    """The same of its narrow drawing; empty where there is none."""
    return "" if figure.narrow is None else _inline(figure.narrow, f"{figure.name}-narrow", figure.alt)


def _inline(drawing: Drawing, name: str, alt: str) -> str:
    body = svg(drawing)
    body = body[body.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<[^<>]+>", lambda tag: _of_page(tag[0], name), body)
    head, rest = body.split(">", 1)
    head = re.sub(r' (?:width|height)="[^"]*"', "", head)
    inches = float(drawing.get_figwidth())
    return f'{head} role="img" style="max-width:{7.5 * inches:.1f}rem" aria-label="{escape(alt)}">{rest}'


def _of_page(tag: str, name: str) -> str:
    """A tag with identifiers and colours of the page; what stands between tags is text, and stays."""
    return re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", tag).replace(INK, "currentColor")
