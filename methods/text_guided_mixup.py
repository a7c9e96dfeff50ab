"""Text-guided mixup (local feature mixup): partners from classes of near meaning, labels shifted to the rarer one."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltbench.api import Index, LogUniform, Method, Moment, Uniform, hp
from ltbench.parts import like_images, sample_rows


class TextGuidedMixup(Method):
    """mixup with a class of near meaning, labels shifted towards the rarer one."""

    paper = "Franklin, Yao, Zhong, Qian, Hu. Text-Guided Mixup Towards Long-Tailed Image Categorization. BMVC 2024."
    defaults_from = "text-guided-mixup (tau 0.05, alpha 1, Beta(0.2, 0.2), one weight per batch)"
    needs = frozenset({"text"})
    tau: float = hp(
        0.05, "temperature of partner sampling; low means nearest names only", search=LogUniform(0.01, 1.0), above=0.0
    )
    alpha: float = hp(1.0, "how far the label moves to the rarer class", search=Uniform(0.0, 2.0), low=0.0)
    beta: float = hp(0.2, "Beta(beta, beta) draws the mixing weight", above=0.0)
    per_sample: bool = hp(False, "one mixing weight for every pair instead of one for the batch")

    @cached_property
    def partner_cdf(self) -> NDArray[np.float64]:
        """(C, C) cumulative p(j | i): softmax over j != i of the cosine of the class names' vectors over tau."""
        assert self.task.text is not None, "the plan skips this method where there are no class-name vectors"
        text = self.task.text.double()
        cosine = text @ text.T
        cosine.fill_diagonal_(-torch.inf)
        cdf = np.cumsum(torch.softmax(cosine / self.tau, dim=1).numpy(), axis=1)
        cdf /= cdf[:, -1:]  # ends in exactly 1, so no draw falls off the end
        cdf.setflags(write=False)  # half a gigabyte for iNaturalist, which a checkpoint need not hold
        return cdf

    def label_shift(self, now: Moment) -> float:
        """How far the label moves; a method of several phases may have one for each."""
        return self.alpha

    def draw(self, index: Index, now: Moment) -> Index:
        partner_class = sample_rows(self.partner_cdf, self.task.labels[index], now.rng)
        return np.concatenate([index, self.task.pick(partner_class, now.rng)])

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        (x_i, x_j), (y_i, y_j) = x.chunk(2), y.chunk(2)
        n_i, n_j = self.task.counts[y_i], self.task.counts[y_j]
        keep = now.beta(self.beta, self.beta, len(y_i) if self.per_sample else 1)
        keep_label = (keep - self.label_shift(now) * (n_i - n_j) / (n_i + n_j)).clamp(0, 1)[:, None]
        target = keep_label * self.task.one_hot(y_i) + (1 - keep_label) * self.task.one_hot(y_j)
        keep_image = like_images(keep, x)
        return keep_image * x_i + (1 - keep_image) * x_j, target
