"""Methods as people write them: `ltbench run --inline --methods mine`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cases.situation import Situation, Write, suite

HEAD = "from ltbench.api import Method\n"
BODY = "class Mine(Method):\n    '''Mine.'''\n"
PREDICT = "    def predict(self, logits):\n        return "
LOSS = "    def loss(self, logits, target, now):\n        "
SUITE = suite("{name: digits, imbalance: [20]}", methods="[mine]")


def run(
    name: str,
    code: str | bytes,
    *says: str,
    ends: int = 1,
    files: dict[str, str | bytes | Write] | None = None,
    silent: tuple[str, ...] = (),
) -> Situation:
    whole = {"mine.yaml": SUITE, "mine/mine.py": code, **(files or {})}
    return Situation(name, whole, ("run", "mine.yaml", "--inline", "--methods", "mine"), ends, says, silent)


SITUATIONS = [
    run("a good one", HEAD + BODY, "1/1", ends=0),
    run("a loss that is None", HEAD + BODY + LOSS + "pass", r"loss.*none", r"mine\.py"),
    run(
        "a loss for each image",
        HEAD + BODY + LOSS + "return -(target * logits.log_softmax(1)).sum(1)",
        "loss",
        r"mine\.py",
    ),
    run("a loss that is a number of Python's", HEAD + BODY + LOSS + "return 1.0", "loss", "float", r"mine\.py"),
    run("labels instead of scores", HEAD + BODY + PREDICT + "logits.argmax(1)", "predict", r"mine\.py"),
    run("columns are missing", HEAD + BODY + PREDICT + "logits[:, :3]", "predict", "3", r"mine\.py"),
    run("the scores of one image", HEAD + BODY + PREDICT + "logits[0]", "predict", r"mine\.py"),
    run("it ends the process", HEAD + BODY + LOSS + "raise SystemExit(0)", "systemexit", r"mine\.py, line 5"),
    run(
        "it reads the command line",
        "import argparse\nargparse.ArgumentParser().parse_args(['-x'])\n" + HEAD + BODY,
        r"mine\.py",
        "sys.exit",
        ends=2,
    ),
    run("it ends the process when it is imported", "import sys\nsys.exit(0)\n" + HEAD + BODY, r"mine\.py", ends=2),
    run("a mark first", b"\xef\xbb\xbf" + (HEAD + BODY).encode(), "1/1", ends=0),
    run(
        "a helper with a mark",
        HEAD + "from helper import ONE\n" + BODY,
        "1/1",
        ends=0,
        files={"mine/helper.py": b"\xef\xbb\xbfONE = 1\n"},
    ),
    run(
        "a helper in a package",
        HEAD + "from mine_tools.more import ONE\n" + BODY + LOSS + "return ONE * super().loss(logits, target, now)",
        "1/1",
        ends=0,
        files={"mine/mine_tools/__init__.py": "", "mine/mine_tools/more.py": "ONE = 1\n"},
    ),
    run(
        "a table beside it",
        HEAD + "import pathlib\nT = float((pathlib.Path(__file__).parent / 'w.txt').read_text())\n" + BODY,
        "1/1",
        ends=0,
        files={"mine/w.txt": "1.0"},
    ),
    run("two methods in a file", HEAD + BODY + BODY.replace("Mine", "Yours"), "exactly one", ends=2),
    run("no method in a file", HEAD + "class Mine:\n    pass\n", "exactly one", ends=2),
    run("no python", "class Mine(Method:\n", r"mine\.py", "line 1", ends=2),
]


@pytest.mark.parametrize("situation", SITUATIONS, ids=str)
def test_methods(situation: Situation, follows: Callable[[Situation], None]) -> None:
    follows(situation)


READS = "import pathlib\nK = 3\nT = float(open(pathlib.Path(__file__).parent / f'w_{K}.txt').read())\n"
NAMED = READS.replace("f'w_{K}.txt'", "'w_3.txt'")


@pytest.mark.parametrize(("code", "silent"), [(READS, ()), (NAMED, ("no code there names",))])
def test_a_file_whose_name_is_put_together_is_told(
    code: str, silent: tuple[str, ...], follows: Callable[[Situation], None]
) -> None:
    """Its content would be in no trial's key."""
    files: dict[str, str | bytes | Write] = {
        "mine.yaml": SUITE,
        "mine/mine.py": code + HEAD + BODY,
        "mine/w_3.txt": "1",
        "mine/README.txt": "Mine.",
    }
    says = () if silent else ("no code there names w_3.txt:",)
    follows(Situation("", files, ("plan", "mine.yaml", "--methods", "mine"), 0, says, silent))
