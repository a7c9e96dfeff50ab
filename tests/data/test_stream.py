"""Streaming: the same pixels cached or not, the same numbers with any number of processes and after interruptions."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms.v2 import functional as F

from ltbench.checks.rehearsal import READ, Host
from ltbench.data import stream
from ltbench.data.images import pictures as pictures_module
from ltbench.data.images.crops import by_matrices
from ltbench.data.images.decode import whole
from ltbench.data.images.pictures import Pictures, names_array
from ltbench.data.longtail import manifest, select
from ltbench.data.sources.kinds import open_source
from ltbench.data.sources.source import Source
from ltbench.data.stream import AHEAD, Ahead, Cutter, StreamBatches
from ltbench.errors import UserError
from ltbench.execution.progress import RunDisplay
from ltbench.execution.sharing import Sharing
from ltbench.spec import Cell, TrialSpec
from ltbench.training.checkpoints.checkpoint import Stopped
from ltbench.training.site import Site
from ltbench.training.trial import run_trial
from tests.data.made import small_lists, write_images
from tests.sampling import sampled

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
OPTIONS = {"size": 24, "stream": True}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_lists(tmp_path_factory.mktemp("images"))


def source(root: Path, data: Path, cache: bool) -> Source:
    found = open_source("lists", data, str(root), OPTIONS)
    found.decoded_cache = cache
    return found


def train_batches(
    x: Pictures, y: NDArray[np.int64], augment: str = "resized_crop_flip", **options: Any
) -> StreamBatches:
    ahead = Ahead(np.random.default_rng(1), np.random.default_rng(1))
    return StreamBatches(Cutter(x, 24), y, MEAN, STD, augment=augment, ahead=ahead, **options)


# -- several views ----------------------------------------------------------------------------------------------------


def test_every_view_is_a_crop_of_its_own(root: Path, tmp_path: Path) -> None:
    """As a batch of every image twice would be, but for the jitter, which is the second view's alone."""
    arrays = source(root, tmp_path, cache=False).arrays()
    index = np.arange(6)
    jitter = "resized_crop_flip_jitter"
    found, labels = train_batches(arrays.train_x, arrays.train_y, further=[jitter]).batch(index)
    assert found.shape == (2, 6, 3, 24, 24)
    assert np.array_equal(labels.numpy(), arrays.train_y[index])
    for view, augment in enumerate(["resized_crop_flip", jitter]):
        expected = train_batches(arrays.train_x, arrays.train_y, augment).batch(np.tile(index, 2))[0]
        assert torch.equal(found[view], expected[6 * view : 6 * view + 6])
    step, x, y = train_batches(arrays.train_x, arrays.train_y, further=[jitter]).next(lambda step: index, 0, 1)
    assert np.array_equal(step, index)
    assert torch.equal(x, found)
    assert torch.equal(y, labels)


# -- pixels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(200, 300), (300, 200), (28, 28), (17, 90), (1000, 700)])
def test_an_image_is_brought_to_its_shorter_side_whole(width: int, height: int, tmp_path: Path) -> None:
    x, y = np.linspace(0, 255, width), np.linspace(0, 255, height)
    pixels = np.stack([np.tile(x, (height, 1)), np.tile(y[:, None], (1, width)), np.full((height, width), 90)], axis=2)
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "i.jpg", quality=98)
    found = whole(tmp_path / "i.jpg", 28)
    assert min(found.shape[:2]) == 28
    assert found.shape[1] / found.shape[0] == pytest.approx(width / height, rel=0.03)
    expected = F.resize(torch.from_numpy(pixels).permute(2, 0, 1).float(), list(found.shape[:2]), antialias=True)
    assert np.abs(found - expected.permute(1, 2, 0).numpy()).mean() < 2


def test_cached_and_decoded_images_are_the_same_to_the_bit(root: Path, tmp_path: Path) -> None:
    cached, straight = (source(root, tmp_path / str(c), cache=c).arrays() for c in (True, False))
    assert cached.train_x.cache is not None
    assert straight.train_x.cache is None
    assert not (tmp_path / "False" / "packed").exists() or not list((tmp_path / "False").glob("packed/decoded-*"))
    for part in ("train_x", "test_x"):
        a, b = getattr(cached, part), getattr(straight, part)
        assert len(a) == len(b) > 0
        for i in range(len(a)):
            np.testing.assert_array_equal(a.pixels(i), b.pixels(i))
    some = np.array([7, 0, 7, 3])
    np.testing.assert_array_equal(cached.train_x.take(some).pixels(2), straight.train_x.pixels(7))


def test_an_interrupted_decoding_goes_on_where_it_was(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures_module, "PER_FILE", 5)
    decoded: list[Path] = []
    real = whole

    def counted(file: Path, *how: Any) -> NDArray[np.uint8]:
        decoded.append(file)
        if len(decoded) > 12:
            raise KeyboardInterrupt
        return real(file, *how)

    monkeypatch.setattr(pictures_module, "whole", counted)
    with pytest.raises(KeyboardInterrupt):
        source(root, tmp_path, cache=True).prepare()
    kept = sorted(f.name for f in tmp_path.glob("packed/decoded-*/*"))
    assert kept == ["train-00000.bin", "train-00000.npy", "train-00001.bin", "train-00001.npy"]
    monkeypatch.setattr(pictures_module, "whole", real)
    arrays = source(root, tmp_path, cache=True).arrays()
    assert arrays.train_x.cache is not None
    for x in (arrays.train_x, arrays.test_x):
        for i in range(len(x)):
            np.testing.assert_array_equal(x.pixels(i), whole(x.file(i), 27))


def test_a_file_of_the_cache_that_was_cut_short_is_made_again(root: Path, tmp_path: Path) -> None:
    found = source(root, tmp_path, cache=True)
    folder = found.prepare()
    before = (folder / "test-00000.bin").read_bytes()
    (folder / "test-00000.bin").write_bytes(before[:-10])
    (folder / "done.json").unlink()
    source(root, tmp_path, cache=True).prepare()
    assert (folder / "test-00000.bin").read_bytes() == before


def test_unreadable_images_are_all_named_and_the_rest_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures_module, "PER_FILE", 6)
    root = small_lists(tmp_path / "root")
    (root / "train" / "classa" / "2.jpg").write_bytes(b"no image")
    (root / "test" / "classb" / "1.jpg").write_bytes((root / "test" / "classb" / "0.jpg").read_bytes()[:200])
    with pytest.raises(UserError, match="2 unreadable images") as caught:
        source(root, tmp_path, cache=True).prepare()
    assert "classa/2.jpg" in str(caught.value)
    assert "classb/1.jpg" in str(caught.value)
    kept = {f.name for f in tmp_path.glob("packed/decoded-*/*.npy")}
    assert kept == {"train-00001.npy", "train-00002.npy", "train-00003.npy", "test-00001.npy"}


def test_a_full_disk_ends_the_decoding_with_the_cure(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pictures_module.np, "save", full)
    with pytest.raises(UserError, match=r"cannot be kept \(No space left on device\).*resources.decoded_cache=false"):
        source(root, tmp_path, cache=True).prepare()


def test_without_room_nothing_is_kept_unless_it_is_asked_for(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = open_source("lists", tmp_path, str(root), OPTIONS)
    need = 31 * 27**2 * 3 * 1.4
    for free, kept in ((2 * need - 1000, False), (2 * need + 1000, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: shutil._ntuple_diskusage(10**12, 0, int(free)))
        assert found._to_be_kept() is kept  # type: ignore[attr-defined]


# -- batches ----------------------------------------------------------------------------------------------------------


def test_evaluation_is_resize_and_center_crop(root: Path, tmp_path: Path) -> None:
    arrays = source(root, tmp_path, cache=False).arrays()
    made = torch.cat(list(StreamBatches(Cutter(arrays.test_x, 24), arrays.test_y, MEAN, STD).in_order(4)))
    assert made.shape == (9, 3, 24, 24)
    assert made.is_contiguous(memory_format=torch.channels_last)
    for i in range(9):
        pixels = torch.from_numpy(arrays.test_x.pixels(i).copy()).permute(2, 0, 1)
        expected = F.normalize(F.center_crop(pixels, [24, 24]).float() / 255, list(MEAN), list(STD))
        torch.testing.assert_close(made[i], expected, atol=1e-5, rtol=0)


def test_another_shorter_side_still_shows_seven_eighths(root: Path, tmp_path: Path) -> None:
    arrays = open_source("lists", tmp_path, str(root), {"size": 24, "resize": 40}).arrays()
    made = next(StreamBatches(Cutter(arrays.test_x, 24), arrays.test_y, (0.0,) * 3, (1.0,) * 3).in_order(2))
    pixels = torch.from_numpy(arrays.test_x.pixels(0).copy()).permute(2, 0, 1).float() / 255
    expected = F.resize(F.center_crop(pixels, [35, 35]), [24, 24], antialias=True)
    torch.testing.assert_close(made[0], expected, atol=1e-5, rtol=0)


def test_images_are_made_in_float32_in_the_midst_of_bf16(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test pass asks for its images under autocast, which would multiply matrices in bfloat16."""
    arrays = open_source("lists", tmp_path, str(root), {"size": 24, "resize": 40}).arrays()
    batches = StreamBatches(Cutter(arrays.test_x, 24), arrays.test_y, MEAN, STD)
    monkeypatch.setattr(stream, "resampled", by_matrices)
    plain = torch.cat(list(batches.in_order(4)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = torch.cat(list(batches.in_order(4)))
    assert mixed.dtype == torch.float32
    assert torch.equal(plain, mixed)


def test_clips_own_preprocessing_is_resize_224_and_bicubic(root: Path, tmp_path: Path) -> None:
    """The shorter side is the network's, the middle is cut out: no margin, as in CLIP's own transforms."""
    options = {"size": 24, "resize": 24, "interpolation": "bicubic"}
    found = open_source("lists", tmp_path, str(root), options)
    assert found.chosen == options
    arrays = found.arrays()
    made = next(StreamBatches(Cutter(arrays.test_x, 24), arrays.test_y, (0.0,) * 3, (1 / 255,) * 3).in_order(2))
    with Image.open(arrays.test_x.file(0)) as image:
        scale = 24 / min(image.size)
        small = image.resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)
        expected = F.center_crop(F.pil_to_tensor(small), [24, 24]).float()
    assert (made[0] - expected).abs().max() <= 1, "the centre may be rounded to the other side, nothing else"


def test_a_training_batch_is_its_images_cropped_resized_and_flipped(root: Path, tmp_path: Path) -> None:
    from ltbench.data.images.crops import draw_uniforms, mirrored, random_boxes

    arrays = source(root, tmp_path, cache=False).arrays()
    index = np.array([3, 20, 3, 9, 11, 3])
    x, y = train_batches(arrays.train_x, arrays.train_y).batch(index)
    uniforms = draw_uniforms(np.random.default_rng(1), 6)
    assert y.tolist() == arrays.train_y[index].tolist()
    for i, position in enumerate(index):
        pixels = arrays.train_x.pixels(int(position))
        top, left, h, w = random_boxes(uniforms[i : i + 1], *np.array(pixels.shape[:2])[:, None])[0].tolist()
        image = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255
        expected = F.resized_crop(image, top, left, h, w, [24, 24], antialias=True)
        expected = F.normalize(expected.flip(2) if mirrored(uniforms)[i] else expected, list(MEAN), list(STD))
        torch.testing.assert_close(x[i], expected, atol=2e-4, rtol=0)


def test_flip_alone_shows_the_middle(root: Path, tmp_path: Path) -> None:
    arrays = source(root, tmp_path, cache=False).arrays()
    index = np.arange(12)
    plain, _ = train_batches(arrays.train_x, arrays.train_y, "none").batch(index)
    flipped, _ = train_batches(arrays.train_x, arrays.train_y, "flip").batch(index)
    same = [torch.equal(a, b) for a, b in zip(plain, flipped, strict=True)]
    mirror = [torch.equal(a, b.flip(2)) for a, b in zip(plain, flipped, strict=True)]
    assert all(a != b for a, b in zip(same, mirror, strict=True))
    assert 0 < sum(mirror) < 12


def test_an_image_that_is_in_a_batch_twice_is_decoded_once(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = source(root, tmp_path, cache=False).arrays()
    decoded: list[Path] = []
    monkeypatch.setattr(pictures_module, "whole", lambda file, *how: decoded.append(file) or whole(file, *how))
    x, _ = train_batches(arrays.train_x, arrays.train_y).batch(np.array([5, 2, 5, 5, 2, 8]))
    assert len(decoded) == 3
    assert not torch.equal(x[0], x[2]), "two crops of one image"


Drawn = list[tuple[torch.Tensor, torch.Tensor]]


def run_steps(
    batches: StreamBatches, stages: tuple[int, ...], first: int = 0, last: int = 10**9, seed: int = 7
) -> Drawn:
    """The batches of these stages from step `first` of the first one; indices from a generator of the stream's own."""
    found = []
    for steps in stages:
        for step in range(first, min(steps, last)):
            _, *batch = batches.next(lambda _: batches.state.draws.integers(0, len(batches), 4), step, steps)
            found.append((batch[0], batch[1]))
        first = 0
    return found


@pytest.mark.parametrize("augment", ["resized_crop_flip", "resized_crop_flip_jitter", "flip"])
def test_the_number_of_processes_changes_nothing(augment: str, root: Path, tmp_path: Path) -> None:
    arrays = source(root, tmp_path, cache=True).arrays()
    found = []
    for workers in (0, 1, 2):
        batches = train_batches(arrays.train_x, arrays.train_y, augment, workers=workers)
        found.append(run_steps(batches, (5, AHEAD + 9, 1)))
        batches.close()
    assert len(found[0]) == AHEAD + 15
    for other in found[1:]:
        assert all(torch.equal(a, b) and torch.equal(c, d) for (a, c), (b, d) in zip(found[0], other, strict=True))
    cutter = Cutter(arrays.test_x, 24)
    in_order = [torch.cat(list(StreamBatches(cutter, arrays.test_y, MEAN, STD, workers=n).in_order(2))) for n in (0, 2)]
    assert torch.equal(*in_order)


def test_signals_to_all_processes_leave_the_batches_coming(root: Path, tmp_path: Path) -> None:
    """As Ctrl-C and a cluster's end of a job do; the trial itself decides when it is over."""
    arrays = source(root, tmp_path, cache=True).arrays()
    undisturbed = run_steps(train_batches(arrays.train_x, arrays.train_y), (3 * AHEAD,))
    batches = train_batches(arrays.train_x, arrays.train_y, workers=2)
    found = run_steps(batches, (3 * AHEAD,), last=4)
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    for worker in workers:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(int(str(worker.pid)), number)
    found += run_steps(batches, (3 * AHEAD,), first=4)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(undisturbed, found, strict=True))
    batches.close()
    for worker in workers:
        worker.join(timeout=20)
        assert not worker.is_alive()


def test_torchs_own_dice_are_left_alone(root: Path, tmp_path: Path) -> None:
    arrays = source(root, tmp_path, cache=True).arrays()
    batches = train_batches(arrays.train_x, arrays.train_y, workers=1)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    run_steps(batches, (3, 2))
    assert torch.equal(torch.rand(4), expected)
    batches.close()


@pytest.mark.parametrize("workers", [(0, 0), (0, 2), (2, 1)])
def test_the_state_between_two_steps_is_all_that_is_needed_to_go_on(
    workers: tuple[int, int], root: Path, tmp_path: Path
) -> None:
    from ltbench.training.checkpoints.state import capture, restore

    arrays = source(root, tmp_path, cache=True).arrays()
    steps = 2 * AHEAD
    undisturbed = run_steps(train_batches(arrays.train_x, arrays.train_y), (steps, 3))
    first = train_batches(arrays.train_x, arrays.train_y, workers=workers[0])
    run_steps(first, (steps,), last=9)
    saved = capture({"crops": first.state})
    first.close()
    second = train_batches(arrays.train_x, arrays.train_y, workers=workers[1])
    restore({"crops": second.state}, saved)
    rest = run_steps(second, (steps, 3), first=9)
    second.close()
    assert len(rest) == len(undisturbed) - 9
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
               for a, b in zip(undisturbed[9:], rest, strict=True))  # fmt: skip


def test_nothing_is_drawn_beyond_the_stage(root: Path, tmp_path: Path) -> None:
    arrays = source(root, tmp_path, cache=True).arrays()
    batches, asked = train_batches(arrays.train_x, arrays.train_y), []
    for stage, steps in enumerate((3, AHEAD + 5)):
        for step in range(steps):
            batches.next(lambda s, stage=stage: asked.append((stage, s)) or np.arange(3), step, steps)
    assert asked == [(0, s) for s in range(3)] + [(1, s) for s in range(AHEAD + 5)]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_vanishes_is_named(workers: int, tmp_path: Path) -> None:
    root = small_lists(tmp_path / "root")
    arrays = source(root, tmp_path, cache=False).arrays()
    (root / "train" / "classa" / "4.jpg").unlink()
    batches = train_batches(arrays.train_x, arrays.train_y, workers=workers)
    with pytest.raises(UserError, match=r"unreadable image .*classa/4.jpg \("):
        batches.next(lambda _: np.arange(8), 0, 3)
    batches.close()


def test_waiting_is_measured_and_the_remedy_said(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.arange(0.0, 1000.0).tolist())
    arrays = source(root, tmp_path, cache=True).arrays()
    batches = train_batches(arrays.train_x, arrays.train_y)
    assert batches.waiting_share() == 0.0
    monkeypatch.setattr(stream.time, "perf_counter", lambda: next(clock))
    for step in range(3):
        batches.next(lambda _: np.arange(2), step, 3)
        next(clock)  # a second of training
    assert batches.waiting_share() == pytest.approx(3 / 9)
    assert batches.starved() == (
        "the training waited for images 30% of its time; more processes (resources.data_workers, 0 here) would help"
    )
    for share, workers, cached, cure in (
        (0.05, 2, False, None),
        (0.5, 4, False, "keep the decoded images (resources.decoded_cache=true) or more processes"),
        (0.5, AHEAD, True, "a faster disk would help"),
    ):
        monkeypatch.setattr(StreamBatches, "waiting_share", lambda _, share=share: share)
        monkeypatch.setattr(StreamBatches, "cached", cached)
        found = train_batches(arrays.train_x, arrays.train_y, workers=workers).starved()
        assert found is None if cure is None else cure in str(found)


def test_names_of_any_bytes_come_back(tmp_path: Path) -> None:
    names = ["a/b.jpg", "c d/é.jpg"]
    found = Pictures(tmp_path, names_array(names), 8)
    assert [found.file(i) for i in range(2)] == [tmp_path / name for name in names]


# -- trials -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def make(root: Path, tmp_path: Path, make_spec: Callable[..., TrialSpec]) -> Callable[..., tuple[TrialSpec, Site]]:
    """A trial of a small network on streamed images, and its site."""

    def made(method: str = "ce", cache: bool = True, workers: int = 0, **recipe: Any) -> tuple[TrialSpec, Site]:
        found = source(root, tmp_path / f"data-{cache}", cache)
        facts = found.facts()
        train, held = select(facts.train_counts, imbalance=None, profile="native", subset_seed=0, holdout_per_class=1)
        cell = Cell(dataset="mine", kind="lists", imbalance=None, profile="native", options=found.chosen,
                    holdout_per_class=1, manifest=manifest(facts.fingerprint, found.chosen, train, held))  # fmt: skip
        usual = {"backbone": "cnn_small", "batch_size": 5, "augment": "resized_crop_flip", "epochs": 12.0}
        spec = make_spec(method, recipe={**usual, **recipe})
        spec = replace(spec, cell=cell, text="names" if spec.text else None)
        text = np.eye(3, 8, dtype=np.float32) + 0.1
        site = Site(tmp_path / f"data-{cache}", paths={"mine": str(root)}, texts={"names": text}, device="cpu",
                    threads=1, decoded_cache=cache, data_workers=workers)  # fmt: skip
        return spec, site

    return made


@sampled(
    "method, augment, workers",
    product(["ce", "text_guided_mixup"], ["flip", "resized_crop_flip_jitter"], [0, 2]),
    [("ce", "flip", 0), ("text_guided_mixup", "resized_crop_flip_jitter", 2)],
)
def test_a_trial_has_everything_on_the_device_and_waits_for_it_once_an_epoch(
    make: Callable[..., tuple[TrialSpec, Site]], method: str, augment: str, workers: int
) -> None:
    times = []
    for epochs in (2.0, 6.0):
        spec, site = make(method, workers=workers, augment=augment, epochs=epochs)
        with Host([]) as host:
            record = run_trial(spec, replace(site, device="meta"))
        assert record.status == "ok", record.error
        times.append(host.times)
    assert times[1] - times[0] == {READ: 4}


def test_a_trial_learns_and_its_numbers_do_not_depend_on_cache_or_processes(
    make: Callable[..., tuple[TrialSpec, Site]],
) -> None:
    runs = [run_trial(*make(cache=cache, workers=workers, epochs=40.0, optimizer={**OPTIMIZER, "lr": 0.02}))
            for cache, workers in ((True, 0), (False, 1))]  # fmt: skip
    assert [r.error for r in runs] == [None, None]
    assert runs[0].key == runs[1].key
    assert runs[0].numbers() == runs[1].numbers()
    assert runs[0].metrics["balanced_accuracy"] == 100.0, "red, green and blue can be told apart"
    assert (runs[0].environment["data_cached"], runs[1].environment["data_cached"]) == (True, False)
    assert 0 <= runs[0].environment["data_wait_share"] <= 1


OPTIMIZER = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0, "nesterov": False}


@sampled("method", ["text_guided_mixup", "crt", "ldam_drw"], ["text_guided_mixup"])
def test_an_interrupted_trial_ends_in_the_same_numbers(
    method: str, make: Callable[..., tuple[TrialSpec, Site]], tmp_path: Path
) -> None:
    spec, site = make(method)
    undisturbed = run_trial(spec, site)
    assert undisturbed.status == "ok", undisturbed.error
    site = replace(site, checkpoints=tmp_path / "checkpoints", checkpoint_seconds=0.0, data_workers=1)
    (tmp_path / "checkpoints").mkdir()
    stops = iter([*[False] * 13, True, *[False] * 22, True])
    for _ in range(2):
        with pytest.raises(Stopped):
            run_trial(spec, site, stop=lambda: next(stops))
    resumed = run_trial(spec, site)
    assert resumed.environment["resumed"] == 2
    assert resumed.numbers() == undisturbed.numbers()


@pytest.mark.parametrize("workers", [0, 1])
def test_what_another_trial_trained_on_streamed_images_gives_the_same_numbers(
    make: Callable[..., tuple[TrialSpec, Site]], tmp_path: Path, workers: int
) -> None:
    specs, sites = zip(*(make(method, workers=workers) for method in ("ce", "tau_norm")), strict=True)
    alone = run_trial(specs[1], sites[1])
    (tmp_path / "checkpoints").mkdir()
    site = replace(sites[1], checkpoints=tmp_path / "checkpoints")
    site = replace(site, shared=Sharing(specs, site).groups)
    trainer, taker = (run_trial(spec, site) for spec in specs)
    assert taker.environment["trained_by"] == trainer.key
    assert taker.numbers() == alone.numbers()
    assert taker.predictions == alone.predictions


def test_a_trial_without_its_images_fails_with_their_names(
    make: Callable[..., tuple[TrialSpec, Site]], tmp_path: Path
) -> None:
    spec, site = make()
    root = tmp_path / "half"
    shutil.copytree(Path(site.paths["mine"]), root)
    shutil.rmtree(root / "test" / "classb")
    record = run_trial(spec, replace(site, paths={"mine": str(root)}))
    assert record.status == "failed"
    assert str(record.error).startswith(f"UserError: 3 of 31 images are not under {root}")


def test_a_starved_trial_says_so_in_its_record_and_to_the_user(
    make: Callable[..., tuple[TrialSpec, Site]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow(file: Path, *how: Any) -> NDArray[np.uint8]:
        time.sleep(0.01)
        return whole(file, *how)

    monkeypatch.setattr(pictures_module, "whole", slow)
    spec, site = make(cache=False, epochs=2.0)
    record = run_trial(spec, site)
    assert record.environment["data_wait_share"] > 0.1
    (message,) = record.environment["data_messages"]
    with RunDisplay([spec], "balanced_accuracy") as display:
        display.finished(record)
    assert message in " ".join(capsys.readouterr().out.split())
    assert "resources.decoded_cache=true" in message


def test_images_of_one_data_set_are_decoded_once_for_all_cells(root: Path, tmp_path: Path) -> None:
    """Two entries of a suite that differ in their imbalance only share the cache; another side has its own."""
    folders = {source(root, tmp_path, cache=True).prepare() for _ in range(2)}
    other = open_source("lists", tmp_path, str(root), {"size": 24, "resize": 30})
    assert len(folders | {other.prepare()}) == 2


def test_a_folder_of_large_images_streams(tmp_path: Path) -> None:
    names = [f"{part}/{c}/{i}.jpg" for part in ("train", "test") for c in "ab" for i in range(3)]
    write_images(tmp_path / "root", names, [0, 0, 0, 1, 1, 1] * 2, shortest=80)
    sizes = {}
    for options in ({"size": 64}, {"size": 65}, {"size": 80, "stream": False}, {"size": 64, "resize": 80},
                    {"size": 32, "stream": True}):  # fmt: skip
        found = open_source("folder", tmp_path / "data", str(tmp_path / "root"), options)
        again = open_source("folder", tmp_path / "data", str(tmp_path / "root"), found.chosen)
        assert again.chosen == found.chosen
        assert isinstance(found.arrays().train_x, Pictures) == found.facts().streams
        sizes[str(options)] = found.chosen
    assert list(sizes.values()) == [{"size": 64}, {"size": 65, "resize": 74}, {"size": 80, "stream": False},
                                    {"size": 64, "resize": 80}, {"size": 32, "resize": 37}]  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # torch's own: that is many processes for this machine
def test_beside_a_gpu_batches_are_made_ahead_and_lie_where_it_can_fetch_them() -> None:
    """Pinned, so that a copy waits for nothing; several in the making per process, never more than have been drawn."""
    for workers in (1, 8, AHEAD):
        loader = stream._loader(None, [], workers, torch.device("cuda"))  # type: ignore[arg-type]
        assert loader.pin_memory
        assert loader.prefetch_factor is not None
        assert 1 <= loader.prefetch_factor * workers <= AHEAD
    assert not stream._loader(None, [], 1, torch.device("cpu")).pin_memory  # type: ignore[arg-type]
