"""Run all benchmarks and write one table: Markdown on the screen and with --markdown, the same as JSON with --out."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from tabulate import tabulate

from benchmarks import (
    augmenting,
    board,
    evaluating,
    memory,
    overhead,
    packing,
    reading,
    streaming,
    together,
    towers,
    training,
)
from benchmarks.timing import machine

Row = tuple[str, str, str]
"""What, the figure, and the smallest to largest round."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--markdown", type=Path, help="file for the table")
    parser.add_argument("--smoke", action="store_true", help="one short round of each, to see that they run")
    parser.add_argument("--reading", action="store_true", help="also 100,000 records and 2,000 runs: some minutes")
    parser.add_argument(
        "--only",
        default="",
        help="of: training, evaluating, augmenting, streaming, towers, memory, packing, together, overhead, board",
    )
    chosen = parser.parse_args()
    wanted = set(chosen.only.split(",")) - {""}
    rows: list[Row] = []
    for part in PARTS:
        if not wanted or part.__name__.removeprefix("_") in wanted:
            rows += part(chosen.smoke)
    if chosen.reading:
        rows += _reading(chosen.smoke)
    table = tabulate(rows, headers=["what", "figure", "rounds"], tablefmt="pipe", disable_numparse=True)
    text = f"{table}\n\n" + "; ".join(f"{key}: {value}" for key, value in machine().items()) + "\n"
    print(text, end="")
    if chosen.markdown is not None:
        chosen.markdown.write_text(text)
    if chosen.out is not None:
        figures = {what: {"figure": figure, "rounds": rounds} for what, figure, rounds in rows}
        chosen.out.write_text(json.dumps({"machine": machine(), "figures": figures}, indent=1) + "\n")


def _ratios(ratios: Mapping[str, float]) -> Iterator[Row]:
    for name, ratio in ratios.items():
        yield name, f"{ratio:.2f}", ""


def _training(smoke: bool) -> Iterator[Row]:
    rates = training.measure(steps=2, rounds=1) if smoke else training.measure()
    for name, rate in rates.items():
        step = 1000 * training.BATCH / rate.median
        yield f"{name}: images/s (ms per step)", f"{rate.median:,.0f} ({step:,.0f})", rate.spread
    yield from _ratios(training.ratios(rates))


def _evaluating(smoke: bool) -> Iterator[Row]:
    rates = evaluating.measure(128, 1) if smoke else evaluating.measure()
    for name, rate in rates.items():
        yield f"{name}: images/s", f"{rate.median:,.0f}", rate.spread
    yield from _ratios(evaluating.ratios(rates))
    for name, rate in evaluating.metrics(2 if smoke else 30).items():
        yield f"{name}: ms", f"{rate.median:.1f}", f"{rate.low:.1f} to {rate.high:.1f}"


def _augmenting(smoke: bool) -> Iterator[Row]:
    rates = augmenting.measure(batches=1, rounds=1) if smoke else augmenting.measure()
    for name, rate in rates.items():
        yield f"{name}: images/s", f"{rate.median:,.0f}", rate.spread
    yield from _ratios(augmenting.ratios(rates))


def _streaming(smoke: bool) -> Iterator[Row]:
    rates = streaming.measure(images=4, rounds=1) if smoke else streaming.measure()
    for name, rate in rates.items():
        yield f"{name}: images/s", f"{rate.median:,.0f}", rate.spread
    yield from _ratios(streaming.ratios(rates))


def _towers(smoke: bool) -> Iterator[Row]:
    rates = towers.measure(steps=1, rounds=1) if smoke else towers.measure()
    for name, rate in rates.items():
        yield f"fine-tuning a ViT, {name}: images/s", f"{rate.median:,.2f}", rate.spread
    yield from _ratios(towers.ratios(rates))


def _memory(smoke: bool) -> Iterator[Row]:
    for name, mib in memory.measure().items():
        yield f"{name}: peak memory, MiB", f"{mib:,.0f}", ""


def _packing(smoke: bool) -> Iterator[Row]:
    packed = packing.measure(rounds=1, seconds=0.5) if smoke else packing.measure()
    for name, rate in packed.items():
        yield name, f"{rate.median:.2f}", f"{rate.low:.2f} to {rate.high:.2f}"


def _together(smoke: bool) -> Iterator[Row]:
    for name, rate in (together.measure(rounds=1, seconds=0.5) if smoke else together.measure()).items():
        yield f"{name}: images/s", f"{rate.median:,.0f}", rate.spread


def _overhead(smoke: bool) -> Iterator[Row]:
    cost = overhead.measure(few=2, many=4) if smoke else overhead.measure()
    yield "overhead per further trial, wall s", f"{cost.per_trial:.2f}", ""


def _board(smoke: bool) -> Iterator[Row]:
    few, many = (10, 100) if smoke else (25, 1000)
    yield f"board of {few} methods x 12 data sets x 10 seeds, CPU s", f"{board.measure(few):.2f}", ""
    yield "the same with 10,000 test images each, CPU s", f"{board.measure(few, images=10_000):.2f}", ""
    yield f"board of {many:,} methods x 12 data sets x 10 seeds, CPU s", f"{board.measure(many):.1f}", ""


def _reading(smoke: bool) -> Iterator[Row]:
    read = reading.measure(100, 10) if smoke else reading.measure()
    yield f"reading a journal of {100 if smoke else 100_000:,} records, CPU s", f"{read.journal:.1f}", ""
    made = reading.board(100) if smoke else reading.board()
    yield f"a board of {100 if smoke else 100_000:,} records, CPU s", f"{made.seconds:.1f}", f"{made.megabytes:.0f} MB"
    yield f"leaderboard from MLflow, {10 if smoke else 2_000:,} runs, CPU s", f"{read.leaderboard:.1f}", ""


PARTS = (_training, _evaluating, _augmenting, _streaming, _towers, _memory, _packing, _together, _overhead, _board)


if __name__ == "__main__":
    main()
