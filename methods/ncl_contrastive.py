"""NCL with its contrastive term: every network also tells an image from others, by the keys of its own moving average.

As in the authors' cifar100_im100_NCL_with_contrastive. Differences: the moving average has the projection as well, as
the paper says (their code leaves the keys' projection at its initial weights), and what the queue does not hold yet
counts for nothing (there it begins with random vectors).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltbench.api import Choice, Moment, Stage, hp
from ltbench.parts import Classifier, Ema, Queue, several_networks

from .ncl import NestedCollaborative


class Projected(nn.Module):
    """Networks with a perceptron each: images (B, ...) -> (B, K, width)."""

    def __init__(self, networks: list[nn.Module], projections: list[nn.Module]) -> None:
        super().__init__()
        self.both = nn.ModuleList(nn.Sequential(*pair) for pair in zip(networks, projections, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Contrasted features, not yet of unit length."""
        return torch.stack([one(x) for one in self.both], dim=1)


class ContrastiveNcl(NestedCollaborative):
    """NCL, and every network contrasts two views of an image with a queue of earlier ones."""

    paper = (
        "Li, Tan, Wan, Lei, Guo. Nested Collaborative Learning for Long-Tailed Visual Recognition. CVPR 2022, 3.2 to "
        "3.4; He et al. Momentum Contrast. CVPR 2020, equation 1."
    )
    defaults_from = "NCL, cifar100_im100_NCL_with_contrastive (weight 1, temperature 0.2, 1024 keys of 64, 0.999)"
    views = (0, 1)
    contrast: float = hp(1.0, "weight of the contrastive loss; 0 leaves NCL's own", search=Choice(0.5, 1.0), low=0.0)
    temperature: float = hp(0.2, "what contrasted cosines are divided by", search=Choice(0.07, 0.2), above=0.0)
    keys: int = hp(1024, "how many keys each network's queue holds", search=Choice(512, 1024), low=1)
    width: int = hp(64, "numbers of a contrasted feature", search=Choice(32, 64), low=1)
    momentum: float = hp(0.999, "how much of the keys' networks a step keeps", low=0.0, high=0.99999)

    def stages(self, model: Classifier) -> Iterator[Stage]:
        dim = int(model.backbone.dim)  # type: ignore[arg-type]
        model.backbone = several_networks(model.backbone, 3)
        networks = list(model.backbone.get_submodule("backbone.stages").children())
        projections: list[nn.Module] = [
            nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, self.width)) for _ in networks
        ]
        self.query = Projected(networks, projections).to(self.task.device)
        self.key = Ema(self.query)
        self.key.model.train()  # batch-norm as the networks'
        self.queues = nn.ModuleList(Queue(self.keys, self.width) for _ in networks).to(self.task.device)
        own = [p for projection in projections for p in projection.parameters()]
        yield Stage(optimizer=self.task.optimizer([*model.parameters(), *own]))

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        self.labels = y
        return x.flatten(0, 1), self.task.one_hot(y).repeat(2, 1)

    def forward(self, model: Classifier, x: Tensor, now: Moment) -> Any:
        first, second = x.chunk(2)
        features, query = [], []
        for one in self.query.both:
            network, projection = one.children()
            features.append(network(first))
            query.append(projection(features[-1]))
        keys = F.normalize(self.key(second).float(), dim=2)
        queue = torch.stack([held.get_buffer("features") for held in self.queues])
        labels = torch.stack([held.get_buffer("labels") for held in self.queues])
        for i, held in enumerate(self.queues):
            held.push(keys[:, i], self.labels)  # type: ignore[operator]
        return model.classify(torch.stack(features, dim=1)), torch.stack(query, dim=1), keys, queue, labels

    def loss(self, out: Any, target: Tensor, now: Moment) -> Tensor:
        logits, query, keys, queue, labels = out
        own = super().loss(logits, target[: len(logits)], now)
        return own + self.contrast * self.contrastive(query, keys, queue, (labels >= 0).to(queue))

    def contrastive(self, query: Tensor, keys: Tensor, queue: Tensor, there: Tensor) -> Tensor:
        """Queries and their unit keys (B, K, width), and a queue for each network (K, n, width) of which some (K, n)
        are there (1) and some are not (0) -> the sum over the networks."""
        unit = F.normalize(query, dim=2)
        near = (unit * keys).sum(dim=2, keepdim=True) / self.temperature
        others = torch.einsum("bkd,knd->bkn", unit, queue) / self.temperature + there.log()
        return (torch.cat([near, others], dim=2).logsumexp(dim=2) - near[:, :, 0]).sum(dim=1).mean()

    def step(self, gradients: Callable[[], Tensor], optimizer: torch.optim.Optimizer, now: Moment) -> Tensor:
        loss = super().step(gradients, optimizer, now)
        self.key.update(self.momentum)
        return loss
