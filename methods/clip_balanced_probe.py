"""Class-balanced linear probe: the tower frozen, the head trained on batches in which classes come equally often.

With `head: text` in the recipe the head starts at the class names, a zero-shot classifier.
"""

from __future__ import annotations

from collections.abc import Iterator

from ltbench.api import Choice, Stage, hp
from ltbench.parts import Classifier, power_probs

from .clip_linear_probe import ClipLinearProbe


class ClipBalancedProbe(ClipLinearProbe):
    """Cross-entropy on the head alone, on class-balanced batches; the backbone keeps its weights."""

    paper = (
        "Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis. Decoupling Representation and Classifier. ICLR 2020, "
        "equation 1 and 4.1, on a tower that was trained before."
    )
    defaults_from = "none: equal frequencies as in cRT and BALLAD's second phase; head and optimizer are the recipe's"
    power: float = hp(
        0.0, "classes are drawn by n to this power: 0 equally often, 1 as in the data", search=Choice(0.0, 0.5),
        low=0.0, high=1.0,
    )  # fmt: skip

    def stages(self, model: Classifier) -> Iterator[Stage]:
        (stage,) = super().stages(model)
        probs = power_probs(self.task.class_counts, self.power)
        yield Stage("head", optimizer=stage.optimizer, class_probs=probs)
