"""CMO: images of rare classes are pasted onto backgrounds that come from the data as they are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ltbench.api import Choice, Index, Moment, hp
from ltbench.parts import power_probs

from .cutmix import CutMix


class ContextRichMinority(CutMix):
    """CutMix whose boxes come from a draw that favours rare classes."""

    paper = (
        "Park, Hong, Heo, Yun, Choi. The Majority Can Help the Minority: Context-rich Minority Oversampling for "
        "Long-tailed Classification. CVPR 2022, equation 1, algorithm 1."
    )
    defaults_from = (
        "CMO, cifar_train.py (alpha 1, half of the batches, r 1; not in epochs 0 to 3 and 197 to 199 of 200)"
    )
    power: float = hp(
        1.0, "the paper's r: images weigh n_c^-r, so 1 draws all classes alike", search=Choice(0.5, 1.0, 1.5), low=0.0
    )
    begin: float = hp(0.02, "fraction of training before anything is pasted", low=0.0, high=1.0)
    end: float = hp(0.985, "fraction of training after which nothing is pasted", low=0.0, high=1.0)

    def draw(self, index: Index, now: Moment) -> Index:
        probs = power_probs(self.task.class_counts, 1 - self.power)
        classes = now.rng.choice(self.task.num_classes, size=len(index), p=probs)
        return np.concatenate([index, self.task.pick(classes, now.rng)])

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        if x.ndim != 4:
            raise ValueError(f"CMO pastes boxes of images; these are tensors of shape {tuple(x.shape)}")
        (back, front), (y_back, y_front) = x.chunk(2), y.chunk(2)
        side = (1 - now.beta(self.alpha, self.alpha)).sqrt()
        pastes = (now.uniform(0.0, 1.0) < self.probability) & (self.begin <= now.progress < self.end)
        rows, columns = (self.inside(n, side, now) for n in x.shape[2:])
        box = pastes & rows[:, None] & columns
        target = self.task.one_hot(y_back)
        return torch.where(box, front, back), target.lerp(self.task.one_hot(y_front), box.float().mean())
