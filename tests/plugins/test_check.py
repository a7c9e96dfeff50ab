"""`ltbench check` on folders, files and names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ltbench import plugins
from tests.plugins.made import BACKBONE, DATASET, folder_of_plugins

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def none_in_use() -> Iterator[None]:
    yield
    plugins.use(())


def test_everything_in_a_folder_is_checked(ltbench: Run, tmp_path: Path) -> None:
    code, out, err = ltbench("check", str(folder_of_plugins(tmp_path / "mine")), "--data", str(tmp_path))
    assert code == 0, out + err
    assert [line for line in out.splitlines() if line.endswith("keeps the contract")] == [
        "shifted: keeps the contract", "wide: keeps the contract", "numerals: keeps the contract",
    ]  # fmt: skip
    assert "initial weights of a seed" in out
    assert "trying its images, read twice ..." in err


def test_a_thing_is_checked_by_its_name(ltbench: Run, tmp_path: Path) -> None:
    mine = str(folder_of_plugins(tmp_path / "mine"))
    assert "wide: keeps the contract" in ltbench("check", "wide", "--plugins", mine)[1]
    assert "focal: keeps the contract" in ltbench("check", "focal")[1]
    code, _, err = ltbench("check", "wiide", "--plugins", mine)
    assert code == 2
    assert "no such file or folder, nor a method, backbone or data set of that name. Did you mean 'wide'?" in err


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("wide", BACKBONE.replace("self.dim = WIDTH", "self.dim = 3"), "it says it has 3 features"),
        ("wide", BACKBONE.replace("x.flatten(1)", "(x - x.mean(0)).flatten(1)"), "depend on the other images"),
        ("wide", BACKBONE.replace(".relu()", ".dropout(0.5)").replace("self.layer(x.flatten(1))",
         "nn.functional.dropout(self.layer(x.flatten(1)), 0.5); x = x").replace("; x = x.dropout(0.5)", ""),
         "other features of the same images"),
        ("wide", BACKBONE.replace("super().__init__()", "super().__init__(); self.idle = nn.Linear(2, 2)"),
         "no gradient reaches idle.weight, idle.bias"),
        ("wide", BACKBONE.replace("self.dim = WIDTH", "import torch; torch.manual_seed(0); self.dim = WIDTH"),
         "the seed is ignored"),
        ("wide", BACKBONE.replace("shape[0] * shape[1]", "shape[9] * shape[1]"), "it reads no images that were tried"),
        ("numerals", DATASET.replace("return arrays", "arrays.train_y[0] += 1; return arrays"), "`facts` says"),
        ("numerals", DATASET.replace("return arrays", "return type(arrays)(arrays.train_x / 2, arrays.train_y, "
                                                      "arrays.test_x, arrays.test_y)"), "must be uint8"),
        ("numerals", DATASET.replace("return arrays", "import numpy as np; i = np.random.permutation("
                                                      "len(arrays.test_y)); return type(arrays)(arrays.train_x, "
                                                      "arrays.train_y, arrays.test_x[i], arrays.test_y[i])"),
         "two readings give other images"),
    ],
)  # fmt: skip
def test_the_check_says_what_is_wrong(ltbench: Run, tmp_path: Path, name: str, text: str, says: str) -> None:
    mine = folder_of_plugins(tmp_path / "mine", **{name: text})
    code, out, err = ltbench("check", str(mine / f"{name}.py"), "--data", str(tmp_path))
    assert code == 1, out + err
    assert says in out
    assert "Traceback" not in err
