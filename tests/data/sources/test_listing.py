"""Folders as people have them: what is left out is counted and named, and what is in both parts is told."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ltbench.data.sources.kinds import open_source
from ltbench.data.sources.source import Facts
from ltbench.errors import UserError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes, three images to train on and two to test each."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 3), ("test", 2)):
        for name in ("ant", "bee"):
            (tmp_path / "im" / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "im" / part / name / f"{i}.png")
    return tmp_path / "im"


@pytest.fixture
def facts(photos: Path) -> Callable[[], Facts]:
    return lambda: open_source("folder", photos.parent / "data", str(photos), {"size": 8}).facts()


def test_a_usual_folder_has_nothing_to_tell(facts: Callable[[], Facts]) -> None:
    assert facts().notes == ()


def test_what_systems_leave_is_neither_told_nor_read(photos: Path, facts: Callable[[], Facts]) -> None:
    before = facts()
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "._0.png"):
        (photos / "train" / "ant" / name).write_bytes(b"x")
    (photos / "train" / "__MACOSX").mkdir()
    assert (facts(), facts().notes) == (before, ())


def test_a_class_folder_that_is_hidden_is_told(photos: Path, facts: Callable[[], Facts]) -> None:
    shutil.copytree(photos / "train" / "bee", photos / "train" / ".net")
    (photos / "test" / ".cache").mkdir()
    found = facts()
    assert found.class_names == ("ant", "bee")
    (note,) = found.notes
    assert note.startswith("a folder with images is left out for the dot at the beginning of the name (train/.net)")


def test_broken_links_are_counted_and_named(photos: Path, facts: Callable[[], Facts]) -> None:
    (photos / "train" / "bee" / "9.png").symlink_to("nowhere.png")
    (note,) = facts().notes
    assert note.startswith("1 broken link (train/bee/9.png) left out")


def test_a_pipe_with_the_name_of_an_image_is_told_as_what_it_is(photos: Path, facts: Callable[[], Facts]) -> None:
    for name in ("8.png", "9.png"):
        os.mkfifo(photos / "train" / "bee" / name)
    (note,) = facts().notes
    assert note.startswith("2 pipes or sockets (train/bee/8.png, train/bee/9.png) left out")


def test_files_of_other_endings_are_counted_by_ending(photos: Path, facts: Callable[[], Facts]) -> None:
    for name in ("a.heic", "b.HEIC", "c.jfif", "d"):
        (photos / "train" / "ant" / name).write_bytes(b"x")
    (note,) = facts().notes
    assert "4 files left out" in note
    assert ".heic: 2" in note
    assert "none: 1" in note


def test_images_in_sub_folders_are_counted(photos: Path, facts: Callable[[], Facts]) -> None:
    (photos / "test" / "ant" / "more" / "deep").mkdir(parents=True)
    shutil.copy(photos / "test" / "ant" / "0.png", photos / "test" / "ant" / "more" / "deep")
    (note,) = facts().notes
    assert note.startswith("1 image in sub-folders (test/ant/more/deep/0.png) left out")


def test_where_all_images_lie_deeper_the_refusal_says_where(photos: Path, facts: Callable[[], Facts]) -> None:
    shutil.move(photos / "train" / "ant", photos / "ant")
    shutil.move(photos / "ant", photos / "train" / "ant" / "images")
    with pytest.raises(UserError, match=r"no images in train/ant.*3 images in sub-folders \(train/ant/images/0\.png"):
        facts()


@pytest.mark.parametrize("link", [True, False])
def test_test_images_that_are_training_images_are_told(link: bool, photos: Path, facts: Callable[[], Facts]) -> None:
    source, target = photos / "train" / "ant" / "0.png", photos / "test" / "ant" / "9.png"
    _ = target.symlink_to(source) if link else shutil.copy(source, target)
    for remembered in (False, True):
        (note,) = facts().notes
        assert "1 of the test images is identical to a training image (test/ant/9.png)" in note, remembered


def test_links_to_training_images_are_told_where_contents_are_not_read(
    photos: Path, facts: Callable[[], Facts], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ltbench.data.sources.listing.HASH_LIMIT", 10)
    (photos / "test" / "ant" / "9.png").symlink_to(photos / "train" / "ant" / "0.png")
    assert "test/ant/9.png" in facts().notes[0]


@pytest.mark.parametrize("name", [b"caf\xe9", b"ant/\xff.png"])
def test_names_that_are_not_utf8_are_refused_with_the_cure(
    name: bytes, photos: Path, facts: Callable[[], Facts]
) -> None:
    for part in (b"train", b"test"):
        place = os.path.join(os.fsencode(photos), part, name)
        if name.endswith(b".png"):
            shutil.copy(photos / "train" / "ant" / "0.png", os.fsdecode(place))
        else:
            shutil.copytree(photos / "train" / "ant", os.fsdecode(place))
    with pytest.raises(UserError, match=r"\\x(e9|ff).*is not UTF-8; rename it") as refused:
        facts()
    str(refused.value).encode()


@pytest.mark.parametrize("parts", [("train", "test"), ("test", "train"), ("train", "train")])
def test_classes_that_differ_in_unicode_form_only_are_refused(
    parts: tuple[str, str], photos: Path, facts: Callable[[], Facts]
) -> None:
    for part, name in zip(parts, ("caf\u00e9", "cafe\u0301"), strict=True):
        shutil.copytree(photos / part / "ant", photos / part / name)
    with pytest.raises(UserError, match=r"two Unicode forms \('cafe\\\\u0301' and 'caf\\\\xe9'\)"):
        facts()


def test_classes_that_differ_by_a_blank_are_told_as_that(photos: Path, facts: Callable[[], Facts]) -> None:
    (photos / "test" / "ant").rename(photos / "test" / "ant ")
    with pytest.raises(UserError, match=r"class 'ant' is there with blanks around its name and without"):
        facts()


def test_notes_are_no_part_of_what_is_compared(photos: Path, facts: Callable[[], Facts]) -> None:
    before: Any = facts()
    (photos / "train" / "ant" / "x.heic").write_bytes(b"x")
    assert (facts(), len(facts().notes)) == (before, 1)
