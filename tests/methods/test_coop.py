"""CoOp against its equations in float64, with open_clip's own text tower over all 77 places; where it begins, what
trains, and where it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ltbench.api import Task
from ltbench.errors import UserError
from ltbench.models.clip import describe, encode_text, image_tower
from ltbench.models.prompts import learns_words, text_tower
from ltbench.parts import Classifier
from ltbench.planning.trials import misfit
from ltbench.training.checkpoints.checkpoint import Stopped
from ltbench.training.trial import run_trial
from tests.methods.made import REGISTRY, moment
from tests.models.towers import Planned, run

NAMES, DIM = ["aquarium_fish", "bee", "can", "a rather long name of a class"], 16


def coop_on(file: Path, **values: Any) -> Any:
    """The method on a task that has the tiny model's text tower."""
    model = describe("tiny-vit-tower", str(file))
    task = Task(np.repeat(np.arange(4), (9, 4, 2, 1)), NAMES, text=np.eye(4, DIM, dtype=np.float32), logit_scale=100.0)
    task.make_text_tower = lambda: text_tower(model, str(file))
    torch.manual_seed(3)
    return REGISTRY.get("coop")(task, **values)


@pytest.mark.parametrize(
    ("values", "context"),
    [
        ({"words": 3}, "X X X"),
        ({"words": 3, "per_class": True}, "X X X"),
        ({"start": "a photo of a", "per_class": True}, "a photo of a"),
    ],
)
def test_it_is_the_softmax_of_cosines_with_prompts_whose_words_are_learned(
    values: dict[str, Any], context: str, checkpoints: dict[str, Path]
) -> None:
    """Equation 3; PromptLearner, TextEncoder and CustomCLIP in trainers/coop.py. Beside KaiyangZhou/CoOp (ff61507), its
    CLIP included, on the same tensors in float64: value and gradients agree to 3e-15."""
    import open_clip

    file = checkpoints["tiny-vit-tower"]
    method, features = coop_on(file, **values), torch.randn(6, DIM, generator=torch.Generator().manual_seed(1)).double()
    labels, head = torch.arange(6) % 4, method.head(DIM).double()
    model = open_clip.create_model("tiny-vit-tower", pretrained=str(file)).double().eval().requires_grad_(False)
    read = open_clip.get_tokenizer("tiny-vit-tower")

    def vector(learned: Tensor, name: str) -> Tensor:
        tokens = read([f"{context} {name.replace('_', ' ')}."])
        words = model.token_embedding(tokens)[0]
        words = torch.cat([words[:1], learned, words[1 + len(learned) :]]) + model.positional_embedding
        found = model.ln_final(model.transformer(words[None], attn_mask=model.attn_mask))[0]
        return found[int(tokens.argmax())] @ model.text_projection

    learned = head.learned.detach().clone().requires_grad_()
    each = learned if values.get("per_class") else learned.expand(4, -1, -1)
    terms = []
    for f, y in zip(features, labels.tolist(), strict=True):
        cosines = [(f @ t) / f.norm() / t.norm() for t in map(vector, each.unbind(0), NAMES)]
        terms.append(-torch.log(torch.exp(100 * cosines[y]) / sum(torch.exp(100 * c) for c in cosines)))
    expected = torch.stack(terms).mean()
    expected.backward()
    found = method.loss(head(features), torch.eye(4)[labels].double(), moment())
    found.backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(head.learned.grad, learned.grad)
    assert float(learned.grad.abs().max()) > 1e-3


def test_with_the_words_of_a_prompt_it_begins_at_zero_shot(checkpoints: dict[str, Path]) -> None:
    file = checkpoints["tiny-vit-tower"]
    text = encode_text("tiny-vit-tower", str(file), [f"a photo of a {name.replace('_', ' ')}." for name in NAMES])
    features = torch.randn(5, DIM)
    expected = 100 * torch.nn.functional.cosine_similarity(features[:, None], torch.from_numpy(text)[None], dim=2)
    for per_class in (False, True):
        head = coop_on(file, start="a photo of a", per_class=per_class).head(DIM)
        torch.testing.assert_close(head(features), expected, rtol=1e-4, atol=1e-4)


def test_the_words_alone_train_and_the_test_reads_vectors(checkpoints: dict[str, Path]) -> None:
    file = checkpoints["tiny-vit-tower"]
    method = coop_on(file, words=2)
    model = Classifier(image_tower(describe("tiny-vit-tower", str(file)), str(file)), method.head(DIM))
    stages, head = method.stages(model), model.head
    (group,) = next(stages).optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(head.learned)]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (2e-3, 0.9, 5e-4)
    assert head.learned.shape == (1, 2, 16)
    assert float(head.learned.detach().std()) < 0.05
    with torch.no_grad():
        head.learned += torch.randn(head.learned.shape)
    assert next(stages, None) is None
    features = torch.randn(5, DIM)
    torch.testing.assert_close(model.head(features), head(features))
    assert sum(p.numel() for p in model.head.parameters()) == 4 * DIM


def test_it_learns_on_a_tower_with_and_without_features_that_are_kept(planned: Callable[..., Planned]) -> None:
    """Like every method that looks at logits alone, it trains on the features of the frozen tower."""
    made = planned("methods.clip=[clip_zero_shot, coop: {lr: 30.0, per_class: true}]", "recipes.clip.epochs=8")
    records, slow = run(made), run(made, cache_features=False)
    found = {label: record.metrics["accuracy"] or 0.0 for label, record in records.items()}
    assert found["coop"] > found["clip_zero_shot"] + 5
    assert found["coop"] == pytest.approx(slow["coop"].metrics["accuracy"], abs=1.5)


@pytest.mark.parametrize("step", [1, 5])
def test_a_trial_that_is_interrupted_goes_on_to_the_same_bit(
    step: int, planned: Callable[..., Planned], tmp_path: Path
) -> None:
    plan, _, site = planned("methods.clip=[coop]", "recipes.clip.epochs=0.5", "protocol.reference=coop")
    saving = replace(site, checkpoints=tmp_path, checkpoint_seconds=0.0)
    undisturbed, asked = run_trial(plan.trials[0], site), iter(range(1, 1000))
    with pytest.raises(Stopped):
        run_trial(plan.trials[0], saving, stop=lambda: next(asked) == step)
    resumed = run_trial(plan.trials[0], saving)
    assert (resumed.status, resumed.environment["resumed"]) == ("ok", 1)
    assert "checkpoint_messages" not in resumed.environment
    assert (resumed.numbers(), resumed.predictions) == (undisturbed.numbers(), undisturbed.predictions)


@pytest.mark.parametrize(
    ("recipe", "runs"),
    [
        ({"backbone": "clip_vit_b16", "head": "text"}, True),
        ({"backbone": "open_clip:RN101", "head": "text"}, True),
        ({"backbone": "open_clip:ViT-B-16-SigLIP", "head": "text"}, False),  # reads prompts both ways
        ({"backbone": "open_clip:xlm-roberta-base-ViT-B-32", "head": "text"}, False),  # another kind of tower
        ({"backbone": "identity", "head": "text"}, False),
        ({"backbone": "resnet32"}, False),
    ],
)
def test_it_runs_beside_a_text_tower_of_clips_kind(recipe: dict[str, str], runs: bool) -> None:
    assert (misfit(REGISTRY.get("coop"), recipe) == "") == runs
    assert learns_words(recipe["backbone"].removeprefix("open_clip:")) is runs or "open_clip" not in recipe["backbone"]


def test_a_task_without_a_text_tower_says_so() -> None:
    task = Task(np.arange(4), NAMES)
    with pytest.raises(UserError, match="an image tower of open_clip"):
        task.text_tower(DIM)
