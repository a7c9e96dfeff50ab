"""Who may import whom (design, section 2): read from every file's syntax tree, and tried in fresh processes."""

from __future__ import annotations

import ast
import graphlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from ltbench.data.sources.source import Source
from ltbench.spec import TrialSpec

ROOT = Path(__file__).parents[1]
STDLIB = sys.stdlib_module_names


class Import(NamedTuple):
    """`module` is imported by `file`, anywhere in it: at the top, in a function, for type checking."""

    file: str
    module: str

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def imports_of(text: str, module: str) -> Iterator[str]:
    """Full names of the modules that a file of this text imports; `module` is its own name."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            yield whole
            yield from (f"{whole}.{alias.name}" for alias in node.names if _is_module(f"{whole}.{alias.name}"))
        elif isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in (
            "import_module", "__import__",
        ):  # fmt: skip
            yield from (a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))


def _is_module(name: str) -> bool:
    """`from ltbench import cli` imports ltbench.cli."""
    place = ROOT.joinpath(*name.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file()


def read(folder: str, package: str) -> list[Import]:
    found = []
    for file in sorted((ROOT / folder).rglob("*.py")):
        inner = file.relative_to(ROOT / folder).with_suffix("")
        module = ".".join([package, *inner.parts])
        shown = file.relative_to(ROOT).as_posix()
        found += [Import(shown, name) for name in imports_of(file.read_text(encoding="utf-8"), module)]
    return found


@cache
def harness() -> list[Import]:
    """All that the package imports."""
    return read("ltbench", "ltbench")


@cache
def methods() -> list[Import]:
    """All that the methods import."""
    return read("methods", "ltbench.methods")


def offenders(imports: list[Import], allowed: Callable[[Import], bool]) -> list[str]:
    return sorted({f"{i.file} imports {i.module}" for i in imports if not allowed(i)})


def under(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import torch.nn as nn", {"torch.nn"}),
        ("def f():\n    import ray", {"ray"}),
        ("if TYPE_CHECKING:\n    from ray.tune import x", {"ray.tune"}),
        ("from .ce_drw import X", {"ltbench.methods.ce_drw"}),
        ("from ltbench import cli", {"ltbench", "ltbench.cli"}),
        ("importlib.import_module('mlflow')", {"mlflow"}),
    ],
)
def test_the_reader_of_imports_sees_them_wherever_they_stand(text: str, names: set[str]) -> None:
    assert set(imports_of(text, "ltbench.methods.mine")) == names


def test_there_is_something_to_check() -> None:
    assert {"ltbench/spec/trial.py", "ltbench/stats/paired.py", "ltbench/ranking/formats/render.py"} <= {
        i.file for i in harness()
    }
    assert len({i.file for i in methods()}) > 10


def test_methods_import_the_api_the_parts_torch_numpy_and_each_other() -> None:
    def allowed(i: Import) -> bool:
        return i.top in STDLIB or under(i.module, "ltbench.api", "ltbench.parts", "ltbench.methods", "torch", "numpy")

    # The package itself, called, hands on to the door's function of its name.
    assert offenders([i for i in methods() if i.file != "methods/__init__.py"], allowed) == []


LAYERS = """
errors
metric_names metrics stats
spec system
results hyperparameters experts fingerprints
plugins
parts
models
data.images
data.sources
data
api
registry
suite
planning
training.device
training.checkpoints
training
execution
checks
ranking
ranking.formats
page
site tracking
workflow
frames trial
cli
""".strip().splitlines()
"""From the bottom up. A module imports from its own layer and from those above it in this list, never from one below;
packages on one line do not import each other. Packages whose modules serve two layers have a line for each."""
RANK = {name: (rank, name) for rank, line in enumerate(LAYERS) for name in line.split()}
DOORS = {"ltbench.__init__", "ltbench.__main__", "ltbench", "ltbench.methods", "ltbench.suites"}
"""What hands on, starts or ships; not a layer."""


def layer(module: str) -> tuple[int, str]:
    """The layer of a module: that of the longest name in the list that it lies under."""
    inner = module.removeprefix("ltbench.")
    known = [name for name in RANK if inner == name or inner.startswith(name + ".")]
    return RANK[max(known, key=len)]  # data.sources before data; a module of no layer is a KeyError


def name_of(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def goes_down(i: Import) -> bool:
    """Imports something of its own package or of a layer above it in the list."""
    importer = name_of(i.file)
    if not under(i.module, "ltbench") or i.module in DOORS or importer in DOORS:
        return True
    if under(i.module, "ltbench.methods", "ltbench.suites"):
        return True
    (own, mine), (other, theirs) = layer(importer), layer(i.module)
    return other < own or mine == theirs


def test_imports_run_downward() -> None:
    assert offenders(harness(), goes_down) == []


def test_the_test_of_layers_sees_an_import_that_runs_upward() -> None:
    assert not goes_down(Import("ltbench/ranking/build.py", "ltbench.page.words"))
    assert not goes_down(Import("ltbench/spec/cell.py", "ltbench.system.files")), "beside each other"
    assert goes_down(Import("ltbench/page/html.py", "ltbench.ranking.board"))
    with pytest.raises(ValueError, match="empty"):
        layer("ltbench.drawer")


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Among all modules, packages taken apart: a circle inside a room is one, too."""
    graph: dict[str, set[str]] = {}
    for i in harness():
        if under(i.module, "ltbench") and i.module not in DOORS and name_of(i.file) != i.module:
            graph.setdefault(name_of(i.file), set()).add(i.module)
    heads = {file.parent.relative_to(ROOT).as_posix().replace("/", ".") for file in ROOT.glob("ltbench/**/__init__.py")}
    order = graphlib.TopologicalSorter(
        {m: {n for n in to if n not in heads} for m, to in graph.items() if m not in heads}
    )
    order.prepare()  # raises CycleError, with the modules in it


def test_a_folder_is_a_page() -> None:
    """A listing that a reader takes in at one glance: at most 12 modules beside the head of the package."""
    folders = {file.parent for file in (ROOT / "ltbench").rglob("*.py")}
    sizes = {f.relative_to(ROOT).as_posix(): sum(m.stem != "__init__" for m in f.glob("*.py")) for f in folders}
    assert {folder: size for folder, size in sizes.items() if size > 12} == {}


def test_the_specification_and_the_errors_import_the_standard_library_only() -> None:
    plain = [i for i in harness() if i.file.startswith(("ltbench/spec/", "ltbench/errors.py"))]
    assert offenders(plain, lambda i: i.top in STDLIB or under(i.module, "ltbench.spec", "ltbench.errors")) == []


def test_statistics_imports_numpy_and_scipy_only() -> None:
    stats = [i for i in harness() if i.file.startswith("ltbench/stats/")]
    assert offenders(stats, lambda i: i.top in STDLIB or under(i.module, "numpy", "scipy", "ltbench.stats")) == []


def test_the_plain_arithmetic_of_long_tails_and_orders_needs_numpy_only() -> None:
    plain = ("ltbench/data/longtail.py", "ltbench/data/order.py", "ltbench/metrics.py")
    pure = [i for i in harness() if i.file in plain]
    allowed = ("numpy", "ltbench.errors", "ltbench.spec")
    assert offenders(pure, lambda i: i.top in STDLIB or under(i.module, *allowed)) == []


def test_a_board_is_made_without_torch() -> None:
    """No torch below a board: it is made where only numpy and scipy are."""
    allowed = (
        "ltbench.errors",
        "ltbench.metric_names",
        "ltbench.metrics",
        "ltbench.spec",
        "ltbench.stats",
        "ltbench.system",
        "ltbench.ranking",
    )
    board = [i for i in harness() if i.file.startswith("ltbench/ranking/") and under(i.module, "ltbench")]
    assert offenders([i for i in board if i.module != "ltbench"], lambda i: under(i.module, *allowed)) == []
    report = [i for i in harness() if i.file.startswith(("ltbench/ranking/", "ltbench/page/"))]
    assert offenders(report, lambda i: not under(i.module, "torch", "torchvision", "ray")) == []


@pytest.mark.parametrize(
    ("package", "files"),
    [
        ("ray", {f"ltbench/execution/{name}.py" for name in ("cluster", "tune/__init__", "tune/watch", "tune/worker")}),
        ("mlflow", {f"ltbench/tracking/mlflow_{name}.py" for name in ("client", "store", "board")}),
        ("open_clip", {"ltbench/models/clip.py"}),
        ("timm", {"ltbench/models/timm_networks.py", "ltbench/models/weights.py"}),
        ("yaml", {"ltbench/suite/yaml_file.py"}),
        ("fsspec", {"ltbench/system/remote.py"}),
    ],
)
def test_a_large_dependency_is_imported_in_one_place(package: str, files: set[str]) -> None:
    assert {i.file for i in [*harness(), *methods()] if i.top == package} == files


def test_only_the_command_line_uses_typer() -> None:
    users = {i.file for i in harness() if i.top in ("typer", "click")}
    assert {file for file in users if not file.startswith("ltbench/cli/")} == set()


def test_the_harness_names_no_method() -> None:
    """The listing of the folder is the registry: no file of ltbench knows a method by name."""
    assert offenders(harness(), lambda i: not i.module.startswith("ltbench.methods.")) == []


def test_every_import_of_the_project_is_a_declared_dependency() -> None:
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8").lower().replace("-", "_")
    names = {"PIL": "pillow", "open_clip": "open_clip_torch", "yaml": "pyyaml", "sklearn": "scikit_learn"}
    used = {i.top for i in [*harness(), *methods()]} - set(STDLIB) - {"ltbench"}
    assert [top for top in sorted(used) if f'"{names.get(top, top)}'.lower() not in declared] == []


# -- tried in a fresh process ------------------------------------------------------------------------------------------


def run_python(script: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120, cwd=folder,
        env=environment, check=False,
    )  # fmt: skip


def test_reports_load_neither_torch_nor_ray(tmp_path: Path) -> None:
    """Modules of report, one after the other: which of them brings torch or ray into the process."""
    files = [f for room in ("ranking", "page") for f in sorted((ROOT / "ltbench" / room).rglob("*.py"))]
    modules = [".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files if f.stem[0] != "_"]
    script = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    heavy = sorted({"torch", "ray", "mlflow"} & set(sys.modules))
    if heavy:
        print(name, "loads", *heavy)
        break
"""
    done = run_python(script, tmp_path, *modules)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


WITHOUT = """
import sys

class Without:
    # A finder that knows nothing of the packages that are made absent, as where they are not installed.
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *rest):
        return None if name.partition(".")[0] in ABSENT else self.finder.find_spec(name, *rest)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
from ltbench.execution import exported
code = exported.main([*sys.argv[1:], "--device", "cpu", "--threads", "1"])
assert not ABSENT & {name.partition(".")[0] for name in sys.modules}
sys.exit(code)
"""
ABSENT = {"ray", "mlflow", "pydantic", "yaml", "typer", "click", "rich", "pandas", "tabulate", "open_clip", "sklearn",
          "matplotlib", "platformdirs", "sentence_transformers", "statsmodels"}  # fmt: skip


def test_a_trial_runs_where_only_torch_torchvision_numpy_and_scipy_are(
    make_spec: Callable[..., TrialSpec], digits: Source, data_root: Path, tmp_path: Path
) -> None:
    """On packed data: scikit-learn, which brings the digits, is needed to pack them and never again."""
    digits.prepare()
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(make_spec("ldam_drw", recipe={"epochs": 1.0}).to_json()))
    script = f"ABSENT = {ABSENT!r}\n{WITHOUT}"
    done = run_python(script, tmp_path, str(file), "--data", str(data_root), "--out", str(tmp_path / "records"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert ": ok, balanced accuracy" in done.stdout
