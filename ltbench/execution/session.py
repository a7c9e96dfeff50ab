"""A run's time with Ray: from joining or starting it to leaving it, with what signals and a dying Ray do meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ltbench.errors import UserError
from ltbench.execution.cluster import LONGEST_SESSION, connect, disconnect, refuse_another_ray, refuse_dead_ray
from ltbench.system.interrupt import Interrupt, Interrupted
from ltbench.system.process import one_thread
from ltbench.system.scratch import scratch_folder

LOOK_SECONDS = 1.0
"""How often it is looked whether Ray's processes are there."""
DEAD_SECONDS = 10.0
"""How long the driver has to come to an end by itself when they are gone."""
_SESSION = "r"
"""Ray's own folder in ours: short, for the sake of its sockets' paths."""


@contextmanager
def joined(interrupt: Interrupt) -> Iterator[Path]:
    """Ray from here to there; a temporary folder of this process for what belongs to it.

    Raises:
        UserError: the cluster cannot be joined, or Ray cannot be started.
        Interrupted: a signal came while Ray started, and it did not.
    """
    with one_thread():  # a process can be in one Ray at a time
        refuse_another_ray()
        with _joined(interrupt) as scratch:
            yield scratch


@contextmanager
def _joined(interrupt: Interrupt) -> Iterator[Path]:
    longest = None if "RAY_ADDRESS" in os.environ else LONGEST_SESSION - len(_SESSION) - 1
    with scratch_folder(longest) as scratch:
        interrupt.at_once.append(lambda: shutil.rmtree(scratch))
        with _started(interrupt, scratch / _SESSION):
            yield scratch


@contextmanager
def _started(interrupt: Interrupt, session: Path) -> Iterator[None]:
    over = threading.Event()
    try:
        try:
            with interrupt.deaf_to_hangups():  # and so are Ray's processes: a closed terminal is ours to handle
                connect(session)
            interrupt.take_back()  # ray, too, catches SIGTERM
        except SystemExit as left:
            if left.code != signal.SIGTERM:
                raise
            raise Interrupted(signal.SIGTERM) from left
        except UserError:
            if interrupt.asked:
                raise Interrupted(interrupt.code - 128) from None
            raise
        threading.Thread(target=_end_with_ray, args=(interrupt, over), name="ray", daemon=True).start()
        yield
    finally:
        disconnect()
        over.set()


def _end_with_ray(interrupt: Interrupt, over: threading.Event) -> None:
    """In a thread of its own: a Ray that was killed can leave this process waiting for ever."""
    while not over.wait(LOOK_SECONDS):
        try:
            refuse_dead_ray()
        except UserError as error:
            if not over.wait(DEAD_SECONDS):  # else the message went its usual way
                interrupt.leave(f"error: {error}", 2)
            return
