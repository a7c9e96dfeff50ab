"""SHIKE: experts that each multiply an earlier stage's features into their own, and learn from each other.

As in the authors' code: cosine heads of scale 30; experts take earlier stages in turn, the first ones first; the
divergences are means over images and classes. Here batch-norm is fixed in the second part, where it goes on there.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltbench.api import Choice, Method, Moment, Stage, hp
from ltbench.parts import Classifier, Heads, cross_entropy, own_stages

_OUT = -30.0
"""A logit that leaves a class out of a softmax."""


class Shallow(nn.Sequential):
    """Features of an earlier stage brought to the size and the channels of the last one's."""

    def __init__(self, widths: list[int]) -> None:
        layers: list[nn.Module] = []
        for i, (incoming, width) in enumerate(pairwise(widths)):
            layers += [nn.Conv2d(incoming, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width)]
            layers += [nn.ReLU(inplace=True)] if i == 0 else []
        super().__init__(*layers)


class DepthWise(nn.Module):
    """All stages in place of the first: (N, ...) -> (K N, ...), the last one's features of each expert times those of
    an earlier stage."""

    def __init__(self, stages: list[nn.Module], k: int) -> None:
        super().__init__()
        widths = [next(m.num_features for m in reversed(list(s.modules())) if isinstance(m, nn.BatchNorm2d))
                  for s in stages]  # fmt: skip
        self.trunk, self.last = nn.ModuleList(stages[:-k]), nn.ModuleList(stages[-k:])
        depths = [i % len(self.trunk) for i in range(k)]
        last = len(self.trunk)
        self.depths, self.shallow = depths, nn.ModuleList(Shallow(widths[d : last + 1]) for d in depths)

    def forward(self, x: Tensor) -> Tensor:
        """Features before pooling."""
        seen = []
        for stage in self.trunk:
            x = stage(x)
            seen.append(x)
        both = zip(self.last, self.shallow, self.depths, strict=True)
        return torch.cat([stage(x) * shallow(seen[depth]) for stage, shallow, depth in both])


def divergence(log_p: Tensor, q: Tensor) -> Tensor:
    """Of p from q, (B, C) each: the mean over images and classes."""
    return F.kl_div(log_p, q, reduction="sum") / q.numel()


class Shike(Method):
    """Experts with features of different depths, which learn from each other, then balanced classifiers."""

    paper = (
        "Jin, Li, Lu, Cheung, Wang. Long-Tailed Visual Recognition via Self-Heterogeneous Integration with Knowledge "
        "Excavation. CVPR 2023, sections 3.2 to 3.4."
    )
    defaults_from = "SHIKE, cifarTrain.py (three experts, 10, the classifiers alone in 20 of 200 epochs)"
    needs = frozenset({"stages", "maps"})
    experts: int = hp(3, "how many experts", search=Choice(2, 3), low=2, high=8)
    hardest: float = hp(
        10.0, "weight of the agreement on other classes, which keeps the hardest low", search=Choice(1.0, 10.0), low=0.0
    )
    mutual: float = hp(1.0, "weight of what experts learn from each other", search=Choice(0.5, 1.0), low=0.0)
    classifier_share: float = hp(0.1, "fraction of the steps that trains the classifiers", above=0.0, high=0.9)

    def head(self, dim: int) -> nn.Module:
        return Heads([self.task.cosine_head(dim, 30.0) for _ in range(self.experts)])

    def stages(self, model: Classifier) -> Iterator[Stage]:
        dim = int(model.backbone.dim)  # type: ignore[arg-type]
        model.backbone = own_stages(model.backbone, self.experts, DepthWise).to(self.task.device)
        yield Stage("experts", share=1 - self.classifier_share)
        model.head = self.head(dim).to(self.task.device)
        optimizer = self.task.optimizer(model.head.parameters())
        yield Stage("classifiers", share=self.classifier_share, optimizer=optimizer)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        """logits: (B, K, C) of all experts."""
        if now.stage == "classifiers":
            return sum((cross_entropy(z + self.task.log_prior, target) for z in logits.unbind(1)), logits.new_zeros(()))
        others = 1 - target
        log_other = F.log_softmax(logits * others[:, None] + _OUT * target[:, None], dim=2)
        wanted = self.excavated(logits, target).softmax(dim=1)
        log_p, p = F.log_softmax(logits, dim=2), logits.softmax(dim=2)
        whole = logits.new_zeros(())
        for i in range(self.experts):
            whole = whole + cross_entropy(logits[:, i], target)
            whole = whole + self.hardest * divergence(log_other[:, i], wanted)
            for j in range(self.experts):
                if i != j:
                    whole = whole + self.mutual * divergence(log_p[:, i], p[:, j])
        return whole

    def excavated(self, logits: Tensor, target: Tensor) -> Tensor:
        """(B, C): of the other classes the largest logit that any expert has, of the hardest the experts' mean."""
        mean = _OUT * target + logits.mean(dim=1) * (1 - target)
        hardest = torch.zeros_like(mean).scatter(1, mean.argmax(dim=1, keepdim=True), 1.0)
        return logits.amax(dim=1) * (1 - hardest) * (1 - target) + mean * hardest

    def predict(self, logits: Tensor) -> Tensor:
        return logits.mean(dim=1)
