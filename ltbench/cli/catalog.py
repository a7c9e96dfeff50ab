"""What there is to choose from, as text: methods, one method in full, data sets."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from ltbench.data.sources.kinds import source_kinds
from ltbench.errors import UserError

if TYPE_CHECKING:
    from ltbench.registry import Registry


def method_list(registry: Registry) -> str:
    """All methods with one line each."""
    rows = [(name, _summary(registry, name)) for name in registry.names()]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {summary}" for name, summary in rows]
    return "\n".join([*lines, "", "ltbench methods NAME shows one in full."]) + "\n"


def _summary(registry: Registry, name: str) -> str:
    """One line; for a file that is broken, what is wrong with it, so that the others are still listed."""
    try:
        return registry.get(name).summary()
    except UserError as error:
        return f"BROKEN: {error}"


def method_page(registry: Registry, name: str) -> str:
    """One method: what it does, its paper, needs, origin and hyper-parameters."""
    cls = registry.get(name)
    facts = [
        ("paper", cls.paper or "not stated"),
        ("defaults from", cls.defaults_from or "not stated"),
        ("needs", ", ".join(sorted(cls.needs)) or "nothing beyond images and labels"),
        ("comes from", registry.origin(name)),
    ]
    lines = [f"{name}: {cls.summary()}", ""]
    lines += [textwrap.fill(f"{k + ':':<15}{v}", 100, subsequent_indent=" " * 15) for k, v in facts]
    if not cls.hyperparameters:
        return "\n".join([*lines, "", "It has no hyper-parameters."]) + "\n"
    rows = [
        [field, _shown(h.default), h.domain, str(h.search or ""), textwrap.fill(h.meaning, 50)]
        for field, h in cls.hyperparameters.items()
    ]
    table = tabulate(rows, headers=["hyper-parameter", "default", "allowed", "search range", "meaning"],
                     disable_numparse=True)  # fmt: skip
    return "\n".join([*lines, "", table]) + "\n"


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def dataset_list() -> str:
    """All kinds of data set with their options."""
    lines = []
    width = max(len(kind) for kind in source_kinds())
    for kind, cls in source_kinds().items():
        options = ", ".join(f"{k} (default {'by size' if v is None else v})" for k, v in cls.options.items())
        places = ", ".join(("path", *cls.places) if cls.needs_path or cls.may_have_path else ())
        lines.append(f"{kind:<{width}}  {cls.summary}")
        lines += [
            f"{'':<{width}}  {title}: {text}" for title, text in (("options", options), ("where", places)) if text
        ]
    lines.append(
        "\nEach is made long-tailed by imbalance: [..] and profile: exp, exp:1000, step or step:0.2, or taken as it "
        "is: native."
    )
    lines.append("`ltbench docs datasets` explains the keys.")
    return "\n".join(lines) + "\n"


def suite_list() -> str:
    """The suites that come with ltbench, with their questions."""
    from ltbench.suite.yaml_file import read_suite_file, shipped_suites

    questions = {name: str(read_suite_file(file).data.get("question", "")) for name, file in shipped_suites().items()}
    width = max(map(len, questions))
    lines = [f"{name:<{width}}  {questions[name]}" for name in sorted(questions)]
    more = "ltbench suites show NAME prints one; ltbench suites copy NAME makes a copy to change."
    return "\n".join([*lines, "", more]) + "\n"


def suite_text(name: str, *, merged: bool) -> str:
    """The file of a suite that comes with ltbench; `merged`: with what it extends, in one.

    Raises:
        UserError: no such suite comes with ltbench.
    """
    from ltbench.errors import did_you_mean
    from ltbench.suite.yaml_file import as_yaml, read_suite_file, shipped, shipped_suites

    file = shipped(name)
    if file is None:
        raise UserError(f"no suite {name!r} comes with ltbench. {did_you_mean(name, shipped_suites())}")
    return as_yaml(read_suite_file(file).data) if merged else file.read_text(encoding="utf-8")


def copied_suite(name: str, target: Path | None) -> Path:
    """Write a suite that comes with ltbench, in one file, to change it.

    Args:
        target: the file, or a folder for NAME.yaml; None: the current folder.

    Raises:
        UserError: no such suite, or the file is there already or cannot be written.
    """
    text = suite_text(name, merged=True)
    file = target or Path()
    if file.is_dir():
        file = file / f"{Path(name).stem}.yaml"
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise UserError(f"{file}: is there already; name another file") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror})") from error
    return file
