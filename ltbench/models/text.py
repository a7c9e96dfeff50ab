"""Class-name vectors: where the text side of text-guided methods comes from.

A suite names a text source; the plan resolves it once, in the driver, to one (C, D) matrix per data set, and workers
are given the matrix: they need neither the encoder nor a network.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltbench.errors import UserError, at
from ltbench.models.towers import CONTENT, sha256_of
from ltbench.spec import digest
from ltbench.system.arrays import bad_rows, names_of, read_arrays, rows_text
from ltbench.system.extras import need


class TextVectors:
    """Unit vectors of the class names: (C, D) float32, in label order, made when they are first asked for.

    Attributes:
        digest: names them in a trial's identity. origin: the same in words. dim: D.
        model: the description of the open_clip model whose text tower they come from, or None.
    """

    def __init__(
        self,
        make: Callable[[], NDArray[np.float32]],
        digest: str,
        origin: str,
        dim: int | None = None,
        model: Mapping[str, Any] | None = None,
    ) -> None:
        self._make, self.digest, self.origin, self._dim, self.model = make, digest, origin, dim, model

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """(C, D) float32; computed or read on first use, which may load a text tower."""
        return self._make()

    @property
    def dim(self) -> int:
        """D; makes the vectors only where nothing else tells it."""
        return self._dim or int(self.vectors.shape[1])


class NoText(Exception):
    """This data set's class names have no vectors; methods that need them are skipped, with this reason."""


def text_vectors(
    config: Mapping[str, Any] | None, dataset: str, names: Sequence[str], data: Path, *, later: bool = False
) -> TextVectors:
    """The vectors of a data set's class names.

    Args:
        config: the suite's `text:` (encoder: bundled, file, open_clip or sentence_transformers, and its settings).
        dataset: name of the data set, put in place of `{dataset}` in a file's path.
        names: class names in label order. data: folder of the cache.
        later: an encoder runs when the vectors are asked for, not now; a plan needs their name only.

    Raises:
        NoText: no text source, or it lacks a name. UserError: the source itself is wrong or cannot be loaded.
    """
    if config is None:
        raise NoText("the suite has no `text:` source for class-name vectors")
    encoder = config["encoder"]
    if encoder == "bundled":
        return _bundled(names)
    if encoder == "file":
        return _from_file(Path(config["path"].replace("{dataset}", dataset)).expanduser(), names)
    found = _encoded(config, names, data)
    if not later:
        _ = found.vectors
    return found


def text_of_source(matrix: NDArray[Any] | None, dataset: str) -> TextVectors:
    """The vectors that came with a data set. Raises NoText where none did."""
    if matrix is None:
        raise NoText(f"the data set {dataset} brings no class-name vectors")
    return _finished(matrix, f"with the data set {dataset}")


def _bundled(names: Sequence[str]) -> TextVectors:
    known, matrix, encoder = bundled_table()
    return _chosen(names, known, matrix, f"bundled vectors ({encoder})")


@cache
def bundled_table() -> tuple[list[str], NDArray[np.float32], str]:
    """The vectors that come with ltbench: names, (120, 384) float32, encoder. Made by tools/make_bundled_text.py."""
    with (files("ltbench.models") / "bundled_text.npz").open("rb") as stream:
        table = np.load(stream, allow_pickle=False)
        return [str(n) for n in table["names"]], table["vectors"], str(table["encoder"])


def _from_file(path: Path, names: Sequence[str]) -> TextVectors:
    """npz with `class_names` (or `names`) and `embeddings` (or `vectors`), or npy with one row per class in order."""
    with at("text.path"):
        table = read_arrays(path)
    if isinstance(table, np.ndarray):
        if table.ndim != 2 or len(table) != len(names):
            raise UserError(
                f"text.path: {path} holds an array of shape {table.shape}; one row for each of {len(names)} classes "
                f"is needed, in label order"
            )
        return _finished(_numbers(table, path), path.name)
    found = [next((table[k] for k in keys if k in table), None)
             for keys in (("class_names", "names"), ("embeddings", "vectors"))]  # fmt: skip
    if found[0] is None or found[1] is None:
        raise UserError(f"text.path: {path} has {sorted(table)}; `class_names` and `embeddings` are needed")
    try:
        known, matrix = names_of(found[0]), _numbers(found[1], path)
    except ValueError as error:
        raise UserError(f"text.path: {path}: `class_names` {error}") from error
    if matrix.ndim != 2 or len(matrix) != len(known):
        raise UserError(f"text.path: {path}: embeddings have shape {matrix.shape} but there are {len(known)} names")
    return _chosen(names, known, matrix, path.name)


def _numbers(array: NDArray[Any], path: Path) -> NDArray[np.float64]:
    try:
        return np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"text.path: {path}: its vectors are not numbers ({error})") from error


def _chosen(names: Sequence[str], known: Sequence[str], matrix: NDArray[Any], origin: str) -> TextVectors:
    rows = {_normal(name): row for row, name in enumerate(known)}
    if len(rows) < len(known):
        raise UserError(f"text: {origin}: two class names differ only in case, spaces, '_' or '-'; rename one")
    missing = [name for name in names if _normal(name) not in rows]
    if missing:
        raise NoText(f"{origin} lack {len(missing)} of {len(names)} class names ({', '.join(missing[:4])}"
                     f"{', ...' if len(missing) > 4 else ''})")  # fmt: skip
    return _finished(matrix[[rows[_normal(name)] for name in names]], origin)


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name).lower().replace("_", " ").replace("-", " ").strip()


def _finished(matrix: NDArray[Any], origin: str) -> TextVectors:
    """Unit length, float32, named by content."""
    unit = _unit(matrix, origin)
    return TextVectors(lambda: unit, hashlib.sha256(unit.tobytes()).hexdigest()[:12], origin)


def _unit(matrix: NDArray[Any], origin: str) -> NDArray[np.float32]:
    vectors = np.asarray(matrix, dtype=np.float64)
    if rows := bad_rows(vectors):
        raise UserError(f"text: {origin}: a class-name vector is zero or not a number: {rows_text(rows, len(vectors))}")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / lengths, dtype=np.float32)


def _encoded(config: Mapping[str, Any], names: Sequence[str], data: Path) -> TextVectors:
    """Run a text encoder once; its vectors are kept in the data folder under a name made from everything they depend
    on (how they are made, not their contents: making them again may move a last bit)."""
    settings = {k: config[k] for k in ("encoder", "model", "pretrained", "template") if config.get(k)}
    model: dict[str, Any] | None = None
    if config["encoder"] == "open_clip":
        from ltbench.models.clip import describe

        model = describe(config["model"], config["pretrained"])
        settings |= {"model": model["architecture"]}
        if model["pretrained"].startswith(CONTENT):
            settings["pretrained"] = sha256_of(Path(config["pretrained"]).expanduser())
        if model["quick_gelu"] and not model["architecture"].endswith("quickgelu"):
            settings["activation"] = "quick_gelu"
    prompts = _prompts(config, names)
    if config.get("templates"):
        settings["template"] = config["templates"][0] if len(prompts) == 1 else ""  # of more, the prompts tell
    identity = digest([settings, prompts[0] if len(prompts) == 1 else prompts])
    origin = " ".join(str(settings[k]) for k in ("encoder", "model", "pretrained") if k in settings)

    def make() -> NDArray[np.float32]:
        kept = data / "text" / f"{identity}.npy"
        if not kept.exists():
            flat = [prompt for group in prompts for prompt in group]
            matrix = ensemble(_encode(config, model, flat).reshape(len(prompts), len(names), -1))
            kept.parent.mkdir(parents=True, exist_ok=True)
            scratch = kept.with_suffix(f".{os.getpid()}.npy")
            np.save(scratch, matrix)
            scratch.replace(kept)
        return _unit(np.load(kept, allow_pickle=False), origin)

    return TextVectors(make, identity, origin + _in_words(config, prompts), model["dim"] if model else None, model)


def ensemble(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """One vector per class from those of several templates, (T, C, D) -> (C, D): the average of the unit vectors, as
    CLIP does it (Radford et al., ICML 2021, section 3.1.4); of one template, its vectors as they are."""
    if len(vectors) == 1:
        return np.asarray(vectors[0], dtype=np.float32)
    wide = vectors.astype(np.float64)
    unit = wide / np.linalg.norm(wide, axis=2, keepdims=True)
    return np.asarray(unit.mean(axis=0), dtype=np.float32)


def _prompts(config: Mapping[str, Any], names: Sequence[str]) -> list[list[str]]:
    """What is encoded: for each template one prompt per class."""
    templates = config.get("templates")
    if isinstance(templates, str):
        from ltbench.models.clip import template_set

        templates = template_set(templates)
    clean = config.get("names") or {}
    keep = clean.get("underscores") == "keep"
    words = [name if keep else name.replace("_", " ") for name in names]
    return [[_filled(template, word, bool(clean.get("article"))) for word in words]
            for template in templates or [config["template"]]]  # fmt: skip


def _filled(template: str, word: str, article: bool) -> str:
    """The name in its place; with `article`, `a {}` becomes `an {}` before a vowel."""
    if article and word[:1].lower() in tuple("aeiou"):
        template = re.sub(r"\b([Aa]) \{\}", r"\1n {}", template)
    return template.replace("{}", word)


def _in_words(config: Mapping[str, Any], prompts: Sequence[Sequence[str]]) -> str:
    """What differs from one template and plain words, for the origin: it is what people read."""
    templates, clean = config.get("templates"), config.get("names") or {}
    named = templates if isinstance(templates, str) else f"{len(prompts)} templates" if len(prompts) > 1 else ""
    kept = "underscores kept" if clean.get("underscores") == "keep" else ""
    return "".join(f", {part}" for part in (named, kept, "an before vowels" if clean.get("article") else "") if part)


def _encode(config: Mapping[str, Any], model: Mapping[str, Any] | None, prompts: Sequence[str]) -> NDArray[np.float32]:
    if model is not None:
        from ltbench.models import clip

        return clip.encode_text(model, config["pretrained"], prompts)
    return _sentence_transformers(config["model"], prompts)


def _sentence_transformers(model: str, prompts: Sequence[str]) -> NDArray[np.float32]:
    need("text.encoder sentence_transformers", "text")
    from sentence_transformers import SentenceTransformer

    try:
        encoder = SentenceTransformer(model, device="cpu")
    except Exception as error:  # the hub client raises many kinds
        raise UserError(
            f"text.model: {model!r} could not be loaded ({error}). Give a folder that holds the model, or use "
            f"`encoder: bundled` or `encoder: file`"
        ) from error
    return np.asarray(encoder.encode(list(prompts), convert_to_numpy=True), dtype=np.float32)
