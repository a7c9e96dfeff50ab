"""PaCo: supervised contrast with a queue of keys, and a classifier whose class vectors are contrasted along.

As in the authors' code: the classifier has its logits adjusted by the prior, keys are the second view's through a
moving average of the network, in train mode. What the queue does not hold yet counts for nothing (there it begins with
random vectors).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltbench.api import Choice, Method, Moment, Stage, hp
from ltbench.parts import Classifier, Ema, Queue


class ParametricContrast(Method):
    """Contrast with a queue of earlier images and with learnable class centres, which are the classifier."""

    paper = "Cui, Zhong, Liu, Yu, Jia. Parametric Contrastive Learning. ICCV 2021, equations 4 to 6."
    defaults_from = (
        "Parametric-Contrastive-Learning, PaCo, CIFAR-100-LT IF 100 (alpha 0.01, 0.05, 1024 keys of 32, 0.999)"
    )
    views = (0, 1)
    alpha: float = hp(
        0.01, "weight of images of the same class beside the class's centre", search=Choice(0.01, 0.02, 0.05), low=0.0
    )
    temperature: float = hp(0.05, "what contrasted cosines are divided by", search=Choice(0.05, 0.07), above=0.0)
    keys: int = hp(1024, "how many keys the queue holds", search=Choice(512, 1024), low=1)
    width: int = hp(32, "numbers of a contrasted feature", search=Choice(32, 64), low=1)
    momentum: float = hp(0.999, "how much of the keys' network a step keeps", low=0.0, high=0.99999)

    def stages(self, model: Classifier) -> Iterator[Stage]:
        dim = int(model.backbone.dim)  # type: ignore[arg-type]
        layers = nn.Linear(dim, dim), nn.BatchNorm1d(dim), nn.ReLU(inplace=True), nn.Linear(dim, self.width)
        self.project = nn.Sequential(*layers).to(self.task.device)
        self.key = Ema(nn.Sequential(model.backbone, self.project))
        self.key.model.train()
        self.queue = Queue(self.keys, self.width).to(self.task.device)
        yield Stage(optimizer=self.task.optimizer([*model.parameters(), *self.project.parameters()]))

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        self.labels = y
        return x.flatten(0, 1), self.task.one_hot(y).repeat(2, 1)

    def forward(self, model: Classifier, x: Tensor, now: Moment) -> Any:
        first, second = x.chunk(2)
        features = model.backbone(first)
        key = F.normalize(self.key(second).float(), dim=1)
        queue = self.queue.features.clone(), self.queue.labels.clone()
        self.queue.push(key, self.labels)
        return model.classify(features), self.project(features), key, queue

    def loss(self, out: Any, target: Tensor, now: Moment) -> Tensor:
        logits, query, key, (queue, labels) = out
        own, query = target[: len(logits)], F.normalize(query, dim=1)
        unit, kinds = torch.cat([query, key, queue]), torch.cat([own, own, self.task.one_hot(labels).to(own)])
        there = (labels >= 0).to(own).expand(len(own), -1)
        others = torch.cat([1 - torch.eye(len(own), device=own.device).to(own), torch.ones_like(own @ own.T), there], 1)
        z = torch.cat([logits + self.task.log_prior, query @ unit.T / self.temperature], dim=1)
        counted = torch.cat([torch.ones_like(own), others], dim=1)
        positive = torch.cat([own, self.alpha * others * (own @ kinds.T)], dim=1)
        log_p = z - (z + counted.log()).logsumexp(dim=1, keepdim=True)
        return -((positive * log_p).sum(dim=1) / positive.sum(dim=1)).mean()

    def step(self, gradients: Callable[[], Tensor], optimizer: torch.optim.Optimizer, now: Moment) -> Tensor:
        loss = super().step(gradients, optimizer, now)
        self.key.update(self.momentum)
        return loss
