"""Trials as files (`ltbench plan --export`), for machines without Ray or a network: written, and read back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ltbench.errors import UserError
from ltbench.plugins.sources import read_sources, write_sources
from ltbench.spec import Plan, TrialSpec
from ltbench.system.arrays import bad_rows, read_npz
from ltbench.system.files import write_atomically

if TYPE_CHECKING:  # sources, and with them packages that a machine with torch alone may lack
    from ltbench.planning.resolve import Inputs


def export(plan: Plan, inputs: Inputs, folder: Path) -> list[Path]:
    """Write every trial as a file that `ltbench trial` (or `python -m ltbench.trial`) runs on another machine."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if inputs.texts:
            np.savez(folder / "texts.npz", allow_pickle=False, **inputs.texts)
        return [_export_one(spec, inputs, folder) for spec in plan.trials]
    except OSError as error:
        raise UserError(f"--export {folder}: cannot be written ({error.strerror})") from error


def export_plugins(plugins: Sequence[Path], folder: Path) -> list[Path]:
    """Copy what workers are sent of folders of plugins beside exported trials: the copies, to be named with `--plugins`
    there."""
    copies = []
    for i, place in enumerate(plugins):
        copies.append(folder / "plugins" / f"{i}-{place.name}")
        try:
            shutil.rmtree(copies[-1], ignore_errors=True)  # of an earlier export
            write_sources(read_sources(place, "--plugins"), copies[-1])
        except OSError as error:
            raise UserError(f"--export {folder}: cannot be written ({error.strerror})") from error
    return copies


def _export_one(spec: TrialSpec, inputs: Inputs, folder: Path) -> Path:
    file = folder / f"{spec.key}.json"
    paths = {name: path for name, path in inputs.paths.items()
             if name == spec.pretrained or name.partition(":")[0] == spec.cell.dataset}  # fmt: skip
    write_atomically(file, json.dumps({**spec.to_json(), "paths": paths}, indent=1).encode())
    return file


def read_bundle(file: Path) -> tuple[TrialSpec, dict[str, str], dict[str, NDArray[np.float32]]]:
    """A trial exported by `ltbench plan --export`: its spec, data paths, and class-name vectors from texts.npz.

    Raises:
        UserError: the file is no such trial, or its vectors are not there.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: cannot be read as JSON ({error})") from error
    paths = data.pop("paths", {}) if isinstance(data, dict) else None
    if not isinstance(paths, dict) or not all(isinstance(path, str) for path in paths.values()):
        raise UserError(f"{file}: not a trial written by `ltbench plan --export`")
    try:
        spec = TrialSpec.from_json(data)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    return spec, paths, {spec.text: _vectors(file, spec.text)} if spec.text else {}


def _vectors(file: Path, name: str) -> NDArray[np.float32]:
    stored = file.parent / "texts.npz"
    matrix = read_npz(stored, [name]).get(name) if stored.is_file() else None
    if matrix is None:
        raise UserError(f"{file}: class-name vectors {name} are not in {stored}")
    if matrix.ndim != 2 or matrix.dtype.kind != "f" or bad_rows(matrix):
        raise UserError(f"{stored}: the class-name vectors {name} are no matrix of numbers with a vector in every row; "
                        f"export the trials again")  # fmt: skip
    return matrix
