"""Images in folders and by lists as people have them: `ltbench plan`."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cases.situation import Situation, Write, suite


def png(seed: int) -> bytes:
    """A picture of its own."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (9, 9, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


PICTURES: dict[str, str | bytes | Write] = {
    f"photos/{part}/{name}/{i}.png": png(100 * p + 10 * c + i)
    for p, (part, each) in enumerate((("train", 4), ("test", 2)))
    for c, name in enumerate(("fox", "owl"))
    for i in range(each)
}
FOLDER = suite("{name: photos, kind: folder, path: photos, size: 8, profile: native}")
LISTS = suite("{name: mine, kind: lists, path: photos, size: 8, profile: native}")
TRAIN = "".join(f"train/{name}/{i}.png {c}\n" for c, name in enumerate(("fox", "owl")) for i in range(4))
TEST = "".join(f"test/{name}/{i}.png {c}\n" for c, name in enumerate(("fox", "owl")) for i in range(2))


def link_to(target: str) -> Write:
    return lambda file: file.symlink_to(target)


def folder(
    name: str, more: dict[str, str | bytes | Write], *says: str, code: int = 0, silent: tuple[str, ...] = ()
) -> Situation:
    return Situation(name, {**PICTURES, **more, "mine.yaml": FOLDER}, ("plan", "mine.yaml"), code, says, silent)


def lists(
    name: str,
    train: str | bytes,
    test: str | bytes,
    *says: str,
    code: int = 0,
    silent: tuple[str, ...] = (),
    more: dict[str, str | bytes | Write] | None = None,
) -> Situation:
    files = {**PICTURES, **(more or {}), "photos/train.txt": train, "photos/test.txt": test, "mine.yaml": LISTS}
    return Situation(name, files, ("plan", "mine.yaml"), code, says, silent)


FIRST = PICTURES["photos/train/fox/0.png"]
SITUATIONS = [
    folder("as it should be", {}, "1 to run", silent=("note", "warning")),
    folder(
        "system files",
        {"photos/train/fox/.DS_Store": b"x", "photos/train/Thumbs.db": b"x"},
        "1 to run",
        silent=("thumbs",),
    ),
    folder("broken links", {"photos/train/fox/9.png": link_to("gone.png")}, "1 .*link", r"9\.png"),
    folder("other endings", {"photos/train/fox/a.heic": b"x", "photos/train/fox/b.heic": b"x"}, "2 .*heic|heic.* 2"),
    folder("images deeper down", {"photos/train/fox/old/9.png": png(5)}, "1 image", "fox/old|sub-?folder"),
    folder("the same picture in train and test", {"photos/test/fox/9.png": FIRST}, "test", r"9\.png", "train"),
    folder("... by a link", {"photos/test/fox/9.png": link_to("../../train/fox/0.png")}, r"9\.png", "train"),
    folder("a class that is not tested", {"photos/train/elk/0.png": png(6)}, "same classes", "elk", code=2),
    lists("as they should be", TRAIN, TEST, "1 to run"),
    lists("as Windows writes them", TRAIN.replace("\n", "\r\n"), TEST.replace(" ", "\t"), "1 to run"),
    lists("a mark first", b"\xef\xbb\xbf" + TRAIN.encode(), TEST, "1 to run"),
    lists("a class without a test image", TRAIN, TEST.splitlines(keepends=True)[0], "class", "test image"),
    lists("a path with a dot", TRAIN, TEST + "./train/fox/0.png 0\n", "train/fox/0.png", code=2),
    lists("a path with two slashes", TRAIN, TEST + "train//fox/0.png 0\n", "train/fox/0.png|train//fox", code=2),
    lists("a path that goes up and down", TRAIN, TEST + "test/../train/fox/0.png 0\n", "train/fox/0.png", code=2),
    lists(
        "a picture under two names",
        TRAIN,
        TEST + "test/fox/copy.png 0\n",
        "1 of the test images",
        "copy.png is train/fox/0",
        more={"photos/test/fox/copy.png": FIRST},
    ),
    lists("pictures of equal size", TRAIN, TEST, "1 to run", silent=("under another name",)),
    lists("a label that is a word", TRAIN + "train/owl/1.png owl\n", TEST, "line 9", code=2),
]


@pytest.mark.parametrize("situation", SITUATIONS, ids=str)
def test_images(situation: Situation, follows: Callable[[Situation], None]) -> None:
    follows(situation)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes there")
def test_a_name_that_is_no_text(follows: Callable[[Situation], None], tmp_path: Path) -> None:
    place = os.fsencode(tmp_path / "photos" / "train" / "fox")
    os.makedirs(place)
    with open(os.path.join(place, b"caf\xe9.png"), "wb") as stream:
        stream.write(png(7))
    follows(folder("", {}, r"caf\\xe9", code=2))
