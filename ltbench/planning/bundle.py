"""Trials as files (`ltbench plan --export`), for machines without Ray or a network: written, and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ltbench.errors import UserError
from ltbench.spec import Plan, TrialSpec
from ltbench.system.files import write_atomically

if TYPE_CHECKING:  # sources, and with them packages that a machine with torch alone may lack
    from ltbench.planning.inputs import Inputs


def export(plan: Plan, inputs: Inputs, folder: Path) -> list[Path]:
    """Write every trial as a file that `ltbench trial` (or `python -m ltbench.trial`) runs on another machine."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if inputs.texts:
            np.savez(folder / "texts.npz", allow_pickle=False, **inputs.texts)
        return [_export_one(spec, inputs, folder) for spec in plan.trials]
    except OSError as error:
        raise UserError(f"--export {folder}: cannot be written ({error.strerror})") from error


def _export_one(spec: TrialSpec, inputs: Inputs, folder: Path) -> Path:
    file = folder / f"{spec.key}.json"
    paths = {name: path for name, path in inputs.paths.items()
             if name == spec.pretrained or name.partition(":")[0] == spec.cell.dataset}  # fmt: skip
    write_atomically(file, json.dumps({**spec.to_json(), "paths": paths}, indent=1).encode())
    return file


def read_bundle(file: Path) -> tuple[TrialSpec, dict[str, str], dict[str, NDArray[np.float32]]]:
    """A trial exported by `ltbench plan --export`: its spec, data paths, and class-name vectors from texts.npz."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as JSON ({error})") from error
    if not isinstance(data, dict):
        raise UserError(f"{file}: not a trial written by `ltbench plan --export`")
    paths = data.pop("paths", {})
    try:
        spec = TrialSpec.from_json(data)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    texts: dict[str, NDArray[np.float32]] = {}
    if spec.text:
        try:
            texts[spec.text] = np.load(file.parent / "texts.npz", allow_pickle=False)[spec.text]
        except (OSError, KeyError) as error:
            raise UserError(f"{file}: class-name vectors {spec.text} are not in {file.parent / 'texts.npz'}") from error
    return spec, paths, texts
