"""The field's large data sets by its own list files: ImageNet-LT and Places-LT (Liu et al., CVPR 2019); iNaturalist is
in inaturalist.py. The images are the user's; the lists are checked to be those of its tables.

A list is known by git's id of its text, which a repository that has the list tells without it. The ids are those of
github.com/facebookresearch/classifier-balancing at f162ade (data/), the same in jiawei-ren/
BalancedMetaSoftmax-Classification, shijxcs/LIFT, Dylanhj/BALLAD and rsamf/text-guided-mixup; of Places-LT in the form
of OLTR, those of dvlab-research/MiSLAS (datasets/data_txt/) and Vanint/SADE-AgnosticLT (data_txt/Places_LT_v2/).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ltbench.data.sources.lists import Listed, Lists
from ltbench.errors import UserError


class Expected(NamedTuple):
    """What a list must have.

    Attributes:
        images: how many. largest, smallest: images of the largest and of the smallest class; None: not checked.
        ids: git's ids of its text, one for each form in which it circulates; none: not checked.
        identity: SHA-256 (`Listed.digest`) of the first form, where there are several. It stands for all of them in the
            data set's fingerprint, for they name the same images with the same labels in the same order.
    """

    images: int
    largest: int | None
    smallest: int | None
    ids: tuple[str, ...] = ()
    identity: str | None = None


class FieldLists(Lists):
    """A data set whose lists are known."""

    needs_path = False
    may_have_path = True
    places: ClassVar[Mapping[str, str]] = {
        "lists": Lists.places["lists"],
        "class_names": Lists.places["class_names"],
    }
    file_prefix: ClassVar[str]
    test_list: ClassVar[str] = "test"
    num_classes: ClassVar[int]
    expected: ClassVar[Mapping[str, Expected]]
    """By the list's name: train, test, val."""

    def same_images(self, train: Listed, test: Listed) -> list[str]:
        """The lists are known, and so are their images."""
        return []

    def list_of(self, part: str) -> str:
        """The name of the list that a part is read from."""
        return str(self.chosen.get("tested_on", self.test_list)) if part == "test" else part

    def file_names(self, part: str) -> Sequence[str]:
        """The published name, plain and compressed."""
        name = f"{self.file_prefix}_{self.list_of(part)}.txt"
        return (name, f"{name}.gz")

    def verify(self, train: Listed, test: Listed) -> None:
        """Counts and, where they are known, the texts of the published lists. Raises UserError."""
        for part, listed in (("train", train), ("test", test)):
            self._verify_one(self.expected[self.list_of(part)], listed)

    def identity(self, listed: Listed) -> str:
        """The same for every form in which a list circulates."""
        known = (e.identity for e in self.expected.values() if not listed.ids.isdisjoint(e.ids))
        return next(known, None) or listed.digest

    def _verify_one(self, expected: Expected, listed: Listed) -> None:
        counts = np.bincount(listed.labels, minlength=self.num_classes)
        found = (len(listed), len(counts), int(counts.max()), int(counts.min()))
        largest, smallest = expected.largest or found[2], expected.smallest or found[3]
        wanted = (expected.images, self.num_classes, largest, smallest)
        if found != wanted:
            raise UserError(
                f"{listed.file}: this is not the list of {self.kind}: it has {found[0]:,} images of {found[1]:,} "
                f"classes, {found[2]:,} to {found[3]:,} each, and {wanted[0]:,} of {wanted[1]:,}, {wanted[2]:,} to "
                f"{wanted[3]:,}, were expected. For lists of your own take `kind: lists`"
            )
        if expected.ids and listed.ids.isdisjoint(expected.ids):
            raise UserError(
                f"{listed.file}: this is not the list of {self.kind}: it has as many images, but other ones, under "
                f"other names, or in another order. For lists of your own take `kind: lists`"
            )


class WithValList(FieldLists):
    """A data set with a val list, 20 images a class out of the training images that its train list left. Some authors
    evaluate on it. `tested_on: val` does so, too: other images, so another manifest, and `Cell.imbalance_label` says so
    beside every number. The default is no part of an identity."""

    options: ClassVar[Mapping[str, Any]] = {**FieldLists.options, "tested_on": "test"}

    def _settled(
        self, size: Any, resize: Any, stream: Any, interpolation: Any, tested_on: Any = "test"
    ) -> dict[str, Any]:
        if tested_on not in ("test", "val"):
            raise UserError(f"{self.kind}: `tested_on` must be test or val, got {tested_on!r}")
        usual = super()._settled(size, resize, stream, interpolation)
        return usual if tested_on == "test" else {**usual, "tested_on": "val"}


class ImageNetLT(WithValList):
    """1,000 classes with 1,280 to 5 images, tested on ImageNet's validation images, 50 a class."""

    kind = "imagenet_lt"
    summary = "ImageNet-LT, 115,846 + 50,000 images of 1,000 classes, by ImageNet_LT_train.txt and _test.txt"
    file_prefix = "ImageNet_LT"
    num_classes = 1000
    expected: ClassVar[Mapping[str, Expected]] = {
        "train": Expected(115_846, 1280, 5, ("a063f095fcd475db4cf8b0658c4b73955535bbf9",)),
        "test": Expected(50_000, 50, 50, ("76a2fb9749d6cd29e765cc4f8c270f2504131e2f",)),
        "val": Expected(20_000, 20, 20, ("3ed3188b2f44829ce2dec1cc27040d8d40984088",)),
    }

    def class_names(self, train: Listed, test: Listed) -> Sequence[str] | None:
        """Those of torchvision's ImageNet weights: label order is that of the sorted WordNet ids, which the folders in
        the lists are named by. Raises UserError where the lists say otherwise."""
        from torchvision.models import ResNet50_Weights

        for listed in (train, test):
            folders = [path.rpartition("/")[0].rpartition("/")[2] for path in listed.paths]
            pairs = set(zip(listed.labels.tolist(), folders, strict=True))
            ids = [wnid for _, wnid in sorted(pairs)]
            if len(ids) != self.num_classes or ids != sorted(set(ids)):
                raise UserError(
                    f"{listed.file}: the folders of the images are not the 1,000 WordNet ids in label order"
                )
        return list(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])


class PlacesLT(WithValList):
    """365 classes with 4,980 to 5 images, tested on Places365's validation images, 100 a class.

    The lists circulate in two forms, after the two ways in which Places365 packs its images of 256 pixels:
    data_256/a/arena/hockey/1.jpg with val_256/1.jpg (OLTR), and train/arena-hockey/1.jpg with val/arena-hockey/1.jpg
    (classifier-balancing). Line by line they name the same images and labels: either will do, also one of each.
    """

    kind = "places_lt"
    summary = "Places-LT, 62,500 + 36,500 images of 365 classes, by Places_LT_train.txt and Places_LT_test.txt"
    file_prefix = "Places_LT"
    num_classes = 365
    expected: ClassVar[Mapping[str, Expected]] = {
        "train": Expected(
            *(62_500, 4980, 5),
            ("1d608b558c25c271da75c06f1e5e3625a4ebcb79", "6392252f8ae867bc8a5e841cc1b29e5b8ef4b636"),
            "d79094be5bb9562162ab858a421edeb95bea54aefb04d2f8279eb29d7d624331",
        ),
        "test": Expected(
            *(36_500, 100, 100),
            ("d43400ac9bc2275baa058456da40b20abb50b108", "e732e58b8aa718a2c1c11933375f5710652c2b93"),
            "e278a7aa3dd576ffacf27fe5f7592297aabfd2e2dffac622593b09a4fdd9aab1",
        ),
        "val": Expected(
            *(7_300, 20, 20),
            ("89c29c0973328f77d7a77a8b580634ce20acdc11", "b93a2ca58ccb7f3b671c176f395a70bf52c95533"),
            "98d6da10c93c449e8845759875a0f335b752e6eec229c395e00d2f99380ab857",
        ),
    }

    def class_names(self, train: Listed, test: Listed) -> Sequence[str] | None:
        """From the folders of the training images: `arena hockey` in either form."""
        pairs = {(label, _scene(path)) for path, label in zip(train.paths, train.labels.tolist(), strict=True)}
        return [name for _, name in sorted(pairs)]


def _scene(path: str) -> str:
    """data_256/a/arena/hockey/1.jpg and train/arena-hockey/1.jpg -> arena hockey. No name has a dash of its own."""
    folders = path.split("/")[:-1]
    return " ".join(folders[2:]) if folders[0] == "data_256" else " ".join(folders[1:]).replace("-", " ")
