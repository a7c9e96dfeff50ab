"""Linear probe: the tower frozen, the head alone trained."""

from __future__ import annotations

from collections.abc import Iterator

from ltbench.api import Method, Stage
from ltbench.parts import Classifier


class ClipLinearProbe(Method):
    """Cross-entropy on the head alone; the backbone keeps its weights."""

    paper = "Radford, Kim, et al. Learning Transferable Visual Models From Natural Language Supervision. ICML 2021."
    defaults_from = "none: head, optimizer and epochs are the recipe's"

    def stages(self, model: Classifier) -> Iterator[Stage]:
        yield Stage("head", optimizer=self.task.optimizer(model.head.parameters()))
