"""Make the README's picture, and the gallery of the site, from the records in results/reference.

    python -m tools.docs_pictures [FOLDER]

writes gains.svg into FOLDER (docs/images). The picture carries its numbers, as CSV, and the sentence that stands for
it; `data_of` reads the numbers back, so a test can say whether the picture is up to date.
"""

from __future__ import annotations

import functools
import io
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from html import escape, unescape
from pathlib import Path

import pandas as pd

from ltbench.page.drawing import Figure, svg
from ltbench.page.evidence import gather
from ltbench.page.write import figures_of
from ltbench.ranking.build import build
from ltbench.spec import Record, Result, Selection
from ltbench.workflow.find_results import journal_of

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "results" / "reference" / "quickstart"
IMAGES = ROOT / "docs" / "images"
README_PICTURE = ("answer", "gains.svg")
"""Figure, and the file's name."""
QUESTIONS = {
    "answer": "What is the result, in one picture?",
    "class-counts": "How long is the tail?",
    "intervals": "Which methods are better than the reference, and by how much?",
    "ranks": "Which ranks are possible?",
    "trade-off": "What do the frequent classes pay for what the rare ones gain?",
    "critical-difference": "Which methods differ over many data sets?",
    "by-imbalance": "Does the order of the methods change with a longer tail?",
    "profile": "How large are the gains, run by run?",
    "improvement": "How likely is a run with this method to be better than one with the reference?",
    "classes": "Which classes does a method help?",
    "priors": "What if the test images were distributed otherwise?",
    "reliability": "Is a model as sure as it is right?",
    "curve": "How did training go?",
    "best-epoch": "What would choosing the best test epoch have added?",
    "cost": "What does a point of accuracy cost?",
}
"""Name of a figure, or how it begins -> the question that it answers."""


@functools.cache
def figures() -> tuple[Figure, ...]:
    """The figures that the reference's results allow, in the report's order."""
    journal, expectation = journal_of(REFERENCE.parents[1], None, REFERENCE)
    records = [found for found in journal if isinstance(found, Record)]
    board = build([Result.of(r) for r in records], expectation, Selection(), predictions=journal.predictions)
    evidence = gather(records, board, expectation, journal.predictions)
    return tuple(f for table in figures_of(board, evidence) for f in (*table.claims, *table.behind))


def picture(figure: Figure) -> str:
    """As SVG on white, with the sentence that stands for it and its numbers."""
    head, rest = svg(figure.drawing).split("<metadata>", 1)
    rest = rest.split("</metadata>", 1)[1]
    numbers = escape(figure.data.to_csv(index=False))
    about = f'<title>{escape(figure.alt)}</title>\n <metadata id="data">{numbers}</metadata>'
    return f'{head}{about}\n <rect width="100%" height="100%" fill="#fff"/>{rest}'


def data_of(text: str) -> pd.DataFrame:
    """The numbers that a picture carries."""
    kept = re.search(r'<metadata id="data">(.*?)</metadata>', text, re.DOTALL)
    assert kept is not None, "the picture carries no numbers"
    return pd.read_csv(io.StringIO(unescape(kept[1])))


def question(figure: Figure) -> str:
    """What a figure answers."""
    return next(asked for name, asked in QUESTIONS.items() if figure.name.startswith(name))


def gallery() -> dict[str, str]:
    """Files of the site: the page, and its pictures."""
    lines = [
        "# Gallery",
        "",
        "Every figure of a report, made from the records of the suite `quickstart` that come with the repository. "
        "`ltbench report SUITE` makes them from yours, as SVG and PNG. In Python, `board.plot.trade_off()` "
        "is one of them.",
        "",
    ]
    files = {}
    for figure in figures():
        files[f"gallery/{figure.name}.svg"] = picture(figure)
        shown = f"![{_alt(figure)}](gallery/{figure.name}.svg)"
        if figure.draw_narrow is not None:  # the one or the other, as wide as the screen is: docs/stylesheets/site.css
            files[f"gallery/{figure.name}-narrow.svg"] = picture(replace(figure, draw=figure.draw_narrow))
            shown = f"{shown}{{.wide}}\n![{_alt(figure)}](gallery/{figure.name}-narrow.svg){{.narrow .fits}}"
        else:
            shown += "{.fits}"
        lines += [f"## {question(figure)}", "", shown, ""]
        lines += [f"**{figure.title}** (`{figure.name}`). {figure.caption}", ""]
    return {"gallery.md": "\n".join(lines), **files}


def _alt(figure: Figure) -> str:
    return re.sub(r"[\[\]]", lambda m: "\\" + m[0], figure.alt)


def main(arguments: Sequence[str]) -> None:
    """Write the README's picture."""
    folder = Path(arguments[0]) if arguments else IMAGES
    name, file = README_PICTURE
    (chosen,) = [figure for figure in figures() if figure.name == name]
    (folder / file).write_text(picture(chosen), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
