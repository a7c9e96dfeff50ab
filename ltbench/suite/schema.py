"""The suite: what a benchmark consists of, as checked data. `suite.load` reads one."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from ltbench.suite.search import Search, SearchRange
from ltbench.suite.strict import Strict

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
LARGEST = 1e9
"""Of numbers that others are multiplied or divided by: beyond every use, and far from what overflows."""


class Sgd(Strict):
    """Stochastic gradient descent with momentum, as torch has it."""

    name: Literal["sgd"]
    lr: Positive
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    nesterov: bool = False

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Sgd:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class Adam(Strict):
    """Adam or AdamW, as torch has them."""

    name: Literal["adam", "adamw"]
    lr: Positive
    betas: Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=2, max_length=2)] = [0.9, 0.999]
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class Multistep(Strict):
    """Milestones and warm-up are fractions of the training, so that a short run is a true miniature."""

    name: Literal["multistep"]
    milestones: list[Share]
    gamma: Positive
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    warmup_stairs: Annotated[int, Field(ge=0)] = 0


class Cosine(Strict):
    """Half a cosine down to `floor` times the learning rate."""

    name: Literal["cosine"]
    floor: Share = 0.0
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    warmup_stairs: Annotated[int, Field(ge=0)] = 0


class Constant(Strict):
    """The same learning rate throughout."""

    name: Literal["constant"]
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    warmup_stairs: Annotated[int, Field(ge=0)] = 0


class Recipe(Strict):
    """How every method of a group is trained; never tuned per method."""

    backbone: str
    epochs: Annotated[float, Field(gt=0, le=LARGEST)]
    batch_size: Annotated[int, Field(ge=1, le=LARGEST)]
    optimizer: Annotated[Sgd | Adam, Field(discriminator="name")]
    schedule: Annotated[Multistep | Cosine | Constant, Field(discriminator="name")] = Constant(name="constant")
    augment: Literal["none", "flip", "crop", "crop_flip", "resized_crop_flip", "resized_crop_flip_jitter"] = "none"
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    compile: Literal["none", "default", "reduce-overhead"] = "none"
    """torch.compile's mode for the training steps; none: they run as written."""
    head: Literal["linear", "text"] = "linear"
    logit_scale: Positive = 100.0
    pretraining: str = "none"
    pretrained: str | None = None
    """A tag of open_clip's (image towers) or torchvision's (its networks), or the path of a checkpoint; None: OpenAI's
    for a tower that has one, from scratch for a network."""
    trainable: Literal["all", "last_block"] = "all"
    """Of a pre-trained residual network of torchvision: everything, or its last block and the classifier."""
    image_size: Annotated[int, Field(ge=16, le=1024)] | None = None
    interpolation: Literal["bicubic", "bilinear"] | None = None


class Names(Strict):
    """How class names are put into words."""

    underscores: Literal["space", "keep"] = "space"
    article: bool = False
    """`a {}` becomes `an {}` before a vowel."""


def _with_a_place(template: str) -> str:
    if "{}" not in template:
        raise ValueError(f"the template {template!r} has no {{}} where the class name goes")
    return template


Template = Annotated[str, AfterValidator(_with_a_place)]


class Prompts(Strict):
    """What a text encoder is given: one template, or several whose vectors are averaged."""

    template: Template = "a photo of a {}"
    templates: Annotated[list[Template], Field(min_length=1)] | str | None = None
    """A list, or the name of a set (imagenet_80, imagenet_7); instead of `template`."""
    names: Names = Names()

    @model_validator(mode="after")
    def _one_or_several(self) -> Prompts:
        if self.templates is not None and "template" in self.model_fields_set:
            raise ValueError("give `template` or `templates`, not both")
        return self


class TextBundled(Strict):
    """Vectors that come with ltbench."""

    encoder: Literal["bundled"]


class TextFile(Strict):
    """Vectors from a file of the user's."""

    encoder: Literal["file"]
    path: str


class TextOfDataset(Strict):
    """Vectors that come with the data set (kind `features`)."""

    encoder: Literal["dataset"]


class TextOfTower(Prompts):
    """The text tower that was trained with the image tower of a recipe."""

    encoder: Literal["tower"]


class TextOpenClip(Prompts):
    """The text tower of a CLIP model, by open_clip's names."""

    encoder: Literal["open_clip"]
    model: str
    pretrained: str


class TextSentence(Prompts):
    """A sentence encoder, by sentence-transformers' names."""

    encoder: Literal["sentence_transformers"]
    model: str


class DatasetEntry(BaseModel):
    """A data set and the ways it is made long-tailed. Keys beyond these are options of its kind (folder: size)."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)
    name: str
    kind: str = ""
    path: str | None = None
    imbalance: Annotated[list[Annotated[float, Field(ge=1, le=LARGEST)]], Field(min_length=1)] | None = None
    profile: Literal["exp", "step", "native"] = "exp"
    subset_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    class_order: Literal["label", "frequency"] | Annotated[int, Field(ge=0, lt=2**32)] = "label"


class MethodEntry(Strict):
    """One row: a method, its name in tables, and the hyper-parameters that differ from the defaults."""

    method: str
    label: str
    hyperparameters: dict[str, Any] = {}
    search: dict[str, SearchRange] | None = None
    """Which hyper-parameters are searched, and where; None: those that the method declares a range for and the row
    gives no value to. Empty: none."""
    _place: str = PrivateAttr("")

    @property
    def place(self) -> str:
        """File, line and key of the suite that it was written in; not part of what is recorded."""
        return self._place

    def found_at(self, place: str) -> None:
        """Note where the suite has it."""
        self._place = place

    def __eq__(self, other: object) -> bool:
        """Wherever it was written."""
        return isinstance(other, MethodEntry) and self.model_dump() == other.model_dump()

    __hash__ = None  # type: ignore[assignment]


class Final(Strict):
    """The trials that are ranked: their seeds, and what is reported of them."""

    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)]
    report: Annotated[list[str], Field(min_length=1)] = ["balanced_accuracy", "many", "medium", "few", "worst_class"]


class Shots(Strict):
    """From how many training images a class is many-shot, and below how many few-shot."""

    many: Annotated[int, Field(ge=1, le=LARGEST)] = 100
    few: Annotated[int, Field(ge=1, le=LARGEST)] = 20


class Protocol(Strict):
    """How rows are compared: seeds, metric, reference, hold-out, search."""

    final: Final
    search: Search | None = None
    primary: str = "balanced_accuracy"
    rope: Positive | None = None
    """Differences below this (in the primary metric's unit) are practically none; None: the metric's usual one."""
    shots: Shots = Shots()
    reference: str | None = None
    holdout_per_class: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    curves: Literal["none", "holdout", "test"] = "none"
    save_logits: bool = False


class PerMethod(Strict):
    """What the trials of one row, or of all rows of a method, are given where it differs from `per_trial`."""

    cpus: Positive | None = None
    gpus: Annotated[float, Field(ge=0)] | None = None
    """None: a whole GPU where there is one, else none."""
    gpu_memory_gb: Positive | None = None
    """Instead of `gpus`: becomes a share of the GPUs there are."""

    @model_validator(mode="after")
    def _one_way_to_ask_for_a_gpu(self) -> Self:
        if self.gpus is not None and self.gpu_memory_gb is not None:
            raise ValueError("`gpus` and `gpu_memory_gb` are two ways to ask for the same; keep one of them")
        if self.gpus is not None and self.gpus > 1 and self.gpus % 1:
            raise ValueError(f"`gpus` is a share of one GPU, or a whole number of them, got {self.gpus:g}")
        return self


class PerTrial(PerMethod):
    """What every trial is given."""

    cpus: Positive = 1.0


class Resources(Strict):
    """What trials are given, and how they run; changes no number."""

    per_trial: PerTrial = PerTrial()
    methods: dict[str, PerMethod] = {}
    """By a row's name or, for all of its rows, by a method's."""
    pack: Literal["auto"] | None = None
    """auto: how many trials share a device is measured when the suite runs, instead of `per_trial`."""
    retries: Annotated[int, Field(ge=0, le=LARGEST)] = 2
    executor: Literal["ray", "inline"] = "ray"
    decoded_cache: bool | None = None
    """Whether images too large for memory are kept decoded on the disk; None: where half of what is free suffices."""
    data_workers: Annotated[int, Field(ge=0, le=32)] | None = None
    """Processes that decode large images for a trial; None: one per CPU of a trial on a GPU, else none."""
    checkpoint_seconds: Positive = 60.0
    """How often a running trial leaves a checkpoint, beside the ends of its stages."""
    share_training: bool = True
    """Whether training that trials have in common, as tau_norm has with ce, is done once."""

    @model_validator(mode="after")
    def _one_who_chooses(self) -> Self:
        if self.pack is not None and self.per_trial.model_fields_set:
            raise ValueError(
                "`pack: auto` chooses what a trial is given; keep either it or `per_trial` (--set "
                '"resources={pack: auto}" drops all of a suite\'s own resources)'
            )
        return self


class Suite(Strict):
    """A whole suite, as it is recorded: `extends` and `--set` are already merged in."""

    suite: str
    question: str = ""
    text: (
        Annotated[
            TextBundled | TextFile | TextOfDataset | TextOfTower | TextOpenClip | TextSentence,
            Field(discriminator="encoder"),
        ]
        | None
    ) = None
    datasets: Annotated[list[DatasetEntry], Field(min_length=1)]
    recipes: Annotated[dict[str, Recipe], Field(min_length=1)]
    methods: Annotated[dict[str, Annotated[list[MethodEntry], Field(min_length=1)]], Field(min_length=1)]
    protocol: Protocol
    resources: Resources = Resources()
