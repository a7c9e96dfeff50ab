"""Files of scores from elsewhere: `ltbench leaderboard --from`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cases.situation import Situation

HEADER = "method,dataset,imbalance_factor,seed,metric,value\n"
TWO = {"alpha": (31.0, 33.5, 32.0), "beta": (41.0, 44.0, 42.5)}


def scores(metric: str = "accuracy", scale: float = 1.0, seeds: int = 3, datasets: str = "d", **more: str) -> str:
    """Two methods; `more`: lines by name, which go to the end."""
    lines = [
        f"{m},{d},100,{s},{metric},{values[s] * scale:g}\n"
        for m, values in TWO.items()
        for d in datasets
        for s in range(seeds)
    ]
    return HEADER + "".join(lines) + "".join(more.values())


def board(
    name: str, csv: str | bytes, says: tuple[str, ...], *words: str, code: int = 0, silent: tuple[str, ...] = ()
) -> Situation:
    return Situation(name, {"mine.csv": csv}, ("leaderboard", "--from", "mine.csv", *words), code, says, silent)


FEW = "".join(f"alpha,d,100,{s},few,0.{s + 1}\nbeta,d,100,{s},few,0.{s + 3}\n" for s in range(3))
SITUATIONS = [
    board("lower is better, by its name", scores("top1 error"), (r"alpha 32.*beta 42", "lower is better")),
    board("a metric that says nothing of itself", scores("goodness"), ("goodness", "--higher-is-better"), code=2),
    board("... declared", scores("goodness"), ("beta.*alpha",), "--higher-is-better", "goodness"),
    board("an own metric in capitals", scores("Macro F1"), ("beta.*alpha", "f1")),
    board("a loss that is nearly nothing", scores("val_loss", 1e-5), ("alpha.*beta",), silent=(r"-0\.00?\b",)),
    board("shares in the tail alone are fractions", scores(few=FEW, scale=0.01), ("line 2", "percent"), code=2),
    board(
        "one row in fractions",
        scores(x="".join(f"gamma,d,100,{s},accuracy,0.4\n" for s in range(3))),
        ("line 8", "gamma", "percent"),
        code=2,
    ),
    board(
        "a gap in what does not rank",
        scores(x="alpha,d,100,0,few,\nbeta,d,100,0,few,10\n"),
        ("beta.*alpha",),
        silent=("[1-9] failed",),
    ),
    board("a value is missing of what ranks", scores(x="beta,d,100,3,accuracy,\n"), ("1 .*failed|failed",)),
    board("lines end as on old Macs", scores().replace("\n", "\r"), ("beta.*alpha",)),
    board("a mark before the header", b"\xef\xbb\xbf" + scores().encode(), ("beta.*alpha",)),
    board("semicolons", scores().replace(",", ";"), ("separated", "commas"), code=2),
    board("two seeds, no reference", scores(seeds=2), (r"\b2 seeds|seeds.*2", "beta")),
    board(
        "two data sets are too few for Friedman",
        scores(datasets="de"),
        ("beta.*alpha",),
        silent=(r"friedman.*p ?[=<]",),
    ),
    board(
        "names that mean something to LaTeX",
        scores(x="".join(f"50%_x&y,d,100,{s},accuracy,4\n" for s in range(3))),
        (r"50\\%\\_x\\&y",),
        "--format",
        "latex",
    ),
    board(
        "names that mean something to a terminal",
        scores(x="".join(f"\x1b[2Jred,d,100,{s},accuracy,4\n" for s in range(3))),
        ("red",),
        "--format",
        "latex",
    ),
    board("digits of another script", scores(x="alpha,d,100,3,accuracy,٣٣\n"), ("line 8", "expected a number"), code=2),
    board("digits in groups", scores(x="alpha,d,100,1_0,accuracy,33\n"), ("line 8", "seed", "whole number"), code=2),
    board("a place twice", scores(x="alpha,d,100,2,accuracy,33\n"), ("line 8", "line 4"), code=2),
    board("a line is short", scores(x="alpha,d,100\n"), ("line 8", "fields"), code=2),
]


@pytest.mark.parametrize("situation", SITUATIONS, ids=str)
def test_scores(situation: Situation, follows: Callable[[Situation], None]) -> None:
    follows(situation)
