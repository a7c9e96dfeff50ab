"""What the documents point at is there: files, headings, modules, names of the package, words of the command line."""

from __future__ import annotations

import importlib
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
import yaml

import ltbench
from ltbench.cli import app
from tools import docs_pictures, docs_reference

ROOT = Path(__file__).parents[1]


def _documents() -> list[Path]:
    """The Markdown files and notebooks of the repository: those that git would commit."""
    kinds = ("*.md", "*.ipynb")
    told = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *kinds],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.split("\n")  # fmt: skip
    found = [ROOT / name for name in told if name] or [  # where there is no git
        f for kind in kinds for f in ROOT.rglob(kind)
        if not {".venv", "node_modules", ".ipynb_checkpoints"} & set(f.relative_to(ROOT).parts)
    ]  # fmt: skip
    return sorted(file for file in found if file.is_file())


def text_of(file: Path) -> str:
    """Its text; of a notebook, what stands in its Markdown cells."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".ipynb":
        return text
    return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")


DOCUMENTS = {file.relative_to(ROOT).as_posix(): text_of(file) for file in _documents()}
FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
FILE = re.compile(
    r"(?<![\w/.-])((?:ltbench|methods|tests|benchmarks|tools|suites|docs|examples|cluster)/[\w./-]*\w"
    r"\.(?:py|yaml|md|csv|sh|sbatch|ipynb))(?![\w/])"
)
PYTHON_FILE = re.compile(r"`([\w-]+/[\w./-]+\.py)`")
MODULE = re.compile(r"`(ltbench(?:\.\w+)+)")


def places(text: str) -> Iterator[str]:
    """Where the links of a document lead, those to the web left out."""
    for match in LINK.finditer(FENCED.sub("", text)):
        target = match[1] or match[2]
        if not re.match(r"\w+:", target):
            yield unquote(target)


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them: lower case, no punctuation, hyphens for blanks."""
    heads = re.findall(r"^#{1,6} +(.+?) *$", FENCED.sub("", text), re.MULTILINE)
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", head) for head in heads)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in plain}


def broken(name: str, text: str) -> Iterator[str]:
    """Links of a document to a file that is not there, or to a heading that its file has not."""
    for target in places(text):
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path
        found = file.exists()
        if found and anchor:
            found = anchor in anchors(text_of(file) if path else text)
        if not found:
            yield target


def test_there_are_documents() -> None:
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md", "docs/python.md"} <= set(DOCUMENTS)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    assert sorted(broken(name, DOCUMENTS[name])) == []


def test_a_broken_link_is_seen() -> None:
    text = '# A `b`: c\n[x](README.md) [y](nowhere.md) [z](#a-b-c) [w](#d) <img src="no.svg"> [web](https://x.org)'
    assert sorted(broken("CONTRIBUTING.md", text)) == ["#d", "no.svg", "nowhere.md"]


def absent(text: str) -> list[str]:
    """Files that a document names and that are not there. A path may begin in the repository, in the package or in the
    tests. A name in capitals (`methods/NAME.py`), or one that is a reader's own (`my_...`), stands for any."""
    named = {*FILE.findall(text), *PYTHON_FILE.findall(text)}
    there = {file for file in named if any((ROOT / folder / file).is_file() for folder in ("", "ltbench", "tests"))}
    return sorted(file for file in named - there if not re.search(r"\b[A-Z]{3,}\.|my_", file))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_that_are_named_exist(name: str) -> None:
    assert absent(DOCUMENTS[name]) == []


def test_a_file_that_has_moved_is_seen() -> None:
    text = "`ltbench/spec/trial.py` (ltbench/track.py), `spec/trial.py`, `report/report.py`, methods/NAME.py"
    assert absent(text) == ["ltbench/track.py", "report/report.py"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_modules_and_functions_that_are_named_exist(name: str) -> None:
    """`ltbench.api`, `ltbench.run`, `ltbench.frames.boards`."""
    assert sorted({match for match in MODULE.findall(DOCUMENTS[name]) if not _is_there(match)}) == []


def _is_there(name: str) -> bool:
    owner, _, last = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ImportError:
        return owner != "" and hasattr(importlib.import_module(owner), last)
    return True


def test_the_listing_of_the_package_names_every_part_of_it() -> None:
    """The first page of docs/architecture.md: one line for each module and folder, and none for what is not there."""
    listing = DOCUMENTS["docs/architecture.md"].split("```\n", 2)[1]
    named = set(re.findall(r"^  (\S+)  ", listing, re.MULTILINE))
    package = ROOT / "ltbench"
    modules = {file.name for file in package.glob("*.py")}
    folders = {f"{f.parent.relative_to(package).as_posix()}/" for f in package.glob("*/**/__init__.py")}
    assert named == (modules | folders)


def test_the_page_about_python_has_every_function_of_the_package() -> None:
    page = DOCUMENTS["docs/python.md"]
    assert [name for name in ltbench.__all__ if f"ltbench.{name}(" not in page] == []


def test_the_commands_that_are_named_exist() -> None:
    commands = {c.name or (c.callback.__name__ if c.callback else "") for c in app.registered_commands}
    named = {word for text in DOCUMENTS.values() for word in re.findall(r"`ltbench ([a-z]+)", text)}
    assert named - commands == set()


@cache
def reference() -> dict[str, str]:
    """The pages that are made from the code."""
    return docs_reference.pages()


def test_every_key_of_a_suite_has_a_meaning() -> None:
    """In the reference, which takes it from the text below the field."""
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", reference()["reference/suite.md"], re.MULTILINE)
    assert {"suite", "epochs", "milestones", "seeds", "gpu_memory_gb", "holdout_per_class"} <= {key for key, _ in rows}
    assert [key for key, meaning in rows if not meaning.strip()] == []


def test_the_reference_says_types_bounds_and_defaults() -> None:
    page = reference()["reference/suite.md"]
    assert "| `batch_size` | whole number, ≥ 1 | required | Images in a step. |" in page
    assert "| `momentum` | number, ≥ 0, < 1 | `0.9` |" in page
    assert "| `precision` | `fp32`, `bf16`, `auto` | `fp32` |" in page
    assert "| `optimizer` | [Sgd](#sgd) or [Adam](#adam) | required |" in page


def test_the_reference_has_every_command_method_and_function() -> None:
    commands = {c.name or (c.callback.__name__ if c.callback else "") for c in app.registered_commands}
    for name, page, head in (
        *((command, "commands", f"## ltbench {command}\n") for command in commands),
        *((method, "methods", f"## {method}\n") for method in ltbench.methods().index),
        *((function, "python", f"## ltbench.{function}\n") for function in ltbench.__all__),
    ):
        assert head in reference()[f"reference/{page}.md"], name
    assert "| `--retry-failed` |  | run only the trials that failed |" in reference()["reference/commands.md"]
    assert "* `retry_failed`: run only the trials that failed." in reference()["reference/python.md"]


def test_a_docstring_becomes_markdown() -> None:
    text = "One line.\n\nArgs:\n    a: first,\n        and more.\n\nExamples:\n    >>> 1"
    assert list(docs_reference.docstring(text)) == [
        "One line.", "", "**Args**", "", "* `a`: first,", "    and more.", "",
        "**Examples**", "", "```python", ">>> 1", "```",
    ]  # fmt: skip


def test_the_picture_of_the_readme_has_the_reference_numbers(tmp_path: Path) -> None:
    """`python -m tools.docs_pictures` makes it anew."""
    docs_pictures.main([str(tmp_path)])
    name = docs_pictures.README_PICTURE[1]
    made, committed = ((folder / name).read_text(encoding="utf-8") for folder in (tmp_path, docs_pictures.IMAGES))
    pd.testing.assert_frame_equal(docs_pictures.data_of(made), docs_pictures.data_of(committed), rtol=1e-9)
    shown = re.search(r"<title>(.*?)</title>", made)
    assert shown is not None
    assert f"![{shown[1]}](docs/images/{name})" in DOCUMENTS["README.md"], "its words for who cannot see it"


def test_the_gallery_says_what_every_figure_answers() -> None:
    page = docs_pictures.gallery()["gallery.md"]
    for figure in docs_pictures.figures():
        assert f"## {docs_pictures.question(figure)}\n" in page
        assert figure.caption in page


def test_pictures_are_small() -> None:
    pictures = {
        **docs_pictures.gallery(),
        "gains.svg": (docs_pictures.IMAGES / "gains.svg").read_text(encoding="utf-8"),
    }
    assert {name: len(text) for name, text in pictures.items() if len(text) > 150_000} == {}


def test_on_pypi_the_links_of_the_readme_are_absolute() -> None:
    written = runpy.run_path(str(ROOT / "setup.py"))["for_pypi"](DOCUMENTS["README.md"])
    assert list(places(written)) == []
    assert "](https://raw.githubusercontent.com/ltbench/ltbench/main/docs/images/gains.svg)" in written
    assert "[docs/suites.md](https://github.com/ltbench/ltbench/blob/main/docs/suites.md)" in written


def test_links_lead_to_pages_of_the_site_or_to_the_repository() -> None:
    hooks = pytest.importorskip("tools.docs_hooks", reason="mkdocs comes with the extra `docs`", exc_type=ImportError)
    pages = {"index.md", "suites.md", "contributing.md", "tutorials/clip.md", "images/gains.svg"}
    for target, page, expected in [
        ("docs/suites.md#datasets", "index.md", "suites.md#datasets"),
        ("../CONTRIBUTING.md", "suites.md", "contributing.md"),
        ("../suites.md", "tutorials/clip.md", "../suites.md"),
        ("../../README.md", "tutorials/clip.md", "../index.md"),
        ("../cluster/slurm.sbatch", "suites.md", f"{hooks.SOURCES}/cluster/slurm.sbatch"),
        ("#here", "suites.md", "#here"),
        ("https://x.org", "suites.md", "https://x.org"),
    ]:
        assert hooks.moved(target, page, pages) == expected
    assert hooks.outside_code("a\n```\na\n```\na", str.upper) == "A\n```\na\n```\nA"
    assert hooks.deeper_lists("1. a\n\n   b\n  * c\n\nd\n  e") == "1. a\n\n    b\n    * c\n\nd\n  e"
    assert hooks.deeper_lists("1. a\n\n   b\n2. c\n3. d") == "1. a\n\n    b\n\n2. c\n3. d"
    assert hooks.summary("# Head\n\n| a |\n\nA `b` [c](d.md). More.") == "A b c."


@pytest.mark.nightly
def test_the_site_builds_and_asks_the_network_for_nothing(tmp_path: Path) -> None:
    """`make docs`: no broken link, each page with its Markdown, no script, style, font or picture from elsewhere."""
    pytest.importorskip("material", reason="mkdocs comes with the extra `docs`")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = [file for file in tmp_path.rglob("*.html") if file.name != "404.html"]
    assert {"index.html", "gallery.html", "methods.html", "first-run.html"} <= {file.name for file in pages}
    listed = set(re.findall(r"\]\((\S+\.md)\)", (tmp_path / "llms.txt").read_text(encoding="utf-8")))
    assert listed == {file.relative_to(tmp_path).with_suffix(".md").as_posix() for file in pages}
    assert all((tmp_path / name).is_file() for name in listed)
    fetched = re.compile(
        r"<(?:script|img|iframe|link(?![^>]*canonical))\b[^>]*\b(?:src|href)=\"?(?:https?:)?//[^\s\">]+"
    )
    assert {file.name: found for file in pages if (found := fetched.findall(file.read_text(encoding="utf-8")))} == {}
    styles = [file.read_text(encoding="utf-8") for file in tmp_path.rglob("*.css")]
    assert [
        found for style in styles for found in re.findall(r"(?:url\(|@import)[\s\"']*(?:https?:)?//\S+", style)
    ] == []


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == ltbench.__version__
    assert f'version = "{ltbench.__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    latest = re.search(r"^## (\S+)", DOCUMENTS["CHANGELOG.md"], re.MULTILINE)
    assert latest is not None
    assert latest[1] == ltbench.__version__


def test_the_citation_has_what_its_format_asks_for() -> None:
    """CFF 1.2.0 asks for these four and allows no others than those it lists."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["cff-version"] == "1.2.0"
    assert citation.keys() <= {
        "abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi", "identifiers", "keywords",
        "license", "license-url", "message", "preferred-citation", "references", "repository", "repository-artifact",
        "repository-code", "title", "type", "url", "version",
    }  # fmt: skip
