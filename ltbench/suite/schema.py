"""The suite: what a benchmark consists of, as checked data. `suite.load` reads one."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from ltbench.spec.validation import HEAD, STEP
from ltbench.suite.protocol import Protocol
from ltbench.suite.recipe import Recipe
from ltbench.suite.search import SearchRange
from ltbench.suite.strict import LARGEST, Positive, Strict


class Names(Strict):
    """How class names are put into words."""

    underscores: Literal["space", "keep"] = "space"
    """Whether `_` in a class name becomes a blank."""
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
    """The sentence about a class; `{}` stands for its name."""
    templates: Annotated[list[Template], Field(min_length=1)] | str | None = None
    """A list, or the name of a set (imagenet_80, imagenet_7); instead of `template`."""
    names: Names = Names()
    """How a class name is written in the sentence."""

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
    """An npz with `class_names` and `embeddings`, or an npy with a row per class; `{dataset}` is replaced."""


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
    """The model's name in open_clip."""
    pretrained: str
    """A tag of open_clip's, or a checkpoint's path."""


class TextSentence(Prompts):
    """A sentence encoder, by sentence-transformers' names."""

    encoder: Literal["sentence_transformers"]
    model: str
    """The encoder's name."""


class DatasetEntry(BaseModel):
    """A data set and the ways it is made long-tailed. Keys beyond these are options of its kind (folder: size)."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)
    name: str
    """Its name in tables."""
    kind: str = ""
    """What reads it (`ltbench datasets` lists the kinds); empty: its name."""
    path: str | None = None
    """Where it lies, for kinds that read files of yours."""
    imbalance: Annotated[list[Annotated[float, Field(ge=1, le=LARGEST)]], Field(min_length=1)] | None = None
    """Imbalance factors: images of the largest class over those of the smallest."""
    profile: Literal["exp", "step", "native"] | Annotated[str, Field(pattern=f"^({STEP}|{HEAD})$")] = "exp"
    """How sizes fall from head to tail: exponentially from as large a class as the data have, exponentially from a
    class of so many images (`exp:1000`), in one step at the middle, in one step behind a share of the classes
    (`step:0.2`), or as they are."""
    subset_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Which images are kept; 0: the subset of LDAM-DRW."""
    subset_seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1)] | None = None
    """Several draws of the images that are kept, in place of `subset_seed`: every row runs on each. From 3 on, the draw
    is a random factor of every interval."""
    class_order: Literal["label", "frequency"] | Annotated[int, Field(ge=0, lt=2**32)] = "label"
    """From head to tail: by label, by frequency, or a number that seeds a permutation."""
    class_orders: (
        Annotated[list[Literal["label", "frequency"] | Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1)]
        | None
    ) = None
    """Several orders in place of `class_order`: every row runs on each. From 3 on, the order is random in every
    interval, as draws are."""

    def draws(self) -> list[DatasetEntry]:
        """An entry for every draw: the first has the name, the others NAME+SEED, or NAME+order-SEED."""
        made: list[tuple[str, dict[str, Any]]] = [
            *((f"+{seed}", {"subset_seed": seed}) for seed in self.subset_seeds or ()),
            *((f"+order-{order}", {"class_order": order}) for order in self.class_orders or ()),
        ]
        alone = {"kind": self.kind or self.name, "subset_seeds": None, "class_orders": None}
        return [
            self.model_copy(update={**alone, "name": self.name + (suffix if i else ""), **chosen})
            for i, (suffix, chosen) in enumerate(made)
        ] or [self]


class MethodEntry(Strict):
    """One row: a method, its name in tables, and the hyper-parameters that differ from the defaults."""

    method: str
    """The method's name."""
    label: str
    """The row's name in tables (`as`)."""
    hyperparameters: dict[str, Any] = {}
    """Values that differ from the method's defaults."""
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


class PerMethod(Strict):
    """What the trials of one row, or of all rows of a method, are given where it differs from `per_trial`."""

    cpus: Positive | None = None
    """CPUs of a trial; None: as `per_trial` says."""
    gpus: Annotated[float, Field(ge=0)] | None = None
    """None: a whole GPU where there is one, else none."""
    gpu_memory_gb: Positive | None = None
    """Instead of `gpus`: becomes a share of the GPUs there are."""
    hours: Positive | None = None
    """How long a trial may run in one go before it is ended as failed; None: as long as it takes."""
    memory_gb: Positive | None = None
    """How much memory of the machine, in GB (10^9 bytes), a trial may hold before it is ended as failed; None: any."""

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
    """CPUs of a trial."""


class Resources(Strict):
    """What trials are given, and how they run; changes no number."""

    per_trial: PerTrial = PerTrial()
    """What every trial gets."""
    methods: dict[str, PerMethod] = {}
    """By a row's name or, for all of its rows, by a method's."""
    pack: Literal["auto"] | None = None
    """auto: how many trials share a device is measured when the suite runs, instead of `per_trial`."""
    retries: Annotated[int, Field(ge=0, le=LARGEST)] = 2
    """How often a trial whose worker was lost goes on in another one."""
    executor: Literal["ray", "inline", "streams"] = "ray"
    """ray: several trials at once; inline: one after the other, in this process; streams: several at once in this
    process, each on a CUDA stream of its own."""
    streams: Annotated[int, Field(ge=2, le=32)] = 4
    """With `executor: streams`: how many trials at once."""
    decoded_cache: bool | None = None
    """Whether images too large for memory are kept decoded on the disk; None: where half of what is free suffices."""
    data_workers: Annotated[int, Field(ge=0, le=32)] | None = None
    """Processes that decode large images for a trial; None: one per CPU of a trial on a GPU, else none."""
    step: Literal["auto", "graph", "eager"] = "auto"
    """How a training step runs on a GPU: as a CUDA graph where it can, only so, or operation by operation."""
    checkpoint_seconds: Positive = 60.0
    """How often a running trial leaves a checkpoint, beside the ends of its stages."""
    share_training: bool = True
    """Whether training that trials have in common, as tau_norm has with ce, is done once."""

    @model_validator(mode="after")
    def _one_who_chooses(self) -> Self:
        if self.pack is not None and self.per_trial.model_fields_set - {"hours", "memory_gb"}:
            raise ValueError(
                "`pack: auto` chooses what a trial is given; keep either it or `per_trial` (--set "
                '"resources={pack: auto}" drops all of a suite\'s own resources)'
            )
        return self


class Suite(Strict):
    """A whole suite, as it is recorded: `extends` and `--set` are already merged in."""

    suite: str
    """Its name: the folder under results/ and the experiment in MLflow."""
    question: str = ""
    """What it is to answer; shown with the results."""
    text: (
        Annotated[
            TextBundled | TextFile | TextOfDataset | TextOfTower | TextOpenClip | TextSentence,
            Field(discriminator="encoder"),
        ]
        | None
    ) = None
    """Where class-name vectors come from; None: methods that need them are skipped."""
    datasets: Annotated[list[DatasetEntry], Field(min_length=1)]
    """What is trained on."""
    recipes: Annotated[dict[str, Recipe], Field(min_length=1)]
    """Name -> how all methods of that group are trained."""
    methods: Annotated[dict[str, Annotated[list[MethodEntry], Field(min_length=1)]], Field(min_length=1)]
    """Recipe -> its rows; with one recipe, just the rows."""
    protocol: Protocol
    """How rows are compared."""
    resources: Resources = Resources()
    """What trials get from the machine."""
    plugins: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] | None = None
    """Folders with methods, backbones and data sets of your own; their code is run."""
