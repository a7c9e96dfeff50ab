"""The site of results: every link leads somewhere, nothing of the outside is asked, and only a site is written over."""

from __future__ import annotations

import json
import re
import zipfile
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from ltbench.errors import UserError
from ltbench.site.pages import _file_names
from ltbench.spec import Record
from ltbench.workflow.exchange.make_site import make_site
from ltbench.workflow.find_results import journal_in

REFERENCE = Path(__file__).parents[2] / "results" / "reference"


class Links(HTMLParser):
    """Collects what a page refers to, and the ids in it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.found.append(value)
            if name == "id" and value:
                self.ids.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_site([REFERENCE / "quickstart"], tmp_path_factory.mktemp("pages") / "site", "Ours <&>")[0].parent


def test_every_link_leads_to_a_file_of_the_site(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) == 1 + 1 + 5 + 1  # the index, the report, five methods, one data set
    for page in pages:
        links = Links()
        links.feed(page.read_text(encoding="utf-8"))
        inside = [link for link in links.found if not link.startswith(("#", "data:"))]
        assert not [link for link in inside if "//" in link], page
        assert not [link for link in inside if not (page.parent / unquote(link.partition("#")[0])).exists()], page
        assert {link[1:] for link in links.found if link.startswith("#")} <= links.ids, page


def test_the_site_shows_what_the_board_shows(site: Path) -> None:
    index = (site / "index.html").read_text(encoding="utf-8")
    assert "Ours &lt;&amp;&gt;" in index
    assert "balanced_softmax, text_guided_mixup, cb_reweight" in " ".join(index.split())
    mixup = (site / "methods" / "mixup.html").read_text(encoding="utf-8")
    assert "Beyond Empirical Risk Minimization" in mixup
    assert "78.0 ±1.3" in mixup
    assert "-4.3 [-6.8, -1.8]" in mixup
    data = json.loads((site / "site.json").read_text(encoding="utf-8"))
    assert [suite["name"] for suite in data["suites"]] == ["quickstart"]


def test_the_records_on_the_site_are_those_of_the_suite(site: Path) -> None:
    place = site / "suites" / "quickstart"
    there = [r for r in journal_in(place)[0] if isinstance(r, Record)]
    assert len(there) == 50
    with zipfile.ZipFile(place / "records.zip") as archive:
        names = {n.removeprefix("quickstart/") for n in archive.namelist()}
    assert names == {f.relative_to(place).as_posix() for f in place.rglob("*") if f.parent.name == "records"} | {
        "plan.json", "suite.json",
    }  # fmt: skip


def test_a_site_is_made_again_in_its_place_and_nothing_else_is_touched(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds something else than a site"):
        make_site([REFERENCE / "quickstart"], mine)
    assert [f.name for f in mine.iterdir()] == ["thesis.txt"]
    (tmp_path / "site.json").write_text("{}")
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "gone.html").write_text("of an earlier suite")
    make_site([REFERENCE / "quickstart"], tmp_path)
    assert not (tmp_path / "methods" / "gone.html").exists()
    assert (mine / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["absent"], "no such folder"),
        (["empty"], "holds no results"),
        (["quickstart", "../reference/quickstart"], "same name"),
    ],
)
def test_what_is_no_folder_of_results_is_told(names: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    sources = [tmp_path / n if n in ("absent", "empty") else REFERENCE / n for n in names]
    with pytest.raises(UserError, match=words):
        make_site(sources, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_names_become_files_that_differ_and_stay_in_their_folder() -> None:
    names = ["CE", "ce", "../up", "a b", "a-b", "ü", "ö", "con.html"]
    found = _file_names(names)
    assert len({file.lower() for file in found.values()}) == len(names)
    assert not [file for file in found.values() if "/" in file or file.startswith(".")]


def test_the_page_of_a_method_has_its_formula(site: Path) -> None:
    page = (site / "methods" / "balanced_softmax.html").read_text(encoding="utf-8")
    assert page.count('<math display="block"') == 1
    assert "training images of class" in page, "what the letters mean"
    assert "<math" not in (site / "datasets" / "digits.html").read_text(encoding="utf-8")


def test_the_page_of_a_method_has_its_code_and_what_a_trial_costs(site: Path) -> None:
    page = (site / "methods" / "balanced_softmax.html").read_text(encoding="utf-8")
    code = (Path(__file__).parents[2] / "methods" / "balanced_softmax.py").read_text(encoding="utf-8")
    assert escape(code, quote=True).replace("&quot;", "&#34;").replace("&#x27;", "&#39;") in page
    assert re.search(r"<td class=\"number\">[\d.]+ s, CPU</td>", page)
    assert "<pre" not in (site / "datasets" / "digits.html").read_text(encoding="utf-8")
