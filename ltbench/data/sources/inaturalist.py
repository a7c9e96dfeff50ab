"""iNaturalist 2018, 2019 and 2021 (Van Horn et al., CVPR 2018 and 2021) by lists, or by the authors' annotations.

Files, checksums and numbers of images: github.com/visipedia/inat_comp, 2019/README.md and 2021/README.md, and
torchvision.datasets.INaturalist.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from ltbench.data.sources.lists import Listed, read_list
from ltbench.data.sources.published_lists import Expected, FieldLists
from ltbench.errors import UserError
from ltbench.spec import digest
from ltbench.system.files import write_atomically


class INaturalist2018(FieldLists):
    """8,142 species with 1,000 to 2 images, tested on the validation images, 3 a class: the test labels were never
    published, and the field calls these its test set."""

    kind = "inaturalist2018"
    summary = "iNaturalist 2018, 437,513 + 24,426 images of 8,142 species, by iNaturalist18_train.txt and _val.txt"
    file_prefix = "iNaturalist18"
    test_list = "val"
    num_classes = 8142
    mean = (0.466, 0.471, 0.380)  # Kang et al., ICLR 2020, classifier-balancing: data/dataloader.py
    std = (0.195, 0.194, 0.192)
    expected: ClassVar[Mapping[str, Expected]] = {
        "train": Expected(437_513, 1000, 2, ("4accdb7584d2f0a5106c40a33ed6afa392189bcc",)),
        "val": Expected(24_426, 3, 3, ("4c23900857fd0f5adcd4cc0dffef345039eeb05f",)),
    }

    def class_names(self, train: Listed, test: Listed) -> Sequence[str]:
        """Scientific names, from the data set's own categories.json where one with names lies beside the lists or the
        images (the competition's had numbers only), else from the list that comes with ltbench."""
        for folder in (self.lists, self.root):
            if (folder / "categories.json").is_file():
                named = _species(folder / "categories.json", self.num_classes, test)
                return named if named is not None else species_names()
        return species_names()


class Annotated(FieldLists):
    """A competition's data set: lists of `path label` lines where the user has such, else the JSON annotations that its
    authors offer beside the images."""

    test_list = "val"
    offered: ClassVar[str]
    """The address of the folder with the files."""
    archives: ClassVar[Mapping[str, str]]
    """What to fetch from there: file -> MD5, empty where none is published."""
    unpacked: ClassVar[Sequence[str]]
    """What lies in the folder of images once all is unpacked."""
    annotations: ClassVar[Mapping[str, str]]
    """By the list's name: the annotations' file."""

    def file_names(self, part: str) -> Sequence[str]:
        """A list, plain and compressed, or the annotations."""
        return (*super().file_names(part), self.annotations[self.list_of(part)])

    def find(self, part: str) -> Path:
        """The file of a part. Raises UserError with what to fetch and where to put it, if there is none."""
        for name in self.file_names(part):
            if (self.lists / name).is_file():
                return self.lists / name
        sums = [f"{name}" + (f" (MD5 {md5})" if md5 else "") for name, md5 in self.archives.items()]
        raise UserError(
            f"{self.kind}: there is no {' or '.join(self.file_names(part))} in {self.lists}. ltbench does not download "
            f"iNaturalist. Get {', '.join(sums)} from {self.offered}, and unpack them in {self.root}, so that it has "
            f"{', '.join(self.unpacked)}. If they lie elsewhere, say so: `path:` is the folder of the images, `lists:` "
            f"that of the annotations (--set datasets.0.path=IMAGES --set datasets.0.lists=ANNOTATIONS)"
        )

    def parsed(self, file: Path) -> Listed:
        """A list as it is; annotations by way of the list that was made of them before, where it is kept."""
        if file.suffix != ".json":
            return read_list(file)
        stat = file.stat()
        mark = digest([str(file.resolve()), stat.st_size, stat.st_mtime_ns], 24)
        kept = self.data / "packed" / f"annotations-{mark}.txt"
        if not kept.is_file():
            lines = "".join(f"{path} {label}\n" for path, label in _annotated(file))
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(kept, lines.encode("utf-8"))
        return replace(read_list(kept), file=file)


class INaturalist2019(Annotated):
    """1,010 species of 72 genera, tested on the validation images, 3 a class."""

    kind = "inaturalist2019"
    summary = "iNaturalist 2019, 265,213 + 3,030 images of 1,010 species, by train2019.json and val2019.json, or lists"
    file_prefix = "iNaturalist19"
    num_classes = 1010
    expected: ClassVar[Mapping[str, Expected]] = {
        "train": Expected(265_213, None, None),
        "val": Expected(3030, 3, 3),
    }
    offered = "https://ml-inat-competition-datasets.s3.amazonaws.com/2019/"
    archives: ClassVar[Mapping[str, str]] = {
        "train_val2019.tar.gz": "c60a6e2962c9b8ccbd458d12c8582644",
        "train2019.json.tar.gz": "b06a6683537867c0d5c7a45f407a306d",
        "val2019.json.tar.gz": "5cc5509b0fe495f1c8c1362612448497",
        "categories.json.tar.gz": "",
    }
    unpacked = ("train_val2019/", "train2019.json", "val2019.json", "categories.json")
    annotations: ClassVar[Mapping[str, str]] = {"train": "train2019.json", "val": "val2019.json"}

    def class_names(self, train: Listed, test: Listed) -> Sequence[str] | None:
        """Scientific names, where the data set's categories.json lies beside the lists or the images: its annotations
        have numbers only."""
        for folder in (self.lists, self.root):
            if (folder / "categories.json").is_file():
                return _species(folder / "categories.json", self.num_classes, test)
        return None


class INaturalist2021(Annotated):
    """10,000 species with 300 images at most, tested on the validation images, 10 a class."""

    kind = "inaturalist2021"
    summary = "iNaturalist 2021, 2,686,843 + 100,000 images of 10,000 species, by train.json and val.json, or lists"
    file_prefix = "iNaturalist21"
    num_classes = 10_000
    expected: ClassVar[Mapping[str, Expected]] = {
        "train": Expected(2_686_843, None, None),
        "val": Expected(100_000, 10, 10),
    }
    offered = "https://ml-inat-competition-datasets.s3.amazonaws.com/2021/"
    archives: ClassVar[Mapping[str, str]] = {
        "train.tar.gz": "e0526d53c7f7b2e3167b2b43bb2690ed",
        "train.json.tar.gz": "",
        "val.tar.gz": "f6f6e0e242e3d4c9569ba56400938afc",
        "val.json.tar.gz": "4d761e0f6a86cc63e8f7afc91f6a8f0b",
    }
    unpacked = ("train/", "val/", "train.json", "val.json")
    annotations: ClassVar[Mapping[str, str]] = {"train": "train.json", "val": "val.json"}

    def class_names(self, train: Listed, test: Listed) -> Sequence[str] | None:
        """Scientific names, from the folders: train/00000_Animalia_..._Lumbricus_terrestris/1.jpg."""
        pairs = {(label, path.split("/")[-2]) for path, label in zip(test.paths, test.labels.tolist(), strict=True)}
        names = [" ".join(folder.split("_")[6:]) for _, folder in sorted(pairs)]
        return names if len(names) == len(set(names)) == self.num_classes and all(names) else None


def _annotated(file: Path) -> list[tuple[str, int]]:
    """Path and label of every image in annotations as COCO has them: `images` with `id` and `file_name`, `annotations`
    with `image_id` and `category_id`, in the order of the images."""
    try:
        whole = json.loads(file.read_bytes())
        label = {entry["image_id"]: int(entry["category_id"]) for entry in whole["annotations"]}
        return [(str(entry["file_name"]), label[entry["id"]]) for entry in whole["images"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: is not a file of annotations with `images` and `annotations` ({error!r}); unpack it "
                        f"again") from error  # fmt: skip


def species_names() -> list[str]:
    """The scientific names of iNaturalist 2018's 8,142 species in label order: those of categories 0 to 8141 in its own
    categories.json (Van Horn et al., CVPR 2018), and in TensorFlow Datasets' inaturalist2018_labels.txt."""
    file = Path(__file__).with_name("inaturalist2018_names.txt.gz")
    return gzip.decompress(file.read_bytes()).decode("utf-8").splitlines()


def _species(file: Path, num_classes: int, listed: Listed) -> list[str] | None:
    """The names of categories 0 to C-1 in the JSON list [{id, name, supercategory, ...}, ...]; None where they are
    numbers only. Those of another year would be names as well: a category's images lie in the folder of its
    supercategory (train_val2018/Aves/2761/1.jpg), and where the file tells supercategories, each must be that one."""
    try:
        entries = json.loads(file.read_text(encoding="utf-8-sig"))
        found = {int(entry["id"]): str(entry["name"]).strip() for entry in entries}
        above = {int(entry["id"]): str(entry["supercategory"]) for entry in entries if "supercategory" in entry}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: is not a list of categories with id and name ({error})") from error
    names = [found.get(c, "") for c in range(num_classes)]
    cure = "remove it, or name another file in `class_names:`"
    if len(found) != num_classes or len(set(names)) < num_classes or "" in names:
        different = len({*names} - {""})
        raise UserError(f"{file}: has {len(found):,} categories, with {different:,} different names for ids 0 to "
                        f"{num_classes - 1}; {cure}")  # fmt: skip
    if all(name.isdigit() for name in names):
        return None
    for path, label in zip(listed.paths, listed.labels.tolist(), strict=True):
        folder = path.split("/")[1]
        if above.get(label, folder) != folder:
            raise UserError(
                f"{file}: has category {label} ({found[label]}) among {above[label]}, {listed.file} has its images in "
                f"{folder}: of another data set, or in another order; {cure}"
            )
    return names
