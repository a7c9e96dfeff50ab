"""mixup: convex combinations of images and of their labels."""

from __future__ import annotations

from torch import Tensor

from ltbench.api import Choice, Method, Moment, hp


class Mixup(Method):
    """Images and labels mixed with a shuffled copy of the batch."""

    paper = "Zhang, Cisse, Dauphin, Lopez-Paz. mixup: Beyond Empirical Risk Minimization. ICLR 2018, equation 1."
    defaults_from = "mixup-cifar10 and MiSLAS (alpha 1, one weight per batch)"
    alpha: float = hp(1.0, "Beta(alpha, alpha) draws the mixing weight", search=Choice(0.2, 0.5, 1.0), above=0.0)

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        keep, other = now.beta(self.alpha, self.alpha), now.permutation(len(y))
        target = self.task.one_hot(y)
        return x.lerp(x[other], 1 - keep), target.lerp(target[other], 1 - keep)
