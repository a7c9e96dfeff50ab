"""The report as a page: in a browser at three widths, by keyboard and pointer, and as bytes without one."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltbench import cli
from ltbench.page import grids
from ltbench.page.conventions import conventions
from ltbench.page.evidence import gather
from ltbench.ranking.formats.render import FORMATS
from ltbench.ranking.views.derived import Views, by_shot
from ltbench.results.journal import Journal
from ltbench.spec import Expectation, Record, canonical
from ltbench.spec.expectation import ExpectedMethod
from ltbench.workflow import make_report
from tests.ranking import made
from tests.sampling import sampled

ROOT = Path(__file__).parents[2]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-first-run"]  # fmt: skip
BOARD_SETS = ["all data sets", "a IF10", "a IF100", "b IF10", "b IF100"]


def trials() -> tuple[list[Record], Expectation]:
    """Four methods, two data sets, two factors, five seeds; one trial failed, one is of an earlier plan."""
    whole = made.records()
    boom = replace(
        whole[7], status="failed", metrics={}, per_class={}, curves={}, error="Traceback\nValueError: <boom>"
    )
    stale = made.record(made.spec("good", "a", 10.0, 0, code="older"), 0.9)
    return [*whole[:7], boom, *whole[8:], stale], made.plan_of(whole)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite's folder of results, and its report made by the command."""
    folder = tmp_path_factory.mktemp("results") / "made"
    records, plan = trials()
    journal = Journal(folder / "records")
    for record in records:
        journal.write(record)
    (folder / "plan.json").write_text(canonical(plan.to_json()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ltbench", "report", "made", "--results", str(folder.parent), "--no-mlflow"])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert stop.value.code in (0, None)
    return folder


@pytest.fixture(scope="module")
def page(suite: Path) -> str:
    return (suite / "report" / "report.html").read_text(encoding="utf-8")


class Elements(HTMLParser):
    """Every element with its attributes, and the text of some."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {k: v or "" for k, v in attrs}))

    def handle_data(self, data: str) -> None:
        self.texts.append((self.found[-1][0] if self.found else "", data))


def test_a_method_that_does_not_come_with_ltbench_is_named_where_papers_are() -> None:
    methods = {"ours": ExpectedMethod("ours_v2", {}), "softmax": ExpectedMethod("balanced_softmax", {})}
    found = make_report.papers_of(replace(trials()[1], methods=methods))
    assert found["ours"].startswith("ours_v2 does not come with ltbench")
    assert "Balanced Meta-Softmax" in found["softmax"]


# -- without a browser -------------------------------------------------------------------------------------------------


def test_the_report_is_a_page_figures_and_tables(suite: Path) -> None:
    files = {p.relative_to(suite / "report").as_posix() for p in (suite / "report").rglob("*") if p.is_file()}
    tables = {"scores.csv", "pairs.csv", "leaderboard.json", "leaderboard.tex", "leaderboard.md"}
    assert tables | {"report.html"} <= files
    figures = files - tables - {"report.html"}
    assert {Path(f).stem for f in figures if f.endswith(".svg")} == {
        Path(f).stem for f in figures if f.endswith(".png")
    }
    assert len(figures) == 26


def test_nothing_is_asked_of_the_network(page: str) -> None:
    for tag, attributes in Elements(page).found:
        for name in ("src", "href", "xlink:href", "action", "srcset", "poster", "data"):
            assert re.match(r"(?!//)(data:|#|\.\./records/|$)", attributes.get(name, "")), (tag, attributes)
    outside = [m for m in re.findall(r"(?:url\(|@import)[^;)]*", page) if not re.match(r"url\(#", m)]
    assert outside == []
    named = set(re.findall(r"https?://[^\s\"'<]*", page))
    assert all(u.startswith("http://www.w3.org/") for u in named)


def test_only_the_script_of_the_page_may_run(page: str) -> None:
    elements = Elements(page)
    (policy,) = (a["content"] for t, a in elements.found if a.get("http-equiv") == "Content-Security-Policy")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert [t for t, a in elements.found if any(name.startswith("on") for name in a)] == []


def test_identifiers_are_there_once_and_links_lead_to_one(page: str) -> None:
    found = Elements(page).found
    ids = Counter(a["id"] for _, a in found if "id" in a)
    assert [i for i, n in ids.items() if n > 1] == []
    assert {a["href"][1:] for t, a in found if t == "a" and a["href"].startswith("#")} <= set(ids)


def test_every_run_links_to_its_record(suite: Path, page: str) -> None:
    links = [a["href"] for t, a in Elements(page).found if t == "a" and a["href"].startswith("../")]
    assert len(links) == 81
    assert all((suite / "report" / link).is_file() for link in links)


def test_a_link_to_a_record_is_an_address(tmp_path: Path) -> None:
    records = made.records({"ce": 0.5, "good": 0.7}, {"a": (10.0,)}, seeds=3)
    journal = Journal(tmp_path / "100% of #1" / "records")
    for record in records:
        journal.write(record)
    from ltbench.page.write import write_report

    (file, *_) = write_report(made.board_of(records), records, None, None, tmp_path, records_folder=journal.folder)
    links = re.findall(r'href="([^"]+json)"', file.read_text(encoding="utf-8"))
    assert {link.rpartition("/")[0] for link in links} == {"100%25%20of%20%231/records"}


def test_downloads_are_the_formats(page: str, suite: Path) -> None:
    records, plan = trials()
    board = made.board_of(records, plan)
    got = {a["download"]: a["href"] for t, a in Elements(page).found if "download" in a}
    wanted = {"made-scores.csv": "csv", "made-pairs.csv": "pairs", "made-leaderboard.json": "json",
              "made-leaderboard.tex": "latex"}  # fmt: skip
    assert got.keys() == wanted.keys()
    for name, format_ in wanted.items():
        decoded = base64.b64decode(got[name].partition(";base64,")[2]).decode()
        assert decoded == FORMATS[format_](board)
        assert decoded == (suite / "report" / name.removeprefix("made-")).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.nightly
def test_the_same_records_give_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    script = """
import hashlib, json, sys
from pathlib import Path
from tests.ranking import made
records = made.records({"ce": 0.5, "good": 0.7, "bad": 0.3}, {"a": (10.0, 100.0)}, seeds=3)
if sys.argv[2] == "backwards":
    records = records[::-1]
made.html_of(records, Path(sys.argv[1]), made.plan_of(sorted(records, key=lambda r: r.spec.name)))
files = [p for p in sorted(Path(sys.argv[1]).rglob("*")) if p.is_file()]
print(json.dumps({str(p.relative_to(sys.argv[1])): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}))
"""
    told = []
    for seed, order in (("1", "forwards"), ("2", "backwards")):
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / seed), order], capture_output=True, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed}, check=True,
        )  # fmt: skip
        told.append(json.loads(done.stdout))
    assert {f.rpartition(".")[2] for f in told[0]} >= {"html", "svg", "png", "csv", "json", "tex", "md"}
    assert told[0] == told[1]


# -- in a browser ------------------------------------------------------------------------------------------------------

in_a_browser = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(suite: Path) -> str:
    return (suite / "report" / "report.html").as_uri()


class Visit:
    """An open page, with everything it complained of and asked for."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)

    def column(self, table: str, at: int) -> list[str]:
        """The texts of a column, of the rows that are shown."""
        cells: list[str] = self.page.eval_on_selector_all(
            f"#{table} tbody tr:not([hidden])", "(rows, at) => rows.map((row) => row.cells[at].textContent)", at
        )
        return cells

    def views(self) -> list[str]:
        shown: list[str] = self.page.eval_on_selector_all(
            ".view", "(all) => all.filter((v) => v.checkVisibility()).map((v) => v.id)"
        )
        return shown


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Any]:
    """`visit("#hash", java_script_enabled=False)`; what a page complains of fails the test."""
    visits: list[Visit] = []

    def make(where: str = "", **options: Any) -> Visit:
        visits.append(Visit(browser, address + where, **options))
        return visits[-1]

    yield make
    for one in visits:
        one.context.close()
        assert one.complaints == []
        assert {url.partition("#")[0] for url in one.requests} == {address}


@in_a_browser
@sampled("width", [1440, 1280, 768, 390, 375], [1440, 390])
def test_the_page_fits_and_is_quiet(visit: Any, width: int) -> None:
    page = visit(viewport={"width": width, "height": 800}).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for summary in page.query_selector_all("summary"):
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@in_a_browser
def test_a_click_on_a_head_sorts_by_number_and_another_turns_it(visit: Any) -> None:
    there = visit()
    heads = there.page.eval_on_selector_all("#table-0-0 thead th", "(all) => all.map((th) => th.textContent)")
    for name in ("mean", "gain [95% CI]", "rank"):
        at = heads.index(name)
        head = there.page.locator("#table-0-0 thead th").nth(at)
        assert head.get_attribute("aria-sort") == "none"
        for direction in ("ascending", "descending"):
            head.locator("button").click()
            assert head.get_attribute("aria-sort") == direction
            texts = there.column("table-0-0", at)
            numbers = [float(found[0]) for t in texts if (found := re.match(r"[-+]?[\d.]+", t))]
            assert len(numbers) >= 3
            assert numbers == sorted(numbers, reverse=direction == "descending")
    sorted_by = there.page.eval_on_selector_all("#table-0-0 th[aria-sort]:not([aria-sort=none])", "(a) => a.length")
    assert sorted_by == 1


@in_a_browser
def test_a_head_is_reached_and_pressed_by_keyboard(visit: Any) -> None:
    there = visit()
    there.page.locator("#runs-table thead button").nth(3).focus()
    there.page.keyboard.press("Enter")
    assert there.column("runs-table", 3) == sorted(there.column("runs-table", 3), key=int)


@in_a_browser
def test_the_filter_leaves_matching_methods_and_counts_them(visit: Any) -> None:
    there = visit()
    there.page.fill("#filter", "OO")
    assert there.column("table-0-0", 1) == ["good"]
    assert there.page.inner_text("#count") == "1 of 4"
    there.page.locator("#table-0-0 thead button").first.click()
    assert there.column("table-0-0", 1) == ["good"], "sorting brings nothing back"
    there.page.select_option("#view", "0-2")
    assert there.column("table-0-2", 0) == ["good"], "it is kept for the next table"
    there.page.fill("#filter", "")
    assert len(there.column("table-0-2", 0)) == 4
    assert there.page.inner_text("#count") == ""


@in_a_browser
def test_the_filter_submits_nothing(visit: Any) -> None:
    there = visit()
    there.page.fill("#filter", "good")
    there.page.press("#filter", "Enter")
    assert there.page.input_value("#filter") == "good"


@in_a_browser
def test_the_chosen_view_is_kept_in_the_address(visit: Any) -> None:
    there = visit()
    assert there.page.eval_on_selector_all("#view option", "(all) => all.map((o) => o.text)") == BOARD_SETS
    assert there.views() == ["view-0-0"]
    there.page.select_option("#view", label="b IF100")
    there.page.fill("#filter", "ba d&")
    assert there.views() == ["view-0-4"]
    where = there.page.evaluate("location.hash")
    again = visit(where)
    assert again.views() == ["view-0-4"]
    assert (again.page.input_value("#view"), again.page.input_value("#filter")) == ("0-4", "ba d&")
    again.page.fill("#filter", "")
    again.page.select_option("#view", label="all data sets")
    assert "#" not in again.page.url


@in_a_browser
@sampled("where", ["#view=9-9", "#view=&methods=", "#=", "#view=%"], ["#view=%"])
def test_an_address_that_means_nothing_opens_the_first_view(visit: Any, where: str) -> None:
    assert visit(where).views() == ["view-0-0"]


@in_a_browser
def test_an_address_of_a_section_leads_there_and_stays(visit: Any) -> None:
    there = visit("#runs")
    there.page.wait_for_function("scrollY > 0")
    assert there.page.url.endswith("#runs")
    assert abs(there.page.eval_on_selector("#runs", "(s) => s.getBoundingClientRect().top")) < 900


@in_a_browser
def test_runs_are_listed_failures_first_and_filtered(visit: Any) -> None:
    there = visit()
    assert there.column("runs-table", 4) == ["failed", *["ok"] * 80]
    assert "ValueError: <boom>" in there.column("runs-table", 11)[0]
    assert [r for r in there.column("runs-table", 11) if r] == [
        "ValueError: <boom>", "not on the board: of an earlier plan",
    ]  # fmt: skip
    there.page.fill("#filter-runs", "b IF100")
    assert set(there.column("runs-table", 2)) == {"b IF100"}
    assert there.page.inner_text("#count-runs") == "20 of 81"
    assert len(there.column("table-0-0", 1)) == 4


def test_a_run_names_the_trial_whose_training_it_took_over() -> None:
    records, plan = trials()
    shared = {**records[0].environment, "trained_by": "a" * 12, "shared_seconds": 9.0}
    board = made.board_of(records, plan)
    evidence = gather([replace(records[0], environment=shared), *records[1:]], board, plan, None)
    remarks = {line.cells[0].text: line.cells[-1].text for line in grids.runs(board, evidence, None).lines}
    assert remarks[records[0].key] == f"training of {'a' * 12}"
    assert remarks[records[1].key] == ""


@in_a_browser
def test_every_figure_has_words_and_data(visit: Any) -> None:
    page = visit().page
    figures = page.eval_on_selector_all(
        "figure",
        """(all) => all.map((f) => [f.querySelector("svg").getAttribute("role"),
             f.querySelector("svg").getAttribute("aria-label"), f.querySelectorAll("details tbody tr").length])""",
    )
    assert len(figures) == 13
    assert {role for role, _, _ in figures} == {"img"}
    assert all(label and rows for _, label, rows in figures)


@in_a_browser
def test_a_dark_scheme_turns_the_colours(visit: Any) -> None:
    def colours(scheme: str) -> tuple[float, float]:
        page = visit(color_scheme=scheme).page
        style = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        paper, ink = (sum(map(int, re.findall(r"\d+", colour)[:3])) / 3 for colour in style)
        drawn = page.eval_on_selector("figure svg text", "(t) => getComputedStyle(t).fill")
        assert drawn == style[1], "figures are drawn in the page's ink"
        return paper, ink

    (paper, ink), (dark_paper, dark_ink) = colours("light"), colours("dark")
    assert paper - ink > 150
    assert dark_ink - dark_paper > 150


@in_a_browser
def test_a_print_shows_every_view(visit: Any) -> None:
    there = visit("#view=0-2")
    there.page.emulate_media(media="print")
    assert there.views() == [f"view-0-{i}" for i in range(5)]
    titles = there.page.eval_on_selector_all(".view > h3", "(a) => a.filter((h) => h.checkVisibility()).length")
    assert titles == 5
    assert not there.page.is_visible("#filter")
    assert there.page.pdf().startswith(b"%PDF")


@in_a_browser
def test_without_scripts_everything_is_there(visit: Any) -> None:
    there = visit(java_script_enabled=False)
    assert [there.page.is_visible(f"#view-0-{i}") for i in range(5)] == [True] * 5
    assert there.page.locator("#runs-table tbody tr").count() == 81


@in_a_browser
def test_what_is_downloaded_is_the_file(visit: Any, suite: Path, tmp_path: Path) -> None:
    there = visit()
    with there.page.expect_download() as started:
        there.page.click("a[download='made-scores.csv']")
    started.value.save_as(tmp_path / "got.csv")
    there.requests[:] = [r for r in there.requests if not r.startswith("data:")]
    assert (tmp_path / "got.csv").read_bytes() == (suite / "report" / "scores.csv").read_bytes()


@in_a_browser
@sampled("case", ["everything failed", "one method", "hostile"], ["hostile"])
def test_the_page_of_an_odd_board_is_quiet_too(browser: Any, tmp_path: Path, case: str) -> None:
    records = made.records({"ce": 0.5} if case == "one method" else {"ce": 0.5, "good": 0.7}, {"a": (10.0,)}, seeds=3)
    if case == "everything failed":
        records = [replace(r, status="failed", metrics={}, per_class={}, error="boom") for r in records]
    if case == "hostile":
        name = "<script>document.title = 'mine'</script><img src=x onerror=alert(1)>"
        records = [replace(r, spec=replace(r.spec, label=name)) if r.spec.label == "good" else r for r in records]
    (tmp_path / "page.html").write_text(made.page_of(made.board_of(records), records), encoding="utf-8")
    there = Visit(browser, (tmp_path / "page.html").as_uri())
    there.page.fill("#filter-runs", "s")
    assert there.complaints == []
    assert there.requests == [(tmp_path / "page.html").as_uri()]
    assert there.page.title() == "made: ltbench report"
    assert there.page.evaluate("document.documentElement.scrollWidth") <= 1280
    there.context.close()


# -- shot conventions --------------------------------------------------------------------------------------------------


def test_shot_conventions_stand_side_by_side_behind_a_disclosure(page: str) -> None:
    section = page.split('id="leaderboard"')[1].split("</section>")[0]
    shown = section.split("<details><summary>Other shot conventions and calibration by shot</summary>")[1]
    for head in ("many / medium / few (&gt; 100, &lt; 20)", "few &lt;= 20", "thirds of the classes",
                 "the partition of imbalance factor 100", "ECE of these", "worst class", "geometric mean"):  # fmt: skip
        assert head in shown, head
    assert "NLL of these" not in shown, "no logits are stored"


def test_shot_conventions_are_means_over_seeds_factors_and_data_sets() -> None:
    records = made.records()
    board = made.board_of(records, made.plan_of(records))
    table, evidence = board.tables[0], gather(records, board, None, made.stored(records))
    found = conventions(board, table, evidence)
    assert found is not None
    line = next(line for line in found.lines if line.name == "ce")
    mine = [by_shot(r, made.stored(records)) for r in records if r.spec.label == "ce"]
    few = float(np.mean([of["few_le20"] for of in mine]))
    at = next(i for i, head in enumerate(found.heads) if "<= 20" in head)
    assert line.cells[at].value == round(few, 1)
    assert line.cells[at].text.endswith(f" / {few:.1f}")
    one = records[0]
    views = Views(("ece_few", "many_if100")).of(one, made.stored(records))
    assert {name: by_shot(one, made.stored(records))[name] for name in views} == views


def test_without_records_there_are_no_conventions() -> None:
    records = made.records()
    board = made.board_of(records)
    assert conventions(board, board.tables[0], gather([], board, None, None)) is None
