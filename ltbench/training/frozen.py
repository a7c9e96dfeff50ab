"""Features of a frozen image tower or network of timm, computed once: what trains only what sits on it need not run it
again.

A tower gives some ten images a second on a CPU core; a head trains on 25,000 features a second (benchmarks/README.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ltbench.api import Method
from ltbench.data.loader import VectorBatches
from ltbench.data.shards import SHARD, keep, kept
from ltbench.models.towers import PreparedBatches
from ltbench.parts import Classifier
from ltbench.spec import digest
from ltbench.training.evaluation import precision

AT_ONCE = 128


class FrozenFeatures:
    """The features of a trial's images, as long as its tower does not change.

    Of the tower as it was loaded they are kept under the data folder, for all trials of this kind of device; of a tower
    that has been trained before, in memory for the stage that asks.

    Args:
        model: as assembled; nothing has trained yet. recipe: the trial's. folder: the data folder; None keeps nothing.
        shape: of the images (height, width, channels), for which a network of timm is built; a tower resizes its own.
    """

    def __init__(
        self,
        model: Classifier,
        recipe: Mapping[str, Any],
        folder: Path | None,
        device: torch.device,
        shape: tuple[int, int, int] | None = None,
    ) -> None:
        self._recipe, self._device = recipe, device
        network = recipe["tower"] if "tower" in recipe else [recipe["weights"], shape]
        made_by = [network, recipe["precision"], *_machine(device)]
        self._folder = None if folder is None else folder / "towers" / digest(made_by)
        self._loaded = _fingerprint_of_loaded(model.backbone, digest([network, device.type]))

    def serve(
        self, model: Classifier, method: Method, optimizer: torch.optim.Optimizer, images: Any
    ) -> tuple[Classifier, Any]:
        """What a stage trains and on which batches: the head on features where that gives the same, because nothing
        below it trains, no image is altered on its way to the tower, and the method looks at logits alone; else the
        whole model on images."""
        trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
        frozen = not any(id(p) in trained for p in model.backbone.parameters())
        plain = type(method).mix is Method.mix and type(method).forward is Method.forward
        if not (frozen and plain and self._recipe["augment"] == "none"):
            return model, images
        return model.on_features(), _WhenAsked(lambda: self._features(model, images, self._unchanged(model)))

    def evaluate(self, model: Classifier, images: Any) -> tuple[Classifier, Any]:
        """The same for images that are to be classified. A tower that has changed runs as usual: once is all it would
        save."""
        if not self._unchanged(model):
            return model, images
        return model.on_features(), self._features(model, images, True)

    def _features(self, model: Classifier, images: PreparedBatches, as_loaded: bool) -> VectorBatches:
        x = self._pass(model, images, as_loaded)
        return VectorBatches(x, images.labels, rng=images.rng, device=self._device)

    def _unchanged(self, model: Classifier) -> bool:
        return fingerprint_of(model.backbone) == self._loaded

    @torch.inference_mode()
    def _pass(self, model: Classifier, images: PreparedBatches, as_loaded: bool) -> NDArray[np.float32]:
        folder = self._folder / digest(images.identity) if self._folder is not None and as_loaded else None
        modes = [(m, m.training) for m in model.backbone.modules()]
        model.backbone.eval()
        shards: list[NDArray[np.float32]] = []
        batches: Iterator[Tensor] | None = None
        try:
            for start in range(0, len(images), SHARD):
                file = None if folder is None else folder / f"{start // SHARD:05d}.npy"
                rows = min(SHARD, len(images) - start)
                shard = None if file is None else kept(file)
                if shard is not None:
                    batches = None  # what is kept is not read, which for large images would be decoding it
                else:
                    batches = batches or images.in_order(AT_ONCE, start)
                    found = list[NDArray[np.float32]]()
                    for x in islice(batches, -(-rows // AT_ONCE)):
                        with precision(self._recipe, self._device):
                            found.append(model.backbone(x).float().cpu().numpy())
                    shard = np.concatenate(found)
                    if file is not None:
                        with suppress(OSError):  # what cannot be kept is computed again by the next trial
                            keep(file, shard)
                shards.append(shard)
        finally:
            for module, mode in modes:
                module.training = mode
        return np.concatenate(shards)


class _WhenAsked:
    """Batches of features that are computed for the first batch: not before a checkpoint has put a trained tower in
    its place, and not for a stage that has been trained already."""

    def __init__(self, make: Callable[[], VectorBatches]) -> None:
        self._make = make
        self._made: VectorBatches | None = None

    def batch(self, index: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        if self._made is None:
            self._made = self._make()
        return self._made.batch(index)

    def next(
        self, draw: Callable[[int], NDArray[np.int64]], step: int, steps: int
    ) -> tuple[NDArray[np.int64], Tensor, Tensor]:
        index = draw(step)
        return index, *self.batch(index)


def fingerprint_of(module: nn.Module) -> str:
    """Hash of all weights and statistics of a module, with their names."""
    whole = hashlib.sha256()
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        tensor = value.detach().contiguous().cpu()
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        whole.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()


_loaded: dict[str, str] = {}


def _fingerprint_of_loaded(backbone: nn.Module, name: str) -> str:
    """Of a tower as it is loaded, computed once in this process: 0.3 s for ViT-B/32."""
    if name not in _loaded:
        _loaded[name] = fingerprint_of(backbone)
    return _loaded[name]


def _machine(device: torch.device) -> list[Any]:
    """What moves the last bits of a feature: features of one machine are not read on another."""
    if device.type == "cuda":
        return [str(torch.__version__), torch.cuda.get_device_name(device)]
    return [str(torch.__version__), torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
