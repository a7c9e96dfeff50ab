"""Zero-shot classification: the nearest class name, nothing trained. The row that every CLIP table needs."""

from __future__ import annotations

from collections.abc import Iterator

from ltbench.api import Method, Stage
from ltbench.parts import Classifier


class ClipZeroShot(Method):
    """The class whose name's vector is nearest to the image's; nothing is trained."""

    paper = "Radford, Kim, et al. Learning Transferable Visual Models From Natural Language Supervision. ICML 2021."
    defaults_from = "CLIP (cosines of the towers' outputs; templates are the suite's)"
    needs = frozenset({"text", "clip"})

    def stages(self, model: Classifier) -> Iterator[Stage]:
        yield Stage("zero shot", train=False)
