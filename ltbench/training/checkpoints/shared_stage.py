"""Training that several trials have in common is done once.

Methods that correct a plainly trained model (tau-normalisation, post-hoc logit adjustment), or go on from one, begin as
cross-entropy or as each other does. The first trial of such a group leaves the state that its first stage ended in; the
others take it up and go on from there, to the numbers that training themselves would have given, bit for bit.

That two trials begin alike is not guessed from their names: a state is kept under a digest of everything the stage
follows from, weights and random generators included, and only where nothing but the harness's own code trains.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ltbench.api import Method, Task
from ltbench.system.remote import Remote
from ltbench.training.checkpoints.files import Damaged, Files, Store, newest_in, place_for
from ltbench.training.checkpoints.live import LiveState, set_torch_rng_state, torch_rng_state
from ltbench.training.checkpoints.state import capture, restore
from ltbench.training.device.provenance import peak_memory

_PREFIX = "shared-"
TRAINS = ("__init__", "head", "draw", "mix", "forward", "loss", "step")
"""What a method has to leave as it is in `Method` for its training to be the harness's alone, beside its stages."""
_OURS = ("torch", "torchvision", "open_clip", "timm", "ltbench")
"""Packages whose modules and optimizers are the same code for all trials of a run."""
_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks", "_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
"""Where torch keeps the hooks of parameters and optimizers; there is no public way to ask for them."""


def name_of(group: str, state: str) -> str:
    """The folder of what a group shares of one state."""
    return f"{_PREFIX}{group}-{state[:16]}"


def is_shared(name: str) -> bool:
    """Whether a folder among checkpoints is one of these."""
    return name.startswith(_PREFIX)


def group_in(name: str) -> str:
    """The group that a folder is of."""
    return name.removeprefix(_PREFIX).partition("-")[0]


class SharedStage:
    """The first stage of one trial, as far as other trials train the same.

    Args:
        place: where states are shared; it must exist. group: as `group_of` gives it. key: the trial's.
        machine: what the numbers depend on beside the trial: the device, the threads, torch's version.
        device: where the trial trains.

    Attributes:
        restoring: a state that another trial left is being put in place; what goes wrong now may be its fault.
    """

    def __init__(
        self, place: Path | Remote, group: str, key: str, machine: Mapping[str, Any], device: torch.device
    ) -> None:
        self.place, self.group, self.key, self.machine, self.device = place, group, key, dict(machine), device
        self.restoring = False

    def end_of(self, live: LiveState, beside: Mapping[str, Any], steps: int, total: int) -> StageEnd | None:
        """The end of the stage that begins now. None: it is not to be shared.

        Args:
            live: all that training changes. beside: what is kept with it. steps: of this stage. total: of the training.

        Raises:
            NotResumable: the state cannot be captured.
        """
        if not _harness_alone(live.method, live.model, live.optimizer):
            return None
        roots = {**_without(live, "method", "stage"), **beside}
        whole = hashlib.sha256()
        stage = [steps, total, live.stage.class_probs, *vars(live.stage).get("schedule", ())]
        _add(whole, [capture({**roots, "stage": stage}), self.machine])
        _add(whole, torch_rng_state())
        place = place_for(self.place, name_of(self.group, whole.hexdigest()))
        assert place is not None
        return StageEnd(self, Files(place) if isinstance(place, Path) else place, live.model, roots)


class StageEnd:
    """The state in which a shared stage ends: taken from the trial that trained it, or left for the others.

    Args:
        stage: the shared stage. store: where its end lies, named by everything that the stage follows from.
        model: that of the trial. roots: name -> object, all that changes in the stage.
    """

    def __init__(self, stage: SharedStage, store: Store, model: nn.Module, roots: Mapping[str, Any]) -> None:
        self._stage, self._store, self._model, self._roots = stage, store, model, roots

    def take(self, report: Callable[[str], None]) -> dict[str, Any] | None:
        """Put the end of the stage in place, if another trial has left it.

        Args:
            report: told of a state that is damaged.

        Returns:
            For the record: trained_by (the key of that trial), shared_seconds and peak_memory_bytes of its training.
            None: there is nothing to take.
        """
        for file in newest_in(self._store, report) or ():
            try:
                found = self._store.read(file)
            except Exception as error:
                wrong = "is damaged" if isinstance(error, Damaged) else "cannot be read"
                report(f"training that another trial left {wrong} ({error}); the trial trained itself")
                continue
            self._stage.restoring = True
            with _in_place(self._model):
                restore(self._roots, found["state"])
            set_torch_rng_state(found["dice"])
            self._stage.restoring = False
            return {"trained_by": found["by"], "shared_seconds": found["seconds"], "peak_memory_bytes": found["peak"]}
        return None

    def leave(self, seconds: float) -> None:
        """Leave the end of the stage for the others. Raises what keeps it from arriving.

        Args:
            seconds: that its training took.
        """
        self._store.write(
            {
                "by": self._stage.key,
                "seconds": seconds,
                "peak": peak_memory(self._stage.device),
                "state": capture(self._roots),
                "dice": torch_rng_state(),
            },
            last=True,
        )


@contextmanager
def _in_place(model: nn.Module) -> Iterator[None]:
    """Weights that are put in place lie where the old ones did, as after training: a method may hold on to them."""
    before = [(t, t.data) for t in (*model.parameters(), *model.buffers())]
    yield
    for t, memory in before:
        t.data = memory.copy_(t.data)


def _harness_alone(method: Method, model: nn.Module, optimizer: torch.optim.Optimizer) -> bool:
    """Whether nothing but what `capture` sees and the harness's own code takes part in the training: no hook, no patch,
    no module or optimizer of the user's."""
    return (
        not vars(method).keys() & set(TRAINS)
        and type(method.task) is Task
        and not any(callable(value) for value in vars(method.task).values())
        and all(_plain_module(module) for module in model.modules())
        and not any(map(_has_hooks, (*model.parameters(), optimizer)))
        and _is_ours(type(optimizer))
        and str(getattr(optimizer.step, "__module__", "")).partition(".")[0] == "torch"
    )


def _without(live: LiveState, *names: str) -> dict[str, Any]:
    return {name: value for name, value in live.named().items() if name not in names}


def _has_hooks(value: object) -> bool:
    return any(getattr(value, name, None) for name in _HOOKS)


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
