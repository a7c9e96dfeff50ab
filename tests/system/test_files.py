"""Files are written whole: at any moment the old contents or the new ones are there."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ltbench.system import files
from ltbench.system.files import new_folder_in, read_patiently, write_atomically
from tests.results.made import no_space


def test_a_write_that_stops_half_way_leaves_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.json"
    write_atomically(file, b"old")
    fdopen = os.fdopen

    def limited(handle: int, mode: str) -> Any:
        stream = fdopen(handle, mode, buffering=0)
        real = stream.write

        class Half:
            def __enter__(self) -> Half:
                return self

            def __exit__(self, *_: object) -> None:
                stream.close()

            def write(self, content: bytes) -> int:
                real(content[: len(content) // 2])
                return int(no_space())

        return Half()

    monkeypatch.setattr(os, "fdopen", limited)
    with pytest.raises(OSError, match="No space"):
        write_atomically(file, b"new and longer")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def noted(calls: list[str], name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """`real`, which also writes its name down."""

    def call(*arguments: Any) -> Any:
        calls.append(name)
        return real(*arguments)

    return call


def test_the_contents_are_on_the_disk_before_they_get_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, noted(calls, name, getattr(os, name)))
    write_atomically(tmp_path / "x.json", b"text")
    assert calls == ["fsync", "replace", "fsync"], "the file, its name, the folder"


# -- reading -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], list[int]]:
    """`failing(errno.ESTALE, 2)`: the next two reads fail; what is returned counts all of them."""
    monkeypatch.setattr(files, "_PAUSES", (0.0, 0.0, 0.0))
    calls, real = [0], Path.read_bytes

    def arm(number: int, times: int) -> list[int]:
        def read(file: Path) -> bytes:
            calls[0] += 1
            if calls[0] <= times:
                raise OSError(number, os.strerror(number), str(file))
            return real(file)

        monkeypatch.setattr(Path, "read_bytes", read)
        return calls

    return arm


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EMFILE])
def test_what_cannot_be_read_for_a_moment_is_read_again(
    number: int, tmp_path: Path, failing: Callable[[int, int], list[int]]
) -> None:
    (tmp_path / "x").write_bytes(b"text")
    calls = failing(number, 3)
    assert read_patiently(tmp_path / "x") == b"text"
    assert calls == [4]


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOENT])
def test_what_waiting_does_not_mend_is_not_waited_for(
    number: int, tmp_path: Path, failing: Callable[[int, int], list[int]]
) -> None:
    (tmp_path / "x").write_bytes(b"text")
    calls = failing(number, 1)
    with pytest.raises(OSError, match=re.escape(os.strerror(number))):
        read_patiently(tmp_path / "x")
    assert calls == [1]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda file: os.symlink("/dev/zero", file)])
def test_a_pipe_a_folder_and_a_device_are_not_read(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "x")
    with pytest.raises(ValueError, match="no plain file"):
        read_patiently(tmp_path / "x")


def test_a_new_folder_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        assert new_folder_in(tmp_path, ".packing-").stat().st_mode & 0o777 == 0o775
    finally:
        os.umask(before)
