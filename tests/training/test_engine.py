"""The training loop: schedule, budget, freezing, what is seen how often, divergence, and the test pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from ltbench.api import Method, Moment, Stage, Task
from ltbench.data.loader import ImageBatches
from ltbench.data.order import BatchOrder
from ltbench.parts import Classifier
from ltbench.spec import TrialSpec
from ltbench.training.assemble import assemble
from ltbench.training.engine import Clock, Diverged, LossMeter, Setup, freeze_all_but, train
from ltbench.training.evaluation import logits_of
from ltbench.training.schedule import lr_factor, share_out
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

Make = Callable[..., TrialSpec]
CPU = torch.device("cpu")
careful = settings(max_examples=200, deadline=None, derandomize=True)
CLASSIC = {"name": "multistep", "milestones": [0.8, 0.9], "gamma": 0.01, "warmup": 0.025, "warmup_stairs": 5}
CONSTANT = {"name": "constant", "warmup": 0.0, "warmup_stairs": 0}
RECIPE: dict[str, Any] = {"epochs": 2.0, "batch_size": 32, "precision": "fp32", "schedule": CONSTANT}
LABELS = np.repeat(np.arange(5), [100, 50, 20, 10, 5]).astype(np.int64)


def task_of(labels: NDArray[np.int64] = LABELS, lr: float = 0.05) -> Task:
    return Task(labels, list("abcde"), optimizer={"name": "sgd", "lr": lr})


def batches_of(labels: NDArray[np.int64] = LABELS) -> ImageBatches:
    """Image i is one pixel of brightness i % 256."""
    pixels = (np.arange(len(labels)) % 256).astype(np.uint8)[:, None, None, None]
    return ImageBatches(pixels, labels, (0.5,), (0.25,))


class Flat(nn.Flatten):
    """Pixels as features."""

    dim = 1


def run(
    method: Method, recipe: dict[str, Any] | None = None, model: Classifier | None = None, seed: int = 0
) -> list[tuple[float, float]]:
    """Train on one-pixel images; what the watch was told."""
    told: list[tuple[float, float]] = []
    torch.manual_seed(seed)
    labels, chosen = method.task.labels, {**RECIPE, **(recipe or {})}
    order = BatchOrder(labels, 5, chosen["batch_size"], np.random.default_rng([seed, 1]))
    clock = Clock(np.random.default_rng([seed, 2]), CPU)
    setup = Setup(batches_of(labels), order, clock, chosen, lambda epochs, loss: told.append((epochs, loss)))
    train(model or Classifier(Flat(), method.head(1)), method, setup)
    return told


class Diary(Method):
    """Cross-entropy that notes every step."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.moments: list[Moment] = []
        self.drawn: list[NDArray[np.int64]] = []
        self.losses: list[float] = []

    def draw(self, index: NDArray[np.int64], now: Moment) -> NDArray[np.int64]:
        self.drawn.append(index)
        self.moments.append(now)
        return index

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        loss = super().loss(logits, target, now)
        self.losses.append(loss.item())
        return loss


# -- learning rate ----------------------------------------------------------------------------------------------------


def classic_lr(epoch: int) -> float:
    """LDAM-DRW's learning rate in epoch 1..200."""
    if epoch <= 5:
        return (0.02, 0.04, 0.06, 0.08, 0.1)[epoch - 1]
    return 0.1 if epoch <= 160 else 1e-3 if epoch <= 180 else 1e-5


@pytest.mark.parametrize("steps_per_epoch", [97, 85, 391, 1])
def test_the_classic_schedule_is_that_of_ldam_drw_at_every_step(steps_per_epoch: int) -> None:
    total = 200 * steps_per_epoch
    for step in range(total):
        expected = classic_lr(step // steps_per_epoch + 1)
        assert 0.1 * lr_factor(CLASSIC, step / total) == pytest.approx(expected, rel=1e-9), f"step {step}"


@pytest.mark.parametrize("total", [19_385, 16_949])
def test_the_classic_schedule_is_right_where_epochs_are_no_whole_number_of_steps(total: int) -> None:
    for step in range(total):  # 200 epochs of CIFAR-10-LT and CIFAR-100-LT at IF 100 with batches of 128
        expected = classic_lr(200 * step // total + 1)
        assert 0.1 * lr_factor(CLASSIC, step / total) == pytest.approx(expected, rel=1e-9), f"step {step}"


def test_cosine_goes_from_1_to_the_floor_along_half_a_cosine() -> None:
    schedule = {"name": "cosine", "warmup": 0.0, "warmup_stairs": 0, "floor": 0.01}
    factors = [lr_factor(schedule, step / 1000) for step in range(1000)]
    assert factors[0] == 1.0
    assert factors[500] == pytest.approx((1 + 0.01) / 2)
    assert factors[250] == pytest.approx(0.01 + 0.99 * (1 + 2**-0.5) / 2)
    assert factors[-1] == pytest.approx(0.01, abs=1e-5)
    assert all(a > b for a, b in pairwise(factors))


def test_cosine_starts_to_fall_where_the_warm_up_ends() -> None:
    schedule = {"name": "cosine", "warmup": 0.2, "warmup_stairs": 0, "floor": 0.0}
    assert lr_factor(schedule, 0.2) == 1.0
    assert lr_factor(schedule, 0.6) == pytest.approx(0.5)


def test_a_constant_schedule_is_constant() -> None:
    assert {lr_factor(CONSTANT, step / 100) for step in range(100)} == {1.0}


def test_a_warm_up_without_stairs_is_linear_and_never_0() -> None:
    schedule = {"name": "constant", "warmup": 0.1, "warmup_stairs": 0}
    factors = [lr_factor(schedule, step / 1000) for step in range(120)]
    np.testing.assert_allclose(factors[1:100], np.arange(1, 100) / 100)
    assert 0 < factors[0] <= 0.001
    assert set(factors[100:]) == {1.0}


@careful
@given(
    warmup=st.floats(0.001, 0.9),
    ulps=st.integers(-3, 3),
    stairs=st.integers(0, 10),
    name=st.sampled_from(["constant", "multistep", "cosine"]),
)
def test_no_schedule_ever_exceeds_the_base_rate(warmup: float, ulps: int, stairs: int, name: str) -> None:
    schedule = {"name": name, "milestones": [0.95], "gamma": 0.1, "floor": 0.0,
                "warmup": warmup, "warmup_stairs": stairs}  # fmt: skip
    progress = warmup
    for _ in range(abs(ulps)):
        progress = float(np.nextafter(progress, math.copysign(2.0, ulps)))
    assert 0.0 < lr_factor(schedule, progress) <= 1.0


def test_every_step_is_taken_with_the_rate_of_its_own_position() -> None:
    class Rates(Diary):
        """Notes the learning rate of every step."""

        def stages(self, model: Classifier) -> Iterator[Stage]:
            self.rates: list[float] = []
            self.optimizer = self.task.optimizer(model.parameters())
            yield Stage(optimizer=self.optimizer)

        def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
            self.rates.append(self.optimizer.param_groups[0]["lr"])
            return super().loss(logits, target, now)

    method = Rates(task_of(np.resize(LABELS, 160), lr=0.1))
    run(method, {"epochs": 200.0, "schedule": CLASSIC})  # 5 steps an epoch
    np.testing.assert_allclose(method.rates, [classic_lr(step // 5 + 1) for step in range(1000)], rtol=1e-9)


class TwoStages(Diary):
    """Half of the training, and half of it again with class-balanced batches."""

    probs = np.array([0.1, 0.1, 0.2, 0.2, 0.4])

    def stages(self, model: Classifier) -> Iterator[Stage]:
        yield Stage("first", share=0.5)
        yield Stage("second", share=0.5, class_probs=self.probs)


def test_the_clock_runs_from_0_to_just_before_1_in_every_stage() -> None:
    method = TwoStages(task_of())
    run(method, {"epochs": 4.0})
    for name in ("first", "second"):
        progress = [now.progress for now in method.moments if now.stage == name]
        np.testing.assert_allclose(progress, np.arange(len(progress)) / len(progress))
        assert len(progress) == 12  # 4 epochs of 185 images in batches of 32 are 24 steps


def test_stages_that_share_out_the_schedule_train_as_one_stage_does() -> None:
    """Also where they look at all images on the way, and with momentum and a warm-up that must not begin again."""

    class Parts(Method):
        """Four parts of one training."""

        def stages(self, model: Classifier) -> Iterator[Stage]:
            optimizer = self.task.optimizer(model.parameters())
            for i in range(4):
                yield Stage(f"look {i}", plain=True)
                yield Stage(f"part {i}", share=0.25, optimizer=optimizer, schedule=(i / 4, (i + 1) / 4))

    trained = []
    for cls in (Method, Parts):
        method = cls(task_of())
        torch.manual_seed(0)
        model = Classifier(Flat(), method.head(1))
        schedule = {"name": "cosine", "warmup": 0.1, "warmup_stairs": 0, "floor": 0.0}
        run(method, {"epochs": 11.07, "schedule": schedule}, model=model)  # 64 steps: quarters of them are exact
        trained.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*trained, strict=True))


@pytest.mark.parametrize("schedule", [(0.5, 0.5), (0.6, 0.2), (-0.1, 1.0), (0.0, 1.1)])
def test_a_part_of_the_schedule_that_is_none_is_refused(schedule: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="must be two rising fractions"):
        Stage("late", schedule=schedule)


def test_a_stage_of_the_whole_schedule_is_kept_as_it_was_before_there_were_parts() -> None:
    assert "schedule" not in vars(Stage())
    assert Stage().schedule == (0.0, 1.0)
    assert Stage() == Stage(schedule=(0.0, 1.0))


# -- budget -----------------------------------------------------------------------------------------------------------


def shares_of(*shares: float) -> Iterator[Stage]:
    return (Stage(str(number), share=share) for number, share in enumerate(shares))


@careful
@given(parts=st.lists(st.integers(1, 50), min_size=1, max_size=8), total=st.integers(1, 5000))
def test_the_stages_steps_sum_to_the_budget_and_follow_their_shares(parts: list[int], total: int) -> None:
    shares = [part / sum(parts) for part in parts]
    steps = [n for _, n in share_out(shares_of(*shares), total)]
    assert sum(steps) == total
    assert all(abs(n - share * total) <= 1 for n, share in zip(steps, shares, strict=False))


@pytest.mark.parametrize("shares", [(0.5, 0.4), (0.7, 0.7), (1.5,), (0.9, 0.1, 0.1), ()])
def test_stages_that_do_not_share_out_exactly_the_budget_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must sum to 1"):
        list(share_out(shares_of(*shares), 100))


def test_a_method_cannot_train_longer_than_its_budget_before_it_is_refused() -> None:
    method = Diary(task_of())
    method.stages = lambda model: shares_of(0.7, 0.7)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"shares sum to 1\.4"):
        run(method)
    assert len(method.drawn) <= 12


def test_code_after_the_last_yield_runs_at_the_end() -> None:
    class Zeroed(Method):
        """Wipes the head at the end."""

        def stages(self, model: Classifier) -> Iterator[Stage]:
            yield Stage()
            for p in model.head.parameters():
                p.detach().zero_()

    method = Zeroed(task_of())
    model = Classifier(Flat(), method.head(1))
    run(method, model=model)
    assert not any(p.detach().any() for p in model.head.parameters())


@pytest.mark.parametrize(("epochs", "batch", "steps"), [(2.0, 32, 12), (0.5, 32, 3), (0.01, 32, 1), (3.0, 5, 111)])
def test_training_takes_the_epochs_steps_rounded_up(epochs: float, batch: int, steps: int) -> None:
    method = Diary(task_of())
    run(method, {"epochs": epochs, "batch_size": batch})
    assert len(method.drawn) == steps


def test_a_whole_number_of_steps_is_not_rounded_up() -> None:
    method = Diary(task_of(np.resize(LABELS, 110)))
    run(method, {"epochs": 50.0, "batch_size": 100})  # 50 * (110 / 100) is 55.00000000000001 in binary fractions
    assert len(method.drawn) == 55


@pytest.mark.parametrize("epochs", [0.2, 0.35, 0.5])
def test_a_stage_too_short_for_a_step_is_passed_over(epochs: float) -> None:
    class MostlyFirst(Diary):
        """A second stage of a tenth."""

        def stages(self, model: Classifier) -> Iterator[Stage]:
            yield Stage("first", share=0.9)
            yield Stage("second", share=0.1)

    method = MostlyFirst(task_of())
    run(method, {"epochs": epochs})
    assert len(method.drawn) == math.ceil(epochs * 185 / 32)


# -- freezing ---------------------------------------------------------------------------------------------------------


def small_network() -> Classifier:
    backbone = nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False), nn.Dropout(0.5), nn.Flatten()
    )
    return Classifier(backbone, nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 5)))


def head_only(model: Classifier) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.head.parameters(), lr=0.1)


def test_only_what_is_in_the_optimizer_needs_gradients() -> None:
    model = small_network()
    freeze_all_but(model, head_only(model))
    assert all(p.requires_grad for p in model.head.parameters())
    assert not any(p.requires_grad for p in model.backbone.parameters())


def test_batch_norm_of_a_frozen_backbone_does_not_drift() -> None:
    model = small_network()
    freeze_all_but(model, head_only(model))
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    assert len(before) == 6
    model(torch.randn(16, 1, 1, 1) + 5)
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_dropout_is_off_in_the_frozen_part_and_on_in_the_trained_part() -> None:
    model = small_network()
    freeze_all_but(model, head_only(model))
    backbone, head = list(model.backbone), list(model.head)  # type: ignore[call-overload]
    assert not backbone[3].training
    assert head[0].training


def test_the_next_stage_thaws_what_was_frozen() -> None:
    model = small_network()
    freeze_all_but(model, head_only(model))
    freeze_all_but(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert all(p.requires_grad for p in model.parameters())
    assert all(m.training for m in model.modules())


def test_one_trained_block_of_a_frozen_backbone_trains_alone() -> None:
    model = small_network()
    norm = model.backbone[1]  # type: ignore[index]
    freeze_all_but(model, torch.optim.SGD(norm.parameters(), lr=0.1))
    assert [m.training for m in model.backbone][:2] == [False, True]  # type: ignore[union-attr]
    assert not any(m.training for m in model.head.modules())


def test_a_model_in_eval_mode_is_put_back_to_training_by_the_next_run() -> None:
    model = small_network().eval()
    freeze_all_but(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert model.training
    assert all(m.training for m in model.modules())


# -- what is seen how often -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [5, 32, 185, 400])
def test_every_batch_is_full(batch_size: int) -> None:
    method = Diary(task_of())
    run(method, {"epochs": 5.0, "batch_size": batch_size})
    assert {len(index) for index in method.drawn} == {batch_size}


@pytest.mark.parametrize("batch_size", [5, 32, 185, 400])
def test_every_image_is_seen_exactly_once_an_epoch(batch_size: int) -> None:
    method = Diary(task_of())
    run(method, {"epochs": 5.0, "batch_size": batch_size})
    stream = np.concatenate(method.drawn)
    for epoch in range(5):
        np.testing.assert_array_equal(np.sort(stream[185 * epoch : 185 * (epoch + 1)]), np.arange(185))


def test_batches_are_not_sorted_by_class() -> None:
    method = Diary(task_of())
    run(method, {"epochs": 20.0})
    heads = [np.mean(LABELS[index] == 0) for index in method.drawn]
    assert max(heads) < 0.9
    assert min(heads) > 0.2  # the head has 54 % of the images


def test_a_stages_class_frequencies_are_those_it_asks_for() -> None:
    method = TwoStages(task_of())
    run(method, {"epochs": 60.0})
    second = np.concatenate([i for i, now in zip(method.drawn, method.moments, strict=True) if now.stage == "second"])
    counts = np.bincount(LABELS[second], minlength=5)
    assert stats.chisquare(counts, TwoStages.probs * len(second)).pvalue > 1e-3


def test_the_loss_gets_the_labels_of_the_images_that_were_drawn() -> None:
    class Pairs(Diary):
        """Notes images and labels as mix sees them."""

        seen: list[tuple[Tensor, Tensor]] = []

        def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
            self.seen.append((x, y))
            return super().mix(x, y, now)

    method = Pairs(task_of())
    run(method)
    for index, (x, y) in zip(method.drawn, method.seen, strict=True):
        np.testing.assert_allclose(x.flatten(), (index / 255 - 0.5) / 0.25, atol=1e-5)
        np.testing.assert_array_equal(y, LABELS[index])


def test_methods_with_other_dice_see_the_same_weights_and_the_same_order(make_spec: Make, site: Site) -> None:
    made = []
    for name in ("ce", "mixup", "text_guided_mixup"):
        spec = make_spec(name, seed=3)
        parts = assemble(spec, site, CPU)
        made.append((parts.model.state_dict(), [parts.order.next() for _ in range(20)]))
    for state, batches in made[1:]:
        assert all(torch.equal(state[k], v) for k, v in made[0][0].items())
        assert all(np.array_equal(a, b) for a, b in zip(batches, made[0][1], strict=True))


# -- losses and divergence --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("epochs", "batch_size"), [(3.0, 32), (2.5, 32), (0.4, 32), (3.0, 37), (2.0, 400), (4.0, 1)])
def test_the_watch_is_told_the_epochs_done_at_the_step_that_completes_each(epochs: float, batch_size: int) -> None:
    told = run(Diary(task_of()), {"epochs": epochs, "batch_size": batch_size})
    total = math.ceil(epochs * 185 / batch_size)
    ends = sorted({-(-185 * e // batch_size) for e in range(1, int(epochs) + 1)} | {total})
    assert [epoch for epoch, _ in told] == pytest.approx([step * batch_size / 185 for step in ends])


@pytest.mark.parametrize(("images", "batch_size"), [(128, 32), (12_406, 128), (57, 10), (7, 3), (112, 100), (49, 10)])
def test_an_epoch_ends_at_its_last_step_even_if_that_is_no_binary_fraction(images: int, batch_size: int) -> None:
    ends = [-(-images * epoch // batch_size) for epoch in range(1, 61)]
    told = list[int]()
    meter = LossMeter(images / batch_size, 60.0)
    assert meter.total == ends[-1]
    for step in range(1, ends[-1] + 1):
        meter.add(torch.tensor(1.0))
        if meter.epoch_is_over:
            meter.close_epoch()
            told.append(step)
    assert told == ends


def test_the_watch_is_told_the_mean_loss_since_it_was_last_told() -> None:
    method = Diary(task_of())
    told = run(method, {"epochs": 2.5})
    steps = [round(epoch * 185 / 32) for epoch, _ in told]
    assert steps == [6, 12, 15]
    for begin, end, (_, loss) in zip([0, *steps], steps, told, strict=False):
        assert loss == pytest.approx(np.mean(method.losses[begin:end]), rel=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_single_bad_step_in_a_good_epoch_is_noticed(value: float) -> None:
    meter = LossMeter(10.0, 10.0)
    for loss in [1.0] * 4 + [value] + [1.0] * 4:
        meter.add(torch.tensor(loss))
    meter.add(torch.tensor(1.0))
    assert meter.epoch_is_over
    with pytest.raises(Diverged, match=r"epoch 1\.0"):
        meter.close_epoch()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_divergence_is_raised_with_the_epoch_in_which_it_happened(value: float) -> None:
    class Diverges(Diary):
        """Loses its numbers in the third epoch."""

        def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
            loss = super().loss(logits, target, now)
            return loss * value if len(self.drawn) == 14 else loss

    with pytest.raises(Diverged, match=r"by epoch 3\.\d \(step 18\)"):
        run(Diverges(task_of()), {"epochs": 10.0})


def test_a_diverged_trial_is_a_failed_record_that_names_the_epoch(make_spec: Make, site: Site) -> None:
    optimizer = {"name": "sgd", "lr": 1e12, "momentum": 0.9, "weight_decay": 0.0, "nesterov": False}
    record = run_trial(make_spec("ce", recipe={"optimizer": optimizer, "epochs": 3.0}), site)
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.startswith("Diverged: ")
    assert "epoch 1.0" in record.error
    assert record.metrics == {}


def test_bf16_trains_with_losses_in_float32(make_spec: Make, site: Site) -> None:
    plain, half = (run_trial(make_spec("ce", recipe={"precision": p}), site) for p in ("fp32", "bf16"))
    assert plain.status == half.status == "ok"
    first, rounded = plain.curves["train/loss"][-1][1], half.curves["train/loss"][-1][1]
    assert first != rounded
    assert first == pytest.approx(rounded, rel=0.05)


def test_the_loss_of_bf16_is_given_float32_logits_that_were_rounded() -> None:
    class Types(Diary):
        """Notes the logits of the first step."""

        logits: Tensor

        def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
            self.logits = logits.detach()
            return super().loss(logits, target, now)

    method = Types(task_of())
    run(method, {"precision": "bf16"})
    assert method.logits.dtype == torch.float32
    torch.testing.assert_close(method.logits.bfloat16().float(), method.logits, rtol=0, atol=0)


# -- the test pass ----------------------------------------------------------------------------------------------------


def test_logits_are_those_of_a_plain_forward_pass_in_order() -> None:
    model = Classifier(Flat(), nn.Linear(1, 5))
    logits = logits_of(model, batches_of(), RECIPE)
    pixels = torch.arange(185, dtype=torch.float32)[:, None] / 255
    with torch.no_grad():
        expected = model.head((pixels - 0.5) / 0.25)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert logits.dtype == np.float32


def test_the_test_pass_leaves_every_modules_mode_as_it_was() -> None:
    model = small_network()
    freeze_all_but(model, head_only(model))
    modes = [m.training for m in model.modules()]
    assert len(set(modes)) == 2
    logits_of(model, batches_of(), RECIPE)
    assert [m.training for m in model.modules()] == modes


def test_the_modes_are_restored_even_when_the_pass_fails() -> None:
    class Breaks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ArithmeticError

    model = Classifier(Breaks(), nn.Linear(1, 5)).train()
    with pytest.raises(ArithmeticError):
        logits_of(model, batches_of(), RECIPE)
    assert all(m.training for m in model.modules())


def test_the_test_pass_uses_neither_dropout_nor_batch_statistics() -> None:
    model = small_network().train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    first, again = (logits_of(model, batches_of(), RECIPE) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_the_test_pass_consumes_no_randomness() -> None:
    rng = np.random.default_rng(0)
    batches = ImageBatches(np.zeros((9, 8, 8, 1), np.uint8), np.zeros(9, np.int64), (0.5,), (0.25,),
                           augment="crop_flip", rng=rng)  # fmt: skip
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Dropout()), nn.Linear(64, 5)).train()
    numpy_state, torch_state = rng.bit_generator.state, torch.get_rng_state()
    logits_of(model, batches, RECIPE)
    assert rng.bit_generator.state == numpy_state
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_learning_curves_change_no_number_of_the_trial(make_spec: Make, site: Site) -> None:
    spec = make_spec("mixup")
    plain, watched = run_trial(spec, site), run_trial(replace(spec, curves="test"), site)
    assert "curve/test_balanced_accuracy" in watched.curves
    assert plain.metrics == watched.metrics
    assert plain.curves["train/loss"] == watched.curves["train/loss"]
