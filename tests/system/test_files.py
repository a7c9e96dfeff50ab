"""Files are written whole: at any moment the old contents or the new ones are there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ltbench.system.files import write_atomically
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
