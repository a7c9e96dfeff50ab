"""Class-name vectors: bundled, from a file, and from encoders that are on this machine or are not."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ltbench.data.sources.digits import NAMES as DIGITS
from ltbench.data.sources.downloaded.cifar import Cifar10, Cifar100
from ltbench.errors import UserError
from ltbench.models.text import NoText, bundled_table, text_vectors
from ltbench.spec import digest

BUNDLED = {"encoder": "bundled"}
PROMPTS = ["a photo of a dog", "a photo of a cat", "a photo of a maple tree"]


def vectors_of(config: dict[str, Any], names: Sequence[str], data: Path, dataset: str = "made") -> Any:
    return text_vectors(config, dataset, names, data)


# -- bundled ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [DIGITS, Cifar10.class_names, Cifar100.class_names], ids=["digits", "c10", "c100"])
def test_bundled_vectors_cover_every_built_in_data_set(names: Sequence[str], tmp_path: Path) -> None:
    text = vectors_of(BUNDLED, names, tmp_path)
    assert text.vectors.shape == (len(names), 384)
    assert text.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(text.vectors, axis=1), 1.0, atol=1e-6)
    assert "MiniLM" in text.origin


def test_bundled_vectors_come_in_the_order_of_the_names(tmp_path: Path) -> None:
    names = list(Cifar10.class_names)
    there, back = vectors_of(BUNDLED, names, tmp_path), vectors_of(BUNDLED, names[::-1], tmp_path)
    np.testing.assert_array_equal(there.vectors, back.vectors[::-1])
    assert there.digest != back.digest


@pytest.mark.parametrize("name", ["maple_tree", "Maple Tree", "maple-tree", " maple_tree "])
def test_spelling_of_a_name_does_not_matter(name: str, tmp_path: Path) -> None:
    expected = vectors_of(BUNDLED, ["maple_tree", "lion"], tmp_path)
    np.testing.assert_array_equal(vectors_of(BUNDLED, [name, "lion"], tmp_path).vectors, expected.vectors)


@pytest.mark.parametrize(
    ("name", "near"),
    [("oak_tree", {"maple_tree", "pine_tree", "willow_tree", "forest"}), ("boy", {"girl", "man", "baby"}),
     ("truck", {"automobile", "pickup_truck"}), ("leopard", {"tiger", "lion"})],
)  # fmt: skip
def test_names_of_near_meaning_have_near_vectors(name: str, near: set[str]) -> None:
    names, matrix, _ = bundled_table()
    row = matrix @ matrix[names.index(name)]
    row[names.index(name)] = -1
    assert names[int(row.argmax())] in near


def test_missing_names_are_a_reason_that_counts_and_names_them(tmp_path: Path) -> None:
    with pytest.raises(NoText, match=r"lack 5 of 6 class names \(xa, xb, xc, xd, \.\.\.\)"):
        vectors_of(BUNDLED, ["lion", "xa", "xb", "xc", "xd", "xe"], tmp_path)
    with pytest.raises(NoText, match=r"lack 1 of 2 class names \(xa\)$"):
        vectors_of(BUNDLED, ["lion", "xa"], tmp_path)


def test_no_text_source_is_a_reason_too(tmp_path: Path) -> None:
    with pytest.raises(NoText, match="no `text:` source"):
        text_vectors(None, "digits", DIGITS, tmp_path)


# -- files ------------------------------------------------------------------------------------------------------------

MATRIX = np.array([[3.0, 4.0], [0.0, 2.0], [5.0, 12.0]])
UNIT = [[0.6, 0.8], [0.0, 1.0], [5 / 13, 12 / 13]]


def saved(path: Path, **arrays: Any) -> dict[str, Any]:
    np.savez(path, **arrays)
    return {"encoder": "file", "path": str(path)}


@pytest.mark.parametrize("keys", [("class_names", "embeddings"), ("names", "vectors")])
def test_an_npz_is_read_by_name_and_made_unit_length(keys: tuple[str, str], tmp_path: Path) -> None:
    config = saved(tmp_path / "text.npz", **{keys[0]: ["a", "b", "c"], keys[1]: MATRIX})
    found = vectors_of(config, ["c", "a"], tmp_path)
    np.testing.assert_allclose(found.vectors, [UNIT[2], UNIT[0]], rtol=1e-6)
    assert found.origin == "text.npz"


def test_an_npy_is_read_in_label_order(tmp_path: Path) -> None:
    np.save(tmp_path / "text.npy", MATRIX)
    found = vectors_of({"encoder": "file", "path": str(tmp_path / "text.npy")}, ["x", "y", "z"], tmp_path)
    np.testing.assert_allclose(found.vectors, UNIT, rtol=1e-6)


def test_the_data_sets_name_may_be_part_of_the_path(tmp_path: Path) -> None:
    np.save(tmp_path / "text_digits.npy", MATRIX)
    config = {"encoder": "file", "path": str(tmp_path / "text_{dataset}.npy")}
    assert vectors_of(config, ["x", "y", "z"], tmp_path, dataset="digits").origin == "text_digits.npy"


def test_the_digest_is_that_of_the_contents(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    one = vectors_of(saved(tmp_path / "one.npz", names=names, vectors=MATRIX), names, tmp_path)
    scaled = vectors_of(saved(tmp_path / "two.npz", names=names, vectors=2 * MATRIX), names, tmp_path)
    other = vectors_of(saved(tmp_path / "three.npz", names=names, vectors=MATRIX + 1), names, tmp_path)
    assert one.digest == scaled.digest != other.digest


def test_a_file_that_lacks_a_name_is_a_reason_that_names_both(tmp_path: Path) -> None:
    config = saved(tmp_path / "text.npz", names=["a", "b", "c"], vectors=MATRIX)
    with pytest.raises(NoText, match=r"text\.npz lack 1 of 2 class names \(zebra\)"):
        vectors_of(config, ["a", "zebra"], tmp_path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"names": ["a", "b"]}, "`class_names` and `embeddings` are needed"),
        ({"names": ["a", "b"], "vectors": MATRIX}, "shape (3, 2) but there are 2 names"),
        ({"names": ["a", "b", "c"], "vectors": MATRIX[:, 0]}, "shape (3,)"),
        ({"names": ["a", "b", "c"], "vectors": MATRIX * [[1], [0], [1]]}, "zero or not a number"),
        ({"names": ["a", "b", "c"], "vectors": MATRIX * np.nan}, "zero or not a number"),
        ({"names": np.array(["a", "b", "c"], dtype=object), "vectors": MATRIX}, "text.npz"),
        ({"names": ["a", "b", "c"], "vectors": [["x", "y"]] * 3}, "text.npz"),
    ],
    ids=["no vectors", "too many rows", "one-dimensional", "zero", "nan", "names of objects", "words for numbers"],
)
def test_an_npz_that_cannot_be_used_is_refused_with_its_fault(
    arrays: dict[str, Any], message: str, tmp_path: Path
) -> None:
    config = saved(tmp_path / "text.npz", **arrays)
    with pytest.raises(UserError, match=re.escape(message)):
        vectors_of(config, ["a", "b", "c"], tmp_path)


def test_an_npy_with_a_row_too_few_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "text.npy", MATRIX)
    with pytest.raises(UserError, match=r"shape \(3, 2\); one row for each of 4 classes"):
        vectors_of({"encoder": "file", "path": str(tmp_path / "text.npy")}, list("wxyz"), tmp_path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"text\.path: .*nowhere\.npz does not exist"):
        vectors_of({"encoder": "file", "path": str(tmp_path / "nowhere.npz")}, ["a"], tmp_path)


@pytest.mark.parametrize("content", [b"", b"words", b"PK\x03\x04 half an archive", b"\x93NUMPY\x01"])
def test_a_file_that_is_no_array_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"text\.npz is not a readable"):
        vectors_of({"encoder": "file", "path": str(tmp_path / "text.npz")}, ["a"], tmp_path)


def test_real_clip_vectors_of_cifar_are_read_by_name(shared_data: Path, tmp_path: Path) -> None:
    config = {"encoder": "file", "path": str(shared_data / "{dataset}_text_clip_vitb32.npz")}
    for cls in (Cifar10, Cifar100):
        found = vectors_of(config, cls.class_names, tmp_path, dataset=cls.kind)
        assert found.vectors.shape == (len(cls.class_names), 512)


# -- open_clip --------------------------------------------------------------------------------------------------------

TINY: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def add_model(folder: Path, name: str, config: dict[str, Any]) -> None:
    import open_clip

    (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{name}.json")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random open_clip model of the smallest size, known as `tiny-test-clip`, and its checkpoint."""
    import open_clip

    folder = tmp_path_factory.mktemp("clip")
    add_model(folder, "tiny-test-clip", TINY)
    torch.manual_seed(0)
    torch.save(open_clip.create_model("tiny-test-clip").state_dict(), folder / "weights.pt")
    return folder / "weights.pt"


def tower_vectors(weights: Path, prompts: Sequence[str]) -> NDArray[np.float32]:
    """The vectors straight from open_clip, one prompt at a time."""
    import open_clip

    tower = open_clip.create_model("tiny-test-clip").eval()
    tower.load_state_dict(torch.load(weights, weights_only=True))
    tokens = open_clip.get_tokenizer("tiny-test-clip")
    with torch.no_grad():
        return np.concatenate([tower.encode_text(tokens([prompt])).numpy() for prompt in prompts])


def clip_config(weights: Path | str, **changes: str) -> dict[str, str]:
    return {"encoder": "open_clip", "model": "tiny-test-clip", "pretrained": str(weights),
            "template": "a photo of a {}", **changes}  # fmt: skip


def test_open_clip_encodes_the_template_with_the_names_in_words(tiny: Path, tmp_path: Path) -> None:
    found = vectors_of(clip_config(tiny), ["dog", "cat", "maple_tree"], tmp_path)
    expected = tower_vectors(tiny, PROMPTS)
    np.testing.assert_allclose(found.vectors, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)
    assert "tiny-test-clip" in found.origin


@pytest.mark.parametrize("batch_size", [1, 2, 256])
def test_open_clip_encodes_in_batches_of_any_size(tiny: Path, batch_size: int) -> None:
    from ltbench.models.clip import encode_text

    found = encode_text("tiny-test-clip", str(tiny), PROMPTS, batch_size=batch_size)
    np.testing.assert_allclose(found, tower_vectors(tiny, PROMPTS), atol=1e-5)
    assert found.dtype == np.float32


def test_encoded_vectors_are_kept_and_not_made_again(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = vectors_of(clip_config(tiny), ["dog", "cat"], tmp_path)
    monkeypatch.setattr("ltbench.models.clip.encode_text", None)
    again = vectors_of(clip_config(tiny), ["dog", "cat"], tmp_path)
    np.testing.assert_array_equal(again.vectors, first.vectors)
    assert again.digest == first.digest


def test_the_digest_follows_weights_template_and_names_and_not_the_place(tiny: Path, tmp_path: Path) -> None:
    moved, other = tmp_path / "moved.pt", tmp_path / "other.pt"
    moved.write_bytes(tiny.read_bytes())
    state = torch.load(tiny, weights_only=True)
    torch.save({**state, "text_projection": state["text_projection"] + 1}, other)

    def digest_of(config: dict[str, str], names: Sequence[str] = ("dog", "cat")) -> str:
        return str(vectors_of(config, names, tmp_path).digest)

    plain = digest_of(clip_config(tiny))
    assert digest_of(clip_config(moved)) == plain
    changed = [
        digest_of(clip_config(other)),
        digest_of(clip_config(tiny, template="{}")),
        digest_of(clip_config(tiny), ["cat", "dog"]),
    ]
    assert len({plain, *changed}) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "tiny-test-clap"}, "unknown open_clip model 'tiny-test-clap'. Did you mean 'tiny-test-clip'?"),
        ({"model": "ViT-B-32", "pretrained": "open-ai"}, "nor a tag of ViT-B-32. Did you mean 'openai'?"),
        ({"pretrained": "/nowhere/weights.pt"}, "'/nowhere/weights.pt' is neither a file nor a tag"),
    ],
)  # fmt: skip
def test_unknown_models_and_weights_are_refused_with_the_nearest(
    changes: dict[str, str], message: str, tiny: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        vectors_of(clip_config(tiny, **changes), ["dog"], tmp_path)
    assert not (tmp_path / "text").exists()


def test_weights_that_cannot_be_fetched_are_refused_with_three_cures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import open_clip

    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("Failed to download weights for tag 'openai'")

    monkeypatch.setattr(open_clip, "create_model", fails)
    with pytest.raises(UserError) as caught:
        vectors_of(clip_config("openai", model="ViT-B-32"), ["dog"], tmp_path)
    for words in ("'openai' of ViT-B-32", "HF_HOME", "`pretrained:`", "`encoder: file`"):
        assert words in str(caught.value)


def test_without_a_network_the_hub_is_asked_once_and_for_seconds_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import open_clip
    from huggingface_hub import constants

    asked, offline_then = [], []

    def unreachable(address: Any, timeout: float) -> None:
        asked.append((address, timeout))
        raise OSError("no route")

    def fails(*_: Any, **__: Any) -> None:
        offline_then.append(constants.HF_HUB_OFFLINE)
        raise RuntimeError("not cached")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.create_connection", unreachable)
    monkeypatch.setattr(open_clip, "create_model", fails)
    with pytest.raises(UserError, match="could not be fetched"):
        vectors_of(clip_config("openai", model="ViT-B-32"), ["dog"], tmp_path)
    assert len(asked) == 1
    assert asked[0][1] <= 5
    assert offline_then == [True]
    assert constants.HF_HUB_OFFLINE is False, "as it was before"


def test_local_weights_never_ask_the_hub(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was made")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.create_connection", refuse)
    assert vectors_of(clip_config(tiny), ["dog"], tmp_path).vectors.shape == (1, 16)


def test_a_damaged_checkpoint_is_not_called_absent(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "damaged.pt").write_bytes(b"half a checkpoint")
    with pytest.raises(UserError, match=r"damaged\.pt") as caught:
        vectors_of(clip_config(tmp_path / "damaged.pt"), ["dog"], tmp_path)
    assert "not on this machine" not in str(caught.value)


def test_a_checkpoint_of_another_model_is_not_called_absent(tmp_path: Path, tiny: Path) -> None:
    torch.save({"text_projection": torch.zeros(3, 3)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other\.pt") as caught:
        vectors_of(clip_config(tmp_path / "other.pt"), ["dog"], tmp_path)
    assert "not on this machine" not in str(caught.value)


def test_a_tokenizer_that_needs_another_package_is_refused_by_name(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_tokenizer = {**TINY, "text_cfg": {**TINY["text_cfg"], "hf_tokenizer_name": "somebody/tokenizer"}}
    add_model(tmp_path, "tiny-test-hf", with_tokenizer)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match="transformers"):
        vectors_of(clip_config(tiny, model="tiny-test-hf"), ["dog"], tmp_path)


# -- prompts ----------------------------------------------------------------------------------------------------------


def test_several_templates_are_averaged_as_unit_vectors(tiny: Path, tmp_path: Path) -> None:
    templates = ["a photo of a {}", "itap of a {}.", "{}"]
    config = {**clip_config(tiny), "templates": templates}
    found = vectors_of(config, ["dog", "maple_tree"], tmp_path)
    for row, name in enumerate(["dog", "maple tree"]):
        each = tower_vectors(tiny, [t.replace("{}", name) for t in templates]).astype(np.float64)
        mean = sum(v / np.sqrt((v * v).sum()) for v in each)
        np.testing.assert_allclose(found.vectors[row], mean / np.sqrt((mean * mean).sum()), atol=1e-6)
    assert found.origin.endswith(", 3 templates")


@pytest.mark.parametrize(("name", "templates"), [("imagenet_80", 80), ("imagenet_7", 7)])
def test_named_sets_of_templates_are_clips(
    name: str, templates: int, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def encode(model: Any, pretrained: str, prompts: Sequence[str]) -> NDArray[np.float32]:
        asked.extend(prompts)
        return np.ones((len(prompts), 2), dtype=np.float32)

    monkeypatch.setattr("ltbench.models.clip.encode_text", encode)
    found = vectors_of({**clip_config(tiny), "templates": name}, ["dog", "cat"], tmp_path)
    assert len(asked) == len(set(asked)) == 2 * templates
    assert {"itap of a dog.", "itap of a cat."} < set(asked)
    assert found.origin.endswith(name)


@pytest.mark.parametrize(
    ("names", "prompts"),
    [
        ({}, ["a photo of a maple tree", "a photo of a aquarium fish"]),
        ({"underscores": "keep"}, ["a photo of a maple_tree", "a photo of a aquarium_fish"]),
        ({"article": True}, ["a photo of a maple tree", "a photo of an aquarium fish"]),
    ],
)
def test_how_names_become_words_can_be_chosen_and_is_in_the_digest(
    names: dict[str, Any], prompts: list[str], tiny: Path, tmp_path: Path
) -> None:
    classes = ["maple_tree", "aquarium_fish"]
    found = vectors_of({**clip_config(tiny), "names": names}, classes, tmp_path)
    expected = tower_vectors(tiny, prompts)
    np.testing.assert_allclose(found.vectors, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)
    assert (found.digest == vectors_of(clip_config(tiny), classes, tmp_path).digest) == (not names)


def test_the_digest_of_one_template_is_as_it_always_was(tiny: Path, tmp_path: Path) -> None:
    """Records made before there were ensembles stay good: encoder, model, weights' hash, template; then the prompts."""
    settings = {"encoder": "open_clip", "model": "tiny-test-clip", "template": "a photo of a {}",
                "pretrained": hashlib.sha256(tiny.read_bytes()).hexdigest()}  # fmt: skip
    expected = digest([settings, ["a photo of a dog", "a photo of a maple tree"]])
    assert vectors_of(clip_config(tiny), ["dog", "maple_tree"], tmp_path).digest == expected
    listed = {**clip_config(tiny), "templates": ["a photo of a {}"]}
    assert vectors_of(listed, ["dog", "maple_tree"], tmp_path).digest == expected


def test_a_plan_learns_the_name_of_vectors_without_making_them(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = vectors_of(clip_config(tiny), ["dog"], tmp_path)
    monkeypatch.setattr("ltbench.models.clip.encode_text", None)
    later = text_vectors(clip_config(tiny), "made", ["dog"], tmp_path / "empty", later=True)
    assert (later.digest, later.origin, later.dim) == (expected.digest, expected.origin, 16)


def test_weights_that_want_clips_activation_have_vectors_of_another_name(tmp_path: Path) -> None:
    """Without it open_clip computes other vectors from the same weights, and says so in a warning only."""
    config = {"encoder": "open_clip", "model": "ViT-B-32", "pretrained": "openai", "template": "{}"}
    later = text_vectors(config, "made", ["dog"], tmp_path, later=True)
    without = digest([{k: config[k] for k in ("encoder", "model", "pretrained", "template")}, ["dog"]])
    assert later.digest != without
    assert later.model is not None
    assert later.model["quick_gelu"]


# -- sentence-transformers --------------------------------------------------------------------------------------------

SENTENCES = {"encoder": "sentence_transformers", "model": "some-model", "template": "a photo of a {}"}


def test_sentence_transformers_that_is_not_installed_is_refused_with_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UserError, match=re.escape("pip install 'ltbench[text]'")):
        vectors_of(SENTENCES, ["dog"], tmp_path)


class FakePackage:
    """Stands for the package sentence_transformers; its model gives the length of each sentence."""

    class SentenceTransformer:
        def __init__(self, model: str, device: str) -> None:
            if model != "some-model":
                raise OSError("We couldn't connect to the hub")

        def encode(self, sentences: list[str], convert_to_numpy: bool) -> NDArray[np.float64]:
            return np.array([[len(sentence), 1.0] for sentence in sentences])


def test_sentence_transformers_encodes_the_template_with_the_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", FakePackage)
    found = vectors_of(SENTENCES, ["dog", "maple_tree"], tmp_path).vectors
    np.testing.assert_allclose(found[:, 0] / found[:, 1], [len(PROMPTS[0]), len(PROMPTS[2])], rtol=1e-5)


def test_a_sentence_model_that_cannot_be_loaded_is_refused_with_the_cures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", FakePackage)
    with pytest.raises(UserError) as caught:
        vectors_of({**SENTENCES, "model": "absent"}, ["dog"], tmp_path)
    for words in ("text.model", "'absent'", "couldn't connect", "`encoder: bundled`", "`encoder: file`"):
        assert words in str(caught.value)
