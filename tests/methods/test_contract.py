"""Every method: the contract, options that do something, the published defaults."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch

from ltbench.api import Choice, Method
from ltbench.checks.contract import HOOKS, check_method
from ltbench.errors import UserError
from ltbench.models import build_backbone
from ltbench.parts import Classifier
from tests.methods.made import (
    ALWAYS,
    COUNTS,
    NAMES,
    OPTIONS,
    REGISTRY,
    body_of,
    every_method,
    final_logits,
    forward_of,
    images,
    labels_of,
    logits_of_a_training,
    make,
    moment,
    names_for,
    near_names,
    one_hot,
    out_of,
    some_logits,
    some_targets,
    task_of,
    views_of,
)
from tests.sampling import sampled


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
        ("cb_focal", {"gamma": 1.0, "beta": 0.9999}),
        ("cutmix", {"alpha": 1.0, "probability": 0.5}),
        ("disalign", {"rho": 1.2, "align_share": 0.1}),
        ("ema", {"decay": 0.999}),
        ("lade", {"weight": 0.1, "decay": 0.1}),
        (
            "mislas",
            {
                "alpha": 1.0,
                "smooth_head": 0.4,
                "smooth_tail": 0.1,
                "classifier_share": 0.05,
                "classifier_rate": 0.2,
            },
        ),
        ("ncm", {"features": "centred"}),
        (
            "ride",
            {
                "beta": 0.9999,
                "defer": 0.8,
                "max_margin": 0.5,
                "scale": 30.0,
                "experts": 3,
                "own_stages": 2,
                "diversity": 0.2,
                "tempering": 0.05,
            },
        ),
        ("sade", {"strength": 2.0, "scale": 30.0, "own_stages": 2}),
        ("sam", {"rho": 0.05}),
        ("seesaw", {"p": 0.8, "q": 2.0}),
        ("batchformer", {"heads": 4, "dropout": 0.5}),
        ("bbn", {}),
        ("ce_tuned", {"rate": 1.0, "decay": 0.0}),
        ("cmo", {"alpha": 1.0, "probability": 0.5, "power": 1.0, "begin": 0.02, "end": 0.985}),
        ("crt_mixup", {"alpha": 1.0, "classifier_share": 0.13}),
        ("equalization", {"gamma": 0.9, "rare": 0.5}),
        ("etf", {}),
        ("bcl", {"contrast": 0.35, "temperature": 0.07, "scale": 30.0, "width": 128}),
        ("glmc", {"consistency": 4.0, "power": 1.2, "resampling": 0.0, "alpha": 1.0}),
        ("label_aware_smoothing", {"smooth_head": 0.4, "smooth_tail": 0.1}),
        ("mean_teacher", {"decay": 0.999, "consistency": 100.0, "ramp": 5 / 180}),
        ("ncl", {"distillation": 0.6, "hard": 0.3, "hard_weight": 1.0}),
        ("clip_balanced_probe", {"power": 0.0}),
        ("coop", {"start": "random", "words": 16, "per_class": False, "lr": 2e-3}),
        (
            "lift_plus",
            {
                "tau": 1.0,
                "lr": 0.02,
                "momentum": 0.9,
                "weight_decay": 5e-4,
                "scale": 25.0,
                "bottleneck": 0,
                "adapter_scale": 1.0,
                "ensemble": True,
                "expand": 24,
            },
        ),
        ("lp_plus_plus", {"tau": 0.0, "shots": 16.0, "blending": 250.0, "momentum": 0.9, "every": 10}),
        (
            "ncl_contrastive",
            {
                "distillation": 0.6,
                "hard": 0.3,
                "hard_weight": 1.0,
                "contrast": 1.0,
                "temperature": 0.2,
                "keys": 1024,
                "width": 64,
                "momentum": 0.999,
            },
        ),
        ("paco", {"alpha": 0.01, "temperature": 0.05, "keys": 1024, "width": 32, "momentum": 0.999}),
        ("proco", {"contrast": 1.0, "temperature": 0.1, "width": 128}),
        ("imb_sam", {"rho": 0.05, "eta": 20, "rare_weight": 2.0}),
        ("temperature", {}),
        ("tip_adapter", {"shots": 16, "alpha": 1.0, "beta": 5.5}),
        ("tip_adapter_f", {"shots": 16, "alpha": 1.0, "beta": 5.5, "lr": 1e-3}),
        ("shike", {"experts": 3, "hardest": 10.0, "mutual": 1.0, "classifier_share": 0.1}),
        ("influence_balanced", {"strength": 1000.0, "epsilon": 0.001, "balanced_share": 0.5, "rate": 0.01}),
        ("kd", {"temperature": 4.0, "taught": 0.9, "teacher_share": 0.5}),
        ("lws", {"scales_share": 0.13}),
        ("manifold_mixup", {"alpha": 1.0}),
        ("progressive_sampling", {}),
        ("task_res", {"alpha": 0.5, "lr": 2e-3}),
        ("unimix", {"alpha": 0.8, "tau": -0.1}),
        (
            "weight_balancing",
            {
                "weight_decay": 5e-3,
                "classifier_share": 0.05,
                "classifier_decay": 0.1,
                "classifier_lr": 0.01,
                "threshold": 0.1,
                "beta": 0.9999,
            },
        ),
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
        (
            "gcl",
            {
                "alpha": 1.0,
                "noise": 0.5,
                "scale": 30.0,
                "classifier_scale": 20.0,
                "margin": 0.1,
                "gamma": 1.0,
                "classifier_rate": 2.0,
                "classifier_share": 0.13,
            },
        ),
        ("marc", {"rho": 1.2, "calibration_share": 0.13}),
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
    x, target = method.mix(views_of(name, torch.randn(32, 3, 4, 4)), labels_of(32), moment())
    assert target.shape == (len(x), 5)
    assert (target >= 0).all()
    torch.testing.assert_close(target.sum(dim=1), torch.ones(len(x)))


@every_method
def test_it_keeps_the_layout_of_the_images(name: str) -> None:
    method = make(name, task_of(COUNTS, near_names()))
    x = torch.randn(32, 3, 4, 4).to(memory_format=torch.channels_last)
    mixed, _ = method.mix(views_of(name, x), labels_of(32), moment())
    assert mixed.dtype == torch.float32
    assert mixed.shape[1:] == x.shape[1:]
    assert mixed.is_contiguous(memory_format=torch.channels_last)


@every_method
def test_it_leaves_the_batch_it_is_given_alone(name: str) -> None:
    method = make(name, task_of(COUNTS, near_names()))
    x, y = views_of(name, torch.randn(32, 1, 4, 4)), labels_of(32)
    x_before, y_before = x.clone(), y.clone()
    method.mix(x, y, moment())
    assert torch.equal(x, x_before)
    assert torch.equal(y, y_before)


HOLDS_FIXED = ("seesaw",)
"""Methods whose paper takes a part of the loss as a constant: the gradient is not that of the values."""


@every_method
@pytest.mark.parametrize("progress", [0.0, 0.9])
def test_its_loss_is_one_number_with_the_gradient_of_its_values(name: str, progress: float) -> None:
    if name in HOLDS_FIXED:
        return  # its gradient has a test of its own (test_equations.py)
    method, target = make(name, task_of(COUNTS, near_names())), some_targets(6).double()
    logits = some_logits(6, scale=0.5).double().requires_grad_()
    assert method.loss(forward_of(name, logits), target, moment(progress)).shape == ()
    assert torch.autograd.gradcheck(lambda z: method.loss(forward_of(name, z), target, moment(progress)), (logits,))


@every_method
@pytest.mark.parametrize("scale", [0.0, 1e-3, 100.0])
def test_its_loss_is_finite_for_dull_and_for_extreme_logits(name: str, scale: float) -> None:
    method, logits = make(name, task_of(COUNTS, near_names())), some_logits(scale=scale).requires_grad_()
    loss = method.loss(forward_of(name, logits), one_hot(logits.argmax(dim=1)), moment(0.9))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@every_method
def test_its_loss_is_lower_where_the_logits_are_right(name: str) -> None:
    method, target = make(name, task_of(COUNTS, near_names())), one_hot(labels_of(16))
    right, wrong = forward_of(name, target), forward_of(name, -target)
    assert method.loss(right, target, moment()) < method.loss(wrong, target, moment())


@every_method
def test_its_corrected_logits_have_the_shape_of_the_logits(name: str) -> None:
    corrected = make(name, task_of(COUNTS)).predict(out_of(name, some_logits(7)))
    assert corrected.shape == (7, 5)
    assert torch.isfinite(corrected).all()


@every_method
def test_its_stages_share_out_the_whole_training(name: str) -> None:
    method, body = make(name, task_of(COUNTS, names_for(name))), build_backbone(body_of(REGISTRY.get(name)), (6, 6, 1))
    stages = list(method.stages(Classifier(body, method.head(body.dim))))
    assert sum(stage.share for stage in stages if not stage.plain) == pytest.approx(1.0)
    for stage in stages:
        if stage.class_probs is not None:
            assert stage.class_probs.sum() == pytest.approx(1.0)


@every_method
def test_one_seed_gives_one_result_and_two_seeds_two(name: str) -> None:
    first, again, other = final_logits(name, seed=0), logits_of_a_training(name, seed=0), final_logits(name, seed=1)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


FASTER: dict[str, dict[str, Any]] = {
    "tgm_clip": {"tower_lr": 0.01, "alpha": 0.0, "adapter_alpha": 0.0},
    "clip_full_finetune": {"tower_lr": 0.003, "head_lr": 0.01},
    "lp_ft": {"tower_lr": 0.003, "head_lr": 0.01, "probe_lr": 0.03},
    "lift": {"bottleneck": 16},
    "coop": {"per_class": True, "lr": 0.1},
    "mean_teacher": {"consistency": 1.0},
}
"""Options with which a network that was never trained before learns in a few steps."""


@every_method
def test_it_learns_the_patterns(name: str) -> None:
    if name in ("clip_zero_shot", "tip_adapter"):
        return  # trains nothing, which tests of its own say
    logits, labels = final_logits(name, epochs=8.0, **FASTER.get(name, {})), images()[1]
    recalls = [(logits[labels == c].argmax(axis=1) == c).mean() for c in range(5)]
    assert np.mean(recalls) > 0.5  # chance is 0.2


@sampled("name", NAMES, ALWAYS)
def test_it_passes_the_contract_that_authors_are_given(name: str) -> None:
    """Its rehearsal included: everything is on the device, and no step waits for it."""
    assert check_method(REGISTRY.get(name))[:3] == ([], [], None)


def test_what_always_passes_the_contract_uses_all_that_methods_use() -> None:
    def used(names: Iterable[str]) -> set[str]:
        classes = [REGISTRY.get(name) for name in names]
        hooks = {h for c in classes for h in HOOKS if getattr(c, h, None) is not getattr(Method, h, None)}
        several = {"views" for c in classes if len(c.views) > 1}
        return hooks | several | {need for c in classes for need in c.needs}

    assert used(ALWAYS) == used(NAMES)


SEEN_LATE = {
    "ema": 20.0,
    "paco": 4.0,
    "ncl_contrastive": 4.0,
    "mean_teacher": 20.0,
    "shike": 20.0,
    "disalign": 20.0,
    "gcl": 20.0,
    "marc": 20.0,
    "mislas": 20.0,
    "cmo": 20.0,
    "weight_balancing": 20.0,
}
"""Epochs until an option shows: an average's memory is as long as the training at first, and a small share of a short
training is one step, whatever it is."""


@sampled("name, field", OPTIONS, [(name, field) for name, field in OPTIONS if name in ALWAYS and name != "shike"])
def test_every_other_value_of_an_option_changes_the_result(name: str, field: str) -> None:
    epochs = SEEN_LATE.get(name, 2.0)
    values, plain = other_values(name, field), final_logits(name, epochs=epochs)
    assert values
    for value in values:
        assert not np.array_equal(plain, final_logits(name, epochs=epochs, **{field: value})), (
            f"{field}={value} changes nothing"
        )


@pytest.mark.parametrize(("name", "field"), OPTIONS)
def test_a_value_of_the_wrong_kind_is_refused(name: str, field: str) -> None:
    with pytest.raises(UserError, match=rf"{name}\.{field}"):
        REGISTRY.get(name).complete({field: [1]})


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


# -- text-guided mixup ------------------------------------------------------------------------------------------------


def test_it_says_that_it_needs_text() -> None:
    assert REGISTRY.get("text_guided_mixup").needs == {"text"}
    needing = {name: set(REGISTRY.get(name).needs) for name in NAMES if REGISTRY.get(name).needs}
    clip = {"text", "clip"}
    assert needing == {
        "bbn": {"stages", "linear_head"},
        "coop": clip | {"words"},
        "clip_full_finetune": clip,
        "clip_zero_shot": clip,
        "etf": {"linear_head"},
        "lift": clip | {"blocks"},
        "lift_plus": {"blocks"},
        "lp_plus_plus": clip,
        "marc": {"linear_head"},
        "ride": {"stages"},
        "shike": {"stages", "maps"},
        "temperature": {"holdout"},
        "sade": {"stages"},
        "task_res": clip,
        "tip_adapter": clip,
        "tip_adapter_f": clip,
        "tau_norm": {"linear_head"},
        "text_guided_mixup": {"text"},
        "tgm_clip": clip,
        "vs_loss": {"linear_head"},
        "weight_balancing": {"linear_head"},
    }
