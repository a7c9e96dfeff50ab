"""Precomputed feature vectors, as a frozen image tower gives them: what is on top of it trains in seconds on a CPU."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ltbench.data.sources.notes import alike_note, same_rows_note, untested_note
from ltbench.data.sources.source import Arrays, Facts, Source
from ltbench.errors import UserError, clipped
from ltbench.system.arrays import bad_rows, names_of, read_npz, rows_text

_NEEDED = ("train_x", "train_y", "test_x", "test_y", "class_names")


class Features(Source):
    """One file with the vectors of all images. npz: `train_x` (N, D), `train_y` (N,), `test_x`, `test_y`, `class_names`
    (C,), and, where the image tower has a text tower beside it, `text` (C, D), the vectors of the class names. As
    safetensors: the same tensors, with the class names as a JSON list under `class_names` in the file's metadata."""

    kind = "features"
    summary = "precomputed feature vectors: PATH is an .npz or .safetensors file, see `ltbench docs clip`"
    options: ClassVar[dict[str, Any]] = {"unit_length": True}
    needs_path = True
    path_is = "the .npz or .safetensors file with train_x, train_y, test_x, test_y and class_names"

    def facts(self) -> Facts:
        """What the file says; (1, 1, D) is its shape. Raises UserError where the file is damaged or incomplete."""
        return self._facts

    @cached_property
    def _facts(self) -> Facts:
        if not isinstance(self.chosen["unit_length"], bool):
            raise UserError(f"features: `unit_length` must be true or false, got {self.chosen['unit_length']!r}")
        names = self._class_names()
        if len(names) < 2:
            raise self._bad(f"`class_names` has {len(names)}; at least 2 classes are needed")
        for part in ("train", "test"):
            self._check_part(part, len(names))
        labels = {part: self._stored[f"{part}_y"].astype(np.int64) for part in ("train", "test")}
        counts = {part: np.bincount(y, minlength=len(names)) for part, y in labels.items()}
        if (empty := np.flatnonzero(counts["train"] == 0)).size:
            raise self._bad(f"`train_y` has no vector of class {empty[0]} ({clipped(names[empty[0]])}), which "
                            f"`class_names` names; every class needs one to train on")  # fmt: skip
        if not len(labels["test"]):
            raise self._bad("`test_x` is empty; without test vectors nothing can be measured")
        dim = int(self._stored["train_x"].shape[1])
        return Facts(
            class_names=names,
            train_counts=tuple(int(n) for n in counts["train"]),
            test_counts=tuple(int(n) for n in counts["test"]),
            fingerprint=hashlib.sha256(self._file.read_bytes()).hexdigest()[:16],
            shape=(1, 1, dim),
            mean=(0.0,),
            std=(1.0,),
            notes=(
                *alike_note(names),
                *untested_note(names, counts["test"].tolist()),
                *same_rows_note(self._stored["train_x"], self._stored["test_x"]),
            ),
        )

    def read(self) -> Arrays:
        """The vectors, (N, D) float32, of unit length unless the suite says otherwise."""
        self.facts()
        x = {part: self._vectors(f"{part}_x") for part in ("train", "test")}
        y = {part: self._stored[f"{part}_y"].astype(np.int64) for part in ("train", "test")}
        return Arrays(x["train"], y["train"], x["test"], y["test"])

    def text(self) -> NDArray[np.float32] | None:
        """(C, D) vectors of the class names that came with the features, or None."""
        if "text" not in self._stored:
            return None
        stored, facts = self._stored["text"], self.facts()
        if stored.dtype.kind != "f":
            raise self._bad(f"`text` holds {stored.dtype}; numbers are needed")
        matrix = np.asarray(stored, dtype=np.float32)
        if matrix.shape != (len(facts.class_names), facts.shape[2]):
            raise self._bad(
                f"`text` has shape {matrix.shape}; {len(facts.class_names)} classes and {facts.shape[2]} numbers each "
                f"are needed"
            )
        return matrix

    def _vectors(self, name: str) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):
            x = np.asarray(self._stored[name], dtype=np.float32)
        if rows := bad_rows(x):
            raise self._bad(f"`{name}` has a vector that is zero, not a number or too large: {rows_text(rows, len(x))}"
                            f"; remove it, and its label")  # fmt: skip
        length = np.linalg.norm(x, axis=1, keepdims=True)
        return np.ascontiguousarray(x / length) if self.chosen["unit_length"] else x

    @property
    def _file(self) -> Path:
        assert self.path is not None, "open_source checks that there is a path"
        return self.path

    @cached_property
    def _stored(self) -> Mapping[str, NDArray[Any]]:
        if not self._file.is_file():
            raise UserError(f"features: {self._file}: no such file")
        try:
            found = _read_safetensors(self._file) if self._file.suffix == ".safetensors" else read_npz(self._file)
        except UserError as error:
            raise UserError(f"features: {error}; {', '.join(_NEEDED)} are needed") from error
        except Exception as error:  # of a damaged file; safetensors has kinds of its own
            raise self._bad(f"cannot be read ({error})") from error
        missing = [name for name in _NEEDED if name not in found]
        if missing:
            raise self._bad(f"lacks {', '.join(missing)}; it has {', '.join(sorted(found))}")
        return found

    def _class_names(self) -> tuple[str, ...]:
        try:
            return names_of(self._stored["class_names"])
        except ValueError as error:
            raise self._bad(f"`class_names` {error}") from error

    def _check_part(self, part: str, classes: int) -> None:
        x, y = self._stored[f"{part}_x"], self._stored[f"{part}_y"]
        dim = self._stored["train_x"].shape[-1] if self._stored["train_x"].ndim == 2 else "D"
        if x.ndim != 2 or x.dtype.kind != "f" or x.shape[1] != dim or not dim:
            raise self._bad(f"`{part}_x` must be numbers of shape (images, {dim or 'D'}), it is {x.dtype} {x.shape}")
        if y.shape != (len(x),) or y.dtype.kind not in "iu":
            raise self._bad(f"`{part}_y` must be {len(x)} whole numbers, it is {y.dtype} {y.shape}")
        if len(y) and (y.min() < 0 or y.max() >= classes):
            raise self._bad(f"`{part}_y` has labels from {y.min()} to {y.max()}, but there are {classes} class names")

    def _bad(self, what: str) -> UserError:
        return UserError(f"features: {self._file}: {what}")


def _read_safetensors(file: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as stored:
            names = json.loads((stored.metadata() or {}).get("class_names", "null"))
            found = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    try:
        return found if names is None else {**found, "class_names": np.array(names_of(names))}
    except ValueError as error:
        raise UserError(f"{file}: `class_names` in its metadata {error}; write a JSON list") from error
