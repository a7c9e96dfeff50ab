r"""A leaderboard as LaTeX: booktabs and siunitx, ready for a paper, with the sentence that says how it was tested."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ltbench.metric_names import metric_of
from ltbench.ranking.board import Leaderboard, Row, Table
from ltbench.ranking.formats.notes import header, made, notes, of_table, scope, seeds_text, tested_by
from ltbench.ranking.formats.text_tables import mean_over, places, signed
from ltbench.spec import Column
from ltbench.stats.fixed_datasets import Verdict

_SIGNS = {
    Verdict.better: r"$\uparrow$",
    Verdict.worse: r"$\downarrow$",
    Verdict.slightly_better: r"$\uparrow_{\sim}$",
    Verdict.slightly_worse: r"$\downarrow_{\sim}$",
    Verdict.equivalent: "$=$",
    Verdict.undecided: "?",
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
    "±": r"$\pm$",
}  # fmt: skip


def latex(board: Leaderboard) -> str:
    r"""One table per recipe. Needs `\usepackage{booktabs,siunitx}` and, for quotes in names, `[T1]{fontenc}` and
    `textcomp`. Bold: every method whose rank interval includes 1. Underlined: those whose interval includes 2 beyond
    them."""
    head = [
        r"% \usepackage[T1]{fontenc} \usepackage{booktabs,siunitx,textcomp}",
        *(comment(line) for line in header(board)),
    ]
    tables = [_table(board, table) for table in board.tables if table.rows]
    foot = [comment(line) for line in notes(board)]
    return "\n".join([*head, *tables, *foot]) + "\n"


def _table(board: Leaderboard, table: Table) -> str:
    titles, digits = places(table), metric_of(board.primary).digits
    number = f"S[table-format=2.{digits}]"
    spec = f"l l {number} @{{\\,}} l" + (" l l" if table.reference else "") + f" {number}" * len(titles)
    heads = ["Rank", "Method", r"\multicolumn{2}{c}{" + escape(_capital(metric_of(board.primary).title)) + "}"]
    if table.reference:
        heads.append(r"\multicolumn{2}{c}{Gain over " + escape(table.reference) + r" [95\,\% CI]}")
    heads += ["{" + escape(title) + "}" for title in titles]
    rows = [_row(board, table, row, titles.values()) for row in table.rows]
    return "\n".join([
        r"\begin{table}", r"\centering", r"\sisetup{detect-weight=true, mode=text}",
        rf"\caption{{{caption(board, table)}}}", rf"\label{{{label_of(board, table)}}}",
        rf"\begin{{tabular}}{{{spec}}}",
        r"\toprule", " & ".join(heads) + r" \\", r"\midrule", *rows, r"\bottomrule", r"\end{tabular}",
        *_partial(table), r"\end{table}", "",
    ])  # fmt: skip


def _row(board: Leaderboard, table: Table, row: Row, places: Iterable[Sequence[Column]]) -> str:
    digits = metric_of(board.primary).digits
    half = "" if row.half is None else rf"$\pm$ {row.half:.{digits}f}"
    cells = [row.rank_label.replace("-", "--"), _emphasis(row), _number(f"{row.mean:z.{digits}f}", row), half]
    if table.reference:
        cells += _gain(row, digits)
    for columns in places:
        value = mean_over(row, columns, board.primary).text
        cells.append(f"{{{value[:-1]}\\textsuperscript{{\\dag}}}}" if value.endswith("*") else value)
    return " & ".join(cells) + r" \\"


def _gain(row: Row, digits: int) -> list[str]:
    if row.gain is None:
        return [r"\multicolumn{2}{l}{reference}"]
    test = row.gain.test
    if test.diff is None:
        return ["--", ""]
    ends = () if test.half is None else (test.diff - test.half, test.diff + test.half)
    span = f" [{', '.join(_signed(end, digits) for end in ends)}]" if ends else ""
    return [f"{_signed(test.diff, digits)}{span}", _SIGNS[row.gain.verdict]]


def _signed(x: float, digits: int) -> str:
    shown = signed(x, digits)
    return rf"\num[print-implicit-plus]{{{shown.removeprefix('+')}}}" if float(shown) else rf"\num{{{shown}}}"


def _emphasis(row: Row) -> str:
    name = escape(row.name)
    if row.rank[0] == 1:
        return rf"\textbf{{{name}}}"
    return rf"\underline{{{name}}}" if row.rank[0] == 2 else name


def _number(value: str, row: Row) -> str:
    return rf"\bfseries {value}" if row.rank[0] == 1 else value


def caption(board: Leaderboard, table: Table, *, marks: bool = True) -> str:
    """How it was tested, in sentences for a caption.

    Args:
        marks: also what bold, underlined and the signs beside gains mean.
    """
    metric = board.about(board.primary)
    blocks = len(table.datasets) - len(table.drawn_again)
    sets = f"{blocks} data set" + "s" * (blocks > 1)
    about = ", ".join(filter(None, (escape(metric.unit), "" if metric.higher_is_better else "lower is better")))
    unit = f" ({about})" if about else ""
    said = [
        f"{escape(_capital(metric.title))}{unit} of {len(table.rows)} methods on {sets} "
        f"({len(table.columns)} column{'s' * (len(table.columns) > 1)}), {seeds_text(table)} paired seeds, "
        f"{escape(_made(board, table))}.",
        rf"Intervals are 95\,\% ({escape(scope(board)).lower()}; {tested_by(with_images=table.with_images)}); "
        f"rank intervals hold simultaneously (Holm over {len(table.pairs)} pair{'s' * (len(table.pairs) != 1)}).",
        rf"Bold: rank interval includes 1; underlined: it begins at 2. "
        rf"$\uparrow$/$\downarrow$: better/worse at 5\,\%; $\sim$: by less than {table.rope:g}; "
        rf"$=$: equivalent within {table.rope:g}; ?: undecided.",
    ]
    lines = [escape(n) for n in of_table(table) if n.startswith(("This board c", "Other data sets", "Not ranked"))]
    return " ".join([*(said if marks else said[:2]), *lines])


def _made(board: Leaderboard, table: Table) -> str:
    """Which epoch, and what training started from, as far as that is known."""
    return ", ".join(filter(None, (made(board), table.start)))


def _partial(table: Table) -> list[str]:
    if any(s.failed or s.missing for row in table.rows for s in row.scores.values()):
        return [r"\par\footnotesize $\dag$ some seeds are missing or failed; nothing is imputed."]
    return []


def label_of(board: Leaderboard, table: Table) -> str:
    """For `\\ref`: the suite, and the recipe where there are several."""
    name = board.suite + (f"-{table.recipe_name}-{table.recipe_id}" if len(board.tables) > 1 else "")
    return "tab:" + re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")


def _capital(title: str) -> str:
    return title[:1].upper() + title[1:]


def escape(value: str) -> str:
    """Text that LaTeX prints as it is; line breaks become spaces, other control characters are dropped, and two hyphens
    or commas are kept from becoming one sign."""
    flat = _CONTROL.sub("", " ".join(value.splitlines()))
    return re.sub(r"([-,])(?=\1)", r"\1{}", "".join(_SPECIAL.get(character, character) for character in flat))


def comment(line: str) -> str:
    """A line that LaTeX does not read."""
    return "% " + _CONTROL.sub("", " ".join(line.splitlines()))
