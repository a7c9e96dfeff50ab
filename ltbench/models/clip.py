"""open_clip's towers; the only file that imports open_clip."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ltbench.errors import UserError, did_you_mean

_HUB = ("huggingface.co", 443)


def encode_text(model: str, pretrained: str, prompts: Sequence[str], batch_size: int = 256) -> NDArray[np.float32]:
    """Text vectors of the prompts, (N, D) float32, not normalised; float32 on the CPU.

    Args:
        model: open_clip architecture, for example ViT-B-32. pretrained: a tag, or the path of a checkpoint.

    Raises:
        UserError: unknown model or tag, or weights that are neither cached nor downloadable.
    """
    import open_clip

    tower = _load(open_clip, model, pretrained)
    try:
        tokenizer = open_clip.get_tokenizer(model)
    except ImportError as error:
        raise UserError(
            f"text.model: the tokenizer of {model} needs a package that is not installed: {error}"
        ) from error
    with torch.inference_mode():
        parts = [
            tower.encode_text(tokenizer(list(prompts[start : start + batch_size]))).float()
            for start in range(0, len(prompts), batch_size)
        ]
    return np.asarray(torch.cat(parts).numpy())


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
        import open_clip

        tower = _load(open_clip, model, pretrained)
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._visual = tower.visual.to(self._device)
        side = tower.visual.image_size
        self.side = int(side[0] if isinstance(side, tuple | list) else side)
        mean = getattr(tower.visual, "image_mean", None) or open_clip.OPENAI_DATASET_MEAN
        std = getattr(tower.visual, "image_std", None) or open_clip.OPENAI_DATASET_STD
        self._mean, self._std = (torch.tensor(v, device=self._device).view(1, -1, 1, 1) for v in (mean, std))

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, H, W, 1 or 3) uint8 -> (N, D) float32, not normalised."""
        x = torch.from_numpy(np.ascontiguousarray(images)).to(self._device).permute(0, 3, 1, 2).float()
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        if x.shape[-2:] != (self.side, self.side):
            x = F.interpolate(x, (self.side, self.side), mode="bicubic", antialias=True, align_corners=False)
        features = self._visual((x.clamp(0, 255) / 255 - self._mean) / self._std)
        return np.asarray(features.float().cpu().numpy())


def _load(open_clip: Any, model: str, pretrained: str) -> Any:
    if model not in open_clip.list_models():
        raise UserError(
            f"text.model: unknown open_clip model {model!r}. {did_you_mean(model, open_clip.list_models())}"
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    local = Path(pretrained).expanduser()
    if pretrained not in tags and not local.is_file():
        raise UserError(f"text.pretrained: {pretrained!r} is neither a file nor a tag of {model}. "
                        f"{did_you_mean(pretrained, tags)}")  # fmt: skip
    try:
        with _no_retries_when_offline(local.is_file()):
            tower = open_clip.create_model(
                model,
                pretrained=str(local) if local.is_file() else pretrained,
                weights_only=True,
                require_pretrained=True,
            )
    except UserError:
        raise
    except Exception as error:  # the hub client raises many kinds
        if local.is_file():
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
            raise UserError(f"text.pretrained: {local} does not hold the weights of {model} ({reason})") from error
        raise _no_weights(model, pretrained, error) from error
    return tower.eval()


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


def _no_weights(model: str, pretrained: str, error: Exception) -> UserError:
    return UserError(
        f"text: the weights {pretrained!r} of {model} are not on this machine and could not be fetched "
        f"({type(error).__name__}). Either run once with a network (they are kept in HF_HOME), or give a checkpoint's "
        f"path as `pretrained:`, or precompute the vectors and use `encoder: file`"
    )
