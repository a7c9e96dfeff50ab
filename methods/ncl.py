"""NCL: several networks learn the same task from the same images, and from each other.

The authors' configuration without the contrastive term (cifar100_im100_NCL). As in their code: all networks are given
one view, the hard classes are those of the first network, and in the loss on them the other classes' logits are set to
zero, not left out.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ltbench.api import Choice, Method, Moment, Stage, hp
from ltbench.parts import Classifier, Heads, cross_entropy, several_networks


class NestedCollaborative(Method):
    """Three networks with balanced softmax on all and on the hardest classes, which learn from each other."""

    paper = (
        "Li, Tan, Wan, Lei, Guo. Nested Collaborative Learning for Long-Tailed Visual Recognition. CVPR 2022, 3.2, 3.3."
    )
    defaults_from = "NCL, cifar100_im100_NCL (three networks, 30 hard classes of 100, 0.6)"
    distillation: float = hp(0.6, "weight of what the networks learn from each other", search=Choice(0.3, 0.6), low=0.0)
    hard: float = hp(0.3, "share of the classes that are the hard ones", search=Choice(0.1, 0.3), above=0.0, high=1.0)
    hard_weight: float = hp(
        1.0, "weight of the loss on hard classes; 0 leaves it out", search=Choice(0.5, 1.0), low=0.0
    )

    def head(self, dim: int) -> nn.Module:
        return Heads([super(NestedCollaborative, self).head(dim) for _ in range(3)])

    def stages(self, model: Classifier) -> Iterator[Stage]:
        model.backbone = several_networks(model.backbone, 3)
        yield from super().stages(model)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        """logits: (B, 3, C) of all networks."""
        balanced, hard = logits + self.task.counts.log(), self.hardest(logits[:, 0].detach(), target)
        on_hard = balanced * hard[:, None]
        whole = logits.new_zeros(())
        for z, weight in ((balanced, 1.0), (on_hard, self.hard_weight)):
            whole = whole + self.distillation * self.collaborative(z)
            whole = whole + weight * sum((cross_entropy(one, target) for one in z.unbind(1)), whole.new_zeros(()))
        return whole

    def hardest(self, logits: Tensor, target: Tensor) -> Tensor:
        """(B, C): 1 for the image's class and those of the highest logits beside it."""
        count = max(1, round(self.hard * self.task.num_classes))
        chosen = logits.masked_fill(target == target.amax(dim=1, keepdim=True), float("inf")).topk(count, dim=1).indices
        return torch.zeros_like(logits).scatter(1, chosen, 1.0)

    def collaborative(self, logits: Tensor) -> Tensor:
        """The mean over the networks (B, K, C) of the divergence of the others' predictions from theirs, times K."""
        p = logits.softmax(dim=2)
        log_p = (p + 1e-9).log()
        apart = [(p[:, j] * (log_p[:, j] - log_p[:, i])).sum() for i in range(3) for j in range(3) if i != j]
        return torch.stack(apart).sum() / 2 / len(logits)

    def predict(self, logits: Tensor) -> Tensor:
        return logits.mean(dim=1)
