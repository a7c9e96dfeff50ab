"""What `make docs` does beyond mkdocs: it brings in the documents that lie outside docs/, makes their links hold, and
puts each page's Markdown and an `llms.txt` beside the pages. mkdocs.yml names this module as a hook."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tools import docs_authors, docs_notebooks, docs_pictures, docs_reference, formulas

ROOT = Path(__file__).resolve().parents[1]
FROM_THE_TOP = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
"""Page -> the file of the repository that it is."""
_SOURCES = {**FROM_THE_TOP, **docs_notebooks.SOURCES}
SOURCES = "https://github.com/ltbench/ltbench/blob/main"
"""Where a link to a file leads that is no page."""
FENCED = re.compile(r"^ *(```|~~~).*?^ *\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r'(?P<before>\]\(|(?:src|srcset|href)=")(?P<target>[^)"\s]+)')
ITEM = re.compile(r"(?:[*-]|\d+\.) ")
FORMULA = re.compile(r"^\$\$\n(?P<display>.+?)\n\$\$$|\\\((?P<inline>.+?)\\\)", re.MULTILINE | re.DOTALL)

_markdown: dict[str, str] = {}
"""Page -> its Markdown as the site has it."""
_mathml: dict[str, str] = {}
"""A word that stands for a formula while Markdown is read -> the formula."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that docs/ does not have."""
    for page, source in FROM_THE_TOP.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    generated = {
        **docs_reference.pages(),
        **docs_authors.authors(),
        **docs_pictures.gallery(),
        **docs_notebooks.pages(),
    }
    for page, content in generated.items():
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with links that hold on the site, and lists as mkdocs reads them."""
    uri = page.file.src_uri
    pages = {file.src_uri for file in files}
    text = outside_code(markdown, lambda part: LINK.sub(lambda link: _moved(link, uri, pages), part))
    _markdown[uri] = text
    return deeper_lists(outside_code(text, lambda part: FORMULA.sub(_held, part)))


def _held(formula: re.Match[str]) -> str:
    """A word in place of a formula, so that nothing in it is read as Markdown."""
    word = f"FORMULA{len(_mathml)}X"
    _mathml[word] = formulas.display(formula["display"]) if formula["display"] else formulas.mathml(formula["inline"])
    return word


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its formulas, and a link to its Markdown."""
    html = re.sub(r"<p>(FORMULA\d+X)</p>", r"\1", html)
    html = re.sub(r"FORMULA\d+X", lambda word: _mathml[word[0]], html)
    twin = posixpath.basename(page.file.src_uri)
    return f'{html}\n<p class="twin" data-search-exclude><a href="{twin}">This page as Markdown</a></p>'


def on_post_build(config: MkDocsConfig) -> None:
    """Write each page's Markdown beside it, and the list of all pages."""
    site = Path(config.site_dir)
    for uri, text in _markdown.items():
        (site / uri).write_text(text, encoding="utf-8")
    (site / "llms.txt").write_text(_listing(config), encoding="utf-8")


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """`text` with everything changed but its code blocks."""
    done, at = [], 0
    for block in FENCED.finditer(text):
        done += [change(text[at : block.start()]), block[0]]
        at = block.end()
    return "".join([*done, change(text[at:])])


def moved(target: str, page: str, pages: Mapping[str, object] | set[str]) -> str:
    """Where a link of a page leads on the site.

    Args:
        target: as the document has it, relative to the document's file. page: that it stands on. pages: there are.
    """
    path, mark, anchor = target.partition("#")
    if not path or re.match(r"\w+:", path):
        return target
    source = _SOURCES.get(page, f"docs/{page}")
    file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    back = {source: page for page, source in _SOURCES.items()}
    uri = back.get(file, file.removeprefix("docs/") if file.startswith("docs/") else None)
    if uri is None or uri not in pages:
        return f"{SOURCES}/{file}{mark}{anchor}"
    return posixpath.relpath(uri, posixpath.dirname(page) or ".") + mark + anchor


def _moved(link: re.Match[str], page: str, pages: set[str]) -> str:
    return link["before"] + moved(link["target"], page, pages)


def deeper_lists(text: str) -> str:
    """What belongs to an item of a list, four blanks deep, and an item that follows paragraphs after an empty line:
    GitHub is content with less, mkdocs is not."""
    done: list[str] = []
    inside = code = paragraphs = False
    for line in text.split("\n"):
        if line.lstrip().startswith(("```", "~~~")):
            code = not code
        blanks = len(line) - len(line.lstrip(" "))
        if line.strip() and blanks == 0 and not code:
            inside = ITEM.match(line) is not None
            if inside and paragraphs and done[-1].strip():
                done.append("")
            paragraphs = False
        paragraphs |= inside and blanks > 0 and not done[-1].strip()
        shift = 4 - blanks if inside and blanks in (2, 3) and line.strip() and not code else 0
        done.append(" " * shift + line)
    return "\n".join(done)


def summary(text: str) -> str:
    """The first sentence of a page's first paragraph, without marks."""
    for paragraph in FENCED.sub("", text).split("\n\n"):
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(paragraph.split()))
        if plain and not plain.startswith(("#", "|", "<", "*", "!", "-")):
            return re.split(r"(?<=[.?:])\s", re.sub(r"[*`]", "", plain), maxsplit=1)[0]
    return ""


def _listing(config: MkDocsConfig) -> str:
    """llms.txt: every page, as the navigation has it, with a line about it."""
    about = config.extra["about"]
    lines = [f"# {config.site_name}", "", f"> {config.site_description}"]

    def add(entries: list[object]) -> None:
        for entry in entries:
            ((title, inside),) = entry.items()  # type: ignore[attr-defined]
            if isinstance(inside, list):
                lines.extend(["", f"## {title}", ""])
                add(inside)
            else:
                lines.append(f"- [{title}]({inside}): {about.get(inside) or summary(_markdown[inside])}")

    single = [entry for entry in config.nav or [] if not isinstance(next(iter(entry.values())), list)]
    several = [entry for entry in config.nav or [] if entry not in single]
    lines.extend(["", "## Pages", ""])
    add(single)
    add(several)
    return "\n".join(lines) + "\n"
