"""What `pip install` brings: the wheel and the source distribution are complete, and a light install works.

The light install is a fresh environment with the wheel and, as links, the packages that its dependencies come to;
nothing is fetched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ltbench.system.extras import EXTRAS

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow
NOT_SHIPPED = {".gitignore"}


def tracked() -> set[str]:
    """The files that git would commit."""
    told = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True,
        check=False,
    ).stdout.splitlines()  # fmt: skip
    if not told:
        pytest.skip("no git here")
    return {name for name in told if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the source distribution, built from a copy of what git has."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    script = "import sys; from setuptools.build_meta import *; out = sys.argv[1]; build_wheel(out); build_sdist(out)"
    done = subprocess.run([sys.executable, "-c", script, str(out)], cwd=source, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


def test_the_wheel_has_all_that_a_user_needs(built: tuple[Path, Path]) -> None:
    """Code, methods, suites, documents with their pictures, files for clusters, reference records; and no tests."""
    moved = ("methods/", "suites/", "docs/", "cluster/")
    places = {"ltbench/": "ltbench/", "results/reference/": "ltbench/reference/"} | {f: f"ltbench/{f}" for f in moved}
    site = ("docs/stylesheets/", "docs/javascripts/", "methods/README.md")  # of the site of documents
    expected = {
        place + name.removeprefix(folder)
        for name in tracked()
        for folder, place in places.items()
        if name.startswith(folder) and not name.startswith(site)
    }
    with zipfile.ZipFile(built[0]) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == expected


def test_the_source_distribution_has_all_that_git_has(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert tracked() - names == NOT_SHIPPED


def closure(*names: str) -> set[str]:
    """A package and all that it requires, extras left out."""
    found: set[str] = set()
    wanted = list(names)
    while wanted:
        name = canonicalize_name(wanted.pop())
        if name in found:
            continue
        found.add(name)
        for line in distribution(name).requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted.append(requirement.name)
    return found


@pytest.fixture(scope="module")
def light(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a fresh environment: the wheel, and what it requires without extras."""
    folder = tmp_path_factory.mktemp("light")
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(built[0]) as archive:
        archive.extractall(packages)
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    core = [Requirement(line.removeprefix("Requires-Dist: ")) for line in lines if line.startswith("Requires-Dist: ")]
    for name in closure(*(r.name for r in core if r.marker is None or r.marker.evaluate({"extra": ""}))):
        for top in {file.parts[0] for file in distribution(name).files or () if file.parts[0] not in ("..", "/")}:
            place = Path(str(distribution(name).locate_file(top)))
            if place.exists() and not (packages / top).exists() and top != "__pycache__":
                (packages / top).symlink_to(place)
    return folder / "bin"


def typed(light: Path, folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `ltbench` of the light install."""
    script = "import sys; sys.argv[0] = 'ltbench'; from ltbench.cli import main; main()"
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([str(light / "python"), "-c", script, *arguments], cwd=folder, env=environment, text=True,
                          capture_output=True, timeout=120, check=False)  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_a_light_install_holds_no_extra(light: Path, tmp_path: Path) -> None:
    modules = sorted({module for modules in EXTRAS.values() for module in modules})
    script = f"from importlib.util import find_spec; print([m for m in {modules} if find_spec(m)])"
    done = subprocess.run(
        [str(light / "python"), "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_light_install_ranks_and_shows_what_comes_with_it(light: Path, tmp_path: Path) -> None:
    for says, arguments in {
        "50 of 50 trials": ("leaderboard", "--from", "reference:quickstart"),
        "paired seeds": ("compare", "mixup", "ce", "--from", "reference:quickstart"),
        "cifar_lt_zoo": ("suites",),
        "mine.yaml": ("suites", "copy", "quickstart", "mine.yaml"),
        "tutorials/own-images": ("docs",),
        "cluster/Dockerfile": ("cluster", "copy"),
        "nothing stands in the way": ("doctor",),
    }.items():
        code, out, err = typed(light, tmp_path, *arguments)
        assert (code, says in out) == (0, True), (arguments, out, err)
    assert (tmp_path / "cluster" / "requirements.txt").is_file()


def test_a_light_install_says_how_to_get_what_it_lacks(light: Path, tmp_path: Path) -> None:
    code, out, err = typed(light, tmp_path, "run", "quickstart")
    assert (code, out) == (2, "")
    assert err.startswith("error: ltbench run: not installed: torch, torchvision, ")
    assert err.endswith("ray. Install with: pip install 'ltbench[all]'\n")
