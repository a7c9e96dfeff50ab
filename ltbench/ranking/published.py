"""Published numbers beside ours: rows of papers, how they were trained, and whether ours agree.

The rows are data (`published.csv`): top-1 accuracy in percent on the balanced test set, one row per run that somebody
made; a later paper's copy of a row is left out. Numbers published as errors are given as 100 - error. Rows on CIFAR-LT
are of ResNet-32; the notes of others say the network.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any

from scipy.special import stdtrit

from ltbench.stats.intervals import Interval

PUBLISHED_VERSION = 2
"""Version of published.csv; bumped when a row is added, corrected or taken out."""

MIN_SEEDS = 3
TOLERANCE = {"cifar10": 1.5, "cifar100": 1.0, "imagenet_lt": 1.0, "places_lt": 1.0, "inaturalist2018": 1.0}
"""Points by which a number may move though nothing is wrong, beside the seed; see `judge`."""


@dataclass(frozen=True, kw_only=True)
class RecipeGroup:
    """How a group of published rows was trained. Epochs count from the start; None is what is not known.

    `beyond` is what no recipe of a suite can say; a group that has it is matched by none.
    """

    title: str
    source: str
    epochs: float | None = 200
    batch_size: int | None = 128
    lr: float | None = 0.1
    momentum: float | None = 0.9
    nesterov: bool | None = False
    weight_decay: float | None = 2e-4
    decays: tuple[float, ...] | None = (160, 180)
    gamma: float | None = 0.01
    """What the rate is multiplied by at each decay."""
    warmup: float | None = 5
    augment: str | None = "crop_flip"
    backbone: str = "resnet32"
    schedule: str = "multistep"
    """Of another than multistep, decays and gamma do not count."""
    beyond: str = ""


_LA = "Menon et al., ICLR 2021; google-research/logit_adjustment, utils.py and main.py"
_LA_BEYOND = "crop padded by 2 pixels a side instead of 4"

_KANG = RecipeGroup(
    title="90 epochs of 512, cosine",
    source="Kang et al., ICLR 2020; facebookresearch/classifier-balancing, config/ImageNet_LT/feat_uniform.yaml",
    epochs=90, batch_size=512, lr=0.2, weight_decay=5e-4, warmup=0, augment="resized_crop_flip_jitter",
    backbone="resnext50_32x4d", schedule="cosine",
)  # fmt: skip
_UNSTATED = RecipeGroup(
    title="not stated where the number was read", source="none", epochs=None, batch_size=None, lr=None, momentum=None,
    nesterov=None, weight_decay=None, decays=None, gamma=None, warmup=None, augment=None,
)  # fmt: skip
_TGM = "rsamf/text-guided-mixup, config/ablation before 1692dd3; its tables were in graphs.py"

RECIPES: dict[str, RecipeGroup] = {
    "classic": RecipeGroup(
        title="200 epochs, x0.01 at 160 and 180",
        source="Cui et al., CVPR 2019, section 5; Cao et al., NeurIPS 2019, kaidic/LDAM-DRW, cifar_train.py; the same "
        "in pseulki/IB-Loss, ntucllab/imbalanced-DL and BagofTricks-LT (configs/cao_cifar)",
    ),
    "bbn": RecipeGroup(
        title="200 epochs, x0.01 at 120 and 160", source="megvii-research/BBN, configs/cifar100.yaml", decays=(120, 160)
    ),
    "bagoftricks_400": RecipeGroup(
        title="400 epochs, x0.01 at 320 and 360",
        source="zhangyongshun/BagofTricks-LT, configs/cao_cifar/mixup",
        epochs=400,
        decays=(320, 360),
    ),
    "bagoftricks_crt": RecipeGroup(
        title="classic, then 30 epochs of classifier",
        source="zhangyongshun/BagofTricks-LT, configs/cao_cifar/two_stage/classifier_balance/cRT",
        beyond="30 epochs of classifier are added: lr 0.1, weight decay 5e-4, x0.1 after 10 and 20",
    ),
    "remix": RecipeGroup(
        title="300 epochs; decays not known",
        source="Chou et al., ECCV Workshops 2020: the text gives two sets of epochs",
        epochs=300,
        lr=None,
        batch_size=None,
        decays=None,
        gamma=None,
        warmup=None,
    ),
    "menon_cifar10": RecipeGroup(
        title="1241 epochs, x0.1 at 604, 926 and 1128", source=_LA, epochs=1241, decays=(604, 926, 1128), gamma=0.1,
        warmup=20, nesterov=True, weight_decay=None, beyond=_LA_BEYOND,
    ),
    "menon_cifar100": RecipeGroup(
        title="1419 epochs, x0.1 at 691, 1059 and 1290", source=_LA, epochs=1419, decays=(691, 1059, 1290), gamma=0.1,
        warmup=22, nesterov=True, weight_decay=None, beyond=_LA_BEYOND,
    ),
    "balms": RecipeGroup(
        title="13,000 steps of 512, cosine, AutoAugment and Cutout",
        source="Ren et al., NeurIPS 2020; jiawei-ren/BalancedMetaSoftmax-Classification",
        epochs=None,
        batch_size=512,
        lr=0.05,
        nesterov=None,
        weight_decay=5e-4,
        decays=None,
        gamma=None,
        warmup=None,
        augment=None,
        beyond="13,000 steps whatever the data, AutoAugment, Cutout",
    ),
    "mislas": RecipeGroup(
        title="200 epochs, x0.1 at 160 and 180",
        source="dvlab-research/MiSLAS, config/cifar100 (stage 1) and train_stage1.py",
        gamma=0.1,
    ),
    "ride": RecipeGroup(
        title="classic with weight decay 5e-4 and Nesterov's momentum",
        source="frank-xwang/RIDE-LongTailRecognition, configs/config_imbalance_cifar100_ride.json; SADE builds on it",
        weight_decay=5e-4,
        nesterov=True,
    ),
    "sade": RecipeGroup(
        title="200 epochs, x0.1 at 160 and 180, rotation by 15 degrees, weight decay 5e-4 and Nesterov's momentum",
        source="Vanint/SADE-AgnosticLT, configs/config_cifar100_ir50_sade.json",
        weight_decay=5e-4,
        nesterov=True,
        gamma=0.1,
        augment="rotation15",
    ),
    "mislas_both": RecipeGroup(
        title="mislas, then 10 epochs of classifier",
        source="dvlab-research/MiSLAS, config/cifar100 (stages 1 and 2)",
        gamma=0.1,
        beyond="10 epochs of classifier are added",
    ),
    "glmc": replace(
        _UNSTATED,
        title="200 epochs, strong augmentation, weight decay 5e-3",
        source="Du et al., CVPR 2023; ynu-yangpeng/GLMC",
        epochs=200,
        weight_decay=5e-3,
    ),
    "unstated": _UNSTATED,
    "kang_imagenet": _KANG,
    "kang_classifier": replace(
        _KANG, title="90 epochs, then 10 of classifier", beyond="10 epochs of classifier are added"
    ),
    "kang_tuned": replace(_KANG, title="90 epochs, tau tuned", beyond="tau was chosen, and is not stated"),
    "large_unstated": replace(_UNSTATED, title="of which epochs and network are known, as far as the note has them"),
    "clip_prompts": replace(_UNSTATED, title="CLIP without training", beyond="the prompts are not stated"),
    "tgm_alpha": replace(_UNSTATED, title="the authors' sweep of alpha", source=_TGM,
                         beyond="the tower is inferred: RN50"),
    "tgm_tau": replace(_UNSTATED, title="the authors' sweep of tau", source=_TGM,
                       beyond="ViT-B/16 from a checkpoint of the first phase that is not published"),
}  # fmt: skip


def recipe_matches(recipe: Mapping[str, Any], group: str) -> bool:
    """Whether a trial's recipe (`TrialSpec.recipe`) trains as the rows of this group were trained.

    A group of which something is not known is matched by no recipe. Milestones and warm-up may be off by less than half
    an epoch, because suites give them as rounded fractions. Not compared: the precision and the stairs of the warm-up.
    A recipe that makes rows equal in images instead of steps is none of a paper's, nor is one that starts from weights.

    Raises:
        KeyError: no such group.
    """
    known = RECIPES[group]
    optimizer, schedule = recipe.get("optimizer", {}), recipe.get("schedule", {})
    steps = known.schedule == "multistep"
    wanted = (known.epochs, known.batch_size, known.lr, known.momentum, known.nesterov, known.weight_decay,
              known.warmup, known.augment, *((known.decays, known.gamma) if steps else ()))  # fmt: skip
    if known.beyond or None in wanted or (optimizer.get("name"), schedule.get("name")) != ("sgd", known.schedule):
        return False
    if any(recipe.get(name) for name in ("budget", "pretrained", "weights", "tower")):
        return False
    epochs = float(recipe["epochs"])
    assert known.warmup is not None
    return (
        recipe["backbone"] == known.backbone
        and recipe["augment"] == known.augment
        and (epochs, recipe["batch_size"], optimizer["nesterov"]) == (known.epochs, known.batch_size, known.nesterov)
        and _same((optimizer["lr"], known.lr), (optimizer["momentum"], known.momentum))
        and _same((optimizer["weight_decay"], known.weight_decay))
        and (_same_steps(schedule, epochs, known) if steps else schedule.get("floor", 0.0) == 0.0)
        and abs(schedule["warmup"] * epochs - known.warmup) < 0.5
    )


def _same_steps(schedule: Mapping[str, Any], epochs: float, known: RecipeGroup) -> bool:
    decays = [fraction * epochs for fraction in schedule["milestones"]]
    assert known.decays is not None
    return (
        _same((schedule["gamma"], known.gamma))
        and len(decays) == len(known.decays)
        and all(abs(a - b) < 0.5 for a, b in zip(decays, known.decays, strict=True))
    )


def _same(*pairs: tuple[float, float | None]) -> bool:
    return all(b is not None and math.isclose(a, b, rel_tol=1e-6) for a, b in pairs)


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published number, in percent."""

    dataset: str
    """Our kind of data set."""
    imbalance: str
    """Our label, as `Cell.imbalance_label`: IF100, IF100step. Classes and counts follow Cao et al. in both."""
    method: str
    hyperparameters: Mapping[str, Any]
    """What the source states."""
    assumed: Mapping[str, Any]
    """The method's other hyper-parameters, which the source does not state: our defaults."""
    metric: str
    value: float
    recipe: str
    """A key of RECIPES."""
    source: str
    note: str = ""

    @property
    def identity(self) -> dict[str, Any]:
        """All hyper-parameters that a trial must have to be compared with this row."""
        return {**self.assumed, **self.hyperparameters}


@cache
def published() -> tuple[Published, ...]:
    """All rows, in the file's order: by method, data set and imbalance."""
    text = files("ltbench.ranking").joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(_row(row) for row in csv.DictReader(text.splitlines()))


def _row(row: Mapping[str, str]) -> Published:
    read = {key: json.loads(row[key] or "{}") for key in ("hyperparameters", "assumed")}
    return Published(**{**row, **read, "value": float(row["value"])})


def find(kind: str, imbalance: str, method: str, hyperparameters: Mapping[str, Any], metric: str) -> list[Published]:
    """The published rows of one cell of ours, whatever their recipe.

    Args:
        kind: of data set (`Cell.kind`). imbalance: `Cell.imbalance_label`.
        hyperparameters: all of them, as in `TrialSpec`: looking up defaults would import the methods, and torch.
        metric: `accuracy` finds the same rows as `balanced_accuracy`, since the test sets are balanced.

    That the cell is the published data (no hold-out, classes in label order, shots at 100 and 20) is for the caller to
    see to.
    """
    wanted = (kind, imbalance, method, "balanced_accuracy" if metric == "accuracy" else metric)
    given = dict(hyperparameters)
    return [
        row
        for row in published()
        if (row.dataset, row.imbalance, row.method, row.metric) == wanted and row.identity == given
    ]


class Judgement(StrEnum):
    """How our number stands to a published one."""

    OTHER_RECIPE = "other_recipe"
    TOO_FEW_SEEDS = "too_few_seeds"
    REPRODUCED = "reproduced"
    DIFFERS = "differs"


def judge(row: Published, ours: Interval, recipe: Mapping[str, Any]) -> Judgement:
    """Whether our mean over seeds (percent) agrees with a published number.

    A published number is as a rule one run, on one subset. Two things move it away from our mean though nothing is
    wrong, and the larger of the two is allowed:

    * The seed. A new run of ours falls within t(n-1) sd sqrt(1 + 1/n) of our mean with 95 % probability (the prediction
      interval for one draw from a normal distribution). With three seeds it is wide, 5 sd: it is the number of seeds
      that makes `reproduced` worth something.
    * The subset. Cui et al. and others drew other images than LDAM-DRW's generator; drawing them anew moved accuracy by
      1.5 points or more (KaihuaTang/Long-Tailed-Recognition.pytorch, issue 9). Runs of different code with the classic
      recipe at imbalance 100 give LDAM-DRW 77.0 to 77.8 on CIFAR-10-LT and 41.3 to 42.5 on CIFAR-100-LT, cross-entropy
      37.7 to 38.5 on CIFAR-100-LT (published.csv); three seeds on one subset lie 0.6 apart (naver-ai/cmo, issue 4).
      Hence 1.0 on CIFAR-100 and 1.5 on CIFAR-10. ImageNet-LT, Places-LT and iNaturalist 2018 are fixed lists; there it
      is the code that moves a number: cross-entropy on ImageNet-LT with ResNeXt-50 and 90 epochs is 44.4 in one
      repository and 45.5 in another. Hence 1.0.

    Within these tolerances, too: many sources report the best test epoch, some tenths above the last one, which is what
    we report. Cross-entropy on CIFAR-10-LT spreads wider, 70.4 to 72.0 (a user of LDAM-DRW got 73.2, issue 4): there a
    difference says little. A shot bucket is an average over fewer classes and spreads wider, too.

    Raises:
        KeyError: a recipe group or a data set without a tolerance.
    """
    if not recipe_matches(recipe, row.recipe):
        return Judgement.OTHER_RECIPE
    if ours.n < MIN_SEEDS or ours.sd is None:
        return Judgement.TOO_FEW_SEEDS
    allowed = max(_prediction_half(ours.sd, ours.n), TOLERANCE[row.dataset])
    # Rounded: published numbers have two decimals, and 39.32 - 38.32 is not 1.0 in binary.
    return Judgement.REPRODUCED if round(abs(ours.mean - row.value) - allowed, 9) <= 0 else Judgement.DIFFERS


def _prediction_half(sd: float, n: int) -> float:
    """Half-width of the 95 % prediction interval for one new run, from n runs with this standard deviation."""
    return float(stdtrit(n - 1, 0.975)) * sd * math.sqrt(1 + 1 / n)
