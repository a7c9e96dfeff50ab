"""LWS: learn the representation and the classifier plainly, then one scale per class on class-balanced batches."""

from __future__ import annotations

from collections.abc import Iterator

from ltbench.api import Method, Stage, hp
from ltbench.parts import Classifier, power_probs

from .mislas import Scaled


class LearnableScales(Method):
    """Plain training, then one scale per class is learned on class-balanced batches; nothing else moves."""

    paper = (
        "Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis. Decoupling Representation and Classifier. ICLR 2020, 4.1."
    )
    defaults_from = (
        "classifier-balancing (scales begin at 1); as long as its cRT, out of the recipe's budget, not added"
    )
    scales_share: float = hp(0.13, "fraction of the steps that trains the scales", above=0.0, high=0.9)

    def stages(self, model: Classifier) -> Iterator[Stage]:
        yield Stage("representation", share=1 - self.scales_share)
        scaled = Scaled(model.head, self.task.num_classes).to(self.task.device)
        model.head = scaled
        yield Stage(
            "scales",
            share=self.scales_share,
            optimizer=self.task.optimizer([scaled.scale]),
            class_probs=power_probs(self.task.class_counts, 0.0),
        )
