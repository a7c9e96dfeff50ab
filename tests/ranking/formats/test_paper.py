"""The two-column table of a paper: what stands in it, and how it is named and cited."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ltbench.errors import UserError
from ltbench.ranking.board import Leaderboard
from ltbench.ranking.build import build
from ltbench.ranking.formats import as_csv
from ltbench.ranking.formats.as_json import as_data
from ltbench.ranking.formats.latex.paper import Named, PaperStyle, paper, read_names
from ltbench.spec import Result
from tests.ranking.made import plan_of, records

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def board() -> Leaderboard:
    kept = records(seeds=3)
    return build([Result.of(r) for r in kept], plan_of(kept))


def test_every_column_has_all_many_medium_and_few(board: Leaderboard) -> None:
    text = paper(board)
    assert text.count(r"\begin{table*}") == text.count(r"\end{table*}") == 1
    assert r"\label{tab:made}" in text
    heads = re.findall(r"^Method & (.*) \\\\$", text, re.MULTILINE)
    assert [h for line in heads for h in line.split(" & ")] == ["All", "Many", "Medium", "Few"] * 4
    assert len(heads) == 2, "sixteen numbers do not fit beside one another"
    assert text.count(r"\cmidrule(lr){2-5}") == 2
    row = next(line for line in text.splitlines() if line.startswith("good & "))
    score = next(r for r in board.tables[0].rows if r.label == "good").scores[board.tables[0].columns[0]]
    shown = [score.metrics[m] for m in ("balanced_accuracy", "many", "medium", "few")]
    assert [re.sub(r"[^0-9.]", "", cell) for cell in row.split(" & ")[1:5]] == [f"{i.mean:.1f}" for i in shown if i]


def test_lines_have_as_many_cells_as_the_table_has_columns(board: Leaderboard) -> None:
    for spec, body in re.findall(r"\\begin\{tabular\}\{(l[r]+)\}(.*?)\\end\{tabular\}", paper(board), re.DOTALL):
        rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert {line.count("&") + 1 for line in rows} == {len(spec)}


def test_bold_is_where_the_rank_interval_has_1(board: Leaderboard) -> None:
    (table,), lines = board.tables, [line.removesuffix(r" \\") for line in paper(board).splitlines()]
    for row in table.rows:
        cells = [cell for line in lines if line.startswith(f"{row.label} & ") for cell in line.split(" & ")[1:]]
        assert len(cells) == 4 * len(table.columns)
        for i, column in enumerate(table.columns):
            rank = row.scores[column].rank
            assert rank is not None
            assert (r"\textbf" in cells[4 * i]) == (rank[0] == 1)
            assert not any(r"\textbf" in cell for cell in cells[4 * i + 1 : 4 * i + 4])


def test_names_and_citations(board: Leaderboard) -> None:
    style = PaperStyle({"ce": Named("Cross-entropy", "cao2019"), "good": Named("A & B", "x}{\\evil")}, intervals=True)
    text = paper(board, style)
    assert r"Cross-entropy~\cite{cao2019}" in text
    assert r"A \& B~\cite{xevil}" in text
    assert r"{\scriptsize$\pm$" in text
    assert len(re.findall(r"\\begin\{tabular\}", text)) == 4, "with intervals, half as many fit"


def test_names_come_from_a_csv(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("method,name,cite\nce,Cross-entropy,cao2019\nmixup,mixup,\n")
    assert read_names(tmp_path / "n.csv") == {"ce": Named("Cross-entropy", "cao2019"), "mixup": Named("mixup")}
    for text, said in (("method,nam\n", "Did you mean 'name'"), ("method\n", "needs a header")):
        (tmp_path / "n.csv").write_text(text)
        with pytest.raises(UserError, match=said):
            read_names(tmp_path / "n.csv")
    with pytest.raises(UserError, match="cannot be read"):
        read_names(tmp_path / "none.csv")


def test_json_and_csv_carry_the_recipe(board: Leaderboard) -> None:
    assert as_data(board)["config"]["recipes"] == {"r": {"epochs": 4.0}}
    scores = as_csv.scores(board)
    written = list(scores.columns).index("recipe_values")
    assert {json.loads(line[written])["epochs"] for line in scores.lines} == {4.0}


def test_the_command_writes_it(ltbench: Run, tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("method,name\nce,Cross-entropy\n")
    (tmp_path / "s.csv").write_text("method,dataset,imbalance_factor,seed,metric,value\nce,a,10,0,accuracy,50\n")
    shown = ("leaderboard", "--from", str(tmp_path / "s.csv"))
    code, out, err = ltbench(*shown, "--format", "paper", "--names", str(tmp_path / "n.csv"))
    assert code == 0, err
    assert "Cross-entropy & " in out
    assert ltbench(*shown, "--intervals")[0] == 2
