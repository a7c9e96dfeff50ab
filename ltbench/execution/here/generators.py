"""The random generators that a process has once: a trial must find them as it left them, whoever ran in between."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


class OwnGenerators:
    """Python's, numpy's and torch's generators as one of several trials sees them.

    On a GPU a recorded step keeps the very object that torch's generator had its state in, and reads the state in
    memory of the GPU while it runs. So there every trial has an object of its own.

    Args:
        device: where the trials run.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._keep_on_cpu()
        self._cuda: Any = _cuda_generator(device).clone_state() if device.type == "cuda" else None

    def put_in_place(self) -> None:
        """From here on the process has these."""
        random.setstate(self._python)
        np.random.set_state(self._numpy)  # noqa: NPY002 - the one that a method may use
        torch.set_rng_state(self._torch)
        if self._cuda is not None:
            _cuda_generator(self._device).graphsafe_set_state(self._cuda)

    def keep(self) -> None:
        """Note where they are."""
        self._keep_on_cpu()
        if self._cuda is not None:
            self._cuda = _cuda_generator(self._device).graphsafe_get_state()

    def _keep_on_cpu(self) -> None:
        self._python, self._torch = random.getstate(), torch.get_rng_state()
        self._numpy = np.random.get_state()  # noqa: NPY002


def _cuda_generator(device: torch.device) -> Any:
    torch.cuda.init()  # type: ignore[no-untyped-call]
    index = torch.cuda.current_device() if device.index is None else device.index
    return torch.cuda.default_generators[index]
