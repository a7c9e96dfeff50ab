"""Suite files as data: YAML with the place of every key, `extends`, and `--set`. The only file that imports yaml."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ltbench.errors import UserError, clipped, is_unicode
from ltbench.suite.places import GIVEN, KeyPath, Overrides, Place, SuiteData, dotted, merge, plain, put
from ltbench.system.shipped import shipped_folder

_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_MAX_NODES = 100_000
"""Far above any real suite; stops a file whose aliases unfold without end."""


def read_suite_file(file: Path, overrides: Overrides = ()) -> SuiteData:
    """Read a suite, what it extends, and `KEY.PATH=VALUE` overrides, in rising precedence.

    Mappings merge key by key; lists and single values replace what they override.

    Raises:
        UserError: a missing file, bad YAML, a circle of `extends`, or an override that cannot be applied.
    """
    try:
        data, places = _read_chain(file, ())
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such suite file") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise UserError(f"{str(file)[:200]!r}: cannot be read ({error})") from error
    return _with_overrides(SuiteData(data, places, file), overrides)


def read_suite_mapping(contents: Mapping[str, Any], overrides: Overrides = ()) -> SuiteData:
    """The same for a suite that is handed over as a mapping. What it `extends` is looked for from the working folder.

    Raises:
        UserError: something in it that YAML could not have held, or as `read_suite_file`.
    """
    data: dict[str, Any] = plain(contents, ())
    places: dict[KeyPath, Place] = {(): GIVEN}
    if (parent := data.pop("extends", None)) is not None:
        if not isinstance(parent, str):
            raise UserError(f"{GIVEN}: extends: expected the name of a suite file, got {parent!r}")
        below = read_suite_file(_parent(Path(GIVEN.other), parent))
        data, places = merge(below.data, data, below.places, places), below.places
    return _with_overrides(SuiteData(data, places, None), overrides)


def _with_overrides(suite: SuiteData, overrides: Overrides) -> SuiteData:
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            put(suite, key, plain(value, (key,)), f"override {key}")
        return suite
    for override in overrides:
        key, sign, text = override.partition("=")
        if not sign or not key:
            raise UserError(f"--set {clipped(override)}: expected KEY.PATH=VALUE, for example recipes.scratch.epochs=1")
        said = f"--set {clipped(override)}"
        put(suite, key, _value_of(text, said), said)
    return suite


def _value_of(text: str, said: str) -> Any:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        return _Builder(lambda line: said, {}).build(root) if root is not None else None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{said}: the value is not valid YAML") from error


def _read_chain(file: Path, above: tuple[Path, ...]) -> tuple[dict[str, Any], dict[KeyPath, Place]]:
    if file.resolve() in above:
        raise UserError(f"{file}: `extends` goes in a circle: {' -> '.join(p.name for p in (*above, file))}")
    data, places = _read_yaml(file)
    parent = data.pop("extends", None)
    if parent is None:
        return data, places
    if not isinstance(parent, str):
        raise UserError(f"{places[('extends',)]}: extends: expected the name of a suite file, got {parent!r}")
    try:
        below, below_places = _read_chain(_parent(file, parent), (*above, file.resolve()))
    except FileNotFoundError as error:
        raise UserError(f"{places[('extends',)]}: extends: no such suite file: {parent}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{places[('extends',)]}: extends: {parent!r} cannot be read ({error})") from error
    return merge(below, data, below_places, places), below_places


def _parent(file: Path, name: str) -> Path:
    """The file that `extends` names: beside its own, else one of the suites that come with ltbench."""
    beside = file.parent / Path(name).expanduser()
    return beside if beside.exists() else shipped(name) or beside


def as_yaml(suite: Mapping[str, Any]) -> str:
    """A suite's data as YAML, in its own order; what is not set is left out."""

    def told(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: told(inner) for key, inner in value.items() if inner is not None}
        return [told(inner) for inner in value] if isinstance(value, list | tuple) else value

    return yaml.safe_dump(told(suite), sort_keys=False, allow_unicode=True, width=100)


def shipped_suites() -> dict[str, Path]:
    """The suites that come with ltbench, by name: installed, or, in a checkout, the folder beside the package."""
    return {p.stem: p for p in shipped_folder("suites").glob("*.yaml")}


def shipped(name: str) -> Path | None:
    """The file of a suite that comes with ltbench: `quickstart`, `quickstart.yaml` or `suites/quickstart.yaml`."""
    return shipped_suites().get(_shipped_name(name))


def _shipped_name(name: str) -> str:
    path = Path(name)
    return path.name.removesuffix(".yaml").removesuffix(".yml") if path.parent in (Path(), Path("suites")) else ""


def _read_yaml(file: Path) -> tuple[dict[str, Any], dict[KeyPath, Place]]:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: cannot be read ({error})") from error
    places: dict[KeyPath, Place] = {}
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = _Builder(lambda line: Place(file, line), places).build(root) if root is not None else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        tab = "; YAML is indented with spaces, never tabs" if "'\\t'" in str(error.problem) else ""
        raise UserError(f"{file}, line {line}: not valid YAML: {error.problem}{tab}") from error
    except RecursionError as error:
        raise UserError(f"{file}: nested too deeply, or an alias that holds itself") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{file}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise UserError(f"{file}: a suite is a mapping with keys such as suite, datasets, recipes and methods")
    return data, places


class _Builder:
    """YAML nodes -> plain data, noting the line of every key and refusing a key that is written twice, and numbers that
    YAML reads otherwise than people do.

    Args:
        at: the place of a line. places: learns the places of the keys.
    """

    def __init__(self, at: Callable[[int], Place | str], places: dict[KeyPath, Place]) -> None:
        self._at, self._places, self._nodes = at, places, 0
        self._scalars = yaml.SafeLoader("")

    def build(self, node: yaml.Node, path: KeyPath = ()) -> Any:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise UserError(f"{self._at(1)}: unfolds to more than {_MAX_NODES} values; aliases must not nest like this")
        if isinstance(place := self._at(node.start_mark.line + 1), Place):
            self._places[path] = place
        if isinstance(node, yaml.MappingNode):
            own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
            self._scalars.flatten_mapping(node)  # puts what `<<` brings in before the mapping's own keys
            return self._mapping(node, path, {id(key) for key in own})
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*path, i)) for i, child in enumerate(node.value)]
        return self._scalar(node)

    def _scalar(self, node: yaml.Node) -> Any:
        place = self._at(node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS and node.style is None:
            _refuse_misread(node.value, place)
        try:
            value = self._scalars.construct_object(node, deep=True)
            if isinstance(value, str) and not is_unicode(value):
                raise ValueError("half a character")
            return value
        except yaml.MarkedYAMLError:
            raise
        except Exception as error:  # PyYAML fails in half a dozen ways on `!!int ''`, 2020-99-99 and their like
            raise UserError(f"{place}: not valid YAML: {clipped(node.value)!r} cannot be read") from error

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, own: set[int]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        written: set[str] = set()
        for key_node, value_node in node.value:
            key = self._scalar(key_node)
            place = self._at(key_node.start_mark.line + 1)
            if not isinstance(key, str | int | float) or isinstance(key, bool):
                raise UserError(f"{place}: a key must be a name, got {clipped(key)}{_quotes(key_node)}")
            key = str(key)
            if key in written:
                raise UserError(f"{place}: {dotted((*path, key))} is written twice")
            written |= {key} if id(key_node) in own else set()
            result[key] = self.build(value_node, (*path, key))
            if isinstance(place, Place):
                self._places[(*path, key)] = place
        return result


def _quotes(node: yaml.Node) -> str:
    """The cure where YAML makes something else of a bare word, such as no, on, null or 2026-01-01."""
    if not isinstance(node, yaml.ScalarNode) or not node.value:
        return ""
    return f": YAML reads {clipped(node.value)} so; put quotes around it"


def _refuse_misread(text: str, place: Place | str) -> None:
    """YAML 1.1 has octal numbers (010 is 8) and sexagesimal ones (1:20 is 80), which nobody means.

    Raises:
        UserError: the text of a number is one of them.
    """
    number = text.lstrip("+-").replace("_", "")
    if ":" in number:
        raise UserError(f"{place}: YAML reads {clipped(text)} in base 60; write a number without colons, or put quotes "
                        f"around a text")  # fmt: skip
    if number.isdigit() and number.startswith("0") and number.strip("0"):
        plain = number.lstrip("0")
        raise UserError(f"{place}: YAML reads {clipped(text)}, with its leading zero, as an octal number; write "
                        f"{clipped(plain)}, or put quotes around a text")  # fmt: skip
