"""Figures: what they show is the board's, they have words and data, and no name or gap in the data breaks them."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ltbench.page.drawing import (
    LONGEST,
    MARKERS,
    MOST_LINES,
    PALETTE,
    Figure,
    canvas,
    inline_svg,
    look,
    looks_of,
    plain,
    png,
    shown,
    svg,
)
from ltbench.page.figures.classes import smooth
from ltbench.page.figures.gain import intervals
from ltbench.page.figures.ranks import cliques
from ltbench.page.figures.trade import pareto
from ltbench.ranking.board import Leaderboard
from ltbench.ranking.build import build
from ltbench.spec import Record
from ltbench.stats.aggregate import Estimate
from ltbench.stats.random_datasets import SignedRank
from tests.ranking import made
from tests.ranking.test_build import grid

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def kept() -> list[Record]:
    return made.records()


@pytest.fixture(scope="module")
def board(kept: list[Record]) -> Leaderboard:
    return made.board_of(kept, made.plan_of(kept))


@pytest.fixture(scope="module")
def figures(kept: list[Record], board: Leaderboard) -> dict[str, Figure]:
    return {p.name: p for p in made.drawn(board, kept, made.plan_of(kept))}


def lines_of(figure: Any) -> list[Any]:
    return [line for axis in figure.axes for line in axis.get_lines()]


def texts_in(drawing: str) -> list[str]:
    return ["".join(node.itertext()).strip() for node in ET.fromstring(drawing).iter(f"{SVG}text")]


# -- what is drawn -----------------------------------------------------------------------------------------------------


def test_a_whole_suite_has_every_figure_once(figures: dict[str, Figure]) -> None:
    assert set(figures) == {"answer", "intervals", "ranks", "trade-off", "by-imbalance", "profile", "improvement",
                            "class-counts", "classes", "reliability", "curve-train-loss", "cost", "priors"}  # fmt: skip


@pytest.mark.parametrize("field", ["title", "caption", "alt"])
def test_every_figure_has_words(figures: dict[str, Figure], field: str) -> None:
    said = [getattr(p, field) for p in figures.values()]
    assert all(said)
    assert len(set(said)) == len(said)


def test_every_figure_has_the_data_it_shows(figures: dict[str, Figure]) -> None:
    assert all(len(p.data) > 1 and not p.data.isna().all().any() for p in figures.values())


def test_the_intervals_are_the_boards(figures: dict[str, Figure], board: Leaderboard) -> None:
    data = figures["intervals"].data.set_index("method")
    for row in board.tables[0].rows:
        if row.gain is not None:
            test = row.gain.test
            assert test.diff is not None
            assert test.half is not None
            found = data.loc[row.label].iloc[:3].tolist()
            assert found == pytest.approx([test.diff, test.diff - test.half, test.diff + test.half])


def test_an_end_at_nothing_is_an_end(board: Leaderboard) -> None:
    """A lower end of exactly 0.0 is a number."""
    (table,) = board.tables
    rows = tuple(replace(r, iqm=r.iqm and Estimate(2.0, 0.0, 0.0, r.iqm.reason)) for r in table.rows)
    data = intervals(board, replace(table, rows=rows), looks_of(board)).data
    assert data[[c for c in data if "interquartile" in c]].to_numpy().tolist() == [[2.0, 0.0, 0.0]] * 3


def test_recalls_are_means_over_seeds(figures: dict[str, Figure], kept: list[Record]) -> None:
    data = figures["classes"].data
    ours = [r for r in kept if (r.spec.label, r.spec.cell.label) == ("good", "b IF100")]
    expected = np.mean([r.per_class["recall"] for r in ours], axis=0)
    found = data[(data["method"] == "good") & (data["column"] == "b IF100")]
    assert found["recall"].tolist() == pytest.approx(expected.tolist())
    assert found["training images"].tolist() == list(made.TRAIN)


@pytest.mark.parametrize("order", [(10.0, 100.0), (100.0, 10.0)])
def test_single_runs_are_shown_on_the_largest_imbalance_factor(order: tuple[float, ...]) -> None:
    kept = made.records({"ce": 0.5, "good": 0.7}, {"a": order}, seeds=3)
    plan = made.plan_of(kept)
    drawn = {p.name: p for p in made.drawn(made.board_of(kept, plan), kept, plan)}
    assert set(drawn["classes"].data["column"]) == {"a IF100"}


def test_the_pareto_front_is_what_no_other_point_beats() -> None:
    points = [(0.0, 0.0), (1.0, -1.0), (-1.0, 1.0), (0.5, -1.0), (0.0, 0.0)]
    assert pareto(points) == {0, 1, 2, 4}
    assert pareto([]) == set()


def test_bars_join_only_methods_that_are_all_undecided_among_themselves() -> None:
    def test(a: int, b: int, p: float) -> SignedRank:
        return replace(SIGNED, a=a, b=b, p_holm=p)

    assert cliques([test(0, 1, 0.5), test(1, 2, 0.5), test(0, 2, 0.01)], [0, 1, 2]) == [[0, 1], [1, 2]]


SIGNED = SignedRank(**{**dict.fromkeys(SignedRank.__dataclass_fields__, None), "a": 0, "b": 1})  # type: ignore[arg-type]


def test_smoothing_keeps_a_constant_and_every_place() -> None:
    for n in (3, 30, 120):
        assert smooth(np.full(n, 7.0)).tolist() == pytest.approx([7.0] * n)


# -- more than there are colours ---------------------------------------------------------------------------------------


def test_sixty_four_methods_are_told_apart_by_colour_and_marker() -> None:
    found = look([f"m{i}" for i in range(64)])
    assert len(set(found.values())) == len(PALETTE) * len(MARKERS) == 64
    assert [found[f"m{i}"] for i in range(8)] == list(zip(PALETTE, MARKERS, strict=True))


def test_the_reference_is_always_among_the_lines() -> None:
    labels = [f"m{i}" for i in range(30)]
    assert shown(labels, "m29") == [*labels[: MOST_LINES - 1], "m29"]
    assert shown(labels, "m3") == labels[:MOST_LINES]
    assert shown(["ce"], None) == ["ce"]


@pytest.mark.parametrize("name", ["curve-train-loss", "classes", "by-imbalance", "profile"])
def test_no_two_lines_of_a_figure_look_alike(name: str) -> None:
    """Also when the reference, ranked 9th, stands among the first eight."""
    methods = {**{f"m{i}": 0.9 - 0.04 * i for i in range(12)}, "ce": 0.02}
    kept = made.records(methods, {"a": (10.0, 100.0)}, seeds=3, images=30)
    plan = made.plan_of(kept)
    drawn = {p.name: p for p in made.drawn(made.board_of(kept, plan), kept, plan)}
    handles, labels = drawn[name].drawing.axes[0].get_legend_handles_labels()
    colours = [getattr(h, "lines", [h])[0].get_color() for h in handles]
    assert len(labels) == len(set(colours)) == MOST_LINES
    assert ("ce" in labels) == (name != "profile")


# -- gaps in the records -----------------------------------------------------------------------------------------------


def drawn_of(board: Leaderboard, records: list[Record]) -> set[str]:
    return {p.name for p in made.drawn(board, records, made.plan_of(records))}


def test_calibration_is_shown_where_there_are_predictions(board: Leaderboard, kept: list[Record]) -> None:
    for lost in ("a", "b"):
        some = [replace(r, predictions=None) if r.spec.cell.dataset == lost else r for r in kept]
        drawn = {p.name: p for p in made.drawn(board, some, made.plan_of(kept))}
        assert drawn["reliability"].title == f"Calibration on {'b' if lost == 'a' else 'a'} IF100"
    assert "reliability" not in drawn_of(board, [replace(r, predictions=None) for r in kept])


def test_a_curve_that_some_seed_lacks_is_left_out(board: Leaderboard, kept: list[Record]) -> None:
    some = [replace(r, curves={}) if (r.spec.cell.imbalance, r.spec.seed) == (100.0, 1) else r for r in kept]
    assert drawn_of(board, kept) - drawn_of(board, some) == {"curve-train-loss"}


def with_curves(kept: list[Record], curve: dict[str, list[float]]) -> list[Record]:
    """Test passes during training: what they were above or below the last one, by method."""
    changed = []
    for r in kept:
        last = float(r.metrics["balanced_accuracy"] or 0.0)
        points = [[float(e + 1), last + d] for e, d in enumerate(curve[r.spec.label])]
        changed.append(replace(r, curves={**r.curves, "curve/test_balanced_accuracy": points}))
    return changed


def test_the_best_test_epoch_is_shown_beside_the_last_one(board: Leaderboard, kept: list[Record]) -> None:
    """Without another number of the board: those are of the last epoch."""
    jumps = {"ce": [-5.0, -0.5], "good": [-9.0, 1.0, 0.0], "bad": [60.0, 0.0], "twin": [0.25, -1.0, 0.0]}
    drawn = {p.name: p for p in made.drawn(board, with_curves(kept, jumps), made.plan_of(kept))}
    data = drawn["best-epoch"].data.set_index("method")
    means = {row.label: row.mean for row in board.tables[0].rows}
    assert data["last epoch"].to_dict() == pytest.approx(means)
    assert data["added"].to_dict() == pytest.approx({"ce": 0.0, "good": 1.0, "bad": 60.0, "twin": 0.25})
    assert data["most in one run"].to_dict() == pytest.approx(data["added"].to_dict())
    caption = drawn["best-epoch"].caption
    assert "added 0.0 to 60.0 points (most: bad)" in caption
    assert "the best of 2 test passes" in caption
    order = sorted(means, key=lambda m: -(means[m] + data.loc[m, "added"]))
    assert f"would be {', '.join(order[:-1])} and {order[-1]}." in caption
    same = {p.name: p for p in made.drawn(board, with_curves(kept, {key: [2.0, 0.0] for key in jumps}), None)}
    assert "would be the same" in same["best-epoch"].caption


def test_without_a_curve_of_every_seed_nothing_is_said_of_the_best_epoch(
    board: Leaderboard, kept: list[Record]
) -> None:
    curved = with_curves(kept, {key: [1.0, 0.0] for key in made.METHODS})
    some = [r if r.spec.seed or r.spec.label == "ce" else replace(r, curves={}) for r in curved]
    drawn = {p.name: p for p in made.drawn(board, some, made.plan_of(kept))}
    assert drawn["best-epoch"].data["method"].tolist() == ["ce"]
    assert "best-epoch" not in drawn_of(board, kept)
    held = [replace(r, curves={"curve/holdout_balanced_accuracy": [[1.0, 90.0], [2.0, 80.0]]}) for r in kept]
    assert "best-epoch" not in drawn_of(board, held)


def test_costs_are_shown_only_when_all_are_known(board: Leaderboard, kept: list[Record]) -> None:
    some = [replace(r, environment={}) if r.spec.label == "bad" else r for r in kept]
    assert drawn_of(board, kept) - drawn_of(board, some) == {"cost"}


def cost_of(kept: list[Record], seconds: dict[str, float], **facts: Any) -> Any:
    changed = [replace(r, environment={**r.environment, "seconds": seconds[r.spec.label], **facts}) for r in kept]
    board = made.board_of(changed)
    return {p.name: p for p in made.drawn(board, changed, made.plan_of(changed))}["cost"]


def test_the_cost_is_in_hours_of_what_a_trial_held_and_per_point_gained(kept: list[Record]) -> None:
    labels = sorted({r.spec.label for r in kept})
    seconds = {label: 3600.0 * (i + 1) for i, label in enumerate(labels)}
    on_cpus = cost_of(kept, seconds, threads=2).data.set_index("method")
    assert on_cpus["CPU-hours per trial"].to_dict() == pytest.approx({m: 2 * s / 3600 for m, s in seconds.items()})
    on_gpus = cost_of(kept, seconds, gpu_share=0.25).data.set_index("method")
    assert on_gpus["GPU-hours per trial"].to_dict() == pytest.approx({m: s / 4 / 3600 for m, s in seconds.items()})
    reference = next(iter(on_cpus.index[on_cpus["gain"].isna()]))
    for label, line in on_cpus.iterrows():
        more = line["CPU-hours per trial"] - on_cpus.loc[reference, "CPU-hours per trial"]
        paid = line["CPU-hours per point gained"]
        if label != reference and line["gain"] > 0:
            assert paid == pytest.approx(more / line["gain"])
        else:
            assert np.isnan(paid)


def test_training_that_another_trial_did_costs_as_if_it_were_ones_own(kept: list[Record]) -> None:
    """Else a method would be cheap for standing behind another one in the suite."""
    seconds = dict.fromkeys({r.spec.label for r in kept}, 100.0)
    alone = cost_of(kept, seconds)
    behind = cost_of(kept, dict.fromkeys(seconds, 1.0), shared_seconds=99.0, trained_by="a" * 12)
    assert behind.data.equals(alone.data)
    assert "counted as if it were its own" in behind.caption
    assert "counted as if" not in alone.caption


def test_the_front_of_costs_holds_what_none_beats_in_both(kept: list[Record]) -> None:
    labels = sorted({r.spec.label for r in kept})
    data = cost_of(kept, dict.fromkeys(labels, 60.0)).data
    assert data.loc[data["on the front"], "mean"].tolist() == [data["mean"].max()]
    dear = {m: float(mean) for m, mean in zip(data["method"], data["mean"], strict=True)}
    data = cost_of(kept, dear).data
    assert data["on the front"].all()  # what is better costs more


def test_records_without_classes_leave_the_figures_of_the_board(board: Leaderboard, kept: list[Record]) -> None:
    bare = [replace(r, per_class={}) for r in kept]
    assert drawn_of(board, bare) == {
        "answer", "intervals", "ranks", "trade-off", "by-imbalance", "profile", "improvement",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["a b", 'x"><script>alert(1)</script>', "../../x", "naïve/β"])
def test_a_curve_of_any_name_has_a_name_for_files_and_identifiers(kept: list[Record], name: str) -> None:
    some = [replace(r, curves={name: r.curves["train/loss"]}) for r in kept if r.spec.cell.dataset == "a"]
    drawn = [p for p in made.drawn(made.board_of(some), some) if p.name.startswith("curve-")]
    assert [re.fullmatch("curve-[A-Za-z0-9-]*", p.name) is not None for p in drawn] == [True]


# -- names and files ---------------------------------------------------------------------------------------------------

NAMES = [
    *("$x^2$", r"\$x$", "_hidden", "a & b", "<script>alert(1)</script>", "-->", "]]>", "\"quoted\" 'name'", "100 %"),
    *(r"\frac{1}{2}", "=1+1", 'id="q"', "url(#clip)", "#010203", "naïve β→δ", "漢字", "a b", "</text></svg>"),
]


@pytest.fixture(scope="module")
def hostile() -> dict[str, list[str]]:
    """Text of the drawings of a board whose methods and data sets have these names."""
    kept = made.records(dict.fromkeys(["ce", *NAMES], 0.6), {"$x^2$ & <b>": (10.0, 100.0)}, seeds=3)
    return {p.name: texts_in(inline_svg(p)) for p in made.drawn(made.board_of(kept), kept)}


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_is_text_of_the_drawing(hostile: dict[str, list[str]], name: str) -> None:
    """Except that matplotlib leaves a leading underscore out of legends; suites refuse such a name."""
    figures = {"intervals", "ranks", "improvement", *({"trade-off", "cost"} if name[0] != "_" else ())}
    assert [f for f in figures if name not in hostile[f]] == []


def test_a_hostile_data_set_is_the_title_of_its_panel(hostile: dict[str, list[str]]) -> None:
    assert "$x^2$ & <b>" in hostile["by-imbalance"]
    assert "$x^2$ & <b> IF100" in hostile["classes"]


@pytest.mark.parametrize("name", ["one\ntwo", "one\x1b[31mtwo", "\x00"])
def test_control_characters_are_not_drawn(name: str) -> None:
    assert plain(name) == re.sub(r"[\x00-\x1f]", " ", name)


def test_of_a_very_long_name_both_ends_are_left() -> None:
    name = "".join(chr(ord("a") + i % 26) for i in range(300))
    assert len(plain(name)) == LONGEST
    assert (plain(name)[:10], plain(name)[-10:]) == (name[:10], name[-10:])
    assert plain("x" * LONGEST) == "x" * LONGEST


@pytest.mark.nightly
def test_very_long_names_leave_room_for_the_figure() -> None:
    """matplotlib warns when they do not, and warnings are errors here; the data have the name in full."""
    kept = made.records({"ce": 0.5, "good-" + "x" * 200: 0.7}, {"d" * 200: (10.0, 100.0)}, seeds=3)
    for figure in made.drawn(made.board_of(kept), kept):
        svg(figure.drawing)
        png(figure.drawing)
        told = figure.data.to_csv()
        of_no_method = figure.name == "class-counts"
        assert ("d" if of_no_method else "x") * 200 in told or figure.name == "profile", figure.name


def test_a_drawing_of_a_page_has_identifiers_of_its_own_and_its_colours(figures: dict[str, Figure]) -> None:
    seen: set[str] = set()
    for name, figure in figures.items():
        drawing = inline_svg(figure)
        root = ET.fromstring(drawing)
        ids = [node.get("id") for node in root.iter() if node.get("id")]
        assert len(ids) == len(set(ids))
        assert all(str(i).startswith(f"{name}-") for i in ids)
        assert not seen & set(ids)
        seen |= {str(i) for i in ids}
        used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', drawing))
        assert used <= set(ids)
        assert "currentColor" in drawing
        assert "#010203" not in drawing
        assert (root.get("role"), root.get("aria-label")) == ("img", figure.alt)


def test_a_picture_is_pixels_on_white(figures: dict[str, Figure]) -> None:
    with Image.open(io.BytesIO(png(figures["ranks"].drawing))) as image:
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        assert min(image.size) > 100


def test_an_empty_figure_is_still_a_drawing() -> None:
    drawing, _ = canvas(2, 1)
    empty = Figure("empty", "t", "c", 'says "nothing" <b>', lambda: drawing, pd.DataFrame())
    assert ET.fromstring(inline_svg(empty)).get("aria-label") == 'says "nothing" <b>'


def test_without_a_reference_nothing_is_called_a_gain() -> None:
    board = build(grid({"one": 50, "two": 60, "three": 55}, {"a": ["IF10"]}))
    names = {p.name for p in made.drawn(board, [])}
    assert names == {"ranks", "profile"}


def test_a_name_that_begins_with_an_underscore_is_in_the_legend() -> None:
    kept = made.records({"ce": 0.5, "_mine": 0.6}, {"a": (10.0, 100.0)})
    board = made.board_of(kept, made.plan_of(kept))
    shown = [p for p in made.drawn(board, kept, made.plan_of(kept)) if p.drawing.legends and p.name != "class-counts"]
    assert shown
    for figure in shown:
        named = {text.get_text().strip() for legend in figure.drawing.legends for text in legend.get_texts()}
        assert "_mine" in named, figure.name
