"""BatchFormer: in training, the images of a batch attend to each other; one classifier for features before and after.

At test time the network is the plain one. The loss is the mean over both kinds of features. The authors' code for
balanced softmax adds the means of either kind and of both, which is three times as much.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ltbench.api import Choice, Moment, Stage, hp
from ltbench.parts import Classifier

from .balanced_softmax import BalancedSoftmax


class BatchFormer(BalancedSoftmax):
    """A transformer layer over the images of a batch while training, and balanced softmax."""

    paper = (
        "Hou, Yu, Tao. BatchFormer: Learning to Explore Sample Relationships for Robust Representation Learning. CVPR "
        "2022, equations 1 to 3, section 3.3 (shared classifier)."
    )
    defaults_from = (
        "BatchFormer with BalancedSoftmax (one post-norm layer as wide as the features, 4 heads, dropout 0.5)"
    )
    heads: int = hp(4, "of the attention; divide the number of features", search=Choice(1, 2, 4), low=1)
    dropout: float = hp(0.5, "within the layer", search=Choice(0.0, 0.1, 0.5), low=0.0, high=0.99)

    def stages(self, model: Classifier) -> Iterator[Stage]:
        dim = int(model.backbone.dim)  # type: ignore[arg-type]
        self.layer = nn.TransformerEncoderLayer(dim, self.heads, dim, self.dropout).to(self.task.device)
        yield Stage(optimizer=self.task.optimizer([*model.parameters(), *self.layer.parameters()]))

    def forward(self, model: Classifier, x: Tensor, now: Moment) -> Any:
        features = model.backbone(x)
        related = self.layer(features[:, None])[:, 0]  # the batch is the sequence
        return model.classify(torch.cat([features, related.to(features)]))

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return super().loss(logits, target.repeat(len(logits) // len(target), 1), now)
