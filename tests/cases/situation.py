"""One situation, and how it is tried."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[..., tuple[int, str, str]]
Write = Callable[[Path], object]


@dataclass(frozen=True)
class Situation:
    """What lies in the working folder, what is typed there, and what follows.

    Attributes:
        files: name -> text, bytes, or what makes the file of its path. command: words. code: exit code. says, silent:
            patterns that are, or are not, in what is printed, in small letters and with single blanks.
    """

    name: str
    files: dict[str, str | bytes | Write]
    command: tuple[str, ...]
    code: int
    says: tuple[str, ...]
    silent: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name

    def try_in(self, folder: Path, run: Run) -> None:
        """Raises AssertionError where something else follows."""
        for name, content in self.files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if callable(content):
                content(file)
            else:
                file.write_bytes(content.encode() if isinstance(content, str) else content)
        code, out, err = run(*self.command)
        said = out + err
        assert "traceback" not in said.lower(), said
        flat = re.sub(r"\s+", " ", said.lower())
        assert code == self.code, said
        for pattern in self.says:
            assert re.search(pattern, flat), f"not said: {pattern}\n{said}"
        for pattern in self.silent:
            assert not re.search(pattern, flat), f"said: {pattern}\n{said}"
        steers = [c for c in said if not c.isprintable() and c != "\n"]
        assert not steers, f"steers a terminal: {steers}"
        assert len(err) < 4000, "longer than a screen"


def suite(dataset: str, *, methods: str = "[ce]", seeds: str = "[0]", more: str = "", backbone: str = "mlp") -> str:
    """A small suite on one data set."""
    return f"""\
suite: small
datasets: [{dataset}]
recipes:
  tiny: {{backbone: {backbone}, epochs: 1, batch_size: 32, optimizer: {{name: sgd, lr: 0.05}}}}
methods: {methods}
protocol: {{final: {{seeds: {seeds}}}}}
{more}"""


def arrays(**changed: Any) -> Write:
    """Features of three classes, some of whose arrays are other ones (None: left out)."""
    x = np.random.default_rng(1).normal(size=(9, 5)).astype(np.float32)
    whole: dict[str, Any] = {"train_x": x, "train_y": np.arange(9) % 3, "test_x": x[:3], "test_y": np.arange(3),
                             "class_names": np.array(["oak", "ash", "elm"])}  # fmt: skip
    stored = {name: array for name, array in {**whole, **changed}.items() if array is not None}
    return lambda file: np.savez(file, **stored)
