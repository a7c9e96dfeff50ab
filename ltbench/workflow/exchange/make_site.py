"""`ltbench site`: folders of results -> static pages over all of them."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ltbench.errors import UserError
from ltbench.fingerprints import stated_in
from ltbench.results.folders import referenced, suites_in
from ltbench.site.content import Suite, made_with
from ltbench.site.pages import pages
from ltbench.spec import Record, Selection
from ltbench.system.files import write_atomically
from ltbench.system.shipped import shipped_folder
from ltbench.workflow.find_results import journal_in
from ltbench.workflow.make_report import make_report
from ltbench.workflow.tell import Tell, tell_nobody

MARK = "site.json"
"""What tells a site's folder from any other."""
_OWN = ("suites", "methods", "datasets")
_BESIDE = ("plan.json", "suite.json", "verified.json", "submission.json", "README.md")
_DOWNLOADS = {"scores.csv": "scores", "pairs.csv": "pairs", "leaderboard.json": "board as JSON",
              "leaderboard.tex": "LaTeX", "records.zip": "records"}  # fmt: skip
_PICTURE = "figures/answer.svg"
_DAY = (1980, 1, 1, 0, 0, 0)
"""A zip's oldest: the same records give the same bytes."""


def make_site(
    sources: Sequence[Path],
    out: Path,
    title: str = "Long-tailed recognition: results",
    repository: str | None = None,
    tell: Tell = tell_nobody,
) -> list[Path]:
    """Write a site that opens from disk and can be served as it is.

    Args:
        sources: folders of results of one suite, or of several. out: the folder to write; one that holds something else
            than an earlier site is left alone. title: of the site. repository: where records are sent; an address.
        tell: told what is done.

    Returns:
        The files, the index first.

    Raises:
        UserError: nothing to show, two suites of one name, or a folder that cannot be written.
    """
    folders = _folders(sources)
    _refuse_what_is_no_site(out)
    try:
        for name in _OWN:
            shutil.rmtree(out / name, ignore_errors=True)
        suites = [_suite(name, folder, out, tell) for name, folder in folders.items()]
        written = pages(suites, title, *_about(suites), repository)
        for file, content in written.items():
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(out / file, content.encode())
    except OSError as error:
        raise UserError(f"{out}: the site cannot be written ({error.strerror})") from error
    return [out / "index.html", *(out / file for file in written if file != "index.html")]


def _folders(sources: Sequence[Path]) -> dict[str, Path]:
    """Suite -> its folder of results, in the order given."""
    found: dict[str, Path] = {}
    for source in map(referenced, sources):
        if not source.is_dir():
            raise UserError(f"{source}: no such folder; give folders of results, such as results/quickstart")
        there = suites_in(source)
        inside = [source] if (source / "records").is_dir() else [source / name for name in there]
        if not inside:
            raise UserError(f"{source}: holds no results: a folder `records`, or folders of suites that have one")
        for folder in inside:
            name = folder.resolve().name
            if name in found:
                raise UserError(f"{folder}: {found[name]} has a suite of the same name; rename one of the folders")
            found[name] = folder
    return found


def _refuse_what_is_no_site(out: Path) -> None:
    if out.is_file():
        raise UserError(f"{out}: is a file; --out names a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file():
        raise UserError(f"{out}: holds something else than a site; give an empty folder, or a new one")


def _suite(name: str, folder: Path, out: Path, tell: Tell) -> Suite:
    """Put one suite's records, tables and report in their place."""
    tell(f"{name} ...")
    place = out / "suites" / name
    (place / "records").mkdir(parents=True)
    for file in _files(folder):
        (place / file.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place / file.relative_to(folder))
    _zip(place)
    made = make_report(None, Path("results"), place, place, Selection(None, None, None), tell)
    records = [record for record in journal_in(place)[0] if isinstance(record, Record)]
    downloads = {file: words for file, words in _DOWNLOADS.items() if (place / file).is_file()}
    return Suite(
        name, f"suites/{name}", made.board, made.page.name, downloads, made_with(records),
        {record.spec.label: record.spec.method for record in records},
        picture=_PICTURE if (place / _PICTURE).is_file() else "",
    )  # fmt: skip


def _files(folder: Path) -> Iterator[Path]:
    """What of a folder of results a site shows."""
    yield from (folder / name for name in _BESIDE if (folder / name).is_file())
    yield from sorted(f for f in (folder / "records").iterdir() if f.suffix in (".json", ".npz") and f.is_file())


def _zip(place: Path) -> None:
    with zipfile.ZipFile(place / "records.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in _files(place):
            entry = zipfile.ZipInfo(f"{place.name}/{file.relative_to(place).as_posix()}", _DAY)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, file.read_bytes())


def _about(suites: Sequence[Suite]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Method -> what it is, its paper, where its defaults are from; and its file. Of those that come with ltbench."""
    found, code = dict[str, list[str]](), dict[str, str]()
    for name in sorted({method for suite in suites for method in suite.methods.values()}):
        file = shipped_folder("methods") / f"{name}.py"
        if file.is_file():
            stated, code[name] = stated_in(file), file.read_text(encoding="utf-8")
            found[name] = [stated.summary, *([stated.paper] if stated.paper else [])]
            if stated.defaults_from:
                found[name].append(f"Defaults: {stated.defaults_from}.")
    return found, code
