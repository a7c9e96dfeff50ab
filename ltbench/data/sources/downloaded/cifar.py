"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), fetched and checked by torchvision on first use."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ltbench.data.sources.downloaded.archives import Published, fetched, told_what_to_do, unpack
from ltbench.data.sources.source import Arrays, Facts, Source

# The normalisation of LDAM-DRW (Cao et al., NeurIPS 2019), used there for both data sets.
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


class Cifar10(Source):
    """CIFAR-10 (Krizhevsky, 2009), as torchvision reads it."""

    kind = "cifar10"
    summary = "50,000 + 10,000 colour images 32x32 of 10 classes; torchvision fetches them (170 MB)"
    class_names: ClassVar[tuple[str, ...]] = (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    )
    archive_md5: ClassVar[str] = "c58f30108f718f92721af3b95e74349a"
    train_per_class: ClassVar[int] = 5000
    test_per_class: ClassVar[int] = 1000

    def facts(self) -> Facts:
        """Constants of the published archive."""
        num_classes = len(self.class_names)
        return Facts(
            class_names=self.class_names,
            train_counts=(self.train_per_class,) * num_classes,
            test_counts=(self.test_per_class,) * num_classes,
            fingerprint=f"{self.kind}-{self.archive_md5}",
            shape=(32, 32, 3),
            mean=MEAN,
            std=STD,
        )

    def read(self) -> Arrays:
        """Fetch the archive where it is not there, and read it. Raises UserError if it cannot be had."""
        train, test = self._torchvision(train=True), self._torchvision(train=False)
        return Arrays(train.data, _labels(train), test.data, _labels(test))

    def _torchvision(self, train: bool) -> Any:
        from torchvision import datasets
        from torchvision.datasets import utils

        dataset = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[self.kind]
        folder = self.data / dataset.base_folder
        known = dict([*dataset.train_list, *dataset.test_list])
        with told_what_to_do(self.kind, self.data, dataset.filename, folder):
            if not all(utils.check_integrity(folder / name, md5) for name, md5 in known.items()):
                archive = fetched(Published(dataset.url, dataset.tgz_md5), self.data)
                unpack(archive, folder, {*known, dataset.meta["filename"]})
            return dataset(self.data, train=train, download=False)


class Cifar100(Cifar10):
    """CIFAR-100 (Krizhevsky, 2009), with its 100 fine labels."""

    kind = "cifar100"
    summary = "50,000 + 10,000 colour images 32x32 of 100 classes; torchvision fetches them (170 MB)"
    archive_md5 = "eb9058c3a382ffc7106e4002c42a8d85"
    train_per_class = 500
    test_per_class = 100
    class_names = (
        *("apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle"),
        *("bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle"),
        *("chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur"),
        *("dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard"),
        *("lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain"),
        *("mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck"),
        *("pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road"),
        *("rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider"),
        *("squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger"),
        *("tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm"),
    )


def _labels(dataset: Any) -> Any:
    return np.asarray(dataset.targets, dtype=np.int64)
