"""A pinned subset goes out as a file and comes back equal; predictions from elsewhere are read, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltbench.errors import UserError
from ltbench.results.predictions import read_predictions
from ltbench.results.splits import Split, read_split, write_split
from ltbench.spec import Cell

CELL = Cell(dataset="made", kind="made", imbalance=2.0, manifest="0123456789abcdef", options={"size": 8})
SPLIT = Split(CELL, ("cat", "dog"), np.array([4, 1, 7]), np.array([0, 0, 1]), np.array([0, 1, 1, 0]))
FILES = replace(SPLIT, train_files=("a/1.png", "a/2.png", "b/1.png"), test_files=tuple(f"t/{i}.png" for i in range(4)))


def same(a: Split, b: Split) -> bool:
    arrays = ("train_index", "train_labels", "test_labels")
    rest = ("cell", "class_names", "train_files", "test_files")
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in arrays) and all(
        getattr(a, n) == getattr(b, n) for n in rest
    )


@pytest.mark.parametrize("split", [SPLIT, FILES], ids=["rows", "files"])
@pytest.mark.parametrize("name", ["s.json", "s.npz"])
def test_a_split_comes_back_as_it_was_written(tmp_path: Path, split: Split, name: str) -> None:
    assert write_split(split, tmp_path / "new" / name) == [tmp_path / "new" / name]
    assert same(read_split(tmp_path / "new" / name), split)


def test_lists_have_a_line_for_every_image_and_the_json_beside_them(tmp_path: Path) -> None:
    written = write_split(FILES, tmp_path / "s.txt")
    assert [file.name for file in written] == ["s.txt", "s_test.txt", "s.json"]
    assert written[0].read_text() == "a/1.png 0\na/2.png 0\nb/1.png 1\n"
    assert written[1].read_text().splitlines()[1] == "t/1.png 1"
    assert same(read_split(written[2]), FILES)
    assert SPLIT.lines("train") == ["4 0", "1 0", "7 1"]


def test_the_json_says_manifest_and_class_counts(tmp_path: Path) -> None:
    write_split(SPLIT, tmp_path / "s.json")
    data = json.loads((tmp_path / "s.json").read_text())
    assert (data["manifest"], data["class_counts"]) == (CELL.manifest, [2, 1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.pop("test_labels"), "test_labels"),
        (lambda d: d.update(train_labels=[0, 0, 5]), "between 0 and 1"),
        (lambda d: d.update(train_labels=[0]), "as many"),
        (lambda d: d["cell"].update(imbalance="much"), "imbalance"),
        (lambda d: d["cell"].update(manifest=""), "no manifest"),
        (lambda d: d.update(schema=2), "schema"),
    ],
)
def test_a_file_that_is_no_split_is_refused(tmp_path: Path, change: Callable[[Any], Any], said: str) -> None:
    write_split(SPLIT, tmp_path / "s.json")
    data = json.loads((tmp_path / "s.json").read_text())
    change(data)
    (tmp_path / "s.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match=said):
        read_split(tmp_path / "s.json")
    (tmp_path / "s.txt").write_text("a 0\n")
    with pytest.raises(UserError, match=r"name the \.json beside"):
        read_split(tmp_path / "s.txt")


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.json, \.npz or \.txt"):
        write_split(SPLIT, tmp_path / "s.csv")


def test_predictions_of_one_or_many_models_are_read_from_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", method="mine", seed=3, label=np.array([0, 1, 1, 0]), manifest="m")
    (one,) = read_predictions(tmp_path / "one.npz")
    assert (one.method, one.seed, one.label.tolist(), one.confidence, one.manifest) == (
        "mine",
        3,
        [0, 1, 1, 0],
        None,
        "m",
    )
    labels, sure = np.array([[0, 1], [1, 1]]), np.array([[0.5, 0.6], [0.7, 0.8]])
    np.savez(tmp_path / "two.npz", method="mine", seed=[0, 1], label=labels, manifest="m", confidence=sure)
    two = read_predictions(tmp_path / "two.npz")
    assert [(p.method, p.seed, p.label.tolist()) for p in two] == [("mine", 0, [0, 1]), ("mine", 1, [1, 1])]
    assert two[1].confidence is not None
    assert two[1].confidence.tolist() == pytest.approx([0.7, 0.8])


HEAD = "method,seed,image,label,manifest"


def test_lines_of_a_csv_may_have_any_order(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(f"{HEAD},confidence\nb,0,1,7,m,0.5\na,0,0,1,m,1\nb,0,0,3,m,0.25\n")
    b, a = read_predictions(tmp_path / "p.csv")
    assert (b.method, b.label.tolist(), a.label.tolist()) == ("b", [3, 7], [1])
    assert b.confidence is not None
    assert b.confidence.tolist() == [0.25, 0.5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{HEAD}\n", "holds no predictions"),
        ("method,seed,image,label\na,0,0,1\n", "lacks manifest"),
        (f"{HEAD},labl\na,0,0,1,m,2\n", "unknown column 'labl'"),
        (f"{HEAD}\na,0,0,cat,m\n", "line 2: label is 'cat'"),
        (f"{HEAD}\na,0,0,1,m\na,0,2,1,m\n", "every row of the test set once"),
        (f"{HEAD}\na,0,0,1,m\na,0,1,1,n\n", "2 manifests"),
        (f"{HEAD}\na b,0,0,1,m\n", "no usable name"),
        (f"{HEAD},confidence\na,0,0,1,m,1.5\n", "from 0 to 1"),
        (f"{HEAD},confidence\na,0,0,1,m,high\n", "line 2: confidence is 'high'"),
    ],
)
def test_predictions_that_cannot_be_meant_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        read_predictions(tmp_path / "p.csv")
