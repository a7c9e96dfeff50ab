"""`ltbench docs` and `ltbench cluster`: files that come with ltbench, for whoever has no checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ltbench.errors import UserError, did_you_mean
from ltbench.system.shipped import shipped_folder


def docs(
    page: Annotated[str | None, typer.Argument(metavar="[PAGE]", help="print this page; default: list them")] = None,
) -> None:
    """List the pages of the documentation, or print one. They are Markdown, and need no network."""
    folder = shipped_folder("docs")
    pages = {file.relative_to(folder).with_suffix("").as_posix(): file for file in sorted(folder.rglob("*.md"))}
    if page is None:
        for line in _lines({name: _first_heading(file) for name, file in pages.items()}):
            typer.echo(line)
        typer.echo(f"\nltbench docs PAGE prints one. They lie in {folder}")
        return
    name = page.removeprefix("docs/").removesuffix(".md")
    if name not in pages:
        raise UserError(f"docs {page}: no such page. {did_you_mean(name, pages)}")
    typer.echo(pages[name].read_text(encoding="utf-8"), nl=False)


def cluster(
    what: Annotated[str, typer.Argument(metavar="[list|show|copy]", help="what to do")] = "list",
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="a file; of copy: default: all of them")] = None,
    out: Annotated[Path, typer.Option(help="of copy: the folder to write to")] = Path("cluster"),
) -> None:
    """List, show or copy files for Slurm, Kubernetes and Docker. And for machines with ssh; to be filled in."""
    folder = shipped_folder("cluster")
    files = {file.name: file for file in sorted(folder.iterdir()) if file.is_file()}
    if name is not None and name not in files:
        raise UserError(f"cluster {what} {name}: no such file. {did_you_mean(name, files)}")
    if what == "list":
        for line in _lines({each: _first_comment(file) for each, file in files.items()}):
            typer.echo(line)
        typer.echo("\nltbench cluster copy writes them to ./cluster. ltbench docs cluster explains them.")
    elif what == "show" and name is not None:
        typer.echo(files[name].read_text(encoding="utf-8"), nl=False)
    elif what == "show":
        raise UserError(f"cluster show: name a file: {', '.join(files)}")
    elif what == "copy":
        for each in files if name is None else [name]:
            typer.echo(str(_copied(files[each], out)))
    else:
        raise UserError(f"cluster {what}: unknown. Known: list, show NAME, copy [NAME]")


def _copied(file: Path, folder: Path) -> Path:
    target = folder / file.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as stream:
            stream.write(file.read_bytes())
    except FileExistsError:
        raise UserError(f"{target}: is there already; name another folder with --out") from None
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror})") from error
    return target


def _lines(found: dict[str, str]) -> list[str]:
    width = max(map(len, found))
    return [f"{name:<{width}}  {words}" for name, words in found.items()]


def _first_heading(file: Path) -> str:
    return next((line[2:] for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("# ")), "")


def _first_comment(file: Path) -> str:
    lines = (line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("# "))
    return next(lines, "# ")[2:]
