"""CutMix: a box of each image is another image's, and the label is shared out by area."""

from __future__ import annotations

import torch
from torch import Tensor

from ltbench.api import Choice, Method, Moment, hp


class CutMix(Method):
    """A box of each image comes from a shuffled copy of the batch, labels mixed by area."""

    paper = (
        "Yun, Han, Oh, Chun, Choe, Yoo. CutMix: Regularization Strategy to Train Strong Classifiers. ICCV 2019, eq. 1."
    )
    defaults_from = "CutMix-PyTorch, CIFAR (alpha 1, half of the batches), labels by the box's exact area"
    alpha: float = hp(1.0, "Beta(alpha, alpha) draws the share of the image that is kept", above=0.0)
    probability: float = hp(0.5, "share of the batches that are mixed", search=Choice(0.5, 1.0), low=0.0, high=1.0)

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        if x.ndim != 4:
            raise ValueError(f"CutMix cuts boxes out of images; these are tensors of shape {tuple(x.shape)}")
        side = (1 - now.beta(self.alpha, self.alpha)).sqrt()
        mixes, other = now.uniform(0.0, 1.0) < self.probability, now.permutation(len(y))
        rows, columns = (self.inside(n, side, now) for n in x.shape[2:])
        box = mixes & rows[:, None] & columns
        target = self.task.one_hot(y)
        return torch.where(box, x[other], x), target.lerp(target[other], box.float().mean())

    def inside(self, n: int, side: Tensor, now: Moment) -> Tensor:
        """Which of n rows are in the box: `side` of them around a random one, cut off at the edges."""
        middle, half = now.uniform(0.0, n).floor(), ((n * side).floor() / 2).floor()
        place = torch.arange(n, device=side.device)
        return (place >= middle - half) & (place < middle + half)
