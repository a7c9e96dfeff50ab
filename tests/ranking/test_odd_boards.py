"""Hostile names and degenerate boards, in every format and on the page: nothing breaks, nothing is lost from sight."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltbench.ranking.board import Leaderboard
from ltbench.ranking.formats.latex.board import escape
from ltbench.ranking.formats.render import FORMATS, renderer
from ltbench.spec import Plan, Record
from tests.conftest import leave_undrawn
from tests.ranking import made
from tests.sampling import sampled

HOSTILE = [
    *("<script>alert(1)</script>", '" onmouseover="alert(1)', "</textarea></style><b>", "&lt;b&gt;", "'\"q\"'"),
    *("$x^2$", r"\input{/etc/passwd}", "50%&#_{}~^", "a--b,,c", "?`!`<<>>", "naïve", "漢字 β", "one\ntwo"),
    "\x1b[31mred",
    *("=1+1", "=HYPERLINK(\"http://x\")", "+1", "@sum", "x" * 300, "{{ 7*7 }}", "--></svg>", "1e5", "nan", "|a|b|"),
]  # fmt: skip


def named(name: str, dataset: str = "a") -> list[Record]:
    return made.records({"ce": 0.5, name: 0.7}, {dataset: (10.0, 100.0)}, seeds=3)


@cache
def board_of(name: str, dataset: str = "a") -> Leaderboard:
    """One failed trial has the name in its message, too."""
    records = named(name, dataset)
    failed = replace(records[-1], status="failed", metrics={}, per_class={}, error=f"ValueError: {name}")
    return made.board_of([*records[:-1], failed], made.plan_of(records))


# -- HTML --------------------------------------------------------------------------------------------------------------


class Reader(HTMLParser):
    """Texts, elements and attributes, with the text inside a drawing apart from the page's."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")
        for key, value in attrs:
            self.attributes.setdefault(key, []).append(value or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            del self.open[len(self.open) - 1 - self.open[::-1].index(tag) :]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data


def page_of(methods: Sequence[str], datasets: Sequence[str]) -> Reader:
    """A page with these names, where every method's first trial failed with its name in the message."""
    records = made.records(dict.fromkeys(["ce", *methods], 0.6), dict.fromkeys(datasets, (10.0,)), seeds=3)
    some = [replace(r, status="failed", metrics={}, per_class={}, error=f"ValueError: {r.spec.label}")
            if r.spec.seed == 0 else r for r in records]  # fmt: skip
    plan = made.plan_of(records)
    return Reader(made.page_of(made.board_of(some, plan), some, plan))


@pytest.fixture(scope="module")
def pages() -> tuple[Reader, Reader]:
    """All hostile names at once, and as many plain ones. What figures make of them, tests/page/test_drawing.py says."""
    plain = [f"plain{i:02}" for i in range(len(HOSTILE))]
    with pytest.MonkeyPatch.context() as patch:
        leave_undrawn(patch)
        return page_of(HOSTILE, HOSTILE[:3]), page_of(plain, plain[:3])


def test_names_add_no_element_and_no_attribute_to_the_page(pages: tuple[Reader, Reader]) -> None:
    drawn = {"text", "g", "path", "use", "tspan", "defs", "clippath", "rect", "title", "style"}
    drawn |= {"wbr"}  # ours, where a long name may be broken
    hostile, plain = (Counter(t for t in page.tags if t not in drawn) for page in pages)
    assert hostile == plain
    assert pages[0].attributes.keys() == pages[1].attributes.keys()


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:30])
def test_a_name_is_a_text_of_the_page(pages: tuple[Reader, Reader], name: str) -> None:
    """At the least in the overview, on three columns, and for nine runs."""
    assert pages[0].cells.count(name) >= 13
    assert pages[0].attributes["data-name"].count(name) >= 13


@pytest.mark.usefixtures("undrawn")
def test_data_sets_of_any_name_are_texts_of_the_page() -> None:
    found = page_of(["good"], HOSTILE)
    assert found.tags.count("script") == 1
    assert [n for n in HOSTILE if f"{n} IF10" not in found.cells or f"{n} IF10" not in found.texts] == []


# -- LaTeX -------------------------------------------------------------------------------------------------------------

BACK = {
    r"\textbackslash{}": "\\", r"\textasciicircum{}": "^", r"\textasciitilde{}": "~", r"\textless{}": "<",
    r"\textgreater{}": ">", r"\textbar{}": "|", r"\textquotedbl{}": '"', r"\textquotesingle{}": "'",
    r"\textasciigrave{}": "`", r"\{": "{", r"\}": "}", r"\$": "$", r"\&": "&", r"\#": "#", r"\%": "%", r"\_": "_",
    r"$\pm$": "±", "{}": "",
}  # fmt: skip
TOKEN = re.compile("|".join(re.escape(token) for token in sorted(BACK, key=len, reverse=True)))


@given(st.text())
def test_escaped_text_holds_no_special_and_reads_back(text: str) -> None:
    escaped = escape(text)
    bare = TOKEN.sub("", escaped)
    assert not set(bare) & set("\\{}$&#%_^~<>|\"'`\n\r")
    shown = "".join(c for c in " ".join(text.splitlines()) if not re.match(r"[\x00-\x1f\x7f-\x9f]", c))
    assert TOKEN.sub(lambda token: BACK[token[0]], escaped) == shown
    assert "--" not in escaped
    assert ",," not in escaped


@pytest.mark.parametrize("name", HOSTILE)
def test_a_table_in_latex_is_balanced_and_has_its_rows(name: str) -> None:
    shown = FORMATS["latex"](board_of(name, name))
    code = [line for line in shown.splitlines() if not line.startswith("%")]
    body = "\n".join(code).replace(r"\{", "").replace(r"\}", "").replace(r"\%", "")
    assert body.count("{") == body.count("}")
    assert "%" not in body.replace("\\\\", "")
    (row,) = (line for line in code if escape(name) in line and line.endswith(r"\\") and line[0].isdigit())
    heads = code[code.index(r"\toprule") + 1]
    cells = [len(re.findall(r"(?<!\\)&", line)) for line in (heads, row)]
    assert cells[1] == cells[0] + 2, "mean and gain are two columns each"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex on this machine")
def test_latex_sets_a_hostile_table(tmp_path: Path) -> None:
    """Names that pdflatex has letters for; others need xelatex or lualatex."""
    found = subprocess.run(["kpsewhich", "siunitx.sty", "booktabs.sty"], capture_output=True, text=True).stdout
    if found.count("\n") < 2:
        pytest.skip("siunitx or booktabs is not installed")
    names = [n for n in HOSTILE if all(ord(c) < 256 for c in n) and len(n) < 50]
    records = made.records(dict.fromkeys(["ce", *names], 0.6), {"a_b & $c$": (10.0, 100.0)}, seeds=3)
    table = FORMATS["latex"](made.board_of(records))
    packages = r"\usepackage[T1]{fontenc}\usepackage{booktabs,siunitx,textcomp}"
    page = r"\usepackage[paperwidth=2000mm,paperheight=1000mm]{geometry}"
    file = tmp_path / "x.tex"
    file.write_text(rf"\documentclass{{article}}{packages}{page}\begin{{document}}{table}\end{{document}}", "utf-8")
    done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", file.name],
                          cwd=tmp_path, capture_output=True, text=True, errors="replace")  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]


# -- files and the terminal --------------------------------------------------------------------------------------------


def inert(name: str) -> str:
    """A name as a CSV has it: no escape sequence steers the terminal that shows it, no sheet computes it."""
    plain = "".join(" " if unicodedata.category(c) == "Cc" and c not in "\t\r\n" else c for c in name)
    return f"'{plain}" if plain[:1] in tuple("=+-@") else plain


@pytest.mark.parametrize("name", [*HOSTILE, "a,b;c\td"])
def test_a_name_comes_back_from_csv_pairs_and_json(name: str) -> None:
    board = board_of(name, name)
    lines = list(csv.DictReader(io.StringIO(FORMATS["csv"](board), newline="")))
    assert {line["method"] for line in lines} == {"ce", inert(name)}
    assert {line["dataset"] for line in lines} == {inert(name)}
    pairs = list(csv.DictReader(io.StringIO(FORMATS["pairs"](board), newline="")))
    assert all({line["a"], line["b"]} == {"ce", inert(name)} for line in pairs)
    (table,) = json.loads(FORMATS["json"](board))["tables"]
    assert {row["label"] for row in table["rows"]} == {"ce", name}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("format_", ["text", "markdown"])
def test_a_name_stays_on_its_line_and_steers_no_terminal(format_: str, name: str) -> None:
    board, plain = board_of(name, name), board_of("plain", "plain")
    shown = FORMATS[format_](board)
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown) is None
    rows = [sum(re.match(r"\|? ?(1|2|1-2) ", line) is not None for line in FORMATS[format_](b).splitlines())
            for b in (board, plain)]  # fmt: skip
    assert rows[0] == rows[1] == 2


# -- degenerate boards -------------------------------------------------------------------------------------------------

TWO = {"ce": 0.5, "good": 0.7}
ONE = {"a": (10.0,)}


def failed(records: list[Record]) -> list[Record]:
    return [replace(r, status="failed", metrics={}, per_class={}, predictions=None, error="boom") for r in records]


def two_recipes() -> list[Record]:
    long = [replace(r, spec=replace(r.spec, recipe_name="long & slow", recipe={"epochs": 9.0}))
            for r in made.records({"long_ce": 0.5, "long_good": 0.7}, made.FACTORS, seeds=3)]  # fmt: skip
    return [*made.records(TWO, made.FACTORS, seeds=3), *long]


def an_incomplete_method() -> list[Record]:
    records = made.records({**TWO, "bad": 0.3}, made.FACTORS, seeds=3)
    return [r for r in records if (r.spec.label, r.spec.cell.label) != ("bad", "b IF100")]


BOARDS: dict[str, Callable[[], list[Record]]] = {
    "one method": lambda: made.records({"ce": 0.5}, ONE),
    "one trial": lambda: made.records({"ce": 0.5}, ONE, seeds=1),
    "two methods": lambda: made.records(TWO, ONE),
    "one seed": lambda: made.records(made.METHODS, made.FACTORS, seeds=1),
    "all equal": lambda: made.records(dict.fromkeys(made.METHODS, 1.0), made.FACTORS, seeds=3),
    "all wrong": lambda: made.records(dict.fromkeys(made.METHODS, 0.0), ONE, seeds=3),
    "everything failed": lambda: failed(made.records(TWO, made.FACTORS, seeds=3)),
    "a method that failed": lambda: [
        *made.records(TWO, ONE, seeds=3),
        *failed(made.records({"bad": 0.3}, ONE, seeds=3)),
    ],
    "no reference": lambda: made.records({"one": 0.5, "two": 0.7, "three": 0.3}, made.FACTORS, seeds=3),
    "an incomplete method": an_incomplete_method,
    "two recipes": two_recipes,
    "thirty methods": lambda: made.records({"ce": 0.3, **{f"m{i:02}": 0.4 + i / 60 for i in range(29)}}, ONE, seeds=3),
    "many classes": lambda: made.records(TWO, ONE, seeds=3, train=[max(2, 500 - 5 * i) for i in range(120)], images=2),
    "two classes": lambda: made.records(TWO, ONE, seeds=3, train=(100, 5)),
    "no few-shot class": lambda: made.records(TWO, ONE, seeds=3, train=(400, 200, 90, 60)),
    "only many-shot classes": lambda: made.records(TWO, {"a": (None,)}, seeds=3, train=(400, 300, 200)),
    "many data sets": lambda: made.records({**TWO, "bad": 0.3}, {f"d{i}": (10.0,) for i in range(8)}, seeds=3),
}


ALWAYS = [(name, "balanced_accuracy") for name in ("one trial", "one seed", "no reference", "no few-shot class")]
CASES = [
    *((name, "balanced_accuracy") for name in BOARDS),
    *((n, "ece") for n in ("two methods", "all equal", "all wrong")),
]


def made_of(name: str, primary: str) -> tuple[list[Record], Plan, Leaderboard]:
    records = BOARDS[name]()
    plan = made.plan_of(records, primary=primary)
    return records, plan, made.board_of(records, plan)


def ranked(board: Leaderboard) -> set[str]:
    return {row.label for table in board.tables for row in table.rows}


NOT_A_NUMBER = re.compile(r"(?<![A-Za-z-])(nan|None|inf)(?![A-Za-z])")


@pytest.mark.parametrize(("name", "primary"), CASES)
def test_an_odd_board_is_shown_in_every_format(name: str, primary: str) -> None:
    board = made_of(name, primary)[2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = {format_: renderer(format_, wide=wide)(board) for format_ in FORMATS for wide in (False, True)}
    for format_ in ("text", "markdown", "latex", "csv", "json"):
        there = shown[format_].replace("\\", "")
        assert [label for label in ranked(board) if label not in there] == [], format_
    assert [format_ for format_, text in shown.items() if NOT_A_NUMBER.search(text)] == []


@sampled("case", CASES, ALWAYS)
def test_an_odd_board_is_shown_on_the_page(case: tuple[str, str]) -> None:
    records, plan, board = made_of(*case)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = made.page_of(board, records, plan)
    assert NOT_A_NUMBER.search(page) is None
    reader = Reader(page)
    assert ranked(board) <= set(reader.cells)
    ids = reader.attributes["id"]
    assert len(ids) == len(set(ids))
    assert len([a for a in reader.attributes["href"] if a.startswith("#") and a[1:] not in ids]) == 0


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", ["everything failed", "a method that failed", "an incomplete method"])
def test_what_is_not_ranked_is_named_on_the_page(name: str) -> None:
    records = BOARDS[name]()
    plan = made.plan_of(made.records({**TWO, "bad": 0.3}, made.FACTORS, seeds=3) if name[:2] == "an" else records)
    page = " ".join(Reader(made.page_of(made.board_of(records, plan), records, plan)).texts)
    assert "Not ranked:" in page
    if name == "everything failed":
        assert "No method has a complete set of results: nothing is ranked." in page
        assert page.count("boom") >= len(records)


@pytest.mark.usefixtures("undrawn")
def test_rows_of_two_recipes_share_no_table_of_the_page() -> None:
    records = two_recipes()
    reader = Reader(made.page_of(made.board_of(records), records))
    assert {"gains", "gains-2", "pairs", "pairs-2", "behind", "behind-2"} <= set(reader.attributes["id"])
    assert "long & slow: all data sets" in reader.texts


def test_with_a_lower_error_first_the_best_is_on_top_of_every_format() -> None:
    records = made.records({"ce": 0.6, "worse": 0.1}, ONE)
    board = made.board_of(records, made.plan_of(records, primary="ece"))
    (table,) = board.tables
    first = table.rows[0]
    assert first.mean < table.rows[1].mean
    assert next(csv.DictReader(io.StringIO(FORMATS["csv"](board))))["method"] == first.label
    assert "lower is better" in FORMATS["text"](board)
    gain = next(r.gain for r in table.rows if r.gain)
    assert gain.test.diff is not None
    assert (gain.test.diff < 0) is (gain.a != first.label), "a difference is of quality"


def test_a_bucket_without_classes_is_a_dash_and_never_nothing() -> None:
    records = BOARDS["no few-shot class"]()
    board = made.board_of(records, made.plan_of(records))
    assert "trade-off" not in {p.name for p in made.drawn(board, records)}
    for row in board.tables[0].rows:
        assert all(score.metrics["few"] is None for score in row.scores.values())
    detail = FORMATS["text"](board).split("\n\n")[2].splitlines()
    assert all(line.split()[-2] == "-" for line in detail[3:5])


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1, max_size=20).filter(
        lambda n: n != "ce"
    )
)
@settings(max_examples=50, deadline=None)
def test_any_name_is_carried_by_every_format(name: str) -> None:
    """But for a lone carriage return, which Python's csv does not quote where lines end in a line feed."""
    records = made.records({"ce": 0.5, name: 0.7}, ONE, seeds=3)
    board = made.board_of(records)
    for render in FORMATS.values():
        render(board)
    lines = csv.DictReader(io.StringIO(FORMATS["csv"](board), newline=""))
    assert {line["method"] for line in lines} == {"ce", inert(name)}


@pytest.mark.parametrize("name", ["\x1b]0;title\x07x", "a\x7fb", "a\x9b31mb", "a\x00b"])
@pytest.mark.parametrize("format_", FORMATS)
def test_no_control_character_of_a_name_is_in_any_format(format_: str, name: str) -> None:
    shown = FORMATS[format_](board_of(name))
    assert re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown) is None
    if format_ == "json":
        (table,) = json.loads(shown)["tables"]
        assert {row["label"] for row in table["rows"]} == {"ce", name}, "JSON writes them as \\u009b"
