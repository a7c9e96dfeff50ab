"""Text towers for methods that learn words: prompts as vectors of their words, and what the tower makes of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ltbench.errors import UserError
from ltbench.models import clip

_CLIPS = {
    "hf_model_name": None,
    "hf_tokenizer_name": None,
    "no_causal_mask": False,
    "embed_cls": False,
    "pool_type": "argmax",
    "proj_type": "linear",
    "proj_bias": False,
}
"""What open_clip's configuration says of a text tower like CLIP's own."""


def learns_words(backbone: str) -> bool:
    """Whether the text tower beside an image tower is of CLIP's kind: the end of a prompt has seen all its words, and
    none that follow."""
    text = clip.config_of(backbone, "text_cfg")
    return all(text.get(key, kind) == kind for key, kind in _CLIPS.items())


class TextEncoder(nn.Module):
    """The text tower of a CLIP model behind the embedding of words: (P, L, width) -> (P, dim).

    A word is told of those before it alone, and a prompt's vector is that of its end. So what follows the longest
    prompt's end is left out: 23 words in place of 77 cost a third.

    Args:
        transformer: words (P, L, width) and an additive mask (L, L) -> (P, L, width). places: (context, width), added
            to the words. norm: on what the transformer gives. projection: (width, dim).
    """

    def __init__(self, transformer: nn.Module, places: Tensor, norm: nn.Module, projection: Tensor) -> None:
        super().__init__()
        self.transformer, self.norm = transformer, norm
        self.places, self.projection = nn.Parameter(places), nn.Parameter(projection)

    def forward(self, words: Tensor, ends: Tensor) -> Tensor:
        """Words of prompts (P, L, width) and the place of each one's end (P,) -> vectors (P, dim), not of unit
        length."""
        length = words.shape[1]
        mask = torch.full((length, length), -torch.inf, device=words.device, dtype=words.dtype).triu(1)
        found = self.norm(self.transformer(words + self.places[:length], mask))
        at_end = found.gather(1, ends.view(-1, 1, 1).expand(-1, 1, found.shape[2]))
        return torch.as_tensor(at_end.squeeze(1) @ self.projection)


@dataclass(frozen=True)
class TextTower:
    """The text tower of a CLIP model.

    Attributes:
        encoder: what it makes of words. embedding: token -> word (width,). tokenize: prompts -> (P, context) int64, in
            which the end of a prompt is the largest number.
    """

    encoder: TextEncoder
    embedding: nn.Embedding
    tokenize: Callable[[Sequence[str]], Tensor]

    @property
    def dim(self) -> int:
        """Numbers of a vector."""
        return int(self.encoder.projection.shape[1])

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Prompts -> their words (P, L, width) up to the last one's end, the first of them the beginning's, and the
        places of their ends (P,)."""
        tokens = self.tokenize(list(prompts))
        ends = tokens.argmax(dim=1)
        return self.embedding(tokens[:, : int(ends.max()) + 1]), ends


def text_tower(tower: Mapping[str, Any], checkpoint: str | None = None) -> TextTower:
    """The text tower beside an image tower, on the CPU; draws nothing from torch's global generator.

    Args:
        tower: the recipe's description. checkpoint: where the weights lie, if they are a checkpoint of the user's.

    Raises:
        UserError: weights that cannot be had, or a text tower of another kind.
    """
    with torch.random.fork_rng(devices=[]):
        model = clip.load(tower, checkpoint)
    text = getattr(model, "text", model)
    if not learns_words(tower["architecture"]):
        raise UserError(f"the text tower of {tower['architecture']} is none of CLIP's kind, whose words can be learned")
    encoder = TextEncoder(text.transformer, text.positional_embedding, text.ln_final, text.text_projection)
    return TextTower(encoder.requires_grad_(False), text.token_embedding, clip.tokenizer_of(tower["architecture"]))
