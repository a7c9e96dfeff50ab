"""Building blocks for methods: losses that take distributions, class weights, heads, experts, averages, optimizers."""

from __future__ import annotations

import copy
import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ltbench.errors import UserError
from ltbench.experts import Copies, Experts, Heads, own_stages, several_networks, split_last_stage

__all__ = [
    "Adapter",
    "BesideMlp",
    "Classifier",
    "Copies",
    "CosineHead",
    "Ema",
    "Experts",
    "Heads",
    "Queue",
    "adapt_blocks",
    "cross_entropy",
    "effective_number_weights",
    "in_float32",
    "like_images",
    "make_optimizer",
    "own_stages",
    "power_probs",
    "power_weights",
    "sample_rows",
    "several_networks",
    "split_last_stage",
    "take_projection",
    "transformer_blocks",
]


def in_float32(device: torch.device) -> AbstractContextManager[Any]:
    """Autocast off, for what must not be rounded within a pass that is in bf16."""
    kind = device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


class Classifier(nn.Module):
    """A backbone that gives features (N, dim) and a head that gives logits (N, C). With `backbone.float_head` the head
    computes in float32 also where the backbone does not."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, ...) -> logits (N, C)."""
        return self.classify(self.backbone(x))

    def classify(self, features: Tensor) -> Tensor:
        """Features (N, dim) -> logits (N, C)."""
        if not getattr(self.backbone, "float_head", False):
            logits: Tensor = self.head(features)
            return logits
        with in_float32(features.device):
            return torch.as_tensor(self.head(features.float()))

    def on_features(self) -> Classifier:
        """The same head, for features that the backbone has given already."""
        return Classifier(_Given(bool(getattr(self.backbone, "float_head", False))), self.head)


class _Given(nn.Module):
    """Features -> the same; stands where a backbone has been."""

    def __init__(self, float_head: bool) -> None:
        super().__init__()
        self.float_head = float_head

    def forward(self, features: Tensor) -> Tensor:
        return features


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Cross-entropy of distributions, with optional class weights; equal to torch's label version on one-hot targets.

    Torch divides a weighted loss by the sum of the weights for labels but by N for distributions, so the same method
    would train at two different learning rates with and without mixup. Here it is always divided by the weight that
    the batch carries: sum_nc w_c t_nc.

    Args:
        logits: (N, C). target: (N, C), rows sum to 1. weight: (C,) or None.
    """
    log_p = F.log_softmax(logits, dim=1)
    if weight is None:
        return -(target * log_p).sum(dim=1).mean()
    mass = target * weight
    return -(mass * log_p).sum() / mass.sum()


def effective_number_weights(counts: Tensor, beta: float) -> Tensor:
    """Class weights (1 - beta) / (1 - beta**n_c), scaled to sum to C (Cui et al., CVPR 2019, equation 2).

    beta = 0 gives equal weights, beta -> 1 inverse frequency. Computed in float64: 1 - beta**n loses all digits in
    float32 for beta near 1. Classes without images get weight 0.
    """
    n = counts.double()
    weight = torch.where(n > 0, (1.0 - beta) / (1.0 - torch.pow(torch.tensor(beta, dtype=torch.float64), n)), 0.0)
    return _scaled(weight, counts)


def power_weights(counts: Tensor, power: float) -> Tensor:
    """Class weights n_c**-power, scaled to sum to C: 1 is inverse frequency, 0.5 its square root."""
    n = counts.double()
    return _scaled(torch.where(n > 0, n.clamp(min=1).pow(-power), 0.0), counts)


def _scaled(weight: Tensor, like: Tensor) -> Tensor:
    return (weight * (len(weight) / weight.sum())).to(like)


def power_probs(counts: NDArray[np.int64], power: float) -> NDArray[np.float64]:
    """Class probabilities proportional to n_c**power over the classes that have images: 1 is the data's own frequency,
    0.5 square-root sampling, 0 class-balanced sampling (Kang et al., ICLR 2020, equation 1)."""
    mass = np.where(counts > 0, np.maximum(counts, 1).astype(np.float64) ** power, 0.0)
    return np.asarray(mass / mass.sum())


def like_images(weight: Tensor, x: Tensor) -> Tensor:
    """One weight per example, (B,) or (1,), in a shape that multiplies examples of any: (B, 1, 1, 1) for images, (B, 1)
    for feature vectors."""
    return weight.view(-1, *[1] * (x.ndim - 1))


def sample_rows(cdf: NDArray[np.float64], rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """One draw from each named row of a table of cumulative distributions (K, C): (B,) rows -> (B,) columns."""
    u = rng.random(len(rows))
    picked = (u[:, None] >= cdf[rows]).sum(axis=1)
    return np.asarray(np.minimum(picked, cdf.shape[1] - 1), dtype=np.int64)


class CosineHead(nn.Module):
    """Cosine between the feature and each class vector, times `scale`; no bias.

    Class vectors start at `start` (C, dim), or as in LDAM-DRW's NormedLinear (Cao et al., NeurIPS 2019): uniform on
    [-1, 1], made unit length.
    """

    def __init__(self, dim: int, num_classes: int, scale: float = 1.0, start: Tensor | None = None) -> None:
        super().__init__()
        self.scale = scale
        vectors = torch.empty(num_classes, dim).uniform_(-1, 1) if start is None else start.clone()
        self.weight = nn.Parameter(F.normalize(vectors, dim=1))

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, dim) -> logits (N, C), between -scale and scale."""
        return self.scale * F.linear(F.normalize(features, dim=1), F.normalize(self.weight, dim=1))


class Ema(nn.Module):
    """The moving average of a model's weights: a copy of it, in eval mode, that no optimizer trains.

    Make it in `stages`, when the model is as it will be trained. Buffers are averaged as well, as far as they are
    floats; a batch-norm's counter is copied.

    Attributes:
        model: the average, to be called like the model.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._of = (model,)  # no part of this module
        self.model = copy.deepcopy(model).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """average <- decay * average + (1 - decay) * the model's present state."""
        new = [*self._of[0].parameters(), *self._of[0].buffers()]
        pairs = list(zip([*self.model.parameters(), *self.model.buffers()], new, strict=True))
        floats = [(mine, theirs) for mine, theirs in pairs if mine.is_floating_point()]
        torch._foreach_lerp_([mine for mine, _ in floats], [theirs for _, theirs in floats], 1.0 - decay)
        for mine, theirs in pairs:
            if not mine.is_floating_point():
                mine.copy_(theirs)

    def put_in_place(self) -> None:
        """Give the model the average's weights and buffers."""
        self._of[0].load_state_dict(self.model.state_dict())

    def forward(self, x: Tensor) -> Any:
        """What the averaged model gives, without gradients."""
        with torch.no_grad():
            return self.model(x)


class Queue(nn.Module):
    """The last `size` feature vectors and their labels; the oldest make room. `.to(device)` puts it there.

    Attributes:
        features: (size, dim) float32. labels: (size,) int64; -1 where there is nothing yet. place: () int64, where the
            next one goes; a tensor, so that a recorded pass counts on (training/graph).
    """

    features: Tensor
    labels: Tensor
    place: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(size, dim))
        self.register_buffer("labels", torch.full((size,), -1))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, features: Tensor, labels: Tensor) -> None:
        """Put in features (N, dim) and labels (N,); of more than `size` the last."""
        size = len(self.labels)
        features, labels = features[-size:], labels[-size:]
        places = (torch.arange(len(labels), device=self.labels.device) + self.place) % size
        self.features.index_copy_(0, places, features.to(self.features))
        self.labels.index_copy_(0, places, labels)
        self.place.add_(len(labels)).remainder_(size)


def transformer_blocks(backbone: nn.Module) -> list[nn.Module]:
    """The transformer blocks of a backbone, first to last: modules that compute x + mlp(norm(x)) at their end, with the
    norm named `ln_2` or `norm2`, as those of open_clip, timm and torchvision do.

    Raises:
        UserError: it has none.
    """
    found = [m for m in backbone.modules() if _second_norm(m) and isinstance(getattr(m, "mlp", None), nn.Module)]
    if not found:
        raise UserError(f"needs transformer blocks to put adapters into; {type(backbone).__name__} has none")
    return found


def _second_norm(block: nn.Module) -> str:
    """The name of a block's norm before its perceptron."""
    return next((n for n in ("ln_2", "norm2") if isinstance(getattr(block, n, None), nn.LayerNorm)), "")


class Adapter(nn.Module):
    """A bottleneck beside a layer: scale * up(relu(down(norm(x)))). It gives zero until it is trained.

    As in AdaptFormer (Chen et al., NeurIPS 2022, equation 2) with a norm before it and a scale that is learned, as
    LIFT's code (Shi et al., ICML 2024) has it: `down` Kaiming-normal with slope sqrt(5), `up` and all biases zero.
    """

    def __init__(self, width: int, bottleneck: int, scale: float = 1.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        self.scale = nn.Parameter(torch.full((1,), scale))
        nn.init.kaiming_normal_(self.down.weight, a=math.sqrt(5))
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> the same shape."""
        out: Tensor = self.up(F.relu(self.down(self.norm(x)))) * self.scale
        return out


class BesideMlp(nn.Module):
    """A block's norm and perceptron, and an adapter that reads what they read: mlp(norm(x)) + adapter(x)."""

    def __init__(self, norm: nn.Module, mlp: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.norm, self.mlp, self.adapter = norm, mlp, adapter

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> the same shape."""
        out: Tensor = self.mlp(self.norm(x)) + self.adapter(x)
        return out


def adapt_blocks(backbone: nn.Module, bottleneck: int, scale: float = 1.0) -> list[Adapter]:
    """Put an adapter beside the perceptron of every transformer block, in place; what the backbone computes stays the
    same until they are trained. Weights are drawn on the CPU, so that a seed gives the same everywhere.

    Raises:
        UserError: the backbone has no transformer blocks.
    """
    adapters = []
    for block in transformer_blocks(backbone):
        name = _second_norm(block)
        norm = block.get_submodule(name)
        width = int(norm.normalized_shape[-1])  # type: ignore[index]
        adapter = Adapter(width, bottleneck, scale).to(next(norm.parameters()).device)
        block.set_submodule("mlp", BesideMlp(norm, block.get_submodule("mlp"), adapter))
        block.set_submodule(name, nn.Identity())
        adapters.append(adapter)
    return adapters


def take_projection(backbone: nn.Module) -> Tensor | None:
    """Take off the linear map at the end of an image tower, in place, and return it, (width, dim): from then on its
    features have `width` numbers. None, and nothing changes, where a backbone has no such map."""
    take = getattr(backbone, "take_projection", None)
    return None if take is None else take()


def make_optimizer(params: Any, name: str, lr: float, **settings: Any) -> torch.optim.Optimizer:
    """`sgd`, `adam` or `adamw` over `params`; `settings` are torch's own names (momentum, weight_decay, nesterov,
    betas). All parameters are updated in a few calls (`foreach`): torch's own default on a GPU, and bit-equal to its
    loop on a CPU. (`fused` is faster still on a CPU, but rounds differently.)"""
    kinds: dict[str, Any] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    if "betas" in settings:
        settings["betas"] = tuple(settings["betas"])
    optimizer: torch.optim.Optimizer = kinds[name](params, lr=lr, **{"foreach": True, **settings})
    return optimizer
