"""tau-normalisation: train plainly, then divide each class vector by a power of its length."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ltbench.api import Method, Stage, Uniform, hp
from ltbench.parts import Classifier


class TauNorm(Method):
    """Plain training, then class vectors divided by their length to the power tau."""

    paper = (
        "Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis. Decoupling Representation and Classifier. ICLR 2020, eq. 5."
    )
    defaults_from = "BagofTricks-LT (tau 1); classifier-balancing looks through 0 to 2"
    needs = frozenset({"linear_head"})  # on cosines the length of a class vector has no effect
    tau: float = hp(1.0, "0 changes nothing but the bias, 1 makes all class vectors unit length",
                    search=Uniform(0.0, 2.0), low=0.0)  # fmt: skip

    def stages(self, model: Classifier) -> Iterator[Stage]:
        yield Stage()
        with torch.no_grad():
            weight, bias = model.head.get_parameter("weight"), model.head.get_parameter("bias")
            weight.div_(weight.norm(dim=1, keepdim=True).clamp(min=1e-12).pow(self.tau))
            bias.zero_()
