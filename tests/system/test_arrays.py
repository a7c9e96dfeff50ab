"""Files of arrays that users bring: what is refused, and in which words."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltbench.errors import UserError
from ltbench.system.arrays import bad_rows, names_of, read_arrays, read_npz, rows_text


def archive(file: Path, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """An .npz of noise, compressed."""
    plain = file.with_name("plain.npz")
    np.savez(plain, x=np.random.default_rng(0).normal(size=(40, 8)), y=np.arange(40))
    with zipfile.ZipFile(plain) as stored, zipfile.ZipFile(file, "w", compression) as made:
        for name in stored.namelist():
            made.writestr(name, stored.read(name))
    return file


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("place", [70, 300, -60])
def test_a_damaged_archive_is_refused_whatever_its_compression(compression: int, place: int, tmp_path: Path) -> None:
    file = archive(tmp_path / "x.npz", compression)
    content = bytearray(file.read_bytes())
    for i in range(8):
        content[place + i] ^= 0xA5
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.npz is not a readable .*damaged or incomplete"):
        read_npz(file)


@pytest.mark.parametrize("kept", [4, 30, 200, 0.5, 0.98])
def test_an_archive_that_was_cut_off_is_refused(kept: float, tmp_path: Path) -> None:
    file = archive(tmp_path / "x.npz")
    content = file.read_bytes()
    file.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(UserError, match="damaged or incomplete"):
        read_npz(file)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n", "git lfs pull"),
        (b"<!DOCTYPE html>", "not a readable"),
        (b"\x80\x04K\x01.", "not a readable"),  # a pickle
        (b"", "not a readable"),
    ],
)
def test_other_files_are_refused_without_advice_to_load_them_unsafely(
    content: bytes, says: str, tmp_path: Path
) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match=says) as refused:
        read_arrays(tmp_path / "x.npz")
    assert "pickle" not in str(refused.value)


def test_one_array_is_not_taken_for_several(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(UserError, match=r"holds one array.*numpy\.savez"):
        read_npz(tmp_path / "x.npy")


def test_bad_rows_are_named_and_many_are_counted() -> None:
    x = np.ones((20, 3))
    x[7, 1], x[9] = np.nan, 0
    assert bad_rows(x) == [7, 9]
    assert rows_text([7], 20) == "row 7 of 20 (counted from 0)"
    assert rows_text(list(range(30)), 1000).startswith("rows 0, 1, 2, 3, 4, 5, 6, 7 and 22 more of 1,000")


@pytest.mark.parametrize(
    ("array", "names"),
    [
        (np.array(["ant", "bee"]), ("ant", "bee")),
        (np.array([b"ant", "b\u00e9e".encode()]), ("ant", "b\u00e9e")),
        (np.arange(2), ("0", "1")),
        (["\ufeffant", "bee"], ("ant", "bee")),
        ([3, "bee"], ("3", "bee")),
    ],
)
def test_names_may_be_text_bytes_or_numbers(array: Any, names: tuple[str, ...]) -> None:
    assert names_of(array) == names


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.array([["ant"], ["bee"]]), r"shape \(2, 1\)"),
        (np.array([0.5, np.nan]), "float64"),
        (np.array([b"caf\xe9"]), "not UTF-8"),
        (np.array(["ant", " "]), "no name for class 1"),
        ("abcd", "a list of names"),
        ({"0": "ant"}, "a list of names"),
        (["ant", None], "'None'"),
        (["ant", float("nan")], "'nan'"),
        (["ant", ["bee"]], "each must be a text"),
    ],
)
def test_other_class_names_are_refused(array: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        names_of(array)
