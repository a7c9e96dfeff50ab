"""ETF classifier: class vectors that are as far apart as can be and never move; features are pulled to them.

As in the authors' code a batch-norm comes before the classifier: features behind a ReLU are never negative, and could
not reach the vertices. Where a backbone has fewer features than there are classes, a linear map that is learned comes
before it (there the network is wider). Their recipe has mixup: a row `{compose: [mixup, etf]}`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltbench.api import Method, Moment


class SimplexEtf(nn.Module):
    """Features (N, dim) -> cosines (N, C) with the vertices of a random simplex."""

    vectors: Tensor

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        width = max(dim, num_classes)
        self.widen: nn.Module = nn.Linear(dim, width) if width > dim else nn.Identity()
        self.norm = nn.BatchNorm1d(width)
        turn, _ = torch.linalg.qr(torch.randn(width, num_classes))
        centred = torch.eye(num_classes) - 1 / num_classes
        self.register_buffer("vectors", math.sqrt(num_classes / (num_classes - 1)) * centred @ turn.T)

    def forward(self, features: Tensor) -> Tensor:
        """The cosines."""
        return F.linear(F.normalize(self.norm(self.widen(features)), dim=1), self.vectors)


class EtfClassifier(Method):
    """A fixed simplex as classifier, and a loss that pulls features to their class's vertex."""

    paper = (
        "Yang, Chen, Li, Xie, Lin, Tao. Inducing Neural Collapse in Imbalanced Learning: Do We Really Need a Learnable "
        "Classifier at the End of Deep Neural Network? NeurIPS 2022, definition 1, equation 8 (dot-regression loss)."
    )
    defaults_from = "ImbalancedLearning, methods.py (reg_dot_loss, both lengths 1)"
    needs = frozenset({"linear_head"})

    def head(self, dim: int) -> nn.Module:
        return SimplexEtf(dim, self.task.num_classes)

    def loss(self, cosines: Tensor, target: Tensor, now: Moment) -> Tensor:
        return 0.5 * (target * (cosines - 1).square()).sum(dim=1).mean()
