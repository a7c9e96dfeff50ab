"""What becomes of a command whose output is closed, full, cut off, or of a small encoding."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ltbench.errors import clipped, harmless

SCRIPT = """
import sys
from ltbench.cli.streams import careful_output
with careful_output():
    sys.stdout.write(sys.argv[1] * int(sys.argv[2]))
    sys.stdout.flush()
    print("end", file=sys.stderr)
"""


def shell(redirected: str, text: str = "x", times: int = 3, **environment: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of a process that writes a text so many times into what the shell gives it."""
    command = f'"{sys.executable}" -c "$SCRIPT" "$TEXT" {times} {redirected}'
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, timeout=60, check=False,
        env={**os.environ, "SCRIPT": SCRIPT, "TEXT": text, "LC_ALL": "C.UTF-8", **environment},
    )  # fmt: skip
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("times", [3, 1_000_000])
def test_a_full_disk_is_one_line_and_exit_code_74(unbuffered: str, times: int) -> None:
    code, _, said = shell("> /dev/full", times=times, PYTHONUNBUFFERED=unbuffered)
    assert code == 74
    assert said.startswith("error: the output cannot be written (No space left on device)")
    assert said.count("\n") == 1


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_where_nobody_reads_any_more_nothing_is_said(unbuffered: str) -> None:
    code, _, said = shell("| true", times=1_000_000, PYTHONUNBUFFERED=unbuffered)
    assert (code, said) == (141, "")


def test_a_closed_output_ends_nothing() -> None:
    assert shell(">&-") == (0, "", "end\n")


def test_a_file_that_is_opened_later_does_not_become_the_closed_output(tmp_path: Path) -> None:
    script = SCRIPT.replace("sys.stdout.write", f"kept = open({str(tmp_path / 'kept')!r}, 'w'); sys.stdout.write")
    code, _, _ = shell(">&-", SCRIPT=script)
    assert (code, (tmp_path / "kept").read_text()) == (0, "")


def test_a_full_standard_error_ends_nothing() -> None:
    script = SCRIPT.replace("print(", "from ltbench.cli.streams import say; say(").replace(", file=sys.stderr", "")
    assert shell("2> /dev/full", SCRIPT=script)[:2] == (0, "xxx")


@pytest.mark.parametrize(
    ("encoding", "text", "shown"),
    [
        ("ascii", "41.0 \u00b10.3 \u2192 \u6f22", "41.0 +-0.3 -> ?"),
        ("latin-1", "\u2014 e\u0301", "- e?"),
        ("utf-8", "\u00b1 \u6f22", "\u00b1 \u6f22"),
    ],
)
def test_characters_that_the_encoding_lacks_are_replaced(encoding: str, text: str, shown: str) -> None:
    code, out, said = shell("", text, 1, PYTHONIOENCODING=encoding)
    assert (code, out, said) == (0, shown, "end\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;t\x07a\tb\nc", "?]0;t?a?b\nc"),
        ("a\x9bb\x7f", "a?b?"),
        ("a\u202eb", "a?b"),
        ("caf\udce9", "caf\\xe9"),
        ("caf\u00e9 \u6f22", "caf\u00e9 \u6f22"),
    ],
)
def test_what_comes_from_outside_steers_no_terminal(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_long_values_are_cut_in_messages() -> None:
    assert clipped("k" * 80) == "k" * 80
    assert clipped("k" * 81) == "k" * 77 + "..."
    assert clipped("a\nb") == "a?b"
