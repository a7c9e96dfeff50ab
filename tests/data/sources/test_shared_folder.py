"""A data folder that several people share: what is packed there has the mode that the umask gives."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ltbench.data.sources.source import _ARRAY_NAMES, Arrays, _write_packed


@pytest.mark.parametrize(("umask", "folder", "file"), [(0o002, 0o775, 0o664), (0o077, 0o700, 0o600)])
def test_the_umask_says_who_may_use_what_was_packed(umask: int, folder: int, file: int, tmp_path: Path) -> None:
    arrays = Arrays(**{name: np.zeros(3, dtype=np.uint8) for name in _ARRAY_NAMES})
    before = os.umask(umask)
    try:
        _write_packed(tmp_path / "packed" / "x", arrays)
    finally:
        os.umask(before)
    made = list((tmp_path / "packed").rglob("*"))
    assert {f.stat().st_mode & 0o777 for f in made if f.is_dir()} == {folder}
    assert {f.stat().st_mode & 0o777 for f in made if f.is_file()} == {file}
