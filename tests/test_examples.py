"""The notebooks in examples/ run, and what is committed with them is what they print.

`python -m tests.test_examples` runs them and writes their outputs anew.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def shortened(cells: NotebookNode) -> NotebookNode:
    """The notebook with a fifth of its training, for a test that compares no numbers."""
    changed = 0
    for cell in cells.cells:
        cell.source, n = re.subn(r'epochs": 15\b', 'epochs": 3', cell.source)
        changed += n
    assert changed == 1
    return cells


def execute(cells: NotebookNode, folder: Path, data: Path) -> NotebookNode:
    """The notebook with its outputs, run in `folder` as a reader would run it: a cell that fails ends it."""
    beside_python = Path(sys.executable).parent  # where the `ltbench` that `!ltbench` starts is the one that is tested
    variables = {
        "LTBENCH_DATA": str(data),
        "PATH": f"{beside_python}{os.pathsep}{os.environ['PATH']}",
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(folder / "jupyter"),
    }
    environment = {**os.environ, **variables}
    environment.pop("MLFLOW_TRACKING_URI", None)
    client = NotebookClient(cells, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)
    return cells


def without_places(cells: NotebookNode, folder: Path) -> NotebookNode:
    """The notebook as it is committed: no path of the machine, no times."""
    text = nbformat.writes(cells).replace(f"{folder}{os.sep}", "")
    cleaned = nbformat.reads(text, as_version=4)
    for cell in cleaned.cells:
        cell.metadata.pop("execution", None)
    cleaned.metadata.language_info = {"name": "python"}
    return cleaned


def kinds(cells: NotebookNode) -> list[list[str]]:
    """For every cell, what its outputs are: `text/html`, `image/png`, `stdout`."""
    return [
        sorted({kind for output in cell.get("outputs", ()) for kind in output.get("data") or [output["name"]]})
        for cell in cells.cells
    ]


def test_there_are_examples() -> None:
    assert [notebook.name for notebook in NOTEBOOKS] == ["own_method.ipynb", "quickstart.ipynb"]


@pytest.mark.parametrize(
    "notebook",
    [pytest.param(n, marks=pytest.mark.nightly if n.stem == "own_method" else ()) for n in NOTEBOOKS],
    ids=lambda notebook: notebook.stem,
)
def test_a_notebook_runs_and_prints_what_is_committed(notebook: Path, tmp_path: Path, data_root: Path) -> None:
    """The kinds of the outputs, not their numbers: those are the same only on the same kind of machine."""
    done = execute(shortened(nbformat.read(notebook, as_version=4)), tmp_path, data_root)
    assert kinds(done) == kinds(nbformat.read(notebook, as_version=4))
    assert any((tmp_path / "results").glob("*/records/*.json")), "a reader's results lie beside the notebook"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_what_is_committed_is_fit_to_be_read(notebook: Path) -> None:
    """Run from top to bottom, small, and with nothing of the machine that ran it."""
    cells = nbformat.read(notebook, as_version=4)
    nbformat.validate(cells)
    code = [cell for cell in cells.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = json.dumps([cell.outputs for cell in code])
    assert not re.search(r"Traceback|[Ww]arning|/tmp|/home|/root|/Users|/work|site-packages", outputs)
    assert notebook.stat().st_size < 200_000


def main() -> None:
    """Run every notebook and write its outputs."""
    for notebook in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder).resolve()
            done = execute(nbformat.read(notebook, as_version=4), place, place / "data")
            nbformat.write(without_places(done, place), notebook)


if __name__ == "__main__":
    main()
