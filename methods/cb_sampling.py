"""Class-balanced sampling: the rarer classes are drawn more often."""

from __future__ import annotations

from collections.abc import Iterator

from ltbench.api import Method, Stage, hp
from ltbench.parts import Classifier, power_probs


class ClassBalancedSampling(Method):
    """Classes drawn equally often, or by the square root of their counts."""

    paper = (
        "Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis. Decoupling Representation and Classifier. ICLR 2020, eq. 1."
    )
    defaults_from = "classifier-balancing (class-balanced q = 0, square-root q = 1/2)"
    sampling: str = hp(
        "class_balanced",
        "class frequencies in a batch: equal, or proportional to the square root of the counts",
        choices=("class_balanced", "square_root"),
    )

    def stages(self, model: Classifier) -> Iterator[Stage]:
        power = 0.0 if self.sampling == "class_balanced" else 0.5
        yield Stage(class_probs=power_probs(self.task.class_counts, power))
