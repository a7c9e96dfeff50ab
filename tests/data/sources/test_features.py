"""Features that people bring: empty parts, classes of one name, rows that are no vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltbench.data.sources.features import Features
from ltbench.errors import UserError


@pytest.fixture
def brought(tmp_path: Path) -> Callable[..., Features]:
    """`brought(test_y=...)`: features of three classes, five to train on and two to test each, with some changed."""

    def make(**changes: Any) -> Features:
        rng = np.random.default_rng(0)
        y = {"train": np.repeat(np.arange(3), 5), "test": np.repeat(np.arange(3), 2)}
        stored = {f"{part}_x": rng.normal(size=(len(labels), 4)).astype("f") for part, labels in y.items()}
        stored |= {f"{part}_y": labels for part, labels in y.items()}
        np.savez(tmp_path / "x.npz", **(stored | {"class_names": np.array(["ant", "bee", "cat"])} | changes))
        return Features(tmp_path, tmp_path / "x.npz")

    return make


def test_a_class_without_a_training_vector_is_named(brought: Callable[..., Features]) -> None:
    with pytest.raises(UserError, match=r"no vector of class 1 \(bee\)"):
        brought(train_y=np.repeat([0, 0, 2], 5)).facts()


def test_features_without_test_vectors_are_refused(brought: Callable[..., Features]) -> None:
    with pytest.raises(UserError, match="`test_x` is empty"):
        brought(test_x=np.zeros((0, 4), "f"), test_y=np.zeros(0, int)).facts()


def test_a_class_without_a_test_vector_is_told(brought: Callable[..., Features]) -> None:
    (note,) = brought(test_y=np.repeat([0, 0, 2], 2)).facts().notes
    assert "1 of 3 classes without a test image (bee)" in note
    assert "over 2 of 3 classes" in note


def test_classes_of_one_name_are_told_in_either_unicode_form(brought: Callable[..., Features]) -> None:
    (note,) = brought(class_names=np.array(["caf\u00e9", "bee", "cafe\u0301"])).facts().notes
    assert "caf\u00e9 stands more than once" in note


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_row_that_is_no_vector_is_named(part: str, value: float, brought: Callable[..., Features]) -> None:
    x = np.ones({"train": (15, 4), "test": (6, 4)}[part], "f")
    x[4] = value
    with pytest.raises(UserError, match=rf"`{part}_x` .*row 4 of"):
        brought(**{f"{part}_x": x}).read()


def test_good_features_have_nothing_to_tell(brought: Callable[..., Features]) -> None:
    assert brought().facts().notes == ()


def test_test_vectors_that_are_training_vectors_are_told(brought: Callable[..., Features]) -> None:
    arrays = brought().read()
    train, test = np.array(arrays.train_x), np.array(arrays.test_x)
    test[[1, 4]] = train[[0, 3]]
    (note,) = brought(train_x=train, test_x=test).facts().notes
    assert note.startswith("2 of the test vectors are training vectors as well (rows 1, 4 of 6 (counted from 0))")


def test_one_class_is_refused(brought: Callable[..., Features]) -> None:
    with pytest.raises(UserError, match="`class_names` has 1; at least 2 classes are needed"):
        brought(train_y=np.zeros(15, int), test_y=np.zeros(6, int), class_names=np.array(["ant"])).facts()
