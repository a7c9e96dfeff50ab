"""Where a training's time goes, measured without ever waiting for the device."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import torch

EVERY = 16
"""On a GPU every how many steps one is clocked."""


class Stopwatch:
    """Seconds in which batches are made ready, and in which the model steps.

    On a CPU every step is clocked. On a GPU, where the host is ahead of the device, every 16th is, by events in the
    device's queue that are read when they have passed; the time between two of them includes what the device waited
    for the host, such as for images that are decoded.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._steps = self._clocked = 0
        self._data = self._step = 0.0
        self._marks: list[Any] = []
        self._waiting: deque[list[Any]] = deque()

    def start(self) -> None:
        """A step begins: the batch is drawn, read and mixed."""
        self._steps += 1
        if not self._on_gpu or self._steps % EVERY == 1:
            self._marks = [self._mark()]

    def data_ready(self) -> None:
        """The batch is there; the model begins."""
        if self._marks:
            self._marks.append(self._mark())

    def stop(self) -> None:
        """The step is over."""
        if not self._marks:
            return
        marks, self._marks = [*self._marks, self._mark()], []
        if not self._on_gpu:
            self._add(marks[1] - marks[0], marks[2] - marks[1])
            return
        self._waiting.append(marks)
        while self._waiting and self._waiting[0][-1].query():
            self._read_event()

    def seconds(self) -> tuple[float, float]:
        """Of the data and of the steps, over all steps so far. Waits for the device: only for when training is over."""
        while self._waiting:
            self._waiting[0][-1].synchronize()
            self._read_event()
        whole = self._steps / self._clocked if self._clocked else 0.0
        return self._data * whole, self._step * whole

    def _mark(self) -> Any:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def _read_event(self) -> None:
        begin, ready, end = self._waiting.popleft()
        self._add(begin.elapsed_time(ready) / 1000, ready.elapsed_time(end) / 1000)

    def _add(self, data: float, step: float) -> None:
        self._data, self._step, self._clocked = self._data + data, self._step + step, self._clocked + 1
