"""Remix: mixup whose labels lean towards the rarer class of a pair."""

from __future__ import annotations

from torch import Tensor

from ltbench.api import Method, Moment, hp


class Remix(Method):
    """mixup whose pairs of a frequent and a rare class are labelled rare."""

    paper = "Chou, Chang, Pan, Wei, Juan. Remix: Rebalanced Mixup. ECCV Workshops 2020, equations 5 to 7."
    defaults_from = "BagofTricks-LT (alpha 1, kappa 3, tau 0.5), with the label rule applied to every pair by itself"
    alpha: float = hp(1.0, "Beta(alpha, alpha) draws the mixing weight", above=0.0)
    kappa: float = hp(3.0, "how many times more frequent a class must be to give its label away", low=1.0)
    tau: float = hp(0.5, "the label is given away while the frequent image's weight is below this", low=0.0, high=1.0)

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        keep, other = now.beta(self.alpha, self.alpha), now.permutation(len(y))
        ratio = self.task.counts[y] / self.task.counts[y[other]]
        keep_label = keep.expand(len(y))
        keep_label = keep_label.masked_fill((ratio >= self.kappa) & (keep < self.tau), 0.0)
        keep_label = keep_label.masked_fill((ratio <= 1 / self.kappa) & (1 - keep < self.tau), 1.0)
        target = self.task.one_hot(y)
        return x.lerp(x[other], 1 - keep), target[other].lerp(target, keep_label[:, None])
