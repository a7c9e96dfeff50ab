"""Seeds until comparisons are decided beside fixed numbers of seeds: false claims, power, and seeds, on made-up boards.

`python -m benchmarks.looks` prints the table of docs/leaderboard.md. A method's mean scatters by 0.4 points over seeds,
and by 0.2 over test images, which all seeds share.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from ltbench.ranking.images import Images
from ltbench.ranking.looks import Named, Standing
from ltbench.ranking.ranking import Ranking, Rules, rank
from ltbench.spec import Column
from ltbench.stats.fixed_datasets import Verdict
from ltbench.stats.looks import Looks

COLUMN = Column("made", "IF100", "manifest")
SEEDS, IMAGES, ROPE = 0.4, 0.2, 0.5
"""Standard deviations of a method's mean over seeds and over test images, and the region of equivalence, in points."""
SPREAD = 1.2
"""Standard deviation of true means, in points, where methods differ."""
NUMBER = 200
"""Test images."""
Board = NDArray[np.float64]
"""(methods, seeds, images) contributions in points; the first method is the reference."""


@dataclass(frozen=True)
class Design:
    """How many seeds rows get: a fixed number, or looks until the named comparisons are decided."""

    name: str
    looks: tuple[int, ...]
    named: Named | None = None


LOOKS = (3, 5, 8, 13, 20)
DESIGNS = (
    Design("5 seeds", (5,)),
    Design("10 seeds", (10,)),
    Design("20 seeds", (20,)),
    Design("3 to 20, gains over the reference", LOOKS, Named.reference),
    Design("3 to 20, all pairs", LOOKS, Named.all),
)


def draw(rng: np.random.Generator, methods: int, spread: float, seeds: int = 20) -> tuple[Board, NDArray[np.float64]]:
    """A board, and the true means of its methods."""
    truth = spread * rng.standard_normal(methods)
    board = 60 + truth[:, None, None] + SEEDS * rng.standard_normal((methods, seeds, 1))
    board = board + IMAGES * np.sqrt(NUMBER) * rng.standard_normal((methods, 1, NUMBER))
    return board + rng.standard_normal((methods, seeds, NUMBER)), truth


def carry_out(design: Design, board: Board) -> tuple[Ranking, Mapping[str, int]]:
    """What a suite of this design comes to: the last ranking, and how many seeds each row has had."""
    labels = [f"m{i}" for i in range(len(board))]
    if design.named is None:
        seeds = dict.fromkeys(labels, design.looks[0])
        return _rank(labels, board, seeds, None), seeds
    looks = Looks(design.looks)
    seeds = dict.fromkeys(labels, looks.seeds[0])
    while True:
        standing = Standing(looks, design.named, {m: looks.reached(n) for m, n in seeds.items()})
        ranking = _rank(labels, board, seeds, standing)
        if ranking.due == seeds:
            return ranking, seeds
        seeds = dict(ranking.due)


def _rank(labels: Sequence[str], board: Board, seeds: Mapping[str, int], standing: Standing | None) -> Ranking:
    images = {(m, COLUMN): dict(enumerate(board[i, : seeds[m]])) for i, m in enumerate(labels)}
    values = {key: {s: float(x.mean()) for s, x in by_seed.items()} for key, by_seed in images.items()}
    return rank(labels, [COLUMN], values, Images(images), Rules(rope=ROPE, reference=labels[0], standing=standing))


@dataclass(frozen=True)
class Outcome:
    """Of many boards of one design.

    Attributes:
        false: share of boards of equally good methods on which any pair is claimed to differ.
        found: share of gains claimed, of those that are truly above the region of equivalence, where methods differ.
        seeds: of a row, on average, there; null_seeds: where all methods are equally good.
    """

    false: float
    found: float
    seeds: float
    null_seeds: float


def simulate(design: Design, methods: int, boards: int) -> Outcome:
    """Boards without and with differences, the same for every design."""
    rng = np.random.default_rng(methods)
    false, null_seeds, seeds, found = 0, 0.0, 0.0, list[bool]()
    for _ in range(boards):
        ranking, used = carry_out(design, draw(rng, methods, 0.0)[0])
        false += any(lo > 1 or hi < methods for lo, hi in ranking.ranks.values())
        null_seeds += float(np.mean(list(used.values())))
        board, truth = draw(rng, methods, SPREAD)
        ranking, used = carry_out(design, board)
        seeds += float(np.mean(list(used.values())))
        for i in range(1, methods):
            if abs(truth[i] - truth[0]) > ROPE:
                found.append(ranking.gains[f"m{i}"].verdict not in (Verdict.undecided, Verdict.equivalent))
    return Outcome(false / boards, float(np.mean(found)), seeds / boards, null_seeds / boards)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.looks", description=__doc__)
    parser.add_argument("--boards", type=int, default=400, help="of each kind")
    boards = parser.parse_args().boards
    rows = []
    for methods in (5, 10):
        for design in DESIGNS:
            o = simulate(design, methods, boards)
            rows.append([methods, design.name, f"{100 * o.false:.1f} %", f"{100 * o.found:.0f} %", f"{o.seeds:.1f}",
                         f"{o.null_seeds:.1f}"])  # fmt: skip
    heads = ["methods", "seeds", "boards with a false claim", "true gains found", "seeds of a row",
             "where all are equal"]  # fmt: skip
    print(tabulate(rows, headers=heads, tablefmt="pipe", disable_numparse=True))


if __name__ == "__main__":
    main()
