"""What the author of a method imports: Method, Stage, Moment, Task, hp, and the search ranges.

A method is its difference from plain cross-entropy. `Method` itself is cross-entropy; a subclass overrides the hooks in
which it differs, and nothing else. The hooks are orthogonal, so two methods compose by inheritance:
`class MixupBalanced(Mixup, BalancedSoftmax)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ltbench import parts
from ltbench.data.order import ClassCycles
from ltbench.errors import UserError, did_you_mean
from ltbench.hyperparameters import Choice, Hyperparameter, LogUniform, Uniform, hp

if TYPE_CHECKING:
    from ltbench.models.prompts import TextTower

__all__ = ["Choice", "LogUniform", "Method", "Moment", "Stage", "Task", "Uniform", "hp"]

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Stage:
    """One stretch of training.

    Attributes:
        name: shown in logs and in `Moment.stage`.
        share: fraction of the recipe's steps; the shares of a method must sum to 1, so that no method trains longer.
        optimizer: what trains; everything that is not in it is frozen and in eval mode. None: the recipe's optimizer
            over all parameters.
        class_probs: (C,) probabilities with which classes are drawn; None: every image once an epoch.
        train: False for a stage that takes no steps: a method may train less than its budget, never more.
        schedule: the part of the recipe's learning-rate schedule that it goes through, by default all of it, warm-up
            included. With one optimizer for both, a stage of (0.0, 0.5) and one of (0.5, 1.0), half of the steps each,
            train as one stage would; so a method can look at something on the way.
        plain: True for a look at the training images instead of a stretch of training, for class means and the like:
            every image once, in their order and not augmented, through `forward` and `loss`, with the model in eval
            mode and without gradients. `draw`, `mix` and `step` are not called, what `loss` gives is not used, and the
            other attributes but `name` do not count: it has no share of the steps.
    """

    name: str = "train"
    share: float = 1.0
    optimizer: torch.optim.Optimizer | None = None
    class_probs: NDArray[np.float64] | None = None
    train: bool = True
    plain: bool = False
    schedule: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        begin, end = self.schedule
        if not 0.0 <= begin < end <= 1.0:
            raise ValueError(f"stage {self.name!r}: schedule must be two rising fractions of the recipe's, got "
                             f"{self.schedule}")  # fmt: skip
        if self.schedule == Stage.schedule:
            object.__delattr__(self, "schedule")  # the class has it: checkpoints from before there was one stay good


@dataclass(frozen=True)
class Moment:
    """Where training stands, and the only random numbers a method may use.

    `rng` is for `draw` (numpy, before any image is read). `beta`, `normal`, `permutation` and `uniform` are for the
    other hooks: they give tensors on the batch's device and never wait for it. Both draw on the host, so the same seed
    mixes the same images on a CPU and on a GPU.
    """

    stage: str
    progress: float
    """Position within the stage, 0 <= progress < 1."""
    rng: np.random.Generator
    device: torch.device
    index: Index | None = None
    """The rows of this batch in the training set, (B',) as `draw` gave them; None in `draw`. Where images are
    streamed, `draw` runs 33 batches ahead: what it leaves on `self` belongs to another batch; look it up by these."""

    def beta(self, a: float, b: float, size: int | tuple[int, ...] = ()) -> Tensor:
        """Draws from Beta(a, b); float32, shape `size` (a scalar by default)."""
        return self._tensor(self.rng.beta(a, b, size).astype(np.float32) if size != () else self.rng.beta(a, b))

    def uniform(self, low: float, high: float, size: int | tuple[int, ...] = ()) -> Tensor:
        """Draws from the uniform distribution on [low, high); float32, shape `size`."""
        return self._tensor(self.rng.uniform(low, high, size))

    def normal(self, size: int | tuple[int, ...] = ()) -> Tensor:
        """Draws from the normal distribution with mean 0 and standard deviation 1; float32, shape `size`."""
        return self._tensor(self.rng.normal(size=size))

    def permutation(self, n: int) -> Tensor:
        """A random permutation of 0..n-1; int64 (n,)."""
        return torch.from_numpy(self.rng.permutation(n)).to(self.device, non_blocking=True)

    def _tensor(self, value: Any) -> Tensor:
        return torch.as_tensor(np.asarray(value, dtype=np.float32)).to(self.device, non_blocking=True)


class Task:
    """The read-only facts of a cell, as a method sees them.

    Attributes:
        labels: (N,) int64, the class of every training image; numpy.
        class_counts: (C,) int64, training images per class; numpy.
        counts: (C,) float32 on the training device, the same numbers.
        log_prior: (C,) float32 on the training device, log(n_c / N).
        class_names: C strings. num_classes: C.
        text: (C, D) float32 unit vectors of the class names on the CPU, or None.
        test_prior: (C,) float32 on the training device, the test distribution that the suite declares
            (`protocol.test_prior`), for methods that need it (`needs = frozenset({"test_prior"})`); else None.
        logit_scale: what cosines with the text vectors are multiplied by, where the recipe's head is `text`; else None.
        pixel_mean, pixel_std: (channels,) float32 on the training device: `mix` is given (pixel / 255 - mean) / std, so
            that black is -mean / std. None for feature vectors.
        make_text_tower: makes the text tower beside the images' (`text_tower`), for methods that need `words`.
    """

    pixel_mean: Tensor | None = None
    pixel_std: Tensor | None = None
    make_text_tower: Callable[[], TextTower] | None = None

    def __init__(
        self,
        labels: Index,
        class_names: Sequence[str],
        *,
        device: torch.device | str = "cpu",
        text: NDArray[np.float32] | None = None,
        optimizer: Mapping[str, Any] | None = None,
        seed: int = 0,
        logit_scale: float | None = None,
        test_prior: NDArray[np.float64] | None = None,
    ) -> None:
        self.labels = labels
        self.class_names = tuple(class_names)
        self.num_classes = len(self.class_names)
        self.device = torch.device(device)
        self.class_counts = np.bincount(labels, minlength=self.num_classes)
        self.counts = torch.tensor(self.class_counts, dtype=torch.float32, device=self.device)
        self.log_prior = (self.counts.double() / self.counts.double().sum()).log().float()
        self.text = None if text is None else torch.tensor(text, dtype=torch.float32)
        self.logit_scale = logit_scale
        shares = None if test_prior is None else test_prior / test_prior.sum()
        self.test_prior = None if shares is None else torch.tensor(shares, dtype=torch.float32, device=self.device)
        self._optimizer = dict(optimizer or {"name": "sgd", "lr": 0.1})
        self._cycles = ClassCycles(labels, self.num_classes, np.random.default_rng([seed, 5]))

    def cosine_head(self, dim: int, scale: float) -> nn.Module:
        """A cosine classifier: from the class names' vectors where the recipe's head is `text`, else from random ones.

        Raises:
            UserError: the text vectors have not `dim` numbers.
        """
        return parts.CosineHead(dim, self.num_classes, scale, None if self.logit_scale is None else self.text_of(dim))

    def text_of(self, dim: int) -> Tensor:
        """The class names' vectors, (C, dim), for features of the same space. Raises UserError if they are not."""
        if self.text is None or self.text.shape[1] != dim:
            have = "there are none" if self.text is None else f"they have {self.text.shape[1]} numbers"
            raise UserError(
                f"the features have {dim} numbers, so the class names' vectors must have {dim}, but {have}: take the "
                f"text tower of the same model"
            )
        return self.text

    def text_tower(self, dim: int) -> TextTower:
        """The text tower of the model whose image tower is the backbone, for methods that learn words of prompts
        (`needs = frozenset({"words"})`); made anew, on the CPU, and frozen.

        Raises:
            UserError: there is none, or its vectors have not `dim` numbers.
        """
        if self.make_text_tower is None:
            raise UserError("the words of prompts are learned beside an image tower of open_clip alone: a recipe whose "
                            "backbone is one, such as clip_vit_b16")  # fmt: skip
        tower = self.make_text_tower()
        if tower.dim != dim:
            raise UserError(f"the features have {dim} numbers, but the text tower's vectors {tower.dim}")
        return tower

    def one_hot(self, y: Tensor) -> Tensor:
        """(N,) int64 -> (N, C) float32."""
        # Not torch's one_hot, which looks at the labels on the host.
        return (y[:, None] == torch.arange(self.num_classes, device=y.device)).float()

    def pick(self, classes: Index, rng: np.random.Generator) -> Index:
        """One image of each given class: uniform within the class, without replacement until all its images were used.

        The cycles live as long as the task, so they go on across batches and epochs.
        """
        return self._cycles.pick(classes, rng)

    def optimizer(self, params: Any, **changes: Any) -> torch.optim.Optimizer:
        """The recipe's optimizer over `params`, with the given settings changed (for example `lr=0.01`)."""
        return parts.make_optimizer(params, **{**self._optimizer, **changes})


class Method:
    """Plain cross-entropy: the base class and the baseline.

    A subclass states `summary` by its docstring's first line, `paper`, `defaults_from` (whose published code its
    defaults are), `needs` (`text`: class-name vectors; `clip`: these in one space with the features; `words`: the text
    tower that made them; `blocks`: a backbone of transformer blocks; `stages`: one that experts can share; `maps`: one
    of convolutions; `linear_head`: class vectors of different lengths; `holdout`: held-out images for `fit`;
    `test_prior`: the declared test distribution, which boards then say) and which `views` of an image it trains on, and
    declares hyper-parameters with `hp`.
    """

    paper: ClassVar[str] = ""
    defaults_from: ClassVar[str] = ""
    needs: ClassVar[frozenset[str]] = frozenset()
    views: ClassVar[tuple[int, ...]] = (0,)
    """The views of every image that `mix` is given, each by its augmentation: 0 is the recipe's `augment`, 1 the first
    of its `views`, and so on; the last there is serves for those that it does not have."""
    hyperparameters: ClassVar[dict[str, Hyperparameter]] = {}
    name: ClassVar[str] = ""
    """Set by the registry: the name of the method's file."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        merged: dict[str, Hyperparameter] = {}
        for base in reversed(cls.__mro__[1:]):
            merged.update(base.__dict__.get("hyperparameters", {}))
        for field, value in list(vars(cls).items()):
            if isinstance(value, Hyperparameter):
                merged[field] = value
                setattr(cls, field, value.default)
            elif field in merged:  # `gamma = 2.0` in a subclass changes the default, and nothing else
                merged[field] = replace(merged[field], default=merged[field].coerce(value, f"{cls.__name__}.{field}"))
        cls.hyperparameters = merged

    def __init__(self, task: Task, **values: Any) -> None:
        self.task = task
        for field, value in self.complete(values).items():
            setattr(self, field, value)

    @classmethod
    def complete(cls, values: Mapping[str, Any], place: str = "") -> dict[str, Any]:
        """All hyper-parameters: the given values, checked, over the defaults. Raises UserError for unknown names."""
        place = place or cls.name or cls.__name__
        for field in values:
            if field not in cls.hyperparameters:
                hint = did_you_mean(field, cls.hyperparameters)
                raise UserError(f"{place}: unknown hyper-parameter {field!r}. {hint}")
        return {
            field: declared.coerce(values.get(field, declared.default), f"{place}.{field}")
            for field, declared in cls.hyperparameters.items()
        }

    @classmethod
    def summary(cls) -> str:
        """The docstring's first line."""
        return (cls.__doc__ or "").strip().splitlines()[0] if cls.__doc__ else ""

    # -- the eight hooks ----------------------------------------------------------------------------------------------

    def head(self, dim: int) -> nn.Module:
        """What sits on the backbone: (N, dim) features -> (N, C) logits. Default: linear, Kaiming-normal weights, as in
        the ResNet-32 of LDAM-DRW (Cao et al., NeurIPS 2019); with the recipe's `head: text`, cosines with the class
        names' vectors times the logit scale, from which the head then trains."""
        if self.task.logit_scale is not None:
            return self.task.cosine_head(dim, self.task.logit_scale)
        head = nn.Linear(dim, self.task.num_classes)
        nn.init.kaiming_normal_(head.weight)
        return head

    def stages(self, model: parts.Classifier) -> Iterator[Stage]:
        """What trains, for how long, with which class frequencies. Code between two yields runs between the stages,
        code after the last one at the end. Default: one stage, all parameters."""
        yield Stage()

    def draw(self, index: Index, now: Moment) -> Index:
        """Which images form the batch: (B,) positions in the training set -> (B',) positions. Default: the same."""
        return index

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        """The batch: images (B', ...) and labels (B',) -> images (B, ...) and a distribution (B, C). Of several
        `views` it is given (V, B', ...). Default: one-hot."""
        return x, self.task.one_hot(y)

    def forward(self, model: parts.Classifier, x: Tensor, now: Moment) -> Any:
        """What the model gives for a batch of training: images (B, ...) -> a tensor, or a tuple or dict of tensors,
        for `loss`. Runs in the recipe's precision; what it gives reaches `loss` in float32. Default: logits (B, C)."""
        return model(x)

    def loss(self, out: Any, target: Tensor, now: Moment) -> Tensor:
        """The objective: what `forward` gave, by default logits (B, C), and target (B, C) -> scalar. Default:
        cross-entropy."""
        return parts.cross_entropy(out, target)

    def step(self, gradients: Callable[[], Tensor], optimizer: torch.optim.Optimizer, now: Moment) -> Tensor:
        """One step of the training -> the loss that is reported, a scalar. Default: one pass and one update.

        Args:
            gradients: runs `forward` and `loss` on the batch at the present weights; gives the loss, detached, and
                leaves its gradients in the parameters in place of older ones. May be called more than once.
        """
        loss = gradients()
        optimizer.step()
        return loss

    def predict(self, logits: Tensor) -> Tensor:
        """Post-hoc correction of test logits (N, C) -> (N, C). Default: the same."""
        return logits

    # -- after the training -------------------------------------------------------------------------------------------

    def fit(self, logits: Tensor, labels: Tensor) -> None:
        """What `predict` learns from held-out images, never from the test set: their logits (N, C), before `predict`,
        and labels (N,). Called once, after the training, with `needs = frozenset({"holdout"})`. Default: nothing."""
