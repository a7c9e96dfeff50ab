"""Where a suite's results lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ltbench.errors import UserError
from ltbench.results.journal import Journal
from ltbench.spec import SAFE_NAME
from ltbench.system.files import read_patiently
from ltbench.system.remote import Remote, is_uri

if TYPE_CHECKING:
    from ltbench.spec import Expectation


@dataclass(frozen=True)
class Folders:
    """Where a suite's results lie: records/ is the journal, plan.json what a complete set looks like, checkpoints/ what
    running trials leave for the case that they are interrupted."""

    results: Path
    suite: str

    @property
    def suite_folder(self) -> Path:
        """Everything of the suite."""
        return self.results / self.suite

    @property
    def journal(self) -> Journal:
        """Its records."""
        return Journal(self.suite_folder / "records")

    @property
    def checkpoints(self) -> Path:
        """What running trials leave, as an absolute path."""
        return self.suite_folder.absolute() / "checkpoints"

    @property
    def plan_file(self) -> Path:
        """What a complete set of results looks like."""
        return self.suite_folder / "plan.json"


def read_plan(file: Path) -> Expectation | None:
    """What `ltbench run` kept of the plan, or None."""
    import json

    from ltbench.spec import Expectation

    if not file.exists():
        return None
    if not file.is_file():
        raise UserError(f"{file}: is not a plain file; remove it; the next run writes it anew")
    try:
        return Expectation.from_json(json.loads(read_patiently(file).decode("utf-8")))
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: damaged ({error}); remove it; the next run writes it anew") from error


def folders_of(results: Path, suite: str) -> Folders:
    """The folders of a suite.

    Raises:
        UserError: `results` is a URI, or the name is none for a suite.
    """
    if is_uri(results):
        raise UserError(f"--results {results}: records are kept in a folder, not at a URI; name one (a mounted bucket "
                        f"is one, too) and put the checkpoints at the URI: --checkpoints URI")  # fmt: skip
    return Folders(results, checked_name(suite))


def checked_name(suite: str) -> str:
    """Names come from suites, records, plan.json and MLflow: one that is none must not become a path."""
    if not SAFE_NAME.fullmatch(suite):
        raise UserError(f"{suite!r} is not a usable name of a suite")
    return suite


def suites_in(results: Path) -> list[str]:
    """The suites that have records under a folder of results, sorted."""
    return sorted(p.parent.name for p in results.glob("*/records") if p.is_dir() and SAFE_NAME.fullmatch(p.parent.name))


def last_used(results: Path) -> list[str]:
    """The suites that have records under a folder of results, the last used first."""
    return sorted(suites_in(results), key=lambda name: (results / name / "records").stat().st_mtime, reverse=True)


def checkpoints_of(chosen: str | None, folders: Folders) -> Path | Remote:
    """Where running trials leave their checkpoints: beside the records, in another folder, or at a URI; each suite in a
    folder of its own."""
    if chosen is None:
        return folders.checkpoints
    return Remote(chosen) / folders.suite if is_uri(chosen) else Path(chosen).expanduser().absolute() / folders.suite


REFERENCE = "reference:"
"""How the records that come with ltbench are named: `reference:quickstart`."""


def referenced(source: Path) -> Path:
    """A folder as it was named; of `reference:NAME`, the records that come with ltbench: installed, or, in a checkout,
    those in results/reference.

    Raises:
        UserError: none of that name come with ltbench.
    """
    if not str(source).startswith(REFERENCE):
        return source
    from ltbench.errors import did_you_mean
    from ltbench.system.shipped import shipped_folder

    name = str(source).removeprefix(REFERENCE)
    folder = shipped_folder("reference")
    known = sorted(f.parent.name for f in folder.glob("*/plan.json"))
    if name not in known:
        raise UserError(f"--from {source}: no records of that name come with ltbench. {did_you_mean(name, known)}")
    return folder / name
