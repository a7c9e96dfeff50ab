"""Where methods come from, what is said when one is broken, and when a method counts as changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import ltbench
from ltbench import plugins
from ltbench.api import Method, hp
from ltbench.errors import UserError
from ltbench.registry import Registry, fingerprint, read_sources, unpack_sources

METHODS = Path(__file__).parents[1] / "methods"
PLAIN = "from ltbench.api import Method\n\nclass Mine(Method):\n    pass\n"
Folder = Callable[..., Path]


class Installed(Method):
    """A method of another package."""

    strength: float = hp(1.0, "how much")


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """`folder(mine="class ...")`: a fresh folder with the files of these names and texts."""

    def make(**files: str) -> Path:
        made = tmp_path_factory.mktemp("methods", numbered=True)
        for name, text in files.items():
            (made / f"{name}.py").write_text(textwrap.dedent(text))
        return made

    return make


@pytest.fixture
def entry_point(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """`entry_point("name", "module:Class")`: as if an installed package declared it."""

    def declare(name: str, value: str) -> None:
        found = [EntryPoint(name, value, plugins.METHODS)]
        monkeypatch.setattr(plugins, "entry_points", lambda group: found if group == "ltbench.methods" else [])
        plugins._installed.cache_clear()

    yield declare
    monkeypatch.undo()
    plugins._installed.cache_clear()


# -- built in ----------------------------------------------------------------------------------------------------------


def test_the_builtin_methods_are_the_files_of_the_folder() -> None:
    files = {file.stem for file in METHODS.glob("*.py") if not file.stem.startswith("_")}
    assert set(Registry().names()) == files


def test_every_builtin_method_loads_and_is_named_by_its_file() -> None:
    registry = Registry()
    for name in registry.names():
        cls = registry.get(name)
        assert (cls.name, cls.__module__) == (name, f"ltbench.methods.{name}")


def test_listing_methods_imports_none_of_them(folder: Folder) -> None:
    made = folder(mine="raise SystemExit('imported')\nclass Mine: pass\n")
    assert "mine" in Registry(made).names()


def test_a_misspelt_method_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"unknown method 'ldam_dwr'\. Did you mean 'ldam_drw'\?"):
        Registry().get("ldam_dwr")


def test_a_private_file_is_no_method() -> None:
    with pytest.raises(UserError, match="unknown method '_template'"):
        Registry().get("_template")


# -- a folder of one's own ---------------------------------------------------------------------------------------------


def test_a_folder_of_ones_own_stands_beside_the_builtin_methods(folder: Folder) -> None:
    registry = Registry(folder(mine=PLAIN))
    assert registry.get("mine").__name__ == "Mine"
    assert {"mine", "ce"} <= set(registry.names())
    assert str(registry.origin("mine")).startswith("the folder ")


@pytest.mark.parametrize(
    "statement", ["from .helper_a import FACTOR", "from . import helper_a; FACTOR = helper_a.FACTOR"]
)
def test_a_file_may_import_its_neighbour_relatively(statement: str, folder: Folder) -> None:
    made = folder(mine=f"{statement}\n{PLAIN}    factor = FACTOR\n", helper_a="FACTOR = 3\n")
    assert Registry(made).get("mine").factor == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("statement", ["from helper_b import FACTOR", "import helper_b; FACTOR = helper_b.FACTOR"])
def test_a_file_may_import_its_neighbour_by_name(
    statement: str, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "helper_b", raising=False)
    made = folder(mine=f"{statement}\n{PLAIN}    factor = FACTOR\n", helper_b="FACTOR = 4\n")
    assert Registry(made).get("mine").factor == 4  # type: ignore[attr-defined]


def test_a_helper_without_a_class_is_no_method(folder: Folder) -> None:
    assert "helper" not in Registry(folder(mine=PLAIN, helper="def f(): ...\n")).names()


def test_a_method_of_ones_own_may_build_on_a_builtin_one(folder: Folder) -> None:
    text = "from ltbench.methods.mixup import Mixup\n\nclass Softer(Mixup):\n    alpha = Mixup.alpha / 2\n"
    assert Registry(folder(softer=text)).get("softer").__mro__[1].__name__ == "Mixup"


def test_two_folders_with_one_file_name_do_not_mix(folder: Folder) -> None:
    first, second = (Registry(folder(mine=PLAIN.replace("pass", f"number = {n}"))) for n in (1, 2))
    assert [r.get("mine").number for r in (first, second)] == [1, 2]  # type: ignore[attr-defined]


def test_a_name_that_ltbench_has_already_is_refused_with_both_places(folder: Folder) -> None:
    made = folder(mixup=PLAIN)
    with pytest.raises(UserError, match=rf"method 'mixup' is defined by ltbench and by the folder {made}; rename one"):
        Registry(made)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        Registry(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import no_such_package\nclass Mine: ...\n", r"mine\.py: .*No module named 'no_such_package'"),
        ("class Mine(:\n    pass\n", r"mine\.py: .*SyntaxError"),
        ("class Mine:\n    x = 1 / 0\n", r"mine\.py: .*ZeroDivisionError"),
        (PLAIN + "\nclass Other(Method):\n    pass\n", r"mine\.py: .*exactly one .* defines 2"),
        ("class Mine:\n    pass\n", r"mine\.py: .*exactly one .* defines 0"),
    ],
    ids=["import", "syntax", "runtime", "two", "none"],
)
def test_a_broken_file_is_refused_with_its_name_and_the_reason(text: str, says: str, folder: Folder) -> None:
    with pytest.raises(UserError, match=says):
        Registry(folder(mine=text)).get("mine")


def test_a_broken_file_does_no_harm_to_its_neighbours(folder: Folder) -> None:
    assert Registry(folder(broken="class Broken(:\n", mine=PLAIN)).get("mine").name == "mine"


def test_a_file_that_is_no_text_is_refused_with_its_name(folder: Folder) -> None:
    made = folder(mine=PLAIN)
    (made / "binary.py").write_bytes(b"class X: pass\n\xff\xfe\x00")
    with pytest.raises(UserError, match=r"binary\.py"):
        Registry(made).get("binary")


def test_a_file_with_a_dot_in_its_name_is_refused_with_its_name(folder: Folder) -> None:
    made = folder()
    (made / "mine.v2.py").write_text(PLAIN)
    with pytest.raises(UserError, match=r"mine\.v2"):
        Registry(made).get("mine.v2")


# -- entry points ------------------------------------------------------------------------------------------------------


def test_an_installed_package_may_bring_a_method(entry_point: Callable[[str, str], None]) -> None:
    entry_point("theirs", f"{__name__}:Installed")
    registry = Registry()
    assert registry.get("theirs") is Installed
    assert Installed.name == "theirs"
    assert f"{__name__}:Installed" in registry.origin("theirs")


def test_an_entry_point_that_names_no_method_is_refused(entry_point: Callable[[str, str], None]) -> None:
    entry_point("theirs", "pathlib:Path")
    with pytest.raises(UserError, match=r"'theirs' .* must name a subclass"):
        Registry().get("theirs")


@pytest.mark.parametrize("value", ["no_such_package:Method", "pathlib:NoSuchClass"])
def test_an_entry_point_that_cannot_be_loaded_is_refused(value: str, entry_point: Callable[[str, str], None]) -> None:
    entry_point("theirs", value)
    with pytest.raises(UserError, match="theirs"):
        Registry().get("theirs")


def test_an_entry_point_may_not_take_a_builtin_name(entry_point: Callable[[str, str], None]) -> None:
    entry_point("ce", f"{__name__}:Installed")
    with pytest.raises(UserError, match="method 'ce' is defined by ltbench and by the installed package"):
        Registry()


# -- fingerprints ------------------------------------------------------------------------------------------------------

BEFORE = '''\
"""What the file is about."""
from ltbench.api import Method, hp
from .helper import scale

class Mine(Method):
    """What it does."""

    weight: float = hp(1.0, "how much")

    def loss(self, logits, target, now):
        """Scaled."""
        return scale(super().loss(logits, target, now) * self.weight)
'''
HELPER = "def scale(x):\n    return 2 * x\n"
SAME = {
    "comment": BEFORE.replace("        return", "        # twice\n        return"),
    "docstring": BEFORE.replace("What it does.", "Something else in words."),
    "no_docstring": BEFORE.replace('        """Scaled."""\n', ""),
    "file_docstring": BEFORE.replace("What the file is about.", "Other."),
    "blank_lines": BEFORE.replace("class Mine", "\n\n\nclass Mine"),
    "quotes": BEFORE.replace('"how much"', "'how much'"),
    "line_breaks": BEFORE.replace('hp(1.0, "how much")', 'hp(\n        1.0,\n        "how much",\n    )'),
    "parentheses": BEFORE.replace("* self.weight)", "* (self.weight))"),
    "spelling_of_a_number": BEFORE.replace("1.0", "1.00"),
    "field_docstring": BEFORE.replace('"how much")', '"how much")\n    """In words."""'),
}
OTHER = {
    "number": BEFORE.replace("1.0", "1.1"),
    "operator": BEFORE.replace("* self", "+ self"),
    "argument": BEFORE.replace("super().loss(logits, target, now)", "super().loss(logits, target, None)"),
    "hook": BEFORE.replace("def loss", "def loss_"),
    "base": BEFORE.replace("class Mine(Method)", "class Mine(Method, object)"),
    "text": BEFORE.replace('"how much"', '"how many"'),
    "extra_call": BEFORE + "\n    def predict(self, logits):\n        return -logits\n",
}


def print_of(folder: Folder, text: str = BEFORE, name: str = "mine", **helpers: str) -> str:
    return fingerprint(Registry(folder(**{name: text, "helper": HELPER, **helpers})).get(name))


def test_a_fingerprint_is_twelve_hex_digits_and_does_not_depend_on_the_folder(folder: Folder) -> None:
    first, second = print_of(folder), print_of(folder)
    assert first == second
    assert len(first) == len(f"{int(first, 16):012x}") == 12


@pytest.mark.parametrize("change", SAME)
def test_a_change_without_meaning_leaves_the_fingerprint(change: str, folder: Folder) -> None:
    assert SAME[change] != BEFORE
    assert print_of(folder, SAME[change]) == print_of(folder)


@pytest.mark.parametrize("change", OTHER)
def test_a_change_of_code_changes_the_fingerprint(change: str, folder: Folder) -> None:
    assert OTHER[change] != BEFORE
    assert print_of(folder, OTHER[change]) != print_of(folder)


def test_a_change_in_an_imported_neighbour_changes_the_fingerprint(folder: Folder) -> None:
    assert print_of(folder, helper=HELPER.replace("2", "3")) != print_of(folder)


def test_a_comment_in_an_imported_neighbour_does_not(folder: Folder) -> None:
    assert print_of(folder, helper="# twice\n" + HELPER) == print_of(folder)


def test_a_change_two_imports_away_changes_the_fingerprint(folder: Folder) -> None:
    through = "from .far import FACTOR\ndef scale(x):\n    return FACTOR * x\n"
    one, two = (print_of(folder, helper=through, far=f"FACTOR = {n}\n") for n in (1, 2))
    assert one != two


def test_neighbours_that_import_each_other_come_to_an_end(folder: Folder) -> None:
    helper = "def scale(x):\n    from .mine import Mine\n    return x\n"
    assert print_of(folder, helper=helper) == print_of(folder, helper=helper)


def test_a_file_that_is_not_imported_has_no_part_in_the_fingerprint(folder: Folder) -> None:
    assert print_of(folder, stranger="x = 1\n") == print_of(folder)


def test_a_change_in_the_base_changes_the_fingerprint(folder: Folder) -> None:
    child = "from .base import Base\n\nclass Child(Base):\n    pass\n"
    base = BEFORE.replace("Mine", "Base")
    folders = [folder(child=child, base=base, helper=HELPER + extra) for extra in ("", "x = 1\n")]
    before, after = (fingerprint(Registry(made).get("child")) for made in folders)
    assert before != after


def test_a_method_built_on_a_builtin_one_follows_its_file(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "from ltbench.methods.mixup import Mixup\n\nclass Softer(Mixup): ...\n"
    before, same = (fingerprint(Registry(folder(softer=text)).get("softer")) for _ in range(2))
    assert same == before
    read = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda self, **how: read(self, **how) + ("\nx = 1\n" if self.stem == "mixup" else "")
    )
    assert fingerprint(Registry(folder(softer=text)).get("softer")) != before


def test_builtin_methods_have_different_fingerprints() -> None:
    registry = Registry()
    prints = {name: fingerprint(registry.get(name)) for name in registry.names()}
    assert len(set(prints.values())) == len(prints)


# -- on the way to a worker --------------------------------------------------------------------------------------------


def test_sources_come_out_as_they_went_in(folder: Folder) -> None:
    sources = read_sources(folder(mine=BEFORE, helper=HELPER, unicode="NAME = 'Ä ² \u2028'\n"))
    assert read_sources(unpack_sources(sources)) == sources


def test_equal_sources_are_unpacked_once(folder: Folder) -> None:
    sources = read_sources(folder(mine=PLAIN))
    assert unpack_sources(sources) == unpack_sources(dict(sources))


def test_a_method_is_the_same_on_a_worker(folder: Folder) -> None:
    made = folder(mine=BEFORE, helper=HELPER)
    there = Registry(unpack_sources(read_sources(made))).get("mine")
    assert fingerprint(there) == fingerprint(Registry(made).get("mine"))


def test_sources_of_a_folder_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        read_sources(tmp_path / "nowhere")


def test_a_source_that_is_no_text_is_refused_with_its_name(folder: Folder) -> None:
    made = folder(mine=PLAIN)
    (made / "binary.py").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"binary\.py"):
        read_sources(made)


def test_unpacking_never_leaves_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    unpacked = unpack_sources({"../escaped.py": "x = 1\n"})
    assert [f.name for f in unpacked.iterdir()] == ["escaped.py"]
    assert list(tmp_path.iterdir()) == [unpacked]


def test_methods_are_found_where_only_the_checkout_is_on_the_path(tmp_path: Path) -> None:
    """As on a machine without ltbench installed: no editable finder, no `ltbench.methods` package."""
    root = Path(ltbench.__file__).parent
    shutil.copytree(root, tmp_path / "ltbench", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(METHODS, tmp_path / "methods", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "softer.py").write_text(
        "from ltbench.methods.mixup import Mixup\n\nclass Softer(Mixup):\n    pass\n"
    )
    packages = [p for p in sys.path if p.endswith("site-packages")]
    script = f"""
import sys
from pathlib import Path
sys.path[:0] = [{str(tmp_path)!r}, *{packages!r}]
import ltbench
from ltbench.registry import Registry, fingerprint
assert Path(ltbench.__file__).parent == Path({str(tmp_path)!r}) / "ltbench", ltbench.__file__
registry = Registry(Path({str(tmp_path / "mine")!r}))
print(registry.builtin_folder, fingerprint(registry.get("ldam_drw")), registry.get("softer").__mro__[1].__name__)
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # -S: no site, so the .pth files that install ltbench are not read.
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path,
        env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        str(tmp_path / "methods"), fingerprint(Registry().get("ldam_drw")), "Mixup",
    ]  # fmt: skip


def test_what_a_worker_unpacked_goes_when_it_ends(tmp_path: Path) -> None:
    code = "from ltbench.registry import unpack_sources; print(unpack_sources({'a.py': 'x = 1'}))"
    ran = subprocess.run([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)}, text=True,
                         capture_output=True, check=True)  # fmt: skip
    assert Path(ran.stdout.strip()).parent == tmp_path
    assert list(tmp_path.iterdir()) == []
