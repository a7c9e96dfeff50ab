"""Lines for a person: shown by commands, silent in a library, never a reason to fail."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path


def told(script: str, folder: Path) -> tuple[str, str]:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=folder, check=True)
    return done.stdout, done.stderr


SAY = "from ltbench.system.messages import say, show_on_stderr\n"


def test_a_library_says_nothing_unless_its_user_asks(tmp_path: Path) -> None:
    assert told(f"{SAY}say('a line')", tmp_path) == ("", "")
    asked = f"import logging; logging.basicConfig(level='INFO', format='%(name)s: %(message)s')\n{SAY}say('a line')"
    assert told(asked, tmp_path) == ("", "ltbench: a line\n")


def test_a_command_shows_every_line_once(tmp_path: Path) -> None:
    twice = f"import logging; logging.basicConfig(level='INFO')\n{SAY}show_on_stderr(); show_on_stderr()\nsay('a line')"
    assert told(twice, tmp_path) == ("", "a line\n")


def test_a_closed_stderr_is_no_reason_to_fail(tmp_path: Path) -> None:
    assert told(f"import sys\n{SAY}show_on_stderr()\nsys.stderr.close()\nsay('a line')\nprint('on')", tmp_path) == (
        "on\n",
        "",
    )


def test_the_logger_is_the_packages_own() -> None:
    assert logging.getLogger("ltbench").handlers, "without a handler Python's own would print warnings"
