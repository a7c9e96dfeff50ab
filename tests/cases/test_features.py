"""Features as people save them: `ltbench plan`."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cases.situation import Situation, Write, arrays, suite

X = np.random.default_rng(2).normal(size=(9, 5)).astype(np.float32)


def holed(value: float, row: int = 4) -> Any:
    x = X.copy()
    x[row] = value
    return x


def plan(name: str, write: Write | bytes, *says: str, code: int = 2, file: str = "vectors.npz") -> Situation:
    words = "plan" if code == 2 or not says else "run"
    text = suite(f"{{name: trees, kind: features, path: {file}, profile: native}}", backbone="identity")
    command = (words, "mine.yaml", *(("--inline",) if words == "run" else ()))
    return Situation(name, {file: write, "mine.yaml": text}, command, code, says)


def cut(file: Path) -> None:
    arrays()(file)
    file.write_bytes(file.read_bytes()[:-200])


def swapped(file: Path) -> None:
    """Compressed, and a byte in the middle of the numbers is another one."""
    np.savez_compressed(file, train_x=np.zeros((900, 50), np.float32))
    whole = bytearray(file.read_bytes())
    whole[80:90] = b"\xff" * 10
    file.write_bytes(whole)


def tensors(**metadata: Any) -> Write:
    def write(file: Path) -> None:
        from safetensors.numpy import save_file

        whole = {"train_x": X, "train_y": np.arange(9) % 3, "test_x": X[:3], "test_y": np.arange(3)}
        save_file(whole, file, {name: json.dumps(value) for name, value in metadata.items()})

    return write


SITUATIONS = [
    plan("good ones", arrays(), "1/1", code=0),
    plan("names as bytes", arrays(class_names=np.array([b"oak", b"ash", b"elm"])), "1/1", code=0),
    plan("whole numbers as names", arrays(class_names=np.arange(3)), "1/1", code=0),
    plan(
        "names in a column", arrays(class_names=np.array([["oak"], ["ash"], ["elm"]])), "class_names", r"shape \(3, 1\)"
    ),
    plan("names are objects", arrays(class_names=np.array(["oak", 1, None], dtype=object)), "class_names", "as text"),
    plan("an empty name", arrays(class_names=np.array(["oak", " ", "elm"])), "no name for class 1"),
    plan("no test vectors", arrays(test_x=X[:0], test_y=np.arange(0)), "test_x", "empty"),
    plan("a class that is never trained", arrays(train_y=np.arange(9) % 2), "class 2", "elm"),
    plan("labels beyond the names", arrays(train_y=np.arange(9) % 4), "labels from 0 to 3", "3 class names"),
    plan("one array is missing", arrays(test_y=None), "lacks test_y"),
    plan("a single number", arrays(train_x=np.float32(1)), "train_x", "shape"),
    plan("images instead of vectors", arrays(train_x=X.reshape(9, 5, 1)), "train_x", "shape"),
    plan("vectors of no length", arrays(train_x=X[:, :0], test_x=X[:3, :0]), "train_x", "shape"),
    plan("an .npy", lambda file: np.save(file, X), "one array", r"\.npz", file="vectors.npy"),
    plan("a pickle", pickle.dumps({"train_x": 1}), "not a readable", r"numpy\.savez"),
    plan("a pointer of git-lfs", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    plan("a file that was cut", cut, "damaged or incomplete"),
    plan("a byte of the compressed numbers is wrong", swapped, "damaged or incomplete"),
    plan("safetensors: names as one text", tensors(class_names="oak ash elm"), "json list", file="v.safetensors"),
    plan("safetensors: no names", tensors(), "lacks class_names", file="v.safetensors"),
]


@pytest.mark.parametrize("situation", SITUATIONS, ids=str)
def test_features(situation: Situation, follows: Callable[[Situation], None]) -> None:
    follows(situation)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), 3e38, 1e-30])
def test_a_row_that_cannot_have_unit_length_is_named(value: float, follows: Callable[[Situation], None]) -> None:
    """When the vectors are read, before anything trains."""
    text = suite("{name: trees, kind: features, path: vectors.npz, profile: native}", backbone="identity")
    files = {"vectors.npz": arrays(train_x=holed(value)), "mine.yaml": text}
    follows(Situation("", files, ("run", "mine.yaml", "--inline"), 2, ("train_x", "row 4 of 9", "counted from 0")))
