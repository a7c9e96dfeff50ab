"""Every method: the contract, options that do something, and the papers' formulas in plain loops."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from ltbench.api import Choice, Method, Moment, Stage, Task, hp
from ltbench.checks.contract import check_method
from ltbench.data.loader import ImageBatches
from ltbench.data.order import BatchOrder
from ltbench.errors import UserError
from ltbench.models import build_backbone
from ltbench.parts import Classifier, CosineHead
from ltbench.registry import Registry
from ltbench.training.engine import Clock, Setup, lr_factor, train
from ltbench.training.evaluation import logits_of

REGISTRY = Registry()
NAMES = REGISTRY.names()
OPTIONS = [(name, field) for name in NAMES for field in REGISTRY.get(name).hyperparameters]
COUNTS = (100, 50, 20, 10, 5)
CIFAR100_IF100 = tuple(int(500 * 0.01 ** (c / 99)) for c in range(100))
CPU = torch.device("cpu")
RECIPE: dict[str, Any] = {
    "epochs": 2.0,
    "batch_size": 32,
    "precision": "fp32",
    "schedule": {"name": "constant", "warmup": 0.0, "warmup_stairs": 0},
}
every_method = pytest.mark.parametrize("name", NAMES)


def make(name: str, task: Task, **values: Any) -> Any:
    return REGISTRY.get(name)(task, **values)


def moment(progress: float = 0.0, seed: int = 0) -> Moment:
    return Moment("train", progress, np.random.default_rng(seed), CPU)


def loaded(weight: float) -> Moment:
    """A moment whose Beta always gives `weight`."""

    class Loaded(Moment):
        def beta(self, a: float, b: float, size: int | tuple[int, ...] = ()) -> Tensor:
            return torch.full((size,) if isinstance(size, int) else size, weight)

    return Loaded("train", 0.0, np.random.default_rng(0), CPU)


def task_of(counts: tuple[int, ...], text: NDArray[np.float32] | None = None, seed: int = 0) -> Task:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    names = [f"class {c}" for c in range(len(counts))]
    return Task(labels, names, text=text, optimizer={"name": "sgd", "lr": 0.05, "momentum": 0.9}, seed=seed)


def near_names(num_classes: int = 5, dim: int = 128) -> NDArray[np.float32]:
    """Unit vectors that are all somewhat alike, as those of class names are; by default as long as mlp's features."""
    text = np.random.default_rng(3).normal(size=(num_classes, dim)) + 0.7
    return (text / np.linalg.norm(text, axis=1, keepdims=True)).astype(np.float32)


def labels_of(size: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 5, size))


def some_logits(rows: int = 16, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(rows, 5, generator=torch.Generator().manual_seed(0))


def some_targets(rows: int = 16) -> Tensor:
    return (3 * torch.randn(rows, 5, generator=torch.Generator().manual_seed(1))).softmax(dim=1)


def one_hot(labels: Tensor) -> Tensor:
    return torch.eye(5)[labels]


def images() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Noisy 6x6 patterns, one per class."""
    rng, labels = np.random.default_rng(7), np.repeat(np.arange(5), COUNTS)
    patterns, noise = rng.integers(0, 160, (5, 6, 6, 1)), rng.integers(0, 96, (len(labels), 6, 6, 1))
    return (patterns[labels] + noise).astype(np.uint8), labels


def body_of(cls: type[Method]) -> str:
    """A small backbone of the kind that a method needs."""
    return "vit_small" if "blocks" in cls.needs else "mlp"


def names_for(name: str) -> NDArray[np.float32]:
    """Class-name vectors as long as the features of `body_of`."""
    return near_names(dim=build_backbone(body_of(REGISTRY.get(name)), (6, 6, 1)).dim)


def trained(method: Method, backbone: str | None = None, seed: int = 0, epochs: float = 2.0) -> Classifier:
    """The method's model after a short training on the patterns."""
    x, y = images()
    torch.manual_seed(seed)
    body = build_backbone(backbone or body_of(type(method)), (6, 6, 1))
    model = Classifier(body, method.head(body.dim))
    order = BatchOrder(y, 5, RECIPE["batch_size"], np.random.default_rng([seed, 1]))
    clock, recipe = Clock(np.random.default_rng([seed, 2]), CPU), {**RECIPE, "epochs": epochs}
    train(model, method, Setup(ImageBatches(x, y, (0.5,), (0.25,)), order, clock, recipe))
    return model


def final_logits(name: str, seed: int = 0, epochs: float = 2.0, **values: Any) -> NDArray[np.float32]:
    """Corrected logits of the training images after a short training."""
    method: Method = make(name, task_of(COUNTS, names_for(name), seed), **values)
    model = trained(method, seed=seed, epochs=epochs)
    raw = logits_of(model, ImageBatches(*images(), (0.5,), (0.25,)), RECIPE)
    return np.asarray(method.predict(torch.from_numpy(raw)).numpy())


def other_values(name: str, field: str) -> list[Any]:
    """Legal values of an option that are not its default."""
    cls = REGISTRY.get(name)
    declared = cls.hyperparameters[field]
    found: list[Any] = list(declared.choices or ())
    if isinstance(declared.search, Choice):
        found += declared.search.values
    elif declared.search is not None:
        found += [declared.search.low, declared.search.high]
    if isinstance(declared.default, bool):
        found.append(not declared.default)
    elif isinstance(declared.default, float):
        found += [declared.default / 2, declared.default * 2]
    legal = []
    for value in dict.fromkeys(found):
        try:
            cls.complete({field: value})
        except UserError:
            continue
        if value != declared.default:
            legal.append(value)
    return legal


# -- the contract, for every method -----------------------------------------------------------------------------------


@every_method
def test_it_states_what_it_does_in_one_line(name: str) -> None:
    summary = REGISTRY.get(name).summary()
    assert 10 < len(summary) <= 100
    assert summary.endswith(".")


@every_method
def test_it_states_its_paper_with_a_year_and_whose_defaults_it_has(name: str) -> None:
    cls = REGISTRY.get(name)
    assert re.search(r"\b(19|20)\d\d\b", cls.paper)
    assert len(cls.defaults_from) >= 5


@every_method
def test_its_options_say_what_they_mean_and_their_defaults_are_legal(name: str) -> None:
    cls = REGISTRY.get(name)
    assert all(declared.meaning for declared in cls.hyperparameters.values())
    assert cls.complete({}) == {field: declared.default for field, declared in cls.hyperparameters.items()}


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("cb_reweight", {"weighting": "effective_number", "beta": 0.9999}),
        ("cb_sampling", {"sampling": "class_balanced"}),
        ("ce_drw", {"beta": 0.9999, "defer": 0.8}),
        ("focal", {"gamma": 1.0}),
        ("clip_full_finetune", {"tower_lr": 3e-5, "head_lr": 3e-5, "weight_decay": 0.1}),
        (
            "lift",
            {
                "tau": 1.0,
                "lr": 0.01,
                "momentum": 0.9,
                "weight_decay": 5e-4,
                "scale": 25.0,
                "bottleneck": 0,
                "adapter_scale": 1.0,
            },
        ),
        ("ldam_drw", {"beta": 0.9999, "defer": 0.8, "max_margin": 0.5, "scale": 30.0}),
        ("logit_adjusted_loss", {"tau": 1.0}),
        ("vs_loss", {"gamma": 0.3, "tau": 1.0}),
        ("logit_adjustment", {"tau": 1.0}),
        ("mixup", {"alpha": 1.0}),
        ("remix", {"alpha": 1.0, "kappa": 3.0, "tau": 0.5}),
        ("tau_norm", {"tau": 1.0}),
        ("text_guided_mixup", {"tau": 0.05, "alpha": 1.0, "beta": 0.2, "per_sample": False}),
    ],
)
def test_its_defaults_are_the_published_ones(name: str, published: dict[str, Any]) -> None:
    assert REGISTRY.get(name).complete({}) == published


@every_method
def test_its_search_ranges_are_legal_values(name: str) -> None:
    cls = REGISTRY.get(name)
    for field, declared in cls.hyperparameters.items():
        if isinstance(declared.search, Choice):
            for value in declared.search.values:
                cls.complete({field: value})
        elif declared.search is not None:
            cls.complete({field: declared.search.low})
            cls.complete({field: declared.search.high})


@every_method
def test_it_draws_positions_of_the_training_set(name: str) -> None:
    task = task_of(COUNTS, near_names())
    drawn = make(name, task).draw(np.arange(32, dtype=np.int64), moment())
    assert drawn.dtype == np.int64
    assert drawn.min() >= 0
    assert drawn.max() < sum(COUNTS)


@every_method
def test_its_targets_are_distributions_over_the_classes(name: str) -> None:
    method = make(name, task_of(COUNTS, near_names()))
    x, target = method.mix(torch.randn(32, 3, 4, 4), labels_of(32), moment())
    assert target.shape == (len(x), 5)
    assert (target >= 0).all()
    torch.testing.assert_close(target.sum(dim=1), torch.ones(len(x)))


@every_method
def test_it_keeps_the_layout_of_the_images(name: str) -> None:
    method = make(name, task_of(COUNTS, near_names()))
    x = torch.randn(32, 3, 4, 4).to(memory_format=torch.channels_last)
    mixed, _ = method.mix(x, labels_of(32), moment())
    assert mixed.dtype == torch.float32
    assert mixed.shape[1:] == x.shape[1:]
    assert mixed.is_contiguous(memory_format=torch.channels_last)


@every_method
def test_it_leaves_the_batch_it_is_given_alone(name: str) -> None:
    method = make(name, task_of(COUNTS, near_names()))
    x, y = torch.randn(32, 1, 4, 4), labels_of(32)
    x_before, y_before = x.clone(), y.clone()
    method.mix(x, y, moment())
    assert torch.equal(x, x_before)
    assert torch.equal(y, y_before)


@every_method
@pytest.mark.parametrize("progress", [0.0, 0.9])
def test_its_loss_is_one_number_with_the_gradient_of_its_values(name: str, progress: float) -> None:
    method, target = make(name, task_of(COUNTS, near_names())), some_targets(6).double()
    logits = some_logits(6, scale=0.5).double().requires_grad_()
    assert method.loss(logits, target, moment(progress)).shape == ()
    assert torch.autograd.gradcheck(lambda z: method.loss(z, target, moment(progress)), (logits,))


@every_method
@pytest.mark.parametrize("scale", [0.0, 1e-3, 100.0])
def test_its_loss_is_finite_for_dull_and_for_extreme_logits(name: str, scale: float) -> None:
    method, logits = make(name, task_of(COUNTS, near_names())), some_logits(scale=scale).requires_grad_()
    loss = method.loss(logits, one_hot(logits.argmax(dim=1)), moment(0.9))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@every_method
def test_its_loss_is_lower_where_the_logits_are_right(name: str) -> None:
    method, target = make(name, task_of(COUNTS, near_names())), one_hot(labels_of(16))
    assert method.loss(target, target, moment()) < method.loss(-target, target, moment())


@every_method
def test_its_corrected_logits_have_the_shape_of_the_logits(name: str) -> None:
    corrected = make(name, task_of(COUNTS)).predict(some_logits(7))
    assert corrected.shape == (7, 5)
    assert torch.isfinite(corrected).all()


@every_method
def test_its_stages_share_out_the_whole_training(name: str) -> None:
    method, body = make(name, task_of(COUNTS, names_for(name))), build_backbone(body_of(REGISTRY.get(name)), (6, 6, 1))
    stages = list(method.stages(Classifier(body, method.head(body.dim))))
    assert sum(stage.share for stage in stages) == pytest.approx(1.0)
    for stage in stages:
        if stage.class_probs is not None:
            assert stage.class_probs.sum() == pytest.approx(1.0)


@every_method
def test_one_seed_gives_one_result_and_two_seeds_two(name: str) -> None:
    first, again, other = final_logits(name, seed=0), final_logits(name, seed=0), final_logits(name, seed=1)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


FASTER: dict[str, dict[str, Any]] = {
    "tgm_clip": {"tower_lr": 0.01, "alpha": 0.0, "adapter_alpha": 0.0},
    "clip_full_finetune": {"tower_lr": 0.003, "head_lr": 0.01},
    "lp_ft": {"tower_lr": 0.003, "head_lr": 0.01, "probe_lr": 0.03},
    "lift": {"bottleneck": 16},
}
"""Options with which a network that was never trained before learns in a few steps."""


@every_method
def test_it_learns_the_patterns(name: str) -> None:
    if name == "clip_zero_shot":
        return  # trains nothing, which tests of its own say
    logits, labels = final_logits(name, epochs=8.0, **FASTER.get(name, {})), images()[1]
    recalls = [(logits[labels == c].argmax(axis=1) == c).mean() for c in range(5)]
    assert np.mean(recalls) > 0.5  # chance is 0.2


@every_method
def test_it_passes_the_contract_that_authors_are_given(name: str) -> None:
    assert check_method(REGISTRY.get(name)) == []


@pytest.mark.parametrize(("name", "field"), OPTIONS)
def test_every_other_value_of_an_option_changes_the_result(name: str, field: str) -> None:
    values, plain = other_values(name, field), final_logits(name)
    assert values
    for value in values:
        assert not np.array_equal(plain, final_logits(name, **{field: value})), f"{field}={value} changes nothing"


@pytest.mark.parametrize(("name", "field"), OPTIONS)
def test_a_value_of_the_wrong_kind_is_refused(name: str, field: str) -> None:
    with pytest.raises(UserError, match=rf"{name}\.{field}"):
        REGISTRY.get(name).complete({field: [1]})


# -- the contract finds what is wrong ---------------------------------------------------------------------------------


class Sound(Method):
    """Cross-entropy with a temperature."""

    paper, defaults_from = "Nobody, 2024.", "nowhere"
    temperature: float = hp(1.0, "what the logits are divided by", above=0.0)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return super().loss(logits / self.temperature, target, now)


class IdleOption(Sound):
    """An option that does nothing."""

    idle: float = hp(1.0, "nothing at all")


class OutOfRange(Sound):
    """Draws behind the end."""

    def draw(self, index: NDArray[np.int64], now: Moment) -> NDArray[np.int64]:
        return index + 10_000


class NoDistribution(Sound):
    """Targets that sum to two."""

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        return x, 2 * self.task.one_hot(y)


class OwnDice(Sound):
    """Throws dice that no seed holds."""

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return super().loss(logits, target, now) * float(np.random.default_rng().random())


class HiddenInTheClass(Sound):
    """Counts its steps where all methods of the class share them; every trial starts from 0."""

    steps: ClassVar[list[int]] = [0]

    def __init__(self, task: Task, **values: Any) -> None:
        super().__init__(task, **values)
        self.steps[0] = 0

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        self.steps[0] += 1
        return super().loss(logits, target, now) * (1 + self.steps[0] / 100)


class HiddenInAClosure(Sound):
    """Counts its steps in a variable that belongs to a function."""

    def __init__(self, task: Task, **values: Any) -> None:
        super().__init__(task, **values)
        steps = 0

        def grown() -> float:
            nonlocal steps
            steps += 1
            return 1 + steps / 100

        self.grown = grown

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return super().loss(logits, target, now) * self.grown()


class HoldsAnIterator(Sound):
    """Counts its steps with an iterator."""

    def __init__(self, task: Task, **values: Any) -> None:
        super().__init__(task, **values)
        self.steps = itertools.count()

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return super().loss(logits, target, now) * (1 + next(self.steps) / 100)


class Vector(Sound):
    """A loss per image."""

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return -(target * logits.log_softmax(dim=1)).sum(dim=1)


class Scatters(Sound):
    """Its head puts features into a table of float32, which takes nothing else."""

    def head(self, dim: int) -> nn.Module:
        classes = self.task.num_classes

        class Head(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.linear = nn.Linear(dim, classes)

            def forward(self, features: Tensor) -> Tensor:
                table = torch.zeros(len(features), classes, device=features.device)
                return table.index_add(0, torch.arange(len(features), device=features.device), self.linear(features))

        return Head()


class Overflows(Sound):
    """Right in fp32; in bf16, rounded to eight bits, two neighbours are one and what is between them is nothing."""

    def predict(self, logits: Tensor) -> Tensor:
        rounded = (logits.bfloat16().float() == logits).all()
        return torch.where(rounded, torch.full_like(logits, torch.inf), logits)


class TooLong(Sound):
    """Trains one and a half times."""

    def stages(self, model: Classifier) -> Iterator[Stage]:
        yield Stage(share=0.75)
        yield Stage(share=0.75)


class Nameless(Sound):
    """States no paper."""

    paper = ""


class Misspelt(Sound):
    """Would train as plain cross-entropy: nothing calls its loss."""

    def losss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return logits.sum()


class Grows(Sound):
    """Counts its steps in a global; a second trial of the process starts where the first one ended."""

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        GLOBAL_STEPS.append(0.01)
        return super().loss(logits * (1 + sum(GLOBAL_STEPS)), target, now)


GLOBAL_STEPS: list[float] = []


class Labels(Sound):
    """Gives labels where a distribution is due."""

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        return x, y


def test_the_contract_finds_nothing_in_a_sound_method() -> None:
    assert check_method(Sound) == []


@pytest.mark.parametrize(
    ("cls", "sentence"),
    [
        (IdleOption, "idle has no effect"),
        (OutOfRange, "outside the training set"),
        (NoDistribution, "not distributions"),
        (OwnDice, "two runs with one seed differ"),
        (HiddenInTheClass, "keeps state where a checkpoint cannot see it (a global, a class attribute, a closure)"),
        (HiddenInAClosure, "keeps state where a checkpoint cannot see it (a global, a class attribute, a closure)"),
        (HoldsAnIterator, "method.steps: is a count, whose position cannot be saved"),
        (Vector, "single number"),
        (Scatters, "in bf16 training fails: RuntimeError: index_add"),
        (Overflows, "in bf16 the test logits are not finite"),
        (TooLong, "shares sum to 1.5"),
        (Nameless, "`paper` is not stated"),
        (Misspelt, "`losss` is no hook, and nothing calls it; did you mean `loss`?"),
        (Grows, "what changes while training must be an attribute of self"),
        (Labels, "it gives (16,); `self.task.one_hot` makes one of labels"),
    ],
)
def test_the_contract_says_what_is_wrong_with_a_broken_method(cls: type[Method], sentence: str) -> None:
    assert any(sentence in problem for problem in check_method(cls))


# -- composition ------------------------------------------------------------------------------------------------------


def test_two_methods_compose_by_inheritance() -> None:
    mixup, balanced = REGISTRY.get("mixup"), REGISTRY.get("balanced_softmax")
    both = type("MixupBalanced", (mixup, balanced), {"__doc__": "Both."})(task_of(COUNTS), alpha=0.5)
    x, y = torch.randn(8, 1, 2, 2), labels_of(8)
    mixed, target = both.mix(x, y, moment())
    torch.testing.assert_close(mixed, make("mixup", task_of(COUNTS), alpha=0.5).mix(x, y, moment())[0])
    expected = make("balanced_softmax", task_of(COUNTS)).loss(some_logits(8), target, moment())
    torch.testing.assert_close(both.loss(some_logits(8), target, moment()), expected)


def test_needs_are_inherited_whatever_the_order_of_the_bases() -> None:
    guided, balanced = REGISTRY.get("text_guided_mixup"), REGISTRY.get("balanced_softmax")
    assert type("A", (guided, balanced), {}).needs == type("B", (balanced, guided), {}).needs == {"text"}


def test_a_subclass_that_states_a_plain_value_for_an_option_gets_it() -> None:
    stronger = type("Stronger", (REGISTRY.get("focal"),), {"gamma": 2.0, "__doc__": "Focal with gamma 2."})
    assert stronger(task_of(COUNTS)).gamma == 2.0


# -- losses -----------------------------------------------------------------------------------------------------------


def softmax_loss(row: list[float], target: list[float]) -> float:
    """Cross-entropy of one row in float64."""
    log_z = math.log(sum(math.exp(v) for v in row))
    return sum(t * (log_z - v) for v, t in zip(row, target, strict=True))


def assert_same_loss(one: Any, other: Any, *, progress: float = 0.9) -> None:
    for target in (some_targets(), one_hot(labels_of(16))):
        a, b = (method.loss(some_logits(), target, moment(progress)) for method in (one, other))
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("focal", {"gamma": 0.0}),
        ("logit_adjusted_loss", {"tau": 0.0}),
        ("vs_loss", {"gamma": 0.0, "tau": 0.0}),
        ("cb_reweight", {"beta": 0.0}),
        ("ce_drw", {"beta": 0.0}),
        ("ce_drw", {"defer": 1.0}),
        ("logit_adjustment", {}),
        ("tau_norm", {}),
        ("crt", {}),
        ("cb_sampling", {}),
        ("mixup", {}),
        ("remix", {}),
        ("text_guided_mixup", {}),
    ],
)
def test_its_loss_is_plain_cross_entropy(name: str, values: dict[str, Any], toy_task: Task) -> None:
    assert_same_loss(make(name, toy_task, **values), make("ce", toy_task))


@pytest.mark.parametrize(
    "name", ["balanced_softmax", "logit_adjusted_loss", "vs_loss", "cb_reweight", "ce_drw", "logit_adjustment"]
)
def test_on_a_balanced_data_set_its_loss_is_plain_cross_entropy(name: str) -> None:
    balanced = task_of((30,) * 5)
    assert_same_loss(make(name, balanced), make("ce", balanced))


def test_logit_adjusted_loss_of_tau_1_is_balanced_softmax(toy_task: Task) -> None:
    assert_same_loss(make("logit_adjusted_loss", toy_task, tau=1.0), make("balanced_softmax", toy_task))


@pytest.mark.parametrize("tau", [0.5, 1.5])
def test_logit_adjusted_loss_is_equation_10(tau: float, toy_task: Task) -> None:
    logits, labels = some_logits(), labels_of(16)
    expected = 0.0
    for row, y in zip(logits.double().tolist(), labels.tolist(), strict=True):
        terms = [
            (n_other / n_y) ** tau * math.exp(v - row[y])
            for v, n_other, n_y in zip(row, COUNTS, [COUNTS[y]] * 5, strict=True)
        ]
        expected += math.log(sum(terms)) / 16  # log(1 + sum over the other classes)
    loss = make("logit_adjusted_loss", toy_task, tau=tau).loss(logits, one_hot(labels), moment())
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("tau", [0.0, 0.75, 1.25])
def test_vs_loss_of_gamma_0_is_the_logit_adjusted_loss(tau: float, toy_task: Task) -> None:
    assert_same_loss(make("vs_loss", toy_task, gamma=0.0, tau=tau), make("logit_adjusted_loss", toy_task, tau=tau))


@pytest.mark.parametrize(("gamma", "tau"), [(0.3, 1.0), (0.15, 1.25), (0.2, 0.0), (1.0, 0.5)])
def test_vs_loss_is_the_papers_formula(gamma: float, tau: float, toy_task: Task) -> None:
    """Delta_c = (n_c / n_max)^gamma multiplies, iota_c = tau log(n_c / N) is added."""
    logits, labels = some_logits(), labels_of(16)
    total = 0.0
    for row, label in zip(logits.double().tolist(), labels.tolist(), strict=True):
        shifted = [
            (n / max(COUNTS)) ** gamma * z + tau * math.log(n / sum(COUNTS)) for n, z in zip(COUNTS, row, strict=True)
        ]
        total += math.log(sum(math.exp(s) for s in shifted)) - shifted[label]
    loss = make("vs_loss", toy_task, gamma=gamma, tau=tau).loss(logits, one_hot(labels), moment())
    assert float(loss) == pytest.approx(total / len(labels), rel=1e-5)


def test_balanced_softmax_is_equation_4(toy_task: Task) -> None:
    logits, labels = some_logits(), labels_of(16)
    expected = 0.0
    for row, y in zip(logits.double().tolist(), labels.tolist(), strict=True):
        mass = [n * math.exp(v) for n, v in zip(COUNTS, row, strict=True)]
        expected -= math.log(mass[y] / sum(mass)) / 16
    loss = make("balanced_softmax", toy_task).loss(logits, one_hot(labels), moment())
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_is_the_papers_formula_on_labels_and_its_mean_over_soft_targets(gamma: float, toy_task: Task) -> None:
    logits, target = some_logits(), some_targets()
    expected = 0.0
    for row, t in zip(logits.double().tolist(), target.double().tolist(), strict=True):
        z = sum(math.exp(v) for v in row)
        for v, t_c in zip(row, t, strict=True):
            p = math.exp(v) / z
            expected -= t_c * (1 - p) ** gamma * math.log(p) / 16
    loss = make("focal", toy_task, gamma=gamma).loss(logits, target, moment())
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("values", "raw"),
    [
        ({"beta": 0.99}, [0.01 / (1 - 0.99**n) for n in COUNTS]),
        ({"weighting": "inverse"}, [1 / n for n in COUNTS]),
        ({"weighting": "sqrt_inverse"}, [n**-0.5 for n in COUNTS]),
    ],
)
def test_cb_reweight_weighs_by_the_stated_rule(values: dict[str, Any], raw: list[float], toy_task: Task) -> None:
    weight = [5 * w / sum(raw) for w in raw]
    logits, labels = some_logits(), labels_of(16).tolist()
    losses = [weight[y] * softmax_loss(row, [float(c == y) for c in range(5)])
              for row, y in zip(logits.double().tolist(), labels, strict=True)]  # fmt: skip
    loss = make("cb_reweight", toy_task, **values).loss(logits, one_hot(labels_of(16)), moment())
    assert float(loss) == pytest.approx(sum(losses) / sum(weight[y] for y in labels), rel=1e-5)


def test_deferred_weights_set_in_exactly_at_the_stated_fraction(toy_task: Task) -> None:
    drw, target = make("ce_drw", toy_task, defer=0.8), one_hot(labels_of(16))
    plain = make("ce", toy_task).loss(some_logits(), target, moment())
    weighted = make("cb_reweight", toy_task, beta=0.9999).loss(some_logits(), target, moment())
    assert drw.loss(some_logits(), target, moment(float(np.nextafter(0.8, 0)))) == plain
    assert drw.loss(some_logits(), target, moment(0.8)) == weighted
    assert plain != weighted


@pytest.mark.parametrize("steps", [200 * 97, 200 * 85, 19_385, 16_949, 200])
def test_deferred_weights_set_in_at_the_step_of_the_first_lr_drop(steps: int, toy_task: Task) -> None:
    # 19,385 and 16,949 are the steps of 200 epochs of CIFAR-10-LT and CIFAR-100-LT at IF 100 with batches of 128.
    schedule = {"name": "multistep", "milestones": [0.8, 0.9], "gamma": 0.01, "warmup": 0.025, "warmup_stairs": 5}
    drw, target = make("ce_drw", toy_task), one_hot(labels_of(2))
    plain = make("ce", toy_task).loss(some_logits(2), target, moment())
    around = range(int(0.8 * steps) - 2, int(0.8 * steps) + 3)
    weighted = [bool(drw.loss(some_logits(2), target, moment(step / steps)) != plain) for step in around]
    dropped = [lr_factor(schedule, step / steps) < 1 for step in around]
    assert weighted == dropped == [5 * step >= 4 * steps for step in around]


# -- LDAM -------------------------------------------------------------------------------------------------------------


def test_ldam_margins_are_the_published_ones_of_cifar100() -> None:
    margin = make("ldam_drw", task_of(CIFAR100_IF100)).margin
    assert float(margin[0]) == pytest.approx(0.1581, abs=5e-5)
    assert float(margin[-1]) == 0.5
    np.testing.assert_allclose(margin / margin[0], [(500 / n) ** 0.25 for n in CIFAR100_IF100], rtol=1e-6)


@pytest.mark.parametrize("progress", [0.5, 0.9])
def test_ldam_is_equation_13_with_deferred_weights(progress: float, toy_task: Task) -> None:
    cosines, labels = some_logits(scale=0.3), labels_of(16).tolist()
    margins = [0.4 * (n / min(COUNTS)) ** -0.25 for n in COUNTS]
    raw = [0.01 / (1 - 0.99**n) if progress >= 0.8 else 1.0 for n in COUNTS]
    total = 0.0
    for row, y in zip(cosines.double().tolist(), labels, strict=True):
        row[y] -= margins[y]
        total += raw[y] * softmax_loss([20 * v for v in row], [float(c == y) for c in range(5)])
    method = make("ldam_drw", toy_task, max_margin=0.4, scale=20.0, beta=0.99)
    loss = method.loss(cosines, one_hot(labels_of(16)), moment(progress))
    assert float(loss) == pytest.approx(total / sum(raw[y] for y in labels), rel=1e-4)


def test_ldam_without_margin_is_deferred_cross_entropy_of_the_scaled_cosines(toy_task: Task) -> None:
    ldam, drw = make("ldam_drw", toy_task, max_margin=0.0, scale=30.0), make("ce_drw", toy_task)
    cosines, target = some_logits(scale=0.3), one_hot(labels_of(16))
    for progress in (0.0, 0.9):
        expected = drw.loss(30 * cosines, target, moment(progress))
        torch.testing.assert_close(ldam.loss(cosines, target, moment(progress)), expected)


def test_ldam_tests_with_the_scaled_cosines_of_its_cosine_head(toy_task: Task) -> None:
    method, features = make("ldam_drw", toy_task, scale=30.0), torch.randn(9, 64)
    head = method.head(64)
    assert isinstance(head, CosineHead)
    with torch.no_grad():
        cosines, corrected = head(features), method.predict(head(features))
    assert cosines.abs().max() <= 1 + 1e-6
    torch.testing.assert_close(corrected, 30 * cosines)


# -- post-hoc corrections and stages ----------------------------------------------------------------------------------


def test_logit_adjustment_of_tau_0_corrects_nothing(toy_task: Task) -> None:
    assert torch.equal(make("logit_adjustment", toy_task, tau=0.0).predict(some_logits()), some_logits())


def test_logit_adjustment_takes_tau_log_prior_off(toy_task: Task) -> None:
    corrected = make("logit_adjustment", toy_task, tau=1.5).predict(some_logits())
    for row, fixed in zip(some_logits().double().tolist(), corrected.tolist(), strict=True):
        expected = [v - 1.5 * math.log(n / sum(COUNTS)) for v, n in zip(row, COUNTS, strict=True)]
        np.testing.assert_allclose(fixed, expected, rtol=1e-5, atol=1e-5)


def test_logit_adjustment_trains_as_cross_entropy_does() -> None:
    prior = np.log(np.array(COUNTS) / sum(COUNTS))
    np.testing.assert_allclose(final_logits("logit_adjustment") + prior, final_logits("ce"), atol=1e-5)


@pytest.mark.parametrize(("sampling", "power"), [("class_balanced", 0.0), ("square_root", 0.5)])
def test_class_balanced_sampling_asks_for_the_stated_frequencies(sampling: str, power: float, toy_task: Task) -> None:
    (stage,) = make("cb_sampling", toy_task, sampling=sampling).stages(Classifier(torch.nn.Identity(), torch.nn.ReLU()))
    mass = [n**power for n in COUNTS]
    np.testing.assert_allclose(stage.class_probs, [m / sum(mass) for m in mass], rtol=1e-12)


def spied(name: str) -> Any:
    """The method, noting the model's state at each yield and after the last, and the classes of every batch."""

    class Spied(REGISTRY.get(name)):  # type: ignore[misc]
        """Tells what it did."""

        def stages(self, model: Classifier) -> Iterator[Stage]:
            self.states: list[dict[str, Tensor]] = []
            self.drawn: dict[str, list[NDArray[np.int64]]] = {}
            inner = super().stages(model)
            while True:
                self.before = {k: v.clone() for k, v in model.state_dict().items()}
                stage = next(inner, None)
                self.states.append({k: v.clone() for k, v in model.state_dict().items()})
                if stage is None:
                    return
                yield stage

        def draw(self, index: NDArray[np.int64], now: Moment) -> NDArray[np.int64]:
            self.drawn.setdefault(now.stage, []).append(index)
            return super().draw(index, now)  # type: ignore[no-any-return]

    return Spied


def test_crt_leaves_the_backbone_and_its_batch_norm_untouched_in_the_second_stage() -> None:
    method = spied("crt")(task_of(COUNTS), classifier_share=0.5)
    after = trained(method, backbone="cnn_small").state_dict()
    before = method.states[1]
    body = [k for k in after if k.startswith("backbone")]
    assert any("running_mean" in k for k in body)
    assert all(torch.equal(before[k], after[k]) for k in body)
    assert not torch.equal(before["head.weight"], after["head.weight"])


def test_crt_trains_the_backbone_in_the_first_stage() -> None:
    method = spied("crt")(task_of(COUNTS))
    trained(method, backbone="cnn_small")
    first, second = method.states[:2]
    changed = [k for k in first if k.startswith("backbone") and not torch.equal(first[k], second[k])]
    assert len(changed) == len([k for k in first if k.startswith("backbone")])


def test_crt_starts_the_classifier_afresh() -> None:
    class Kept(spied("crt")):  # type: ignore[misc]
        """Notes what the first stage left."""

        def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
            if now.stage == "representation":
                self.last_of_first_stage = self.model.head.weight.detach().clone()
            return super().loss(logits, target, now)  # type: ignore[no-any-return]

        def stages(self, model: Classifier) -> Iterator[Stage]:
            self.model = model
            yield from super().stages(model)

    method = Kept(task_of(COUNTS))
    trained(method, epochs=20.0)
    fresh, old = method.states[1]["head.weight"], method.last_of_first_stage
    assert abs(float(torch.corrcoef(torch.stack([fresh.flatten(), old.flatten()]))[0, 1])) < 0.2
    assert float(fresh.std()) == pytest.approx((2 / 128) ** 0.5, rel=0.15)  # Kaiming-normal over 128 features


def test_crt_sees_all_classes_equally_often_in_the_second_stage() -> None:
    method = spied("crt")(task_of(COUNTS), classifier_share=0.5)
    trained(method, epochs=20.0)
    first, second = (np.bincount(images()[1][np.concatenate(method.drawn[s])], minlength=5)
                     for s in ("representation", "classifier"))  # fmt: skip
    np.testing.assert_allclose(first / first.sum(), np.array(COUNTS) / sum(COUNTS), atol=0.01)
    assert stats.chisquare(second).pvalue > 1e-3


def test_tau_norm_of_tau_1_leaves_unit_class_vectors_and_no_bias() -> None:
    model = trained(make("tau_norm", task_of(COUNTS), tau=1.0))
    assert isinstance(model.head, torch.nn.Linear)
    torch.testing.assert_close(model.head.weight.detach().norm(dim=1), torch.ones(5))
    assert not model.head.bias.detach().any()


@pytest.mark.parametrize("tau", [0.0, 0.7, 2.0])
def test_tau_norm_divides_class_vectors_by_their_length_to_the_power_tau(tau: float) -> None:
    plain, scaled = (trained(make(name, task_of(COUNTS), **values)).head.weight.detach().double()
                     for name, values in (("ce", {}), ("tau_norm", {"tau": tau})))  # fmt: skip
    for before, after in zip(plain.tolist(), scaled.tolist(), strict=True):
        length = math.sqrt(sum(v * v for v in before))
        np.testing.assert_allclose(after, [v / length**tau for v in before], rtol=1e-5)


# -- mixing -----------------------------------------------------------------------------------------------------------


def basis(n: int) -> Tensor:
    """n images of n pixels, image i white at pixel i: what was mixed can be read off the result."""
    return torch.eye(n)[:, None, None, :]


def weights_read_off(mixed: Tensor) -> NDArray[np.float64]:
    """(B, n): how much of each of the n images is in each mixed one."""
    return mixed[:, 0, 0, :].double().numpy()


def pairs_read_off(mixed: Tensor) -> Iterator[tuple[int, int, float]]:
    """(own image, partner, own weight) of every mixed image that is not its own partner."""
    for i, row in enumerate(weights_read_off(mixed)):
        others = [int(j) for j in np.flatnonzero(row) if j != i]
        assert len(others) <= 1
        if others:
            yield i, others[0], float(row[i])


def test_mixup_mixes_labels_as_it_mixes_images(toy_task: Task) -> None:
    y = labels_of(24)
    mixed, target = make("mixup", toy_task).mix(basis(24), y, moment(seed=3))
    expected = np.zeros((24, 5))
    for i, row in enumerate(weights_read_off(mixed)):
        for j, weight in enumerate(row):
            expected[i, int(y[j])] += weight
    np.testing.assert_allclose(target, expected, atol=1e-6)


def test_mixup_has_one_weight_per_batch_and_every_image_as_partner_once(toy_task: Task) -> None:
    mixed, _ = make("mixup", toy_task).mix(basis(24), labels_of(24), moment(seed=3))
    found = list(pairs_read_off(mixed))
    assert len(found) > 15
    assert np.ptp([weight for _, _, weight in found]) < 1e-6
    np.testing.assert_allclose(weights_read_off(mixed).sum(axis=0), 1.0, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
@pytest.mark.parametrize("name", ["mixup", "remix"])
def test_the_mixing_weight_is_beta_distributed(name: str, alpha: float, toy_task: Task) -> None:
    method, y = make(name, toy_task, alpha=alpha), labels_of(4)
    now, x = moment(), basis(4)
    found = [next(pairs_read_off(method.mix(x, y, now)[0]), None) for _ in range(1500)]
    weights = [pair[2] for pair in found if pair is not None]
    # Weights of exactly 0 or 1 leave no pair to read off; they are rare.
    assert len(weights) > 800
    inner = [w for w in weights if 0.01 < w < 0.99]
    low, high = stats.beta.cdf([0.01, 0.99], alpha, alpha)
    assert stats.kstest(inner, lambda w: (stats.beta.cdf(w, alpha, alpha) - low) / (high - low)).pvalue > 1e-3


def remix_label_weight(n_i: int, n_j: int, keep: float, kappa: float, tau: float) -> float:
    """Chou et al., equation 7, with exact ratios."""
    if Fraction(n_i, n_j) >= Fraction(kappa) and keep < tau:
        return 0.0
    if Fraction(n_i, n_j) <= 1 / Fraction(kappa) and 1 - keep < tau:
        return 1.0
    return keep


@pytest.mark.parametrize(("kappa", "tau"), [(3.0, 0.5), (2.0, 0.5), (10.0, 0.9), (1.0, 0.3), (5.0, 1.0), (4.0, 0.0)])
def test_remix_labels_follow_the_papers_rule(kappa: float, tau: float, toy_task: Task) -> None:
    method, y = make("remix", toy_task, kappa=kappa, tau=tau), labels_of(24)
    compared = 0
    for seed in range(40):
        mixed, target = method.mix(basis(24), y, moment(seed=seed))
        for i, j, keep in pairs_read_off(mixed):
            y_i, y_j = int(y[i]), int(y[j])
            label_weight = remix_label_weight(COUNTS[y_i], COUNTS[y_j], keep, kappa, tau)
            expected = np.zeros(5)
            expected[y_i] += label_weight
            expected[y_j] += 1 - label_weight
            np.testing.assert_allclose(target[i], expected, atol=1e-6)
            compared += 1
    assert compared > 500


@pytest.mark.parametrize("kappa", range(2, 13))
def test_remix_counts_a_ratio_of_exactly_kappa_in_both_directions(kappa: int) -> None:
    task = task_of((7 * kappa, 7))
    method = make("remix", task, kappa=float(kappa), tau=1.0)
    y = torch.tensor([0, 1] * 8)
    mixed, target = method.mix(basis(16), y, moment())
    unlike = [i for i, j, _ in pairs_read_off(mixed) if y[i] != y[j]]
    assert {int(y[i]) for i in unlike} == {0, 1}
    assert all(target[i].tolist() == [0.0, 1.0] for i in unlike)


def test_remix_with_a_threshold_that_no_pair_reaches_is_mixup(toy_task: Task) -> None:
    y = labels_of(24)
    plain, rebalanced = make("mixup", toy_task), make("remix", toy_task, kappa=1000.0)
    for a, b in zip(plain.mix(basis(24), y, moment()), rebalanced.mix(basis(24), y, moment()), strict=True):
        torch.testing.assert_close(a, b)


# -- text-guided mixup ------------------------------------------------------------------------------------------------


def partner_probs(text: NDArray[np.float32], tau: float) -> NDArray[np.float64]:
    """p(j | i): softmax of cosine over tau with the own class left out, in float64 loops."""
    vectors = text.astype(np.float64)
    num_classes = len(vectors)
    probs = np.zeros((num_classes, num_classes))
    for i in range(num_classes):
        scores = {j: float(vectors[i] @ vectors[j]) / tau for j in range(num_classes) if j != i}
        top = max(scores.values())
        total = sum(math.exp(s - top) for s in scores.values())
        for j, s in scores.items():
            probs[i, j] = math.exp(s - top) / total
    return probs


@pytest.mark.parametrize("tau", [0.002, 0.05, 1.0])
def test_partner_classes_follow_the_softmax_of_their_names_likeness(tau: float) -> None:
    cdf = make("text_guided_mixup", task_of(COUNTS, near_names()), tau=tau).partner_cdf
    np.testing.assert_allclose(np.diff(cdf, axis=1, prepend=0.0), partner_probs(near_names(), tau), atol=1e-6)


@pytest.mark.parametrize("tau", [0.01, 0.05, 1.0])
def test_a_class_is_never_its_own_partner(tau: float) -> None:
    cdf = make("text_guided_mixup", task_of(COUNTS, near_names()), tau=tau).partner_cdf
    assert (np.diag(np.diff(cdf, axis=1, prepend=0.0)) == 0.0).all()
    assert (cdf[:, -1] == 1.0).all()


@pytest.mark.parametrize("label", range(5))
def test_partners_are_drawn_with_these_frequencies(label: int) -> None:
    task = task_of(COUNTS, near_names())
    index = np.full(20_000, int(np.flatnonzero(task.labels == label)[0]))
    drawn = make("text_guided_mixup", task, tau=0.3).draw(index, moment())
    found = np.bincount(task.labels[drawn[20_000:]], minlength=5) / 20_000
    assert found[label] == 0
    np.testing.assert_allclose(found, partner_probs(near_names(), 0.3)[label], atol=4 * (0.25 / 20_000) ** 0.5)


def test_the_own_images_come_first_and_are_those_of_the_batch() -> None:
    index = np.array([3, 150, 184, 7], dtype=np.int64)
    drawn = make("text_guided_mixup", task_of(COUNTS, near_names())).draw(index, moment())
    assert len(drawn) == 8
    np.testing.assert_array_equal(drawn[:4], index)


def test_partner_images_of_a_class_all_come_before_one_comes_again() -> None:
    task = task_of(COUNTS, near_names())
    method, now, rng = make("text_guided_mixup", task, tau=1.0), moment(), np.random.default_rng(5)
    seen: dict[int, list[int]] = {c: [] for c in range(5)}
    for _ in range(60):
        for position in method.draw(rng.permutation(185)[:32], now)[32:].tolist():
            seen[int(task.labels[position])].append(position)
    for c, n in enumerate(COUNTS):
        cycles = [seen[c][k : k + n] for k in range(0, len(seen[c]) - n + 1, n)]
        assert len(cycles) >= 2
        assert all(sorted(cycle) == np.flatnonzero(task.labels == c).tolist() for cycle in cycles)
        assert n < 10 or cycles[0] != cycles[1], "each cycle has an order of its own"


def guided(y_i: list[int], y_j: list[int], now: Moment, **values: Any) -> tuple[Tensor, Tensor]:
    """Pairs of given classes mixed; image i of 2B is white at pixel i."""
    method = make("text_guided_mixup", task_of(COUNTS, near_names()), **values)
    return method.mix(basis(2 * len(y_i)), torch.tensor([*y_i, *y_j]), now)  # type: ignore[no-any-return]


ALL_PAIRS = [(i, j) for i in range(5) for j in range(5) if i != j]
OWN, PARTNER = [i for i, _ in ALL_PAIRS], [j for _, j in ALL_PAIRS]


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0, 1.5])
@pytest.mark.parametrize("keep", [0.0, 0.05, 0.5, 0.97, 1.0])
def test_the_label_moves_by_the_papers_formula_and_is_clamped(alpha: float, keep: float) -> None:
    _, target = guided(OWN, PARTNER, loaded(keep), alpha=alpha)
    for row, (i, j) in zip(target.tolist(), ALL_PAIRS, strict=True):
        shift = alpha * (COUNTS[i] - COUNTS[j]) / (COUNTS[i] + COUNTS[j])
        own = min(1.0, max(0.0, keep - shift))
        np.testing.assert_allclose(row, [own * (c == i) + (1 - own) * (c == j) for c in range(5)], atol=1e-6)


@pytest.mark.parametrize("keep", [0.2, 0.8])
def test_label_mass_moves_to_the_rarer_class_and_never_away_from_it(keep: float) -> None:
    _, target = guided(OWN, PARTNER, loaded(keep), alpha=0.5)
    for row, (i, j) in zip(target.tolist(), ALL_PAIRS, strict=True):
        image_mass = {i: keep, j: 1 - keep}
        rarer = max(i, j)  # classes are numbered from frequent to rare
        assert row[rarer] > image_mass[rarer]


def test_a_pure_head_image_paired_with_the_tail_is_labelled_tail() -> None:
    method = make("text_guided_mixup", task_of((500, 5), near_names(2)), alpha=1.0)
    _, target = method.mix(basis(2), torch.tensor([0, 1]), loaded(1.0))
    np.testing.assert_allclose(target, [[1 - 495 / 505, 495 / 505]], atol=1e-6)  # 98 % tail


def test_images_mix_by_the_weight_itself() -> None:
    mixed, _ = guided(OWN, PARTNER, loaded(0.3), alpha=1.0)
    expected = np.zeros((20, 40))
    for i in range(20):
        expected[i, i], expected[i, 20 + i] = 0.3, 0.7
    np.testing.assert_allclose(weights_read_off(mixed), expected, atol=1e-6)


def test_all_pairs_of_a_batch_share_one_weight() -> None:
    mixed, _ = guided(OWN, PARTNER, moment(seed=1), beta=1.0)
    assert len({float(w) for w in mixed[:, 0, 0, :20].diagonal()}) == 1


def test_each_pair_has_its_own_weight_when_asked_to() -> None:
    mixed, target = guided(OWN, PARTNER, moment(seed=1), beta=1.0, per_sample=True, alpha=0.0)
    own = [float(w) for w in mixed[:, 0, 0, :20].diagonal()]
    assert len(set(own)) == 20
    np.testing.assert_allclose([target[k, i] for k, i in enumerate(OWN)], own, atol=1e-6)


def test_the_weight_of_beta_one_fifth_is_as_extreme_as_published() -> None:
    now, method = moment(), make("text_guided_mixup", task_of((4, 4), near_names(2)), per_sample=True)
    mixed, _ = method.mix(torch.cat([torch.ones(40_000, 1, 1, 1), torch.zeros(40_000, 1, 1, 1)]),
                          torch.arange(80_000) // 40_000, now)  # fmt: skip
    keep = mixed.flatten().numpy()
    assert np.mean((keep < 0.05) | (keep > 0.95)) == pytest.approx(0.583, abs=0.01)
    assert np.mean(np.abs(2 * keep - 1)) == pytest.approx(0.797, abs=0.01)


@pytest.mark.parametrize(
    ("alpha", "ratio", "clamped"), [(0.0, 5.21, 0.03), (0.5, 2.01, 0.43), (1.0, 0.78, 0.54), (1.5, 0.47, 0.75)]
)
def test_the_label_mass_of_head_and_tail_is_the_one_measured_on_the_authors_code(
    alpha: float, ratio: float, clamped: float
) -> None:
    """published/README.md, 3.6: CIFAR-100-LT at IF 100, uniform partners; head and tail: the first and last class."""
    task = task_of(CIFAR100_IF100, np.ones((100, 1), dtype=np.float32))
    method, now = make("text_guided_mixup", task, alpha=alpha, per_sample=True), moment()
    mass, saturated, images_seen = np.zeros(100), 0, 0
    for _ in range(30):
        index = method.draw(np.arange(len(task.labels)), now)
        _, target = method.mix(torch.zeros(len(index), 1, 1, 1), torch.from_numpy(task.labels[index]), now)
        mass += target.double().sum(dim=0).numpy()
        saturated += int((target.max(dim=1).values == 1.0).sum())
        images_seen += len(target)
    assert mass[0] / mass[-1] == pytest.approx(ratio, rel=0.06)
    # The 3 % at alpha 0 are weights of Beta(0.2, 0.2) that are 0 or 1 in float32; published is none.
    assert saturated / images_seen == pytest.approx(clamped, abs=0.015)


def test_it_says_that_it_needs_text() -> None:
    assert REGISTRY.get("text_guided_mixup").needs == {"text"}
    needing = {name: set(REGISTRY.get(name).needs) for name in NAMES if REGISTRY.get(name).needs}
    clip = {"text", "clip"}
    assert needing == {
        "clip_full_finetune": clip,
        "clip_zero_shot": clip,
        "lift": clip | {"blocks"},
        "tau_norm": {"linear_head"},
        "text_guided_mixup": {"text"},
        "tgm_clip": clip,
    }
