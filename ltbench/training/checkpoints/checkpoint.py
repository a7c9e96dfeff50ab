"""Checkpoints of a running trial: a trial that was killed goes on where its last checkpoint was taken, bit for bit."""

from __future__ import annotations

import hashlib
import inspect
import io
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from types import GeneratorType
from typing import Any

import numpy as np
import torch

from ltbench.api import Stage
from ltbench.spec import KEY
from ltbench.system.files import write_atomically
from ltbench.system.remote import Remote, RemoteFiles
from ltbench.training.checkpoints.state import NotResumable, capture, restore

_MAGIC = b"ltbench checkpoint 1 "


class Stopped(BaseException):
    """The trial was asked to stop, took a checkpoint and leaves the rest to another process."""


class Checkpoints:
    """Takes checkpoints of one trial and takes a trial up from the last one.

    Args:
        folder: KEY/, for this trial alone; its parent must exist. Or files at a URI. None: nothing is ever saved or
            read.
        identity: what a checkpoint must share with this trial to be of use: its key, the device, the threads.
        seconds: how often one is taken at most, beside the end of every stage; 0 is after every step.
        stop: asked after every step whether to stop there.

    Attributes:
        step: the step of the whole training that was begun last, from 1; 0 before the first.
        resumed: how often this trial was taken up. seconds_before: training time until the checkpoint it began from.
        messages: what went wrong, for the record's environment. Nothing that goes wrong here fails the trial.
        taken: what is to be said of training that another trial did (shared.py); empty here.
    """

    def __init__(
        self,
        folder: Path | RemoteFiles | None = None,
        identity: Mapping[str, Any] | None = None,
        seconds: float = 60.0,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.step, self.resumed, self.seconds_before, self.messages = 0, 0, 0.0, list[str]()
        self.taken: Mapping[str, Any] = {}
        self._stop = stop
        self._files = Files(folder) if isinstance(folder, Path) else folder
        self._identity, self._seconds = dict(identity or {}), seconds
        self._found: dict[str, Any] | None = None
        self._anew = False
        self._beside, self._stages = dict[str, Any](), list[list[Any]]()
        self._began = self._due = 0.0

    @property
    def replaying(self) -> bool:
        """A checkpoint was found, and training has not reached its place yet."""
        return self._found is not None

    def begin(self, **beside: Any) -> None:
        """Start the clock and look for a checkpoint.

        Args:
            beside: objects whose state is kept with that of the training, such as the curves drawn so far.
        """
        self._beside, self._stages = beside, list[list[Any]]()
        self._began = time.monotonic()
        self._due = self._began + self._seconds
        if self._files is not None and (problem := self._files.problem()) is not None:
            self.messages.append(f"no checkpoints are taken: {problem}")
            self._files = None
        self._found = None if self._files is None or self._anew else self._newest(self._files)

    def steps(
        self, stage: Stage, steps: int, total: int, live: Mapping[str, Any], stages: Iterator[Stage]
    ) -> Iterator[int]:
        """The steps of a stage that are still to be taken: none of a stage before the checkpoint's, the rest of its
        own. A checkpoint is taken between two steps when one is due, and at the end of every stage but the last.

        Args:
            total: steps of the whole training. live: all that training changes, by name. stages: the method's.

        Raises:
            NotResumable: the checkpoint does not fit the trial.
            Stopped: it was asked for, and steps are left to take.
        """
        self._stages.append([stage.name, steps])
        if self._found is not None and len(self._stages) < len(self._found["stages"]):
            return
        live = {**live, **self._beside, "locals": _locals_of(stages)}
        first = 0 if self._found is None else self._take_up(self._found, live)
        before = sum(n for _, n in self._stages) - steps
        for step in range(first, steps):
            self.step = before + step + 1
            yield step
            if self.step < total:
                stop = self._stop()
                if self._files is not None and (stop or step + 1 == steps or time.monotonic() >= self._due):
                    self._save(step + 1, live, last=stop)
                if stop:
                    raise Stopped

    def close(self) -> None:
        """Training is over. Raises NotResumable if it never came to the place of the checkpoint."""
        if self._found is not None:
            raise NotResumable("the method's stages end before the place of the checkpoint")
        if self._files is not None:
            try:
                self._files.settle()  # else it could arrive after those of a finished trial were removed
            except OSError as error:
                self._not_saved(error)

    def start_over(self, reason: str) -> None:
        """The checkpoint that was found is of no use; the next `begin` looks for none."""
        self.messages.append(f"the checkpoint could not be used ({reason}); the trial started over")
        self._found, self._anew = None, True
        if self._files is not None:
            self._files.clear()

    def _newest(self, files: Files | RemoteFiles) -> dict[str, Any] | None:
        """The content of the newest checkpoint that is whole and of this trial."""
        damaged = False
        for file in self._listed(files):
            try:
                found: dict[str, Any] = files.read(file)  # type: ignore[arg-type]  # as it listed it
                other = [k for k, v in self._identity.items() if found["identity"].get(k) != v]
            except Exception as error:
                damaged = True
                self.messages.append(f"the checkpoint {file.name} is damaged ({error}); it was left out")
                with suppress(Exception):
                    files.remove(file)  # type: ignore[arg-type]
                continue
            if not other:
                return found
            self.messages.append(f"the checkpoint {file.name} is of another {', '.join(other)}; it was left out")
        if damaged:
            self.messages.append("no checkpoint was whole; the trial started over")
        return None

    def _listed(self, files: Files | RemoteFiles) -> Sequence[PurePath]:
        try:
            return files.newest_first()
        except Exception as error:  # a network that comes and goes
            self.messages.append(f"checkpoints could not be looked for ({error}); the trial started over")
            return []

    def _save(self, step: int, live: Mapping[str, Any], last: bool = False) -> None:
        assert self._files is not None
        try:
            self._files.write(
                {
                    "identity": self._identity,
                    "stages": self._stages,
                    "step": step,
                    "seconds": self.seconds_before + time.monotonic() - self._began,
                    "resumed": self.resumed,
                    "state": capture(live),
                    "dice": torch_dice(),
                },
                last,
            )
        except Exception as error:  # no space, no permission, state that cannot be saved: training goes on without
            self._not_saved(error)
        self._due = time.monotonic() + self._seconds

    def _not_saved(self, error: Exception) -> None:
        assert self._files is not None
        reason = f"{error.strerror} in {self._files.place}" if isinstance(error, OSError) else str(error)
        message = f"a checkpoint could not be saved ({reason})"
        if message not in self.messages and len(self.messages) < 5:
            self.messages.append(message)

    def _take_up(self, found: Mapping[str, Any], live: Mapping[str, Any]) -> int:
        """Put the state in place; the step to go on with."""
        if found["stages"] != self._stages:
            raise NotResumable(f"the stages so far are {self._stages}, those of the checkpoint {found['stages']}")
        before = [dict(frame) for frame in live["locals"]]
        restore(live, found["state"])
        for old, new in zip(before, live["locals"], strict=True):
            _check_locals(old, new)
        set_torch_dice(found["dice"])
        self._found = None
        self.resumed, self.seconds_before = found["resumed"] + 1, found["seconds"]
        self._save(found["step"], live)  # so that it is known how often, however soon the next interruption comes
        return int(found["step"])


class Files:
    """The last two checkpoints in `folder`: NUMBER.ckpt, a line with the SHA-256 of the rest, then torch's format."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.place = folder, folder.parent

    def problem(self) -> str | None:
        """Why nothing can be kept here."""
        return None if self.place.is_dir() else f"there is no {self.place} on {socket.gethostname()}"

    def newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.ckpt"), reverse=True)

    def write(self, content: dict[str, Any], last: bool = False) -> None:
        """All of it or nothing, whenever the machine stops. Raises OSError."""
        packed = pack(content)
        self.folder.mkdir(exist_ok=True)
        before = self.newest_first()
        number = int(before[0].stem) + 1 if before else 1
        write_atomically(self.folder / f"{number:08d}.ckpt", packed)
        for old in [*before[1:], *self.folder.glob(".*.ckpt-*")]:
            old.unlink(missing_ok=True)

    def read(self, file: Path) -> dict[str, Any]:
        """The content of a file. Raises OSError, or ValueError if it is damaged."""
        return unpack(file.read_bytes())

    def remove(self, file: Path) -> None:
        file.unlink()

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def settle(self) -> None:
        """What was written is there."""


def pack(content: dict[str, Any]) -> bytes:
    """A checkpoint as a file holds it."""
    stream = io.BytesIO()
    torch.save(content, stream)
    payload = stream.getvalue()
    return _MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload


def unpack(packed: bytes) -> dict[str, Any]:
    """The inverse; nothing of it is ever run as code. Raises ValueError if it is damaged."""
    head, _, payload = packed.partition(b"\n")
    if head != _MAGIC + hashlib.sha256(payload).hexdigest().encode():
        raise ValueError("its checksum does not fit")
    content: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    return content


def place_for(checkpoints: Path | Remote | None, key: str) -> Path | RemoteFiles | None:
    """Where the checkpoints of one trial lie."""
    return (
        RemoteFiles(checkpoints / key, pack, unpack)
        if isinstance(checkpoints, Remote)
        else checkpoints and checkpoints / key
    )


def keys_in(checkpoints: Path | Remote) -> list[str]:
    """Trials that have left something there. Raises OSError."""
    return [name for name in names_in(checkpoints) if KEY.fullmatch(name)]


def names_in(checkpoints: Path | Remote) -> list[str]:
    """All that lies there. Raises OSError, or what a network raises."""
    return checkpoints.names() if isinstance(checkpoints, Remote) else [f.name for f in checkpoints.iterdir()]


def discard(checkpoints: Path | Remote | None, key: str) -> None:
    """Remove the checkpoints of a trial that has a record, or what a group of trials has shared."""
    if isinstance(checkpoints, Remote):
        (checkpoints / key).clear()
    elif checkpoints is not None:
        shutil.rmtree(checkpoints / key, ignore_errors=True)


def torch_dice() -> dict[str, torch.Tensor]:
    """The state of torch's own random numbers."""
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return {"cpu": torch.get_rng_state(), **({"cuda": torch.cuda.get_rng_state()} if on_gpu else {})}


def set_torch_dice(saved: Mapping[str, torch.Tensor]) -> None:
    """The inverse of `torch_dice`."""
    torch.set_rng_state(saved["cpu"])
    if "cuda" in saved:
        torch.cuda.set_rng_state(saved["cuda"])


def _locals_of(stages: Any) -> list[dict[str, Any]]:
    """The local variables of a method's `stages` where it waits, and of the generators it waits for in turn. Iterators
    are left out: running the code again brings them to their place."""
    found = []
    while isinstance(stages, GeneratorType):
        found.append({k: v for k, v in inspect.getgeneratorlocals(stages).items() if not hasattr(type(v), "__next__")})
        stages = stages.gi_yieldfrom
    return found


def _check_locals(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """A local variable can be filled, but not be made to name another object; so it must be equal."""
    for name in old.keys() | new.keys():
        a, b = old.get(name), new.get(name)
        same = np.array_equal(a, b) if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) else a is b or a == b
        if not same:
            raise NotResumable(f"the variable {name!r} of `stages` follows from the training; keep it on self")
