"""Trials with a limit of time or memory: each runs in a process beside this one, which is ended at the limit, whatever
it is doing. The process serves one trial after the other."""

from __future__ import annotations

import atexit
import faulthandler
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from ltbench.spec import Record, TrialSpec
from ltbench.system.messages import show_on_stderr
from ltbench.system.process import memory_of, one_thread
from ltbench.training.attempt import Progress
from ltbench.training.checkpoints.checkpoint import Stopped
from ltbench.training.site import Site
from ltbench.training.trial import Stop, run_trial

GB = 1e9
LOOK_SECONDS = 0.2
"""How often the process is looked at."""
START_SECONDS = 600.0
"""How long it may import torch."""
STACK_SECONDS = 5.0
"""How long it may take to say where it stands."""
_LATE_SECONDS = 60.0
"""So long after its time a process ends by itself, if nobody has ended it."""
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[3]); from ltbench.training import limited; limited.serve()"
)


@dataclass(frozen=True)
class Limits:
    """How long a trial may run in one go, and how much memory of the machine it and its processes may hold.

    Attributes:
        hours: None: as long as it takes. memory_gb: in GB (10^9 bytes); None: as much as there is.
    """

    hours: float | None = None
    memory_gb: float | None = None

    def exceeded(self, seconds: float, pid: int) -> tuple[str, str] | None:
        """The kind of limit that is passed, and a sentence about it."""
        if self.hours is not None and seconds > 3600 * self.hours:
            return "timed_out", f"timed out after {_readable(seconds)} (resources: `hours: {self.hours:g}`)"
        if self.memory_gb is not None and (held := memory_of(pid) / GB) > self.memory_gb:
            return "over_memory", f"over its memory: {held:.2f} GB (resources: `memory_gb: {self.memory_gb:g}`)"
        return None


NONE = Limits()


class Lost(Exception):
    """The process of a trial came to an end by itself: killed from outside, or by its own code."""


def run_limited(
    spec: TrialSpec, site: Site, limits: Limits, progress: Progress | None = None, stop: Stop = lambda: False
) -> Record:
    """`run_trial`, in a process beside this one where there is a limit. A trial that passes its limit is a failure, and
    its record says which limit, and where the trial stood.

    Raises:
        Stopped: it was asked to stop, and has left a checkpoint.
        Lost: its process has ended.
    """
    with one_thread():
        if limits == NONE:
            return run_trial(spec, site, progress, stop)
        return _run_beside(spec, site, limits, progress, stop)


def _run_beside(spec: TrialSpec, site: Site, limits: Limits, progress: Progress | None, stop: Stop) -> Record:
    global _beside
    _beside = _beside or _Process()
    try:
        return _beside.run(spec, site, limits, progress, stop)
    except Stopped:
        raise
    except BaseException:
        _end_process()
        raise
    finally:
        if _beside is not None and _beside.over:
            _beside = None


def _end_process() -> None:
    if _beside is not None:
        _beside.end()


class _Process:
    """The process, from the side that started it."""

    def __init__(self) -> None:
        mine, yours = _pipe()
        self._line, self.over, self._ready = mine, False, False
        self._stacks = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        handed = yours.fileno(), self._stacks.fileno()
        # -P: files of the working folder must not be imported; a session of its own: Ctrl-C comes through this process.
        command = [sys.executable, "-P", "-c", _START, *map(str, handed), json.dumps(sys.path)]
        self._process = subprocess.Popen(command, pass_fds=handed, start_new_session=True, stdin=subprocess.DEVNULL)
        yours.close()

    def run(self, spec: TrialSpec, site: Site, limits: Limits, progress: Progress | None, stop: Stop) -> Record:
        """One trial in it."""
        if not self._ready:
            self._ready = self._hear(START_SECONDS) is not None
        self._say((spec, site, limits.hours))
        began, asked = time.monotonic(), False
        while True:
            word, told = self._hear(LOOK_SECONDS) or ("", ())
            if isinstance(told, Record):
                if told.environment.get("gpu_lost"):  # the next trial gets another process
                    self.end()
                return told
            if word == "stopped":
                raise Stopped
            if word == "progress" and progress is not None:
                progress(*told)
            passed = limits.exceeded(seconds := time.monotonic() - began, self._process.pid)
            if passed is not None:
                kind, reason = passed
                stack = self._where_it_stands()
                self.end()
                facts = {**site.provenance, kind: True, "seconds": round(seconds, 3)}
                return Record(spec=spec, status="failed", error=f"{stack}{reason}", environment=facts)
            if not asked and stop():
                self._say("stop")
                asked = True

    def _say(self, message: Any) -> None:
        try:
            self._line.send(message)
        except OSError as error:
            raise self._lost() from error

    def _hear(self, seconds: float) -> tuple[str, Any] | None:
        """What the process says; None if it says nothing for so long."""
        try:
            if self._line.poll(seconds):
                heard: tuple[str, Any] = self._line.recv()
                return heard
        except (EOFError, OSError) as error:
            raise self._lost() from error
        if self._process.poll() is not None:
            raise self._lost()
        return None

    def _lost(self) -> Lost:
        code = self._process.wait()
        how = f"was ended by signal {-code}" if code < 0 else f"has ended with code {code}"
        return Lost(f"the process of the trial {how}")

    def _where_it_stands(self) -> str:
        """The stack of the trial as Python shows one; nothing if the process does not answer."""
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGUSR1)
        before, deadline = -1, time.monotonic() + STACK_SECONDS
        while time.monotonic() < deadline:
            time.sleep(0.1)
            size = os.fstat(self._stacks.fileno()).st_size
            if size and size == before:
                break
            before = size
        self._stacks.seek(0)
        frames = [line for line in self._stacks.read().decode("utf-8", "replace").splitlines() if line[:1] == " "]
        return "\n".join(["Traceback (most recent call last):", *reversed(frames), ""]) if frames else ""

    def end(self) -> None:
        """Kill it, and what it has started."""
        self.over = True
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._line.close()
        self._stacks.close()


_beside: _Process | None = None
atexit.register(_end_process)


def _pipe() -> tuple[Connection, Connection]:
    from multiprocessing import Pipe

    return Pipe()


def _readable(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def serve() -> None:
    """What the process does: trials that come through the line, on its main thread, so that a signal finds them."""
    line, stacks = Connection(int(sys.argv[1])), int(sys.argv[2])
    faulthandler.register(signal.SIGUSR1, file=stacks, all_threads=False)
    show_on_stderr()
    jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
    asked = threading.Event()
    threading.Thread(target=_listen, args=(line, jobs, asked), daemon=True).start()
    importlib.import_module("torch._dynamo")  # torch's optimizers do, for seconds: not the trial's time
    line.send(("ready", None))
    while True:
        spec, site, hours = jobs.get()
        if hours is not None:  # should nobody be there any more who ends this process: no thread of Python's is needed
            faulthandler.dump_traceback_later(3600 * hours + _LATE_SECONDS, exit=True, file=stacks)
        try:
            said: Any = ("record", run_trial(spec, site, lambda *told: line.send(("progress", told)), asked.is_set))
        except Stopped:
            said = ("stopped", None)
        faulthandler.cancel_dump_traceback_later()
        line.send(said)


def _listen(line: Connection, jobs: queue.SimpleQueue[Any], asked: threading.Event) -> None:
    """Until whoever started this process is gone; then it is, too."""
    try:
        while True:
            heard = line.recv()
            if heard == "stop":
                asked.set()
            else:  # a wish that came after its trial had ended is not meant for the next one
                asked.clear()
                jobs.put(heard)
    finally:
        os._exit(1)
