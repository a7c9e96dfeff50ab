"""CoOp: the words before a class's name are vectors that are learned; both towers stay as they are.

A prompt is "[words] name.", with the same words for all classes or with some for each. The text tower is in the graph
of every step: its pass over one prompt of every class is what a step costs. Differences from the authors' code: no
warm-up epoch of the method's own, and the text tower computes in float32. All prompts end where the longest one does,
which changes roundings alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltbench.api import Choice, LogUniform, Method, Stage, hp
from ltbench.parts import Classifier, CosineHead, make_optimizer


class Prompts(nn.Module):
    """Features (N, dim) -> scaled cosines with the vectors of prompts, of which some words are learned.

    Args:
        encoder: words (C, L, width) and the places of the ends (C,) -> vectors (C, dim). words, ends: of the prompts;
            the first word is the beginning's. learned: (n, width) or (C, n, width), in place of the n words behind it.
    """

    words: Tensor
    ends: Tensor

    def __init__(self, encoder: nn.Module, words: Tensor, ends: Tensor, learned: Tensor, scale: float) -> None:
        super().__init__()
        self.encoder, self.scale = encoder, scale
        self.register_buffer("words", words)
        self.register_buffer("ends", ends)
        self.learned = nn.Parameter(learned)

    def vectors(self) -> Tensor:
        """(C, dim), of unit length."""
        learned = self.learned.expand(len(self.words), -1, -1)
        words = torch.cat([self.words[:, :1], learned, self.words[:, 1 + learned.shape[1] :]], dim=1)
        return F.normalize(torch.as_tensor(self.encoder(words, self.ends)), dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, C)."""
        return self.scale * F.linear(F.normalize(features, dim=1), self.vectors())


class CoOp(Method):
    """The words before the class's name are learned; both towers are frozen."""

    paper = (
        "Zhou, Yang, Loy, Liu. Learning to Prompt for Vision-Language Models. IJCV 2022, equations 1 to 3 (names at "
        "the end)."
    )
    defaults_from = "CoOp, rn50_ep50, end, 16 words (SGD 2e-3, momentum 0.9, weight decay 5e-4)"
    needs = frozenset({"text", "clip", "words"})
    start: str = hp(
        "random",
        "the words at first; of random ones there are `words`",
        choices=("random", "a photo of a"),
        search=Choice("random", "a photo of a"),
    )
    words: int = hp(16, "how many random words there are", search=Choice(4, 8, 16), low=1, high=32)
    per_class: bool = hp(False, "whether every class has words of its own", search=Choice(False, True))
    lr: float = hp(2e-3, "SGD's learning rate for the words", search=LogUniform(1e-4, 1e-1), above=0.0)

    def head(self, dim: int) -> nn.Module:
        tower, known = self.task.text_tower(dim), self.start != "random"
        start = self.start.split() if known else ["X"] * self.words
        names = [name.replace("_", " ") for name in self.task.class_names]
        words, ends = tower.embed([f"{' '.join(start)} {name}." for name in names])
        learned = words[: len(names) if self.per_class else 1, 1 : 1 + len(start)].clone()
        if not known:
            learned = 0.02 * torch.randn(learned.shape)
        return Prompts(tower.encoder, words, ends, learned, self.task.logit_scale or 100.0)

    def stages(self, model: Classifier) -> Iterator[Stage]:
        prompts, scale = model.head, self.task.logit_scale or 100.0
        words = [prompts.get_parameter("learned")]
        yield Stage("words", optimizer=make_optimizer(words, "sgd", self.lr, momentum=0.9, weight_decay=5e-4))
        with torch.no_grad():
            found = prompts.vectors()  # type: ignore[operator]
        model.head = CosineHead(found.shape[1], len(found), scale, found).to(found.device)
