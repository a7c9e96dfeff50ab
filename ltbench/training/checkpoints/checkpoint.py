"""Checkpoints of a running trial: a trial that was killed goes on where its last checkpoint was taken, bit for bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ltbench.api import Stage
from ltbench.training.checkpoints.files import Damaged, Files, Foreign, Store, newest_in
from ltbench.training.checkpoints.live import LiveState, check_locals, locals_of, set_torch_rng_state, torch_rng_state
from ltbench.training.checkpoints.shared_stage import SharedStage, StageEnd
from ltbench.training.checkpoints.state import NotResumable, capture, restore

_MOST_MESSAGES = 5
"""So many checkpoints that could not be saved are told of; the rest is more of the same."""


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
        shared: what the trial's first stage has in common with other trials; None: nothing.

    Attributes:
        step: the step of the whole training that was begun last, from 1; 0 before the first.
        resumed: how often this trial was taken up. seconds_before: training time until the checkpoint it began from.
        messages: what went wrong, for the record's environment. Nothing that goes wrong here fails the trial.
        reused: facts for the record's environment about training that another trial did; empty without.
    """

    def __init__(
        self,
        folder: Path | Store | None = None,
        identity: Mapping[str, Any] | None = None,
        seconds: float = 60.0,
        stop: Callable[[], bool] = lambda: False,
        shared: SharedStage | None = None,
    ) -> None:
        self.step, self.resumed, self.seconds_before, self.messages = 0, 0, 0.0, list[str]()
        self.reused: Mapping[str, Any] = {}
        self._stop, self._shared = stop, shared
        self._files: Store | None = Files(folder) if isinstance(folder, Path) else folder
        self._identity, self._seconds = dict(identity or {}), seconds
        self._found: dict[str, Any] | None = None
        self._anew = False
        self._beside, self._stages = dict[str, Any](), list[list[Any]]()
        self._began = self._due = 0.0

    @property
    def replaying(self) -> bool:
        """What goes wrong now may be the fault of what was read: a checkpoint was found and training has not reached
        its place yet, or a stage that another trial left is being put in place."""
        return self._found is not None or (self._shared is not None and self._shared.restoring)

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

    def steps(self, live: LiveState, steps: int, total: int, stages: Iterator[Stage]) -> Iterator[int]:
        """The steps of a stage that are still to be taken: none of a stage before the checkpoint's, the rest of its
        own, none of a first stage that another trial has trained. A checkpoint is taken between two steps when one is
        due, and at the end of every stage but the last.

        Args:
            live: all that training changes. steps: of this stage. total: of the whole training. stages: the method's.

        Raises:
            NotResumable: the checkpoint does not fit the trial.
            Stopped: it was asked for, and steps are left to take.
        """
        end = None if self._stages else self._shared_end(live, steps, total)
        self._stages.append([live.stage.name, steps])
        if self._found is not None and len(self._stages) < len(self._found["stages"]):
            return
        if end is not None and self._found is None and self._reuse(end, steps):
            return
        roots = {**live.named(), **self._beside, "locals": locals_of(stages)}
        first = 0 if self._found is None else self._take_up(self._found, roots)
        before = sum(n for _, n in self._stages) - steps
        for step in range(first, steps):
            self.step = before + step + 1
            yield step
            if self.step < total:
                stop = self._stop()
                if self._files is not None and (stop or step + 1 == steps or time.monotonic() >= self._due):
                    self._save(step + 1, roots, last=stop)
                if stop:
                    raise Stopped
        if end is not None:
            self._leave(end)

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
        """What was read is of no use; the next `begin` looks for none of it."""
        if self._shared is not None and self._shared.restoring:
            self._shared = None
            self.messages.append(
                f"training that another trial left could not be used ({reason}); the trial trained itself"
            )
            return
        self.messages.append(f"the checkpoint could not be used ({reason}); the trial started over")
        self.train_anew()

    def train_anew(self) -> None:
        """What was trained so far is of no use; the next `begin` looks for none of it."""
        self._found, self._anew = None, True
        if self._files is not None:
            self._files.clear()

    def _newest(self, files: Store) -> dict[str, Any] | None:
        """The content of the newest checkpoint that is whole and of this trial. Those that cannot be read now are
        kept: where there is no other, none are taken that would take their place."""
        there = newest_in(files, self.messages.append)
        damaged, unread = 0, int(there is None)
        for file in there or ():
            try:
                found = files.read(file)
                other = [k for k, v in self._identity.items() if found["identity"].get(k) != v]
            except Damaged as error:
                damaged += 1
                self.messages.append(f"the checkpoint {file.name} is damaged ({error}); it was left out")
                if not isinstance(error, Foreign):
                    with suppress(Exception):
                        files.remove(file)
                continue
            except Exception as error:  # a file system or a network that is away
                unread += 1
                self.messages.append(f"the checkpoint {file.name} cannot be read ({error}); it was left out, and kept")
                continue
            if not other:
                return found
            self.messages.append(f"the checkpoint {file.name} is of another {', '.join(other)}; it was left out")
        if damaged and not unread:
            self.messages.append("no checkpoint was whole; the trial started over")
        if unread:
            self.messages.append("no checkpoints are taken, which would take the place of what could not be read")
            self._files = None
        return None

    def _take_up(self, found: Mapping[str, Any], roots: Mapping[str, Any]) -> int:
        """Put the state in place; the step to go on with."""
        if found["stages"] != self._stages:
            raise NotResumable(f"the stages so far are {self._stages}, those of the checkpoint {found['stages']}")
        before = [dict(frame) for frame in roots["locals"]]
        restore(roots, _current(found["state"]))
        for old, new in zip(before, roots["locals"], strict=True):
            check_locals(old, new)
        set_torch_rng_state(found["dice"])
        self._found = None
        self.resumed, self.seconds_before = found["resumed"] + 1, found["seconds"]
        self._save(found["step"], roots)  # so that it is known how often, however soon the next interruption comes
        return int(found["step"])

    def _save(self, step: int, roots: Mapping[str, Any], last: bool = False) -> None:
        assert self._files is not None
        try:
            self._files.write(
                {
                    "identity": self._identity,
                    "stages": self._stages,
                    "step": step,
                    "seconds": self._seconds_so_far(),
                    "resumed": self.resumed,
                    "state": capture(roots),
                    "dice": torch_rng_state(),
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
        if message not in self.messages and len(self.messages) < _MOST_MESSAGES:
            self.messages.append(message)

    def _seconds_so_far(self) -> float:
        return self.seconds_before + time.monotonic() - self._began

    def _shared_end(self, live: LiveState, steps: int, total: int) -> StageEnd | None:
        """Where the end of the first stage is shared with other trials. None: it is not."""
        if self._shared is None or self._files is None:
            return None
        try:
            return self._shared.end_of(live, self._beside, steps, total)
        except Exception as error:
            self.messages.append(f"training is not shared ({error})")
            return None

    def _reuse(self, end: StageEnd, steps: int) -> bool:
        """Put the end of the stage in place, if another trial has left it."""
        reused = end.take(self.messages.append)
        if reused is None:
            return False
        self.reused, self.step = reused, steps
        self.seconds_before += reused["shared_seconds"]
        return True

    def _leave(self, end: StageEnd) -> None:
        try:
            end.leave(self._seconds_so_far())
        except Exception as error:  # no space, no network: the others train themselves
            self._not_saved(error)


def _current(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state of a checkpoint as it is kept today. In earlier ones the meter also held the function that it told the
    loss to, which is no state."""
    kind, number, cls, inside = state["meter"]
    return {**state, "meter": [kind, number, cls, [pair for pair in inside if pair[0] != "_watch"]]}
