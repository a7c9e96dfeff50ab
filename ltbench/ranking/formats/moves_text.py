"""Two sets of results side by side, as text and as a table."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from ltbench.metric_names import metric_of
from ltbench.ranking.formats.as_csv import Flat
from ltbench.ranking.formats.text_tables import difference, readable_p
from ltbench.ranking.views.moved import Cell, Finding, Moves, Place

COLUMNS = ["method", "recipe", "dataset", "imbalance", "a", "b", "diff", "ci95_low", "ci95_high", "p", "p_holm",
           "seeds", "other_seeds", "finding", "changes"]  # fmt: skip


def moves_text(found: Moves, a: str, b: str) -> str:
    """What was compared, the cells, what differs between the trials, what only one has, and what it adds up to."""
    about = metric_of(found.primary)
    unit = f", {about.unit}" if about.unit else ""
    digits = about.digits
    rows = [
        [c.place.title, f"{c.a:z.{digits}f}", f"{c.b:z.{digits}f}", difference(c.test.diff, c.test.half, digits),
         "-" if c.p_holm is None else readable_p(c.p_holm), _seeds(c), c.finding.value,
         "other" if c.changes else "same"]
        for c in found.cells
    ]  # fmt: skip
    heads = ["cell", "A", "B", "B - A [95% CI]", "p (Holm)", "seeds", "finding", "trials"]
    blocks = [
        f"A: {a}\nB: {b}\n{about.title}{unit}; B - A paired by seed, t, Holm over {len(found.cells)} cells; "
        f"ROPE {found.rope:g}",
        tabulate(rows, headers=heads, disable_numparse=True,
                 colalign=("left", "right", "right", "left", "right", "right", "left", "left")),
    ]  # fmt: skip
    if changed := _changed(found.cells):
        blocks.append("\n".join(["Trials that are not the same:", *changed]))
    blocks += [f"Only in {name}: {_some(places)}" for name, places in (("A", found.only_a), ("B", found.only_b))
               if places]  # fmt: skip
    blocks.append(_sum(found))
    return "\n\n".join(blocks) + "\n"


def _seeds(cell: Cell) -> str:
    """`5`; `3 (+2)` where two more seeds are in one of the two alone."""
    return f"{cell.test.seeds}" + (f" (+{cell.other_seeds})" if cell.other_seeds else "")


def _changed(cells: Sequence[Cell]) -> list[str]:
    """What differs, once, with the cells in which it does."""
    by_change: dict[str, list[str]] = {}
    for cell in cells:
        for change in cell.changes:
            by_change.setdefault(change, []).append(cell.place.title)
    return [
        f"  {change}  (all {len(cells)} cells)" if len(where) == len(cells) else f"  {change}  ({_names(where)})"
        for change, where in by_change.items()
    ]


def _some(places: Sequence[Place]) -> str:
    return _names([place.title for place in places])


def _names(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _sum(found: Moves) -> str:
    counts = [f"{n} {finding.value}" for finding in Finding if (n := sum(c.finding is finding for c in found.cells))]
    return f"{len(found.cells)} cells: {', '.join(counts)}"


def moves_table(found: Moves) -> Flat:
    """One line per cell, in full precision."""
    lines = []
    for c in found.cells:
        t = c.test
        low, high = (None, None) if t.diff is None or t.half is None else (t.diff - t.half, t.diff + t.half)
        lines.append((*c.place, c.a, c.b, t.diff, low, high, t.p, c.p_holm, t.seeds, c.other_seeds, c.finding.value,
                      "; ".join(c.changes)))  # fmt: skip
    return Flat(COLUMNS, lines)
