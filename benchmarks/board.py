"""What a leaderboard's statistics cost: made-up results in, a board and its text out; CPU seconds of this process."""

from __future__ import annotations

import io
import time

import numpy as np

from ltbench.metric_names import METRICS
from ltbench.ranking.build import build
from ltbench.ranking.formats.render import FORMATS
from ltbench.ranking.images import Predictions
from ltbench.spec import Result


def measure(methods: int, tasks: int = 12, seeds: int = 10, images: int = 0) -> float:
    """Seconds for a board of so many methods on so many data sets; with `images`, predictions for that many test images
    of each trial are read, too. Imports are paid before."""
    FORMATS["text"](build(_results(2, 6, 6), predictions=_predictions(100)))
    results = _results(methods, tasks, seeds)
    predictions = _predictions(images) if images else None
    began = time.process_time()
    FORMATS["text"](build(results, predictions=predictions))
    return time.process_time() - began


def _results(methods: int, tasks: int, seeds: int) -> list[Result]:
    rng = np.random.default_rng(0)
    return [
        Result(
            key=f"{m}-{t}-{s}",
            suite="made",
            dataset=f"data{t}",
            imbalance="IF100",
            manifest=f"manifest{t}",
            label="ce" if m == 0 else f"method{m}",
            variant=f"variant{m}",
            recipe_name="recipe",
            recipe_id="recipe",
            seed=s,
            status="ok",
            metrics=dict.fromkeys(METRICS, 60 + 0.3 * (m % 7) + float(rng.normal())),
        )
        for m in range(methods)
        for t in range(tasks)
        for s in range(seeds)
    ]


def _predictions(images: int) -> Predictions:
    """The same few files of predictions for all keys: what counts is that each is unpacked and looked at."""
    rng, truth, files = np.random.default_rng(0), np.arange(images) % 100, []
    for _ in range(20):
        label = np.where(rng.random(images) < 0.6, truth, (truth + 1) % 100)
        stream = io.BytesIO()
        confidence = rng.random(images).astype(np.float32)
        np.savez_compressed(stream, label=label.astype(np.uint16), truth=truth.astype(np.uint16), confidence=confidence)
        files.append(stream.getvalue())
    return lambda key: files[len(key) % len(files)]
