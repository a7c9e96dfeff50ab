"""The committed records behind the README's table: it is theirs to the digit, the suite still plans these trials, and
what is trained today comes out as it did."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ltbench.models import build_backbone
from ltbench.planning.planner import make_plan
from ltbench.planning.resolve import resolve
from ltbench.registry import Registry
from ltbench.results.journal import Journal
from ltbench.spec import Plan, Record
from ltbench.suite.load import load_suite
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "results" / "reference" / "quickstart"
ARITHMETIC = "536f7d3de9de6f31"
"""What `arithmetic` says where the reference was run."""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def records() -> dict[str, Record]:
    return Journal(REFERENCE / "records").records()


@pytest.fixture(scope="module")
def laid_out(data_root: Path) -> tuple[Plan, Site]:
    plan, inputs = make_plan(resolve(load_suite(str(ROOT / "suites" / "quickstart.yaml")), Registry(), data_root))
    return plan, Site(data_root, texts=inputs.texts, device="cpu", threads=1)


def test_the_table_in_the_readme_is_that_of_the_reference_records(ltbench: Run) -> None:
    """All of it but the details of one of the two columns."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (shown,) = (block.splitlines() for block in readme.split("```\n") if block.startswith("quickstart: "))
    code, out, err = ltbench("leaderboard", "--from", str(REFERENCE))
    assert code == 0, err
    board = out.splitlines()
    start, end = board.index("digits IF20 (Holm over 4)"), board.index("digits IF50 (Holm over 4)")
    assert shown == board[:start] + board[end:]


def test_the_table_of_the_board_from_a_gpu_is_that_of_its_records(ltbench: Run) -> None:
    folder = ROOT / "results" / "reference" / "cifar10_jpeg_gpu"
    code, out, err = ltbench("leaderboard", "--from", str(folder))
    assert code == 0, err
    verdicts = {"^": "better", "v": "worse", "?": "undecided"}
    pattern = (
        r"(\w+) +([\d.]+ ±[\d.]+)  (\S+ \[[^]]+\]|\(reference\)) ?([v^?]?) .*?([\d.]+) +([\d.]+) +([\d.]+) +[\d.]+ +3"
    )
    column = out[out.index("cifar10_jpeg IF100 (Holm") :]
    board = [list(found.groups()) for found in map(re.compile(pattern).fullmatch, column.splitlines()) if found]
    readme = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    shown = [[cell.strip() for cell in line.split("|")[1:-1]] for line in readme if line.startswith("|")][2:]
    assert shown == [[*cells[:3], verdicts.get(cells[3], ""), *cells[4:]] for cells in board]


def test_the_suite_still_plans_the_trials_of_the_reference(
    laid_out: tuple[Plan, Site], records: dict[str, Record]
) -> None:
    """If this fails, every record of earlier versions is stale: bump NUMERICS if that is not what did it, say so in the
    changelog, and run the reference anew (results/README.md)."""
    assert {spec.key for spec in laid_out[0].trials} == records.keys()
    assert {record.status for record in records.values()} == {"ok"}


@pytest.mark.parametrize("label", ["ce", "cb_reweight", "balanced_softmax", "mixup", "text_guided_mixup"])
def test_numbers_have_not_moved(label: str, laid_out: tuple[Plan, Site], records: dict[str, Record]) -> None:
    """If this fails, a number has moved: undo it, or bump NUMERICS and run the reference anew. On any machine the
    losses of the first step and epochs agree but for rounding; on that of the reference everything does, to the bit."""
    plan, site = laid_out
    spec = next(t for t in plan.trials if t.label == label and t.cell.imbalance == 50 and t.seed == 0)
    then, now = records[spec.key], run_trial(spec, site)
    assert now.error is None
    assert then.environment["first_loss"] == pytest.approx(now.environment["first_loss"], rel=2e-3)
    epochs, losses = (list(column) for column in zip(*now.curves["train/loss"][:3], strict=True))
    assert [epoch for epoch, _ in then.curves["train/loss"][:3]] == epochs
    assert [loss for _, loss in then.curves["train/loss"][:3]] == pytest.approx(losses, rel=2e-3)
    assert [len(curve) for curve in then.curves.values()] == [len(curve) for curve in now.curves.values()]
    if arithmetic() == ARITHMETIC:
        assert replace(then, spec=spec).numbers() == now.numbers()


def arithmetic() -> str:
    """How this machine rounds: some steps of the suite's network in plain torch, on noise."""
    torch.set_num_threads(1)
    dice = torch.Generator().manual_seed(0)
    net = nn.Sequential(build_backbone("cnn_small", (8, 8, 1)), nn.LazyLinear(10))
    images, labels = torch.rand(32, 1, 8, 8, generator=dice), torch.arange(32) % 10
    net(images)
    for p in net.parameters():
        p.data = 0.1 * torch.randn(p.shape, generator=dice)
    net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(net(images.contiguous(memory_format=torch.channels_last)), labels).backward()
        optimizer.step()
    return hashlib.sha256(b"".join(p.detach().contiguous().numpy().tobytes() for p in net.parameters())).hexdigest()[
        :16
    ]


def test_the_sentence_and_the_check_in_the_readme_are_what_is_printed(ltbench: Run, tmp_path: Path) -> None:
    """The check's but for its seconds."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code, out, err = ltbench("compare", "balanced_softmax", "ce", "--from", str(REFERENCE))
    assert code == 0, err
    (sentence,) = (block for block in readme.split("```\n") if block.startswith("balanced_softmax against ce"))
    assert out.startswith(sentence)
    tutorial = (ROOT / "docs" / "tutorials" / "own-method.md").read_text(encoding="utf-8")
    (tmp_path / "la_focal.py").write_text(tutorial.split("```python\n")[1].split("```")[0], encoding="utf-8")
    code, out, err = ltbench("check", str(tmp_path / "la_focal.py"))
    assert code == 0, err
    (check,) = (block for block in readme.split("```\n") if block.startswith("what the class states"))
    assert check in tutorial
    assert re.sub(r"\d+\.\d s", "", out) == re.sub(r"\d+\.\d s", "", check)
