"""Run all benchmarks; print one Markdown table, write the same figures as JSON with --out."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tabulate import tabulate

from benchmarks import board, overhead, packing, reading, training
from benchmarks.timing import machine


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--smoke", action="store_true", help="one short round of each, to see that they run")
    parser.add_argument("--reading", action="store_true", help="also 100,000 records and 2,000 runs: some minutes")
    chosen = parser.parse_args()
    rates = training.measure(steps=2, rounds=1) if chosen.smoke else training.measure()
    figures = {f"{name}, images/s": str(rate) for name, rate in rates.items()}
    ratios = training.ratios(rates)
    packed = packing.measure(rounds=1, seconds=0.5) if chosen.smoke else packing.measure()
    ratios |= {f"two 1-thread / one 2-thread trial, {name}": ratio for name, ratio in packed.items()}
    cost = overhead.measure(few=2, many=4) if chosen.smoke else overhead.measure()
    figures["overhead per further trial, s"] = f"{cost.per_trial:.2f}"
    size = (10, 100) if chosen.smoke else (25, 1000)
    figures["board of 25 methods x 12 data sets x 10 seeds, s"] = f"{board.measure(size[0]):.2f}"
    figures["the same with 10,000 test images each, s"] = f"{board.measure(size[0], images=10_000):.2f}"
    figures["board of 1,000 methods x 12 data sets x 10 seeds, s"] = f"{board.measure(size[1]):.1f}"
    if chosen.reading:
        read = reading.measure(100, 10) if chosen.smoke else reading.measure()
        figures |= {"reading the journal, CPU s": f"{read.journal:.1f}"}
        figures |= {"leaderboard from MLflow, CPU s": f"{read.leaderboard:.1f}"}
    figures |= {name: f"{ratio:.2f}" for name, ratio in ratios.items()}
    print(tabulate(list(figures.items()), headers=["what", "figure"], tablefmt="pipe", disable_numparse=True))
    print("\n" + "\n".join(f"{key}: {value}" for key, value in machine().items()))
    if chosen.out is not None:
        chosen.out.write_text(json.dumps({"machine": machine(), "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
