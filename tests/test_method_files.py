"""Methods as people write them: helpers in packages, files that they read, hooks that return something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ltbench.api import Method, Task
from ltbench.errors import UserError
from ltbench.registry import Registry, fingerprint, read_sources, unpack_sources
from ltbench.training.hooks import WrongResult, checked_loss, checked_mix, checked_scores, try_predict

METHOD = '''
{imports}
from ltbench.api import Method
from ltbench.parts import cross_entropy

class Mine(Method):
    """A line."""

    def loss(self, logits, target, now):
        return cross_entropy(logits, target)
'''
Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """`folder(imports, {"lib/losses.py": "..."})`: a new folder with the method `mine` and these files."""
    made = iter(range(100))

    def make(imports: str = "", files: dict[str, str] | None = None) -> Path:
        root = tmp_path / f"methods{next(made)}"
        for name, text in {"mine.py": METHOD.format(imports=imports), **(files or {})}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        return root

    return make


def print_of(folder: Path) -> str:
    return fingerprint(Registry(folder).get("mine"))


PACKAGE = {"lib_a/__init__.py": "", "lib_a/losses.py": "from .deep import more\nX = 1\n", "lib_a/deep.py": "more = 1\n"}


@pytest.mark.parametrize(
    "imports",
    ["import lib_a.losses", "from lib_a.losses import X", "from lib_a import losses", "from .lib_a import losses"],
)
@pytest.mark.parametrize("changed", ["lib_a/losses.py", "lib_a/deep.py", "lib_a/__init__.py"])
def test_code_below_the_folder_is_in_the_fingerprint_and_travels(imports: str, changed: str, folder: Folder) -> None:
    before = folder(imports, PACKAGE)
    after = folder(imports, {**PACKAGE, changed: PACKAGE[changed] + "Y = 2\n"})
    assert print_of(before) != print_of(after)
    assert print_of(unpack_sources(read_sources(before))) == print_of(before)


@pytest.mark.parametrize(
    "names",
    ["X = (HERE / 'w.json').read_bytes()", "X = (HERE / 'tables' / 'w.json').read_text()", "X = 'tables/w.json'"],
)
def test_a_file_that_a_method_reads_is_in_the_fingerprint_and_travels(names: str, folder: Folder) -> None:
    place = "tables/w.json" if "tables" in names else "w.json"
    imports = f"from pathlib import Path\nHERE = Path(__file__).parent\n{names}"
    before, after = folder(imports, {place: "1"}), folder(imports, {place: "2"})
    assert print_of(before) != print_of(after)
    there = unpack_sources(read_sources(before))
    assert (there / place).read_text() == "1"
    assert print_of(there) == print_of(before)


def test_what_a_method_does_not_name_is_in_no_fingerprint_and_stays(folder: Folder) -> None:
    plain, more = folder(), folder("", {"README.md": "x", "other/mod.py": "x = 1", "w.json": "1"})
    assert print_of(plain) == print_of(more)
    assert set(read_sources(more)) == {"mine.py"}


def test_files_too_large_to_travel_are_refused(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltbench.plugins.sources._MOST_BYTES", 10)
    with pytest.raises(UserError, match=r"w\.json: the files that the code of .* reads"):
        read_sources(folder("X = 'w.json'", {"w.json": "x" * 11}))


def test_a_name_from_elsewhere_leads_out_of_no_folder() -> None:
    there = unpack_sources({"../../evil.py": "x = 1", "/tmp/evil2.py": "x = 1", "a/../../evil3.py": "x = 1"})
    assert {p.name for p in there.iterdir()} == {"evil.py", "evil2.py", "evil3.py"}


@pytest.mark.parametrize(
    "line", ["import sys; sys.exit(0)", "exit()", "import argparse; argparse.ArgumentParser().error('x')"]
)
def test_a_method_that_ends_the_process_is_an_error_with_its_line(line: str, folder: Folder) -> None:
    with pytest.raises(UserError, match=r"mine\.py: .*sys\.exit.*\(mine\.py, line 2\)"):
        Registry(folder(line)).get("mine")


def test_a_byte_order_mark_is_no_part_of_a_file(folder: Folder) -> None:
    plain = folder("import helper_m", {"helper_m.py": "X = 1\n"})
    marked = folder("import helper_m", {"helper_m.py": "\ufeffX = 1\n"})
    assert print_of(plain) == print_of(marked)


def test_a_file_instead_of_a_folder_is_said_to_be_one(folder: Folder) -> None:
    file = folder() / "mine.py"
    for read in (Registry, read_sources):
        with pytest.raises(UserError, match=f"is a file; name its folder, --methods {file.parent}"):
            read(file)


# -- what hooks return -------------------------------------------------------------------------------------------------


class Plain(Method):
    """A line."""

    def loss(self, logits: Any, target: Any, now: Any) -> Any:
        return logits.mean()

    def predict(self, logits: Any) -> Any:
        return self.answer(logits)

    answer: Any = staticmethod(lambda logits: logits)


@pytest.fixture
def method() -> Plain:
    made = Plain(Task(np.repeat(np.arange(3), 2), ["a", "b", "c"], optimizer={"name": "sgd", "lr": 0.1}))
    type(made).name = "plain"
    return made


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (None, "it returned None"),
        (1.5, "it returned a float"),
        ({"loss": 1}, "it returned a dict"),
        (torch.ones(4, requires_grad=True), r"a tensor of shape \(4,\); take its mean"),
        (torch.tensor(1.0), "does not depend on the logits"),
    ],
)
def test_a_loss_that_is_no_number_is_told_with_file_and_line(loss: Any, says: str, method: Plain) -> None:
    with pytest.raises(WrongResult, match=rf"loss of plain \(test_method_files\.py, line \d+\) must return.*{says}"):
        checked_loss(method, loss)


def test_a_loss_of_one_number_is_handed_on(method: Plain) -> None:
    for loss in (torch.ones((), requires_grad=True), torch.ones(1, requires_grad=True)):
        assert checked_loss(method, loss) is loss


@pytest.mark.parametrize("mixed", [None, torch.zeros(4), (torch.zeros(4),), ("x", "y")])
def test_a_mix_that_is_no_pair_is_told(mixed: Any, method: Plain) -> None:
    with pytest.raises(WrongResult, match=r"mix of plain .* must return a pair"):
        checked_mix(method, mixed, 4)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda logits: None, "returned None"),
        (lambda logits: logits.argmax(1), "labels are not enough"),
        (lambda logits: logits[:, :2], r"a tensor of shape \(2, 2\)"),
        (lambda logits: logits.numpy(), "returned a ndarray"),
    ],
)
def test_predict_is_tried_before_the_training(answer: Any, says: str, method: Plain) -> None:
    method.answer = answer
    with pytest.raises(WrongResult, match=rf"predict of plain .* shape \(2, 3\), it returned.*|{says}"):
        try_predict(method, torch.zeros(2, 3))
    with pytest.raises(WrongResult, match=says):
        checked_scores(method, answer(torch.zeros(2, 3)), 2)


def test_trying_predict_leaves_random_numbers_and_the_method_as_they_were(method: Plain) -> None:
    def answer(logits: Any) -> Any:
        torch.rand(3)
        return logits

    method.answer = answer
    before, attributes = torch.get_rng_state(), dict(vars(method))
    try_predict(method, torch.zeros(2, 3))
    assert torch.equal(before, torch.get_rng_state())
    assert vars(method) == attributes


def test_a_predict_that_needs_the_training_is_not_refused_before(method: Plain) -> None:
    method.answer = lambda logits: logits * undefined  # type: ignore[name-defined]  # noqa: F821
    try_predict(method, torch.zeros(2, 3))
