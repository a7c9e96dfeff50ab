"""A suite's recipes: how every method of a group is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ltbench.suite.strict import LARGEST, Positive, Share, Strict


class Sgd(Strict):
    """Stochastic gradient descent with momentum, as torch has it."""

    name: Literal["sgd"]
    lr: Positive
    """The learning rate at its highest."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """How much of the last step goes into the next."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """The L2 penalty."""
    nesterov: bool = False
    """Whether the momentum is Nesterov's."""

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Sgd:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class Adam(Strict):
    """Adam or AdamW, as torch has them."""

    name: Literal["adam", "adamw"]
    lr: Positive
    """The learning rate at its highest."""
    betas: Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=2, max_length=2)] = [0.9, 0.999]
    """How long the averages of gradient and square remember."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """The L2 penalty (adam), or the decay of the weights (adamw)."""


class Multistep(Strict):
    """Milestones and warm-up are fractions of the training, so that a short run is a true miniature."""

    name: Literal["multistep"]
    milestones: list[Share]
    """Where the learning rate falls, as fractions of the training."""
    gamma: Positive
    """What it is multiplied by at each milestone."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The fraction of the training in which the learning rate rises."""
    warmup_stairs: Annotated[int, Field(ge=0)] = 0
    """In how many steps it rises; 0: linearly."""


class Cosine(Strict):
    """Half a cosine down to `floor` times the learning rate."""

    name: Literal["cosine"]
    floor: Share = 0.0
    """The learning rate at the end, as a fraction of the highest."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The fraction of the training in which the learning rate rises."""
    warmup_stairs: Annotated[int, Field(ge=0)] = 0
    """In how many steps it rises; 0: linearly."""


class Constant(Strict):
    """The same learning rate throughout."""

    name: Literal["constant"]
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The fraction of the training in which the learning rate rises."""
    warmup_stairs: Annotated[int, Field(ge=0)] = 0
    """In how many steps it rises; 0: linearly."""


Augment = Literal[
    "none", "flip", "crop", "crop_flip", "rotation15", "autoaugment_cutout", "randaugment", "simaugment",
    "resized_crop_flip", "resized_crop_flip_jitter",
]  # fmt: skip


class Recipe(Strict):
    """How every method of a group is trained; never tuned per method."""

    backbone: str
    """One of ltbench's, a classification network of torchvision, or an image tower (clip_vit_b32, open_clip:NAME)."""
    epochs: Annotated[float, Field(gt=0, le=LARGEST)]
    """How long to train; may be a fraction."""
    batch_size: Annotated[int, Field(ge=1, le=LARGEST)]
    """Images in a step."""
    optimizer: Annotated[Sgd | Adam, Field(discriminator="name")]
    """What takes the steps."""
    schedule: Annotated[Multistep | Cosine | Constant, Field(discriminator="name")] = Constant(name="constant")
    """How the learning rate moves while training."""
    augment: Augment = "none"
    """How training images are varied; those with `resized` are for streamed images, those without for small ones."""
    views: list[Augment] = []
    """How further views of an image are varied, for methods that train on several of different kinds; `augment` is the
    first's."""
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    """The arithmetic: bf16 is autocast; auto is bf16 where the machine has it."""
    compile: Literal["none", "default", "reduce-overhead", "fused"] = "none"
    """torch.compile's mode for the training steps; fused: batch-norm, addition and ReLU of residual networks in kernels
    of ltbench's own, on a GPU; none: they run as written."""
    head: Literal["linear", "text"] = "linear"
    """text: every method starts from the cosines with the class names' vectors."""
    logit_scale: Positive = 100.0
    """With `head: text`: what the cosines are multiplied by."""
    pretraining: str = "none"
    """In words, what the backbone or the features were trained on before; image towers write it themselves."""
    pretrained: str | None = None
    """A tag of open_clip's (image towers) or torchvision's (its networks), or the path of a checkpoint; None: OpenAI's
    for a tower that has one, from scratch for a network."""
    trainable: Literal["all", "last_block"] = "all"
    """Of a pre-trained residual network of torchvision: everything, or its last block and the classifier."""
    image_size: Annotated[int, Field(ge=16, le=1024)] | None = None
    """Side of the images that an image tower is given; None: its own."""
    interpolation: Literal["bicubic", "bilinear"] | None = None
    """How images are resized for an image tower; None: its own way."""
