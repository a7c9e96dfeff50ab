"""Several pieces of work in threads of one process, of which one runs at a time. They change where the work says so.

On a GPU what they have begun goes on meanwhile, each on a stream of its own, so that small kernels run side by side.
As no two threads ever run Python at once, nothing of the process needs to be safe for threads; what it has only once
and the work changes (random generators) is exchanged at every change.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from ltbench.execution.here.generators import OwnGenerators


class Turns:
    """A ring of lanes that hand on the turn.

    Args:
        device: where the work computes.

    Attributes:
        stopping: one has failed, or the thread of `run` was interrupted: the others are to leave their work soon.
    """

    def __init__(self, device: torch.device) -> None:
        self.stopping = False
        self._device = device
        self._lanes: list[Lane] = []
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue()

    def run(self, works: Sequence[Callable[[Lane], None]]) -> None:
        """Do all of it, and what it asks this thread to do.

        Raises:
            BaseException: what the first piece of work that failed raised, once all have ended; or what interrupted
                this thread.
        """
        before = OwnGenerators(self._device)
        self._lanes = [Lane(self, work, self._device) for work in works]
        for lane in self._lanes:
            lane.start()
        self._lanes[0].turn.release()
        try:
            self._serve()
        except BaseException:  # such as Ctrl-C in a notebook
            self.stopping = True
            self._serve()
            raise
        finally:
            before.put_in_place()
        failed = [lane.error for lane in self._lanes if lane.error is not None]
        if failed:
            raise failed[0]

    def _serve(self) -> None:
        """Until all lanes have ended."""
        while not all(lane.over for lane in self._lanes) or not self._calls.empty():
            call = self._calls.get()
            if call is not None:
                call()

    def after(self, lane: Lane) -> Lane | None:
        """The lane whose turn comes after this one's; None: no other has work left."""
        at = self._lanes.index(lane)
        ring = [*self._lanes[at + 1 :], *self._lanes[:at]]
        return next((other for other in ring if not other.over), None)

    def ask(self, call: Callable[[], None] | None) -> None:
        """Have the thread of `run` do something; None: a lane has ended."""
        self._calls.put(call)


class Lane(threading.Thread):
    """A thread that waits for its turns.

    Attributes:
        turn: released when it is this lane's. over: its work is done. error: what it raised.
    """

    def __init__(self, turns: Turns, work: Callable[[Lane], None], device: torch.device) -> None:
        super().__init__(daemon=True)  # at the second signal the process ends, whoever has the turn
        self._turns, self._work, self._device = turns, work, device
        self._generators = OwnGenerators(device)
        self.turn = threading.Semaphore(0)
        self.over = False
        self.error: BaseException | None = None

    def run(self) -> None:
        """All turns."""
        self._wait()
        try:
            with _stream(self._device):
                self._work(self)
        except BaseException as error:
            self.error = error
            self._turns.stopping = True
        self.over = True
        following = self._turns.after(self)
        self._turns.ask(None)
        if following is not None:
            following.turn.release()

    @property
    def stopping(self) -> bool:
        """The work is to be left soon."""
        return self._turns.stopping

    def hand_on(self) -> None:
        """Let the others have their turns; comes back with the generators as they were."""
        following = self._turns.after(self)
        if following is not None:
            self._generators.keep()
            following.turn.release()
            self._wait()

    def in_main_thread(self, call: Callable[[], Any]) -> None:
        """Have the thread of `Turns.run` do something, and wait for it; nobody else has a turn meanwhile.

        Raises:
            BaseException: what the call raised.
        """
        done, problems = threading.Event(), list[BaseException]()

        def guarded() -> None:
            try:
                call()
            except BaseException as error:
                problems.append(error)
            finally:
                done.set()

        self._turns.ask(guarded)
        done.wait()
        if problems:
            raise problems[0]

    def _wait(self) -> None:
        self.turn.acquire()
        self._generators.put_in_place()


def _stream(device: torch.device) -> AbstractContextManager[Any]:
    """A stream of its own for all that a lane does: memory that one gives back goes to its own next tensors only."""
    if device.type != "cuda":
        return nullcontext()
    return torch.cuda.stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]
