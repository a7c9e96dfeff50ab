"""cRT: learn the representation plainly, then train the classifier afresh on class-balanced batches."""

from __future__ import annotations

from collections.abc import Iterator

from ltbench.api import Method, Stage, hp
from ltbench.parts import Classifier, power_probs


class ClassifierRetraining(Method):
    """Plain training, then a fresh classifier alone on class-balanced batches."""

    paper = (
        "Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis. Decoupling Representation and Classifier. ICLR 2020, 4.1."
    )
    defaults_from = "BagofTricks-LT (30 epochs of classifier after 200), taken out of the recipe's budget, not added"
    classifier_share: float = hp(0.13, "fraction of the steps that trains the classifier", above=0.0, high=0.9)

    def stages(self, model: Classifier) -> Iterator[Stage]:
        yield Stage("representation", share=1 - self.classifier_share)
        model.head.load_state_dict(self.head(model.backbone.dim).state_dict())  # type: ignore[arg-type]
        yield Stage(
            "classifier",
            share=self.classifier_share,
            optimizer=self.task.optimizer(model.head.parameters()),
            class_probs=power_probs(self.task.class_counts, 0.0),
        )
