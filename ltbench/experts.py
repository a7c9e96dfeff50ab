"""Several experts on a common trunk: a backbone whose last stages are there more than once, and their heads. Methods
import them from `ltbench.parts`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from ltbench.errors import UserError


class Heads(nn.Module):
    """One head per expert: features (N, K, dim) -> logits (N, K, C)."""

    def __init__(self, heads: Iterable[nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, features: Tensor) -> Tensor:
        """Every head on the features of its expert."""
        return torch.stack([head(z) for head, z in zip(self.heads, features.unbind(1), strict=True)], dim=1)


class Experts(nn.Module):
    """A backbone whose last part there is K times, behind a common first part: images -> features (N, K, dim).

    Args:
        backbone: with one `Copies` in place of its last part.
    """

    def __init__(self, backbone: nn.Module, k: int) -> None:
        super().__init__()
        self.backbone, self.k = backbone, k
        self.float_head = bool(getattr(backbone, "float_head", False))
        self.dim = backbone.dim

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> (N, K, dim)."""
        return torch.stack(self.backbone(x).chunk(self.k), dim=1)


class Copies(nn.Module):
    """Several modules in place of one: (N, ...) -> (K N, ...), one after the other."""

    def __init__(self, stages: Iterable[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> Tensor:
        """What each of them gives."""
        return torch.cat([stage(x) for stage in self.stages])


class Networks(Copies):
    """Whole networks of one kind: images -> features (K N, dim), one network's after the other's."""

    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__(networks)
        self.dim = networks[0].dim
        self.float_head = bool(getattr(networks[0], "float_head", False))


def split_last_stage(backbone: nn.Module, k: int, depth: int = 1) -> Experts:
    """K experts: a backbone's last stage K times behind a common trunk, in place. `Heads` classify what they give.

    The first expert keeps the weights. The others start at the same where the backbone is pre-trained, else at a fresh
    draw: each layer's weights in another random order, which has the same distribution whatever the layer's is.

    Args:
        k: experts. depth: how many of the last stages each has for itself: of ResNets the stages between two changes of
            resolution, of transformers their blocks.

    Raises:
        UserError: a backbone that does not say what its stages are, or has fewer.
    """
    stages = _stages_of(backbone, depth)
    paths = [path for stage in stages[-depth:] for path in stage]
    last = nn.Sequential(*(backbone.get_submodule(path) for path in paths))
    _replace(backbone, paths, Copies(_copies(backbone, last, k)))
    return Experts(backbone, k)


def own_stages(backbone: nn.Module, k: int, make: Callable[[list[nn.Module], int], nn.Module]) -> Experts:
    """K experts on a backbone whose stages are joined by a module of yours, in place.

    Args:
        make: given the stages in their order, the last one K times (as `split_last_stage` copies it), and K: a module
            in place of them, (N, ...) -> (K N, ...), what the last stage gives for one expert after the other.

    Raises:
        UserError: a backbone that does not say what its stages are, or has one alone.
    """
    stages = [nn.Sequential(*map(backbone.get_submodule, stage)) for stage in _stages_of(backbone, 2)]
    paths = [path for stage in _stages_of(backbone, 2) for path in stage]
    _replace(backbone, paths, make([*stages[:-1], *_copies(backbone, stages[-1], k)], k))
    return Experts(backbone, k)


def several_networks(backbone: nn.Module, k: int) -> Experts:
    """K experts that share nothing: the whole backbone K times, copied as `split_last_stage` does."""
    return Experts(Networks(_copies(backbone, backbone, k)), k)


def _stages_of(backbone: nn.Module, depth: int) -> tuple[tuple[str, ...], ...]:
    """The paths of a backbone's stages, of which there must be so many."""
    stages: tuple[tuple[str, ...], ...] = getattr(backbone, "stages", ())
    if not 0 < depth <= len(stages):
        raise UserError(
            f"experts need a backbone in stages (a ResNet, cnn_small, vit_small), of which {depth} can be had several "
            f"times and another is common; {type(backbone).__name__} has {len(stages)}"
        )
    return stages


def _replace(backbone: nn.Module, paths: list[str], module: nn.Module) -> None:
    """Put one module in place of several that come one after the other."""
    backbone.set_submodule(paths[0], module)
    for path in paths[1:]:
        backbone.set_submodule(path, nn.Identity())


def _copies(backbone: nn.Module, part: nn.Module, k: int) -> list[nn.Module]:
    """A part of a backbone, and k - 1 others like it."""
    fresh = not getattr(backbone, "pretrained", False)
    return [part, *(_drawn_anew(copy.deepcopy(part), fresh) for _ in range(k - 1))]


@torch.no_grad()
def _drawn_anew(stage: nn.Module, fresh: bool) -> nn.Module:
    for weight in stage.parameters():
        if fresh and weight.ndim > 1:  # biases and the weights of norms start at constants
            order = torch.randperm(weight.numel()).to(weight.device)
            weight.copy_(weight.flatten()[order].view_as(weight))
    return stage
