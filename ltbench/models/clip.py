"""open_clip's models; the only file that imports open_clip."""

from __future__ import annotations

import logging
import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltbench.errors import UserError, did_you_mean
from ltbench.models.towers import CONTENT, NAMED, Preparation, Tower, architecture_of, content_of, weights_of

_HUB = ("huggingface.co", 443)


def describe(
    model: str, pretrained: str, image_size: int | None = None, interpolation: str | None = None, place: str = "text"
) -> dict[str, Any]:
    """What a model is, as plain data, from names alone: nothing is fetched and no weights are made.

    Args:
        model: open_clip architecture, for example ViT-B-32, or one of our own names (clip_vit_b32).
        pretrained: a tag of it, or the path of a checkpoint.
        image_size, interpolation: other than the model's own. place: where in the suite it stands, for messages.

    Returns:
        architecture, pretrained (the tag, or what stands for the checkpoint's content), dim, image_size, interpolation,
        mean, std and quick_gelu.

    Raises:
        UserError: unknown model or tag.
    """
    import open_clip

    ours, model = model in NAMED, architecture_of(model)
    if model not in open_clip.list_models():
        raise UserError(
            f"{place}.model: unknown open_clip model {model!r}. {did_you_mean(model, open_clip.list_models())}"
        )
    config = open_clip.get_model_config(model)
    tags = open_clip.list_pretrained_tags_by_model(model)
    checkpoint = Path(pretrained).expanduser()
    if pretrained in tags:
        given = open_clip.get_pretrained_cfg(model, pretrained)
        quick, content = bool(given.get("quick_gelu", False)), pretrained
    elif checkpoint.is_file():
        given = _agreed([open_clip.get_pretrained_cfg(model, tag) for tag in tags])
        quick, content = bool(config.get("quick_gelu", False)) or ours, content_of(checkpoint)
    else:
        raise UserError(f"{place}.pretrained: {pretrained!r} is neither a file nor a tag of {model}. "
                        f"{did_you_mean(pretrained, tags)}")  # fmt: skip
    return {
        "architecture": model,
        "pretrained": content,
        "dim": int(config["embed_dim"]),
        "image_size": image_size or _side(config),
        "interpolation": interpolation or given.get("interpolation", "bicubic"),
        "mean": [float(v) for v in given.get("mean", open_clip.OPENAI_DATASET_MEAN)],
        "std": [float(v) for v in given.get("std", open_clip.OPENAI_DATASET_STD)],
        "quick_gelu": quick or bool(config.get("quick_gelu", False)),
    }


def _side(config: Mapping[str, Any]) -> int:
    """Pixels of the (square) images that an architecture reads."""
    size = config["vision_cfg"].get("image_size", 224)
    return int(size[0] if isinstance(size, list | tuple) else size)


def _agreed(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all published weights of an architecture want alike: what a checkpoint of the user's is taken to want."""
    wanted = {key: [c.get(key) for c in configs] for key in ("mean", "std", "interpolation")}
    return {key: values[0] for key, values in wanted.items() if values and all(v == values[0] for v in values)}


@cache
def config_of(backbone: str, part: str) -> dict[str, Any]:
    """What an architecture says of a tower (`vision_cfg`, `text_cfg`)."""
    import open_clip

    return dict((open_clip.get_model_config(architecture_of(backbone)) or {}).get(part, {}))


def has_blocks(backbone: str) -> bool:
    """Whether a tower is made of transformer blocks, as its architecture says."""
    vision = config_of(backbone, "vision_cfg")
    if vision.get("timm_model_name"):
        return str(vision["timm_model_name"]).startswith(("vit", "eva", "deit"))
    return not isinstance(vision.get("layers"), list | tuple)


def image_tower(tower: Mapping[str, Any], checkpoint: str | None, device: torch.device | str = "cpu") -> Tower:
    """The image tower of a described model, with its weights; draws nothing from torch's global generator.

    Args:
        checkpoint: where the weights lie, if they are a checkpoint of the user's.

    Raises:
        UserError: weights that are neither here nor can be fetched, or are those of another model.
    """
    with torch.random.fork_rng(devices=[]):
        model = load(tower, checkpoint)
    return Tower(model.visual, tower, device)


def encode_text(
    model: str | Mapping[str, Any], pretrained: str, prompts: Sequence[str], batch_size: int = 256
) -> NDArray[np.float32]:
    """Text vectors of the prompts, (N, D) float32, not normalised; float32 on the CPU.

    Args:
        model: open_clip architecture, for example ViT-B-32. pretrained: a tag, or the path of a checkpoint.

    Raises:
        UserError: unknown model or tag, or weights that are neither cached nor downloadable.
    """
    described = describe(model, pretrained) if isinstance(model, str) else model
    towers = load(described, pretrained if described["pretrained"].startswith(CONTENT) else None, "text")
    tokenizer = tokenizer_of(described["architecture"])
    with torch.inference_mode():
        parts = [
            towers.encode_text(tokenizer(list(prompts[start : start + batch_size]))).float()
            for start in range(0, len(prompts), batch_size)
        ]
    return np.asarray(torch.cat(parts).numpy())


def tokenizer_of(architecture: str) -> Any:
    """Prompts -> (N, context) int64. Raises UserError where it needs a package that is not installed."""
    import open_clip

    try:
        return open_clip.get_tokenizer(architecture)
    except ImportError as error:
        raise UserError(f"text.model: the tokenizer of {architecture} needs a package that is not installed: "
                        f"{error}") from error  # fmt: skip


TEMPLATE_SETS = {"imagenet_80": "OPENAI_IMAGENET_TEMPLATES", "imagenet_7": "SIMPLE_IMAGENET_TEMPLATES"}
"""Names a suite may use for `templates`, and what open_clip calls them: CLIP's 80 for ImageNet, and its best seven."""


def template_set(name: str) -> list[str]:
    """The templates of a named set, with `{}` for the class name. Raises UserError for an unknown name."""
    import open_clip

    if name not in TEMPLATE_SETS:
        raise UserError(f"text.templates: unknown set {name!r}. {did_you_mean(name, TEMPLATE_SETS)}")
    return [str(template("{}")) for template in getattr(open_clip, TEMPLATE_SETS[name])]


class ImageTower:
    """The image tower of an open_clip model, in float32, for reading features: nothing in it trains.

    Images are resized to the tower's size (bicubic, antialiased, on float pixels, clipped to 0..255) and normalised
    with the model's own mean and standard deviation.

    Args:
        model: open_clip architecture. pretrained: a tag, or the path of a checkpoint.

    Raises:
        UserError: unknown model or tag, or weights that are neither cached nor downloadable.
    """

    def __init__(self, model: str, pretrained: str, device: str | None = None) -> None:
        tower = describe(model, pretrained, interpolation="bicubic")
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._visual = load(tower, pretrained, "text").visual.to(self._device)
        self._prepare = Preparation(tower, self._device)
        self.side = self._prepare.side

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, H, W, 1 or 3) uint8 -> (N, D) float32, not normalised."""
        x = torch.from_numpy(np.ascontiguousarray(images)).to(self._device).permute(0, 3, 1, 2).float()
        return np.asarray(self._visual(self._prepare(x)).float().cpu().numpy())


def load(tower: Mapping[str, Any], checkpoint: str | None, place: str = "backbone") -> Any:
    """Both towers of a described model, in eval mode. Of a checkpoint only tensors are read, never code.

    Raises:
        UserError: the checkpoint is absent, changed or of another model, or the weights cannot be had.
    """
    import open_clip

    model, tag, file = tower["architecture"], tower["pretrained"], None
    if tag.startswith(CONTENT):
        file = _checked(tower, checkpoint, place)
    own = _side(open_clip.get_model_config(model))
    try:
        with _no_retries_when_offline(file is not None), _silence():
            towers = open_clip.create_model(
                model,
                pretrained=str(file or tag),
                weights_only=True,
                require_pretrained=True,
                force_quick_gelu=tower["quick_gelu"],
                force_image_size=None if tower["image_size"] == own else tower["image_size"],
            )
    except UserError:
        raise
    except Exception as error:  # the hub client raises many kinds
        if file is not None:
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
            raise UserError(f"{place}.pretrained: {file} does not hold the weights of {model} ({reason})") from error
        raise _no_weights(model, tag, error, place) from error
    return towers.eval()


def unavailable(tower: Mapping[str, Any], checkpoint: str | None, place: str = "backbone") -> str | None:
    """Why a tower's weights are not to be had on this machine, fetching them if that can be done; None: they are."""
    import open_clip

    try:
        if tower["pretrained"].startswith(CONTENT):
            _checked(tower, checkpoint, place)
            return None
        with _no_retries_when_offline(False), _silence():
            open_clip.download_pretrained(open_clip.get_pretrained_cfg(tower["architecture"], tower["pretrained"]))
    except UserError as error:
        return str(error)
    except Exception as error:
        return str(_no_weights(tower["architecture"], tower["pretrained"], error, place))
    return None


def _checked(tower: Mapping[str, Any], checkpoint: str | None, place: str) -> Path:
    """The user's checkpoint, as it was when the trial was planned."""
    file = Path(checkpoint or "").expanduser()
    where = f"{place}.pretrained: {checkpoint or 'a checkpoint'} on {socket.gethostname()}"
    try:
        found = content_of(file)
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror}); the weights {weights_of(tower)} must lie under "
                        f"the same path on every machine that trains") from error  # fmt: skip
    if found != tower["pretrained"]:
        raise UserError(
            f"{where}: has other contents ({found}) than the trial was planned with ({tower['pretrained']})"
        )
    return file


@contextmanager
def _silence() -> Iterator[None]:
    """open_clip tells the root logger what it does and warns of an activation that is set on purpose here."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="QuickGELU mismatch")
            yield
    finally:
        logging.disable(before)


class _no_retries_when_offline:  # noqa: N801 - reads as a statement
    """Asks once whether the hub can be reached; open_clip by itself tries for most of a minute."""

    def __init__(self, local: bool) -> None:
        self._local = local

    def __enter__(self) -> None:
        from huggingface_hub import constants

        self._before = constants.HF_HUB_OFFLINE
        if not self._local and not self._before:
            try:
                socket.create_connection(_HUB, timeout=3).close()
            except OSError:
                constants.HF_HUB_OFFLINE = True

    def __exit__(self, *_: object) -> None:
        from huggingface_hub import constants

        constants.HF_HUB_OFFLINE = self._before


def _no_weights(model: str, pretrained: str, error: Exception, place: str) -> UserError:
    cures = {
        "text": "give a checkpoint's path as `pretrained:`, or precompute the vectors and use `encoder: file`",
        "backbone": f"name another tag as `pretrained:` ({_others(model, pretrained)}), or give a checkpoint's path "
        f"there, or precompute the features (`ltbench features`; `ltbench docs clip` tells how)",
    }
    return UserError(
        f"{place}: the weights {pretrained!r} of {model} are not on this machine ({socket.gethostname()}) and could "
        f"not be fetched ({type(error).__name__}). Either run once with a network (they are kept in HF_HOME), or "
        f"{cures['text' if place == 'text' else 'backbone']}"
    )


def _others(model: str, tag: str) -> str:
    import open_clip

    others = [t for t in open_clip.list_pretrained_tags_by_model(model) if t != tag]
    return ", ".join(others[:3]) + (", ..." if len(others) > 3 else "") if others else f"{model} has no other"
