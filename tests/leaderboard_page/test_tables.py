"""The tables of the page, and what is said of them."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from benchmarks import looks
from ltbench.ranking.formats.text_tables import signed
from ltbench.ranking.published import TOLERANCE
from ltbench.results.journal import Journal
from ltbench.suite.load import load_suite
from ltbench.workflow.make_board import BoardRequest, make_board
from tests.leaderboard_page.page import PAGE, REFERENCE, ROOT

PHOTOGRAPHS = REFERENCE / "cifar10_jpeg_gpu"


def lines(head: str) -> list[list[str]]:
    """The cells of the table that begins so."""
    body = PAGE.split(head, 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body]


SIMULATED = lines("| methods | seeds | boards with a false claim")


def percent(cell: str) -> float:
    return float(cell.removesuffix(" %"))


def row(methods: int, design: str) -> list[float]:
    """False claims and gains found, in percent; seeds of a row, there and where all are equal."""
    (found,) = ([*map(percent, cells[2:])] for cells in SIMULATED if cells[:2] == [str(methods), design])
    return found


def test_the_simulated_boards_are_made_as_is_said() -> None:
    assert (looks.SEEDS, looks.IMAGES, looks.SPREAD, looks.ROPE) == (0.4, 0.2, 1.2, 0.5)
    board, truth = looks.draw(np.random.default_rng(0), 400, 1.2)
    of_image = board.mean(axis=1) - truth[:, None]
    assert (board.mean(axis=2) - truth[:, None]).std(axis=1, ddof=1).mean() == pytest.approx(0.4, abs=0.03)
    assert of_image.mean(axis=1).std(ddof=1) == pytest.approx(np.hypot(0.2, 0.4 / np.sqrt(20)), abs=0.03)
    assert truth.std(ddof=1) == pytest.approx(1.2, abs=0.1)


def test_the_table_has_every_design() -> None:
    assert [cells[:2] for cells in SIMULATED] == [[m, design.name] for m in ("5", "10") for design in looks.DESIGNS]


@pytest.mark.parametrize("design", looks.DESIGNS, ids=str)
def test_simulated_boards_come_out_as_the_table_says(design: looks.Design) -> None:
    """A few boards, which scatter by three standard errors around what many give."""
    boards = 12 if len(design.looks) == 1 else 6
    found = looks.simulate(design, 5, boards)
    false, gains, seeds, null_seeds = row(5, design.name)
    assert found.false <= 2 / boards, "at most two of some boards have a false claim"
    assert abs(100 * found.found - gains) < 3 * 50 / np.sqrt(2.5 * boards)
    assert false <= 5
    for measured, said in ((found.seeds, seeds), (found.null_seeds, null_seeds)):
        assert abs(measured - said) < (1e-9 if len(design.looks) == 1 else 3 * 6 / np.sqrt(boards))


@pytest.mark.nightly
@pytest.mark.parametrize("methods", [5, 10])
@pytest.mark.parametrize("design", looks.DESIGNS, ids=str)
def test_the_table_is_what_the_benchmark_prints(methods: int, design: looks.Design) -> None:
    found = looks.simulate(design, methods, 300)
    shown = [
        f"{100 * found.false:.1f} %",
        f"{100 * found.found:.0f} %",
        f"{found.seeds:.1f}",
        f"{found.null_seeds:.1f}",
    ]
    assert [str(methods), design.name, *shown] in SIMULATED


def test_what_looks_bring_follows_from_the_table() -> None:
    """`It finds what ten seeds find, or slightly less (twenty find 6 to 7 points more), with 11 to 12 seeds a row, and
    8 where there is nothing to find. Where all pairs are to be decided, most rows of ten go on to the end.`"""
    over = {m: row(m, "3 to 20, gains over the reference") for m in (5, 10)}
    for methods, (_, found, seeds, null_seeds) in over.items():
        assert -2 <= found - row(methods, "10 seeds")[1] <= 2
        assert 6 <= row(methods, "20 seeds")[1] - found <= 7
        assert 11 <= seeds <= 12
        assert int(null_seeds) == 8
    assert row(10, "3 to 20, all pairs")[2] > 18
    assert all(row(m, "10 seeds")[1] >= over[m][1] - 1 for m in over), "fixed ones are as good"


def test_suites_that_are_named_are_there() -> None:
    assert load_suite("digits_resolved").protocol.final.seeds.until == "resolved"  # type: ignore[union-attr]
    suite = load_suite("test_agnostic")
    assert {"sade", "lade", "ride"} <= {entry.method for rows in suite.methods.values() for entry in rows}


def test_redrawing_moves_as_much_as_is_allowed_for() -> None:
    assert (TOLERANCE["cifar100"], TOLERANCE["cifar10"]) == (1.0, 1.5)
    assert "moves CIFAR-LT by 1 to 1.5 points" in PAGE
    assert "(1.0 points on CIFAR-100, 1.5 on CIFAR-10)" in " ".join(PAGE.split())


def test_many_published_rows_are_of_the_best_test_epoch() -> None:
    rows = pd.read_csv(ROOT / "ltbench" / "ranking" / "published.csv")
    cifar = rows[rows["dataset"].str.startswith("cifar")]
    best = cifar["note"].fillna("").str.contains("best test epoch")
    assert best.sum() > 100
    assert cifar.loc[best, "source"].nunique() >= 7


def test_first_losses_of_two_seeds_differ() -> None:
    """Beside what two runs of one trial differ by: 0.2 % in fp32, 0.5 % in bf16."""
    cells: dict[tuple[str, str], list[float]] = {}
    for record in Journal(REFERENCE / "quickstart" / "records").records().values():
        cells.setdefault((record.spec.label, record.spec.cell.label), []).append(record.environment["first_loss"])
    apart = [abs(a - b) / max(a, b) for losses in cells.values() for a, b in combinations(losses, 2)]
    assert len(apart) == 100
    assert [sum(x < limit for x in apart) for limit in (0.002, 0.005)] == [0, 2]
    assert sum(x > 0.1 for x in apart) == 43


@pytest.mark.parametrize("page", ["docs", "README"])
def test_the_board_of_photographs_is_the_one_in_the_text(page: str) -> None:
    board = make_board(BoardRequest(source=PHOTOGRAPHS)).board
    (table,) = board.tables
    assert table.columns[0].label == "cifar10 IF100" or table.columns[0].imbalance == "IF100"
    assert {score.finished for found in table.rows for score in found.scores.values()} == {3}
    text = PAGE if page == "docs" else (PHOTOGRAPHS / "README.md").read_text(encoding="utf-8")
    shown = []
    for found in table.rows:
        assert found.half is not None
        gain, verdict = "(reference)", ""
        if found.gain is not None:
            test = found.gain.test
            assert test.diff is not None
            assert test.half is not None
            gain = f"{signed(test.diff)} [{signed(test.diff - test.half)}, {signed(test.diff + test.half)}]"
            verdict = str(found.gain.verdict)
        (score,) = found.scores.values()
        buckets = [score.metrics[name] for name in ("many", "medium", "few")]
        cells = [
            found.label,
            f"{found.mean:.1f} ±{found.half:.1f}",
            gain,
            verdict,
            *(f"{b.mean:.1f}" for b in buckets if b),
        ]
        shown.append(re.sub(" +", " ", f"| {' | '.join(cells)} |"))
    assert len(shown) == 12
    assert "\n".join(shown) in text
    recipes = board.config["recipes"].values()
    assert {(r["backbone"], r["epochs"], r["precision"]) for r in recipes} == {("resnet32", 20.0, "bf16")}
    assert board.config["shots"] == {"many": 500, "few": 100}
    assert board.published == ()
    kinds = [r.environment["device_kind"] for r in Journal(PHOTOGRAPHS / "records").records().values()]
    assert (kinds.count("cuda"), len(kinds)) == (35, 36)
