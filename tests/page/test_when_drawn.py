"""When figures are drawn: each when its drawing is first asked for, and once; words and data alone draw nothing."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import pytest
from matplotlib.figure import Figure as Drawing

import ltbench as lt
from ltbench.page.drawing import WIDTH, Figure, canvas
from tests.ranking import made

REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "quickstart"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Drawing]:
    """Every drawing that is begun during a test."""
    begun: list[Drawing] = []
    init = Drawing.__init__

    def counted(self: Drawing, *args: Any, **options: Any) -> None:
        begun.append(self)
        init(self, *args, **options)

    monkeypatch.setattr(Drawing, "__init__", counted)
    return begun


def test_a_board_draws_the_figure_that_is_called_and_no_other(drawn: list[Drawing]) -> None:
    """A list of their names, a caption and a figure that is not called draw none."""
    plot = lt.leaderboard(from_=REFERENCE).plot
    assert len(dir(plot)) > 9
    assert plot.caption("ranks")
    call = plot.ranks
    assert drawn == []
    figure = call()
    assert plot.ranks() is figure
    assert drawn == [figure]


def test_names_and_captions_do_without_matplotlib() -> None:
    """Asked in a process of its own: in this one it is loaded."""
    script = (
        "import sys\nimport ltbench\n"
        f"plot = ltbench.leaderboard(from_={str(REFERENCE)!r}).plot\n"
        "print('ranks' in dir(plot), len(plot.caption('ranks')) > 0, 'matplotlib' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["True", "True", "False"]


def test_a_figure_is_drawn_once_and_in_one_style() -> None:
    drawn = []

    def draw(name: str) -> Drawing:
        drawn.append((name, matplotlib.rcParams["svg.hashsalt"]))
        return canvas(2, 1)[0]

    figure = Figure("f", "t", "c", "a", lambda: draw("usual"), pd.DataFrame(), lambda: draw("narrow"))
    assert drawn == []
    assert figure.drawing is figure.drawing
    assert figure.narrow is figure.narrow
    assert drawn == [("usual", "ltbench"), ("narrow", "ltbench")]
    assert matplotlib.rcParams["svg.hashsalt"] != "ltbench"
    assert replace(figure, draw_narrow=None).narrow is None


def test_records_that_come_with_ltbench_have_every_figure_by_either_name() -> None:
    assert dir(lt.leaderboard(from_="reference:quickstart").plot) == dir(lt.leaderboard(from_=REFERENCE).plot)


@pytest.mark.parametrize("datasets", [("a", "b"), ("a",)])
def test_there_is_a_narrow_drawing_where_the_usual_one_is_wide(datasets: tuple[str, ...]) -> None:
    """The page says which figures are wide without drawing them."""
    kept = made.records(datasets=dict.fromkeys(datasets, (10.0, 100.0)), seeds=3)
    figures = made.drawn(made.board_of(kept), kept)
    assert len(figures) > 9
    for figure in figures:
        wide = figure.drawing.get_figwidth() > 1.2 * WIDTH
        assert (figure.draw_narrow is not None) == wide, figure.name
        assert figure.narrow is None or figure.narrow.get_figwidth() <= WIDTH, figure.name
