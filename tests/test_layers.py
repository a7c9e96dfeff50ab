"""Who may import whom (docs/architecture.md), read from the syntax trees; and what really gets loaded, in a process."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = sorted(p for p in (ROOT / "ltbench").rglob("*.py"))
METHODS = sorted((ROOT / "methods").glob("*.py"))
STDLIB = sys.stdlib_module_names


def imports(file: Path) -> set[str]:
    """Full dotted names of everything a file imports, at any depth, except under TYPE_CHECKING."""
    tree = ast.parse(file.read_text())
    names: set[str] = set()
    for node in _runtime_nodes(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names.add(base)
            if node.module == "ltbench":
                names |= {f"ltbench.{alias.name}" for alias in node.names}
    return names - {"__future__"}


def _runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _runtime_nodes(child)


def top(name: str) -> str:
    return name.split(".")[0]


def third_party(file: Path) -> set[str]:
    return {top(n) for n in imports(file) if not n.startswith(".")} - STDLIB


@pytest.mark.parametrize("file", METHODS, ids=lambda f: f.stem)
def test_methods_import_the_api_the_parts_torch_numpy_and_each_other(file: Path) -> None:
    allowed = {"ltbench.api", "ltbench.parts"}
    for name in imports(file):
        neighbour = name.startswith(".") and (ROOT / "methods" / f"{name.lstrip('.')}.py").exists()
        assert name in allowed or top(name) in {"torch", "numpy"} | STDLIB or neighbour, f"{file.name} imports {name}"


def test_spec_is_standard_library_only() -> None:
    assert imports(ROOT / "ltbench" / "spec.py") - {"ltbench.errors"} <= set(STDLIB) | {"collections.abc"}
    assert third_party(ROOT / "ltbench" / "errors.py") == set()


@pytest.mark.parametrize("file", sorted((ROOT / "ltbench" / "stats").glob("*.py")), ids=lambda f: f.stem)
def test_stats_is_numpy_and_scipy(file: Path) -> None:
    assert third_party(file) <= {"numpy", "scipy", "ltbench"}
    assert all(n.startswith("ltbench.stats") for n in imports(file) if top(n) == "ltbench")


@pytest.mark.parametrize(
    ("library", "home"),
    [("ray", "schedule.py"), ("mlflow", "track.py"), ("open_clip", "models/clip.py"), ("yaml", "suitefile.py")],
)
def test_heavy_libraries_have_one_home(library: str, home: str) -> None:
    users = {str(f.relative_to(ROOT / "ltbench")) for f in PACKAGE if library in third_party(f)}
    assert users == {home}


def test_nothing_imports_the_command_line() -> None:
    users = {f.name for f in PACKAGE if "ltbench.cli" in imports(f)}
    assert users == {"__main__.py"}


def test_report_never_names_torch_or_ray() -> None:
    for file in (ROOT / "ltbench" / "report").glob("*.py"):
        assert not third_party(file) & {"torch", "ray", "mlflow"}, file.name


def loaded(code: str) -> set[str]:
    """Top-level modules a fresh process has after running some code."""
    script = f"{code}\nimport sys\nprint(' '.join({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_help_loads_nothing_heavy() -> None:
    heavy = {"torch", "ray", "mlflow", "pandas", "pydantic", "yaml", "numpy", "scipy", "sklearn"}
    assert not loaded("import ltbench.cli") & heavy


def test_making_and_printing_a_leaderboard_loads_neither_torch_nor_ray() -> None:
    code = "import ltbench.report.leaderboard, ltbench.report.formats, ltbench.report.colour, ltbench.report.figures"
    assert not loaded(code) & {"torch", "ray", "mlflow", "sklearn"}


@pytest.mark.slow
def test_a_trial_runs_where_only_torch_and_scipy_are_installed(tmp_path: Path) -> None:
    """Export here, run there: everything else is blocked, and the methods folder is only a neighbour."""
    from ltbench.data.source import open_source

    data, bundle, out = tmp_path / "data", tmp_path / "bundle", tmp_path / "out"
    open_source("digits", data).prepare()
    plan = [
        *(sys.executable, "-m", "ltbench", "plan", "quickstart", "--data", str(data), "--export", str(bundle)),
        *("--only", "text_guided_mixup", "--seeds", "0", "--set", "recipes.scratch.epochs=1"),
        *("--set", "datasets.0.imbalance=[20]", "--results", str(tmp_path / "results")),
    ]
    subprocess.run(plan, check=True, capture_output=True)
    blocked = ["ray", "mlflow", "open_clip", "pydantic", "yaml", "typer", "rich", "tabulate", "matplotlib",
               "platformdirs", "pandas", "PIL", "sklearn", "ltbench.methods"]  # fmt: skip
    script = f"""
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        hidden = name in {blocked!r} or name.split('.')[0] in {blocked!r}
        return None if hidden else self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
from ltbench.trial import main
sys.exit(main({[*map(str, bundle.glob("*.json")), "--data", str(data), "--out", str(out)]!r}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert len(list(out.glob("*.json"))) == 1
