"""The site's pages as HTML. They ask the network for nothing, and need no script."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from itertools import groupby
from typing import Any

import ltbench
from ltbench.ranking.formats.as_json import as_data
from ltbench.site.content import Line, Suite, grouped, lines_of

_FORMULAS = "formulas.json"
"""Method -> what it computes, as HTML; under an empty name, what the letters mean. tools/formulas.py makes it."""


def pages(
    suites: Sequence[Suite],
    title: str,
    about: Mapping[str, Sequence[str]],
    code: Mapping[str, str],
    repository: str | None = None,
) -> dict[str, str]:
    """All pages of the site but the suites' own: file -> content.

    Args:
        title: of the site. about: method -> sentences on it, the first of them in short. code: method -> its file, of
            those that come with ltbench. repository: where records are sent; an address.
    """
    lines = [line for suite in suites for line in lines_of(suite)]
    methods, datasets = grouped(lines, "method"), grouped(lines, "dataset")
    files_of = {"methods": _file_names(methods), "datasets": _file_names(datasets)}
    written = {"site.css": _template("site.css")}
    formulas = json.loads(files("ltbench.site").joinpath(_FORMULAS).read_text(encoding="utf-8"))
    written["index.html"] = _render(
        "index.html", "", title=title, suites=suites, repository=repository, **files_of
    )  # fmt: skip
    for name, file in files_of["methods"].items():
        written[f"methods/{file}"] = _render(
            "one.html", "../", title=name, site=title, first="data set", about=about.get(name, ()),
            code=code.get(name, ""), formula=formulas.get(name, "") if name in code else "", letters=formulas[""],
            groups=[_group(own, lambda line: (line.title, f"datasets/{files_of['datasets'][line.column.dataset]}"))
                    for own in _by_table(methods[name])],
        )  # fmt: skip
    for name, file in files_of["datasets"].items():
        written[f"datasets/{file}"] = _render(
            "one.html", "../", title=name, site=title, first="method", about=(), code="", formula="",
            groups=[_group(own, lambda line: (line.row.name, f"methods/{files_of['methods'][line.method]}"))
                    for own in _by_column(datasets[name])],
        )  # fmt: skip
    written["site.json"] = json.dumps(_data(suites, title), indent=1, sort_keys=True) + "\n"
    return written


def _by_table(lines: Iterable[Line]) -> list[list[Line]]:
    """Lines of one method, those of one table together."""
    return [list(own) for _, own in groupby(lines, key=lambda line: (line.suite.name, id(line.table)))]


def _by_column(lines: Iterable[Line]) -> list[list[Line]]:
    """Lines of one data set, those of one column together, in the order of the board's rows."""

    def column(line: Line) -> tuple[str, int, str]:
        return line.suite.name, id(line.table), line.title

    return [list(own) for _, own in groupby(sorted(lines, key=column), key=column)]


def _group(lines: Sequence[Line], name_of: Any) -> dict[str, Any]:
    """What a table of a page shows."""
    first = lines[0]
    heading = first.suite.name + (f", {first.title}" if len({line.title for line in lines}) == 1 else "")
    start = f", {first.table.start}" if first.table.start else ""
    shown = []
    for line in lines:
        name, link = name_of(line)
        score = line.row.scores[line.column]
        rank = "-" if score.rank is None else "-".join(map(str, dict.fromkeys(score.rank)))
        shown.append({"name": name, "link": link, "score": line.score, "gain": line.gain, "verdict": line.verdict,
                      "rank": rank, "seeds": line.seeds, "cost": line.cost})  # fmt: skip
    return {
        "heading": heading, "lines": shown, "reference": first.table.reference,
        "metric": first.suite.board.primary.replace("_", " "),
        "note": f"Recipe {first.table.recipe_name}{start}. {first.suite.made}.",
        "link": f"{first.suite.folder}/{first.suite.page}",
    }  # fmt: skip


def _data(suites: Sequence[Suite], title: str) -> dict[str, Any]:
    """The site for programs: every board, and where its files are."""
    shown = [
        {"name": s.name, "folder": s.folder, "page": f"{s.folder}/{s.page}", "made_with": s.made,
         "downloads": [f"{s.folder}/{file}" for file in s.downloads], "board": as_data(s.board)}
        for s in suites
    ]  # fmt: skip
    return {"title": title, "ltbench": ltbench.__version__, "suites": shown}


def _file_names(names: Iterable[str]) -> dict[str, str]:
    """Name -> a file's name that every file system and address takes, different for every name."""
    found: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^a-z0-9_.-]+", "-", name.lower()).strip("-.") or "unnamed"
        number = 1 + sum(file.removesuffix(".html").rpartition("~")[0] == plain or file == f"{plain}.html"
                         for file in found.values())  # fmt: skip
        found[name] = f"{plain}.html" if number == 1 else f"{plain}~{number}.html"
    return found


def _template(name: str) -> str:
    return files("ltbench.site").joinpath("template").joinpath(name).read_text(encoding="utf-8")


def _render(template: str, root: str, **values: Any) -> str:
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_template("head.html") + _template(template)).render(
        root=root, version=ltbench.__version__, **values
    )
