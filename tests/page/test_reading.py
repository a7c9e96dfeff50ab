"""The report as it is read: contrast, keyboard, choosing methods, the set-up, thirty methods, a file of scores."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ltbench.page.drawing import looks_of
from ltbench.page.setup import setup_of
from ltbench.spec import Record, Selection
from ltbench.workflow.make_report import make_report, suite_of
from tests.page.test_page import Visit, in_a_browser
from tests.page.test_page import address as address
from tests.page.test_page import browser as browser
from tests.page.test_page import suite as suite
from tests.page.test_page import visit as visit
from tests.ranking import made
from tests.sampling import sampled

PALE = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => { const [r, g, b] = rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const behind = (node) => { for (; node; node = node.parentElement) {
    const found = parse(getComputedStyle(node).backgroundColor); if (found.length < 4 || found[3] > .99) return found; }
    return [255, 255, 255]; };
  const faint = new Set();
  for (const node of document.querySelectorAll("body *")) {
    const text = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!text || !node.checkVisibility()) continue;
    const style = getComputedStyle(node);
    const ink = light(parse(node instanceof SVGElement ? style.fill : style.color)), paper = light(behind(node));
    const ratio = (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05);
    if (ratio < 4.5) faint.add(`${node.tagName}.${node.className.baseVal ?? node.className} ${ratio.toFixed(1)}`);
  }
  return [...faint];
}"""
"""Elements with text whose contrast is below WCAG's 4.5 to 1."""


@in_a_browser
@sampled("scheme", ["light", "dark"], ["dark"])
def test_every_text_has_contrast(visit: Any, scheme: str) -> None:
    page = visit(color_scheme=scheme).page
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    page.check("#statistics")
    assert page.evaluate(PALE) == []


@in_a_browser
def test_the_keyboard_reaches_what_a_pointer_does(visit: Any) -> None:
    page = visit().page
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        assert page.evaluate("document.activeElement === document.body || document.activeElement.matches(':focus')")
    assert {"A", "SUMMARY", "view", "filter", "statistics", "BUTTON", "DIV"} <= reached
    page.reload()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"


@in_a_browser
def test_statistics_stand_behind_a_switch_and_data_sets_before_them(visit: Any) -> None:
    there = visit()
    heads = "(all) => all.filter((h) => h.checkVisibility()).map((h) => h.textContent)"
    shown = there.page.eval_on_selector_all("#table-0-0 thead th", heads)
    assert shown == ["rank", "method", "a IF10", "a IF100", "b IF10", "b IF100", "mean", "gain [95% CI]"]
    there.page.check("#statistics")
    more = there.page.eval_on_selector_all("#table-0-0 thead th", heads)
    assert more[: len(shown)] == shown
    assert {"IQM gain", "P(better)"} <= set(more[len(shown) :])
    assert "statistics=1" in there.page.evaluate("location.hash")


@in_a_browser
def test_a_method_that_is_not_chosen_is_in_no_table_and_no_figure(visit: Any) -> None:
    page = visit().page
    parts = ".view [data-method], .drawing [data-method]"
    gone = (
        "(all) => [...new Set(all.filter((p) => getComputedStyle(p).display === 'none').map((p) => p.dataset.method))]"
    )
    page.click("#chooser summary")
    page.uncheck("#chooser input[value='1']")
    assert page.eval_on_selector_all(parts, gone) == ["1"]
    page.click("#chooser [data-all='1']")
    assert page.eval_on_selector_all(parts, gone) == []


@in_a_browser
def test_the_method_under_the_pointer_stands_out_everywhere(visit: Any) -> None:
    page = visit().page
    page.hover("#table-0-0 tbody tr >> nth=0")
    traced = page.eval_on_selector_all(".traced", "(all) => [...new Set(all.map((p) => p.dataset.method))]")
    assert len(traced) == 1
    assert page.locator(".drawing .traced").count() > 5


@in_a_browser
@sampled("width", [390, 768, 1440], [390])
def test_no_figure_is_cut_off(visit: Any, width: int) -> None:
    """Every text of a drawing lies within it."""
    page = visit(viewport={"width": width, "height": 900}).page
    outside = page.eval_on_selector_all(
        ".drawing svg",
        """(all) => all.filter((s) => s.checkVisibility()).flatMap((s) => { const box = s.getBoundingClientRect();
             return [...s.querySelectorAll("text")].map((t) => [t.textContent.trim(), t.getBoundingClientRect()])
               .filter(([, r]) => r.left < box.left - 3 || r.right > box.right + 3 || r.top < box.top - 3
                 || r.bottom > box.bottom + 3).map(([t]) => t); })""",
    )
    assert outside == []


def test_a_method_has_one_colour_everywhere() -> None:
    kept = made.records({f"m{i}": 0.3 + 0.015 * i for i in range(30)} | {"ce": 0.5}, {"a": (10.0, 100.0)}, seeds=2)
    plan = made.plan_of(kept)
    board = made.board_of(kept, plan)
    looks = looks_of(board)
    assert len(set(looks.values())) == 31
    for figure in made.drawn(board, kept, plan):
        for axis in figure.drawing.axes if figure.name in ("cost", "trade-off", "priors", "classes") else ():
            for line in axis.get_lines():
                if line.get_label() in looks:
                    assert (line.get_color(), line.get_marker()) == looks[line.get_label()], figure.name


@pytest.mark.slow
@pytest.mark.nightly
def test_thirty_methods_on_twelve_columns_stay_below_four_megabytes(tmp_path: Path) -> None:
    methods = {"ce": 0.3, **{f"method_{i}": 0.35 + 0.015 * i for i in range(29)}}
    kept = made.records(methods, dict.fromkeys("abcd", (10.0, 50.0, 100.0)), seeds=2)
    assert len(made.html_of(kept, tmp_path, made.plan_of(kept))) < 4_000_000


def test_the_set_up_says_what_was_set() -> None:
    kept = made.records({"ce": 0.5, "good": 0.7}, {"a": (10.0, 100.0)}, seeds=2)
    kept = [replace(r, environment={**r.environment, "torch": "2.9", "threads": 2}) for r in kept]
    from ltbench.page.evidence import gather

    board = made.board_of(kept, made.plan_of(kept))
    found = setup_of(board, kept, gather(kept, board, None, None), "suite: made\n")
    assert found is not None
    assert [[c.text for c in line.cells] for line in found.recipes.lines] == [["epochs", "4"]]
    assert {line.name: line.cells[2].text for line in found.rows.lines} == {"ce": "name ce", "good": "name good"}
    assert [[c.text for c in line.cells][:5] for line in found.data.lines] == [
        ["a IF10", "10", "919", "400", "4"], ["a IF100", "10", "919", "400", "4"],
    ]  # fmt: skip
    assert [c.text for c in found.machines.lines[0].cells] == ["cpu", "2 CPUs", "-", "2.9", "-", "-", "8"]


def test_the_suite_is_told_as_yaml_without_what_is_not_set(tmp_path: Path) -> None:
    (tmp_path / "suite.json").write_text(json.dumps({"suite": "x", "question": None, "seeds": [0, 1]}))
    assert suite_of(tmp_path) == "suite: x\nseeds:\n- 0\n- 1\n"
    assert suite_of(tmp_path / "elsewhere") == ""


def scores_of(kept: Sequence[Record], folder: Path) -> Path:
    """A file of scores with what the records say."""
    lines = [f"{r.spec.label},{r.spec.cell.dataset},10,{r.spec.seed},balanced_accuracy,{r.metrics['balanced_accuracy']}"
             for r in kept]  # fmt: skip
    (folder / "scores.csv").write_text("\n".join(["method,dataset,imbalance_factor,seed,metric,value", *lines]))
    return folder / "scores.csv"


def test_a_file_of_scores_has_a_report_of_what_it_allows(tmp_path: Path) -> None:
    kept = made.records({"ce": 0.5, "good": 0.7}, {"a": (10.0,)}, seeds=3)
    done = make_report(None, tmp_path, scores_of(kept, tmp_path), tmp_path / "out", Selection())
    text = done.page.read_text(encoding="utf-8")
    assert "how they were trained is not known" in text
    assert re.findall(r'<section id="(\w+)">', text).count("setup") == 0
    assert 'id="runs-table"' not in text


PAPER = {"width": 703, "height": 1024}
"""The width of A4 within its margins, in pixels of CSS."""
BEYOND = """(all) => all.filter((t) => t.checkVisibility() && t.getBoundingClientRect().right > innerWidth + 1)
  .map((t) => t.id)"""
"""Tables that paper would cut off."""


@in_a_browser
@sampled("scheme", ["light", "dark"], ["light"])
def test_on_paper_all_tables_are_whole_and_nothing_is_for_clicking(visit: Any, scheme: str) -> None:
    page = visit(viewport=PAPER, color_scheme=scheme).page
    page.emulate_media(media="print", color_scheme=scheme)
    shown = "(all) => all.filter((e) => e.checkVisibility()).length"
    for selector in ("nav", ".controls", "details", "textarea", ".screen"):
        assert page.eval_on_selector_all(selector, shown) == 0, selector
    assert page.eval_on_selector_all(".view", shown) == page.locator(".view").count() == 5
    assert page.eval_on_selector_all("table", BEYOND) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PAPER["width"]
    heads = "(all) => [...new Set(all.map((e) => getComputedStyle(e).position))]"
    assert page.eval_on_selector_all("thead th, tbody th", heads) == ["static"], "or a head is empty on the next page"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(PALE) == []


@in_a_browser
@pytest.mark.slow
@pytest.mark.nightly
def test_fifteen_methods_on_twelve_columns_fit_on_paper(browser: Any, tmp_path: Path) -> None:
    methods = {"ce": 0.3, **{f"quite_long_name_{i}": 0.35 + 0.03 * i for i in range(14)}}
    kept = made.records(
        methods, dict.fromkeys(("cifar10", "cifar100", "imagenet", "places"), (10.0, 50.0, 100.0)), seeds=2
    )
    file = tmp_path / "report.html"
    file.write_text(made.html_of(kept, tmp_path, made.plan_of(kept)), encoding="utf-8")
    there = Visit(browser, file.as_uri(), viewport=PAPER)
    there.page.emulate_media(media="print")
    assert there.page.eval_on_selector_all("table", BEYOND) == []
    there.context.close()


@in_a_browser
def test_the_page_of_a_file_of_scores_is_quiet(browser: Any, tmp_path: Path) -> None:
    kept = made.records({"ce": 0.5, "good": 0.7}, {"a": (10.0,)}, seeds=3)
    done = make_report(None, tmp_path, scores_of(kept, tmp_path), tmp_path / "out", Selection())
    there = Visit(browser, done.page.as_uri())
    assert there.complaints == []
    assert there.page.evaluate("document.documentElement.scrollWidth") <= 1280
    there.context.close()
