"""The picture of who was taken for whom: of many classes, neighbours share a cell, and none is left out."""

from __future__ import annotations

import numpy as np
import pytest

from ltbench.spec import Record
from ltbench.tracking.mlflow_runs import confusion_picture
from tests.ranking import made


@pytest.mark.parametrize(("classes", "each", "cells"), [(10, 1, 10), (1000, 1, 1000), (1001, 2, 501), (8142, 9, 905)])
def test_thousands_of_classes_share_cells(classes: int, each: int, cells: int) -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(classes)
    taken = np.where(rng.random(classes) < 0.7, truth, rng.integers(0, classes, classes))
    record = Record(spec=made.spec(), status="ok", per_class={"recall": [1.0] * classes})
    picture = confusion_picture(record, made.npz(taken, truth))
    (image,) = picture.axes[0].images
    wanted = np.zeros((cells, cells))
    for true, found in zip(truth, taken, strict=True):
        wanted[true // each, found // each] += 100.0
    np.testing.assert_allclose(image.get_array(), wanted / np.bincount(truth // each)[:, None])
    assert (f"{each} classes a cell" in picture.axes[0].get_title()) == (each > 1)
