"""Training that several trials have in common is done once.

Methods that correct a plainly trained model (tau-normalisation, post-hoc logit adjustment), or go on from one, begin as
cross-entropy or as each other does. The first trial of such a group leaves the state that its first stage ended in; the
others take it up and go on from there, to the numbers that training themselves would have given, bit for bit.

That two trials begin alike is not guessed from their names: a state is kept under a digest of everything the stage
follows from, weights and dice included, and only where nothing but the harness's own code trains.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ltbench.api import Stage, Task
from ltbench.system.remote import Remote, RemoteFiles
from ltbench.training.checkpoints.checkpoint import Checkpoints, Files, place_for, set_torch_dice, torch_dice
from ltbench.training.checkpoints.state import capture, restore
from ltbench.training.device.provenance import peak_memory

_PREFIX = "shared-"
TRAINS = ("__init__", "head", "draw", "mix", "loss")
"""What a method has to leave as it is in `Method` for its training to be the harness's alone, beside its stages."""
_OURS = ("torch", "torchvision", "open_clip", "timm", "ltbench")
"""Packages whose modules and optimizers are the same code for all trials of a run."""


def name_of(group: str, state: str) -> str:
    """The folder of what a group shares of one state."""
    return f"{_PREFIX}{group}-{state[:16]}"


def is_shared(name: str) -> bool:
    """Whether a folder among checkpoints is one of these."""
    return name.startswith(_PREFIX)


def group_in(name: str) -> str:
    """The group that a folder is of."""
    return name.removeprefix(_PREFIX).partition("-")[0]


class SharedBeginning(Checkpoints):
    """Checkpoints of a trial whose first stage others may have trained, or may want.

    Args:
        place: where states are shared; it must exist. group: as `group_of` gives it. key: the trial's. device: where it
            trains. The others: as for `Checkpoints`.
    """

    def __init__(
        self,
        folder: Path | RemoteFiles | None,
        identity: Mapping[str, Any],
        seconds: float,
        stop: Callable[[], bool],
        *,
        place: Path | Remote,
        group: str,
        key: str,
        device: torch.device,
    ) -> None:
        super().__init__(folder, identity, seconds, stop)
        self._place: Path | Remote | None = place
        self._group, self._key, self._device = group, key, device
        self._machine = {name: value for name, value in identity.items() if name != "key"}
        self._taking = False

    @property
    def replaying(self) -> bool:
        """What goes wrong now may be the fault of what was read."""
        return self._taking or super().replaying

    def steps(
        self, stage: Stage, steps: int, total: int, live: Mapping[str, Any], stages: Iterator[Stage]
    ) -> Iterator[int]:
        """As `Checkpoints.steps`; no step of a first stage whose end another trial has left."""
        files = None if self._stages else self._shared(stage, steps, total, live)
        if files is not None and not super().replaying and self._take(files, live):
            self._stages.append([stage.name, steps])
            self.step = steps
            return
        yield from super().steps(stage, steps, total, live, stages)
        if files is not None and not super().replaying:  # else the stage was trained before, and is not in `live` yet
            self._leave(files, live)

    def start_over(self, reason: str) -> None:
        if not self._taking:
            super().start_over(reason)
            return
        self._taking, self._place = False, None
        self.messages.append(f"training that another trial left could not be used ({reason}); the trial trained itself")

    def _shared(self, stage: Stage, steps: int, total: int, live: Mapping[str, Any]) -> Files | RemoteFiles | None:
        """Where the end of this stage lies or is to be left. None: it is not to be shared."""
        if self._place is None or self._files is None or not _harness_alone(live):
            return None
        try:
            begins = capture({**self._roots(live), "stage": [steps, total, stage.class_probs]})
        except Exception as error:
            self.messages.append(f"training is not shared ({error})")
            return None
        whole = hashlib.sha256()
        _add(whole, [begins, self._machine, torch_dice()])
        files = place_for(self._place, name_of(self._group, whole.hexdigest()))
        assert files is not None
        return Files(files) if isinstance(files, Path) else files

    def _roots(self, live: Mapping[str, Any]) -> dict[str, Any]:
        """All that changes in a stage that the harness alone trains."""
        return {**{k: v for k, v in live.items() if k not in ("method", "stage")}, **self._beside}

    def _take(self, files: Files | RemoteFiles, live: Mapping[str, Any]) -> bool:
        """Put the end of the stage in place, if another trial has left it."""
        for file in self._listed(files):
            try:
                found = files.read(file)  # type: ignore[arg-type]  # as it listed it
            except Exception as error:
                self.messages.append(f"training that another trial left is damaged ({error}); the trial trained itself")
                continue
            self._taking = True
            with _in_place(live["model"]):
                restore(self._roots(live), found["state"])
            set_torch_dice(found["dice"])
            self._taking = False
            self.seconds_before += found["seconds"]
            self.taken = {"trained_by": found["by"], "shared_seconds": found["seconds"],
                          "peak_memory_bytes": found["peak"]}  # fmt: skip
            return True
        return False

    def _leave(self, files: Files | RemoteFiles, live: Mapping[str, Any]) -> None:
        try:
            files.write(
                {
                    "by": self._key,
                    "seconds": self.seconds_before + time.monotonic() - self._began,
                    "peak": peak_memory(self._device),
                    "state": capture(self._roots(live)),
                    "dice": torch_dice(),
                },
                last=True,
            )
        except Exception as error:  # no space, no network: the others train themselves
            self._not_saved(error)


@contextmanager
def _in_place(model: nn.Module) -> Iterator[None]:
    """Weights that are put in place lie where the old ones did, as after training: a method may hold on to them."""
    before = [(t, t.data) for t in (*model.parameters(), *model.buffers())]
    yield
    for t, memory in before:
        t.data = memory.copy_(t.data)


def _harness_alone(live: Mapping[str, Any]) -> bool:
    """Whether nothing but what `capture` sees and the harness's own code takes part in the training: no hook, no patch,
    no module or optimizer of the user's."""
    method, model, optimizer = live["method"], live["model"], live["optimizer"]
    return (
        not vars(method).keys() & set(TRAINS)
        and type(method.task) is Task
        and not any(callable(value) for value in vars(method.task).values())
        and all(_plain_module(module) for module in model.modules())
        and not any(p._backward_hooks or getattr(p, "_post_accumulate_grad_hooks", None) for p in model.parameters())
        and _is_ours(type(optimizer))
        and str(getattr(optimizer.step, "__module__", "")).partition(".")[0] == "torch"
        and not (optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks)
    )


def _plain_module(module: nn.Module) -> bool:
    own = vars(module)
    hooks = any(value for name, value in own.items() if name.endswith("_hooks") and "state_dict" not in name)
    return _is_ours(type(module)) and "forward" not in own and not hooks


def _is_ours(cls: type) -> bool:
    name = cls.__module__
    return name.partition(".")[0] in _OURS and not name.startswith("ltbench.methods")


def _add(whole: Any, value: Any) -> None:
    """Plain data and tensors, to the last bit."""
    if isinstance(value, Tensor):
        flat = value.detach().cpu().contiguous()
        whole.update(f"tensor {flat.dtype} {tuple(flat.shape)} {value.stride()}\0".encode())
        if flat.numel():
            whole.update(flat.view(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, Mapping):
        _add(whole, [[name, entry] for name, entry in value.items()])
    elif isinstance(value, list):
        whole.update(f"list {len(value)}\0".encode())
        for entry in value:
            _add(whole, entry)
    else:
        whole.update(f"{type(value).__name__} {value!r}\0".encode())
