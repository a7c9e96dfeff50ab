"""One of the two drivers of a storm, with what is its own: a folder of results, a place for checkpoints, a Ray."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from ltbench.results.folders import Folders
from ltbench.system.remote import Remote
from tests.faults.storm.stage import MARK, Nodes, workers_of

ENDS = 90.0
"""Seconds that a driver has to end once it was struck."""
PYTHON_ALONE = "Fatal Python error: init_import_site"
"""What Python says of a Ctrl-C before any line of ltbench has run."""


class Side:
    """Gives its command again and again, and looks at how it ends.

    Args:
        name: of its folder. arguments: of `ltbench`, without the folder of results.
        checkpoints: where trials leave them, if not in the folder of results. nodes: its cluster; None: it starts Ray.

    Attributes:
        codes: exit codes with which the driver that runs now may end. struck: it is to end by itself.
        problems: what was not as it should be.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        arguments: list[str],
        environment: Mapping[str, str],
        checkpoints: Remote | None = None,
        nodes: Nodes | None = None,
    ) -> None:
        self.name, self.mark, self.nodes, self.log = name, f"{folder.name}-{name}", nodes, folder / f"{name}.log"
        self.folders = Folders(folder / name, "storm")
        self.checkpoints = Remote(f"file://{self.folders.checkpoints}") if checkpoints is None else checkpoints
        self._command = [sys.executable, "-m", "ltbench", *arguments, "--results", str(folder / name)]
        self._environment = {**environment, MARK: self.mark}
        self.driver: subprocess.Popen[bytes] | None = None
        self.rival: subprocess.Popen[bytes] | None = None
        self.codes, self.struck, self.began, self.commands = {0}, False, 0.0, 0
        self.problems: list[str] = []
        self._known: set[str] | None = None
        self._offset = 0

    def _popen(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(self._command, stdout=log, stderr=log, env=self._environment,
                                    start_new_session=True)  # fmt: skip

    def start(self) -> None:
        """Give the command."""
        self.driver, self.codes, self.struck, self.began = self._popen(), {0}, False, time.monotonic()
        self.commands, self._known = self.commands + 1, None

    def start_rival(self) -> None:
        """Give it once more beside the one that runs."""
        self.rival = self._popen()

    def expect(self, *codes: int) -> None:
        """The driver was struck, and is to end: with one of these codes, or well if it was through."""
        self.codes, self.struck, self.began = {0, *codes}, True, time.monotonic()

    def look(self) -> None:
        """See whether it, or its rival, has ended, and how."""
        assert self.driver is not None
        if self.rival is not None and self.rival.poll() is not None:
            if self.rival.returncode != 2 or "another ltbench works on this suite" not in self._said():
                self.problems.append(f"{self.name}: a second driver ended with {self.rival.returncode}")
            self.rival = None
        if self.struck and self.driver.poll() is None and time.monotonic() > self.began + ENDS:
            self.problems.append(f"{self.name}: the command did not end in {ENDS:.0f} s; it should with {self.codes}")
            os.killpg(self.driver.pid, signal.SIGKILL)
            self.driver.wait()
            self.codes.add(-signal.SIGKILL)
        if self.driver.poll() is not None:
            self._ended(self.driver.returncode)

    def _ended(self, code: int) -> None:
        said = self._said()
        if self.struck and code == 1 and PYTHON_ALONE in said:
            pass  # a signal came before a line of ours had run
        elif code not in self.codes:
            self.problems.append(f"{self.name}: the command ended with {code}, not {sorted(self.codes)}:\n{said}")
        elif "Traceback (most recent call last)" in said:
            self.problems.append(f"{self.name}: a traceback:\n{said}")
        self.driver = self.rival  # one that waited for the lock may have it now
        self.rival, self.codes, self.struck, self.began = None, {0, 2}, False, time.monotonic()

    def _said(self) -> str:
        """What was said since this was asked last."""
        with self.log.open("rb") as log:
            log.seek(self._offset)
            said = log.read()
        self._offset += len(said)
        return said.decode(errors="replace")

    def workers(self) -> list[int]:
        """Processes in which its trials run."""
        return workers_of(self.mark)

    def has_checkpoint(self) -> bool:
        """One was taken since this was asked first, after the driver began or after the last fault."""
        there = self._checkpoints()
        if self._known is None:
            self._known = there
        return bool(there - self._known)

    def was_struck(self) -> None:
        """Something else is to be there before the next fault."""
        self._known = None

    def _checkpoints(self) -> set[str]:
        system, root = self.checkpoints.open()
        system.invalidate_cache()
        return {name for name in system.find(root) if name.endswith(".ckpt")}

    def finish(self, seconds: float) -> None:
        """Give the command until it says that all is well."""
        for _ in range(4):
            if self.driver is None:
                self.start()
            assert self.driver is not None
            try:
                code = self.driver.wait(seconds)
            except subprocess.TimeoutExpired:
                self.problems.append(f"{self.name}: the command does not end")
                return
            self.look()
            if code == 0 and self.driver is None:
                break
        else:
            self.problems.append(f"{self.name}: the same command does not come to an end")
        if left := self._checkpoints():
            self.problems.append(f"{self.name}: {len(left)} checkpoints are left, such as {min(left)}")

    def stop(self) -> None:
        """End what still runs, whatever came of it."""
        for process in (self.driver, self.rival):
            if process is not None and process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
