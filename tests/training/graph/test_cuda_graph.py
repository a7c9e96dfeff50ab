"""CUDA graphs on a machine without a GPU: what is asked of torch, and what an error must not leave behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ltbench.training.graph.ops import CudaGraph
from ltbench.training.graph.passes import first_words
from ltbench.training.graph.use import GraphUse

ENDS = "CUDA error: operation failed due to a previous error during capture"


class Generator:
    """Torch's of a GPU, up to 2.13: while `recording`, it refuses every number outside."""

    def __init__(self, recording: bool = False) -> None:
        self.recording = recording

    def clone_state(self) -> Generator:
        return Generator()

    def graphsafe_set_state(self, other: Generator) -> None:
        self.recording = other.recording


class Cuda:
    """Stands for torch.cuda and the part of torch._C that manages memory.

    Args:
        tidy: as torch 2.14, which gives the memory back itself.
    """

    def __init__(self, patch: pytest.MonkeyPatch, *, tidy: bool) -> None:
        self.generator, self.taken, self.pools = Generator(), list[Any](), iter(["pool 0", "pool 1"])
        graph = SimpleNamespace(reset=self.taken.clear if tidy else lambda: None, pool=lambda: "pool of the graph")
        for name, stand_in in {
            "CUDAGraph": lambda: graph, "graph": self._graph, "graph_pool_handle": lambda: next(self.pools),
            "current_stream": lambda *_: "stream 1", "current_device": lambda: 0,
            "default_generators": [self.generator],
        }.items():  # fmt: skip
            patch.setattr(torch.cuda, name, stand_in)
        patch.setattr(torch._C, "_cuda_endAllocateToPool", self._end)
        patch.setattr(torch._C, "_cuda_releasePool", lambda device, pool: self.taken.remove((pool, "held")))

    @contextmanager
    def _graph(self, graph: Any, *, pool: Any, stream: Any, capture_error_mode: str) -> Iterator[None]:
        assert (stream, capture_error_mode) == ("stream 1", "thread_local")
        self.generator.recording = True
        self.taken += [(pool, "held"), (pool, "filled")]
        try:
            yield
        except Exception:
            raise RuntimeError(ENDS)  # noqa: B904 - as torch does it
        self.generator.recording = False
        self.taken.remove((pool, "filled"))

    def _end(self, device: int, pool: Any) -> None:
        if (pool, "filled") not in self.taken:
            raise RuntimeError("not currently recording to mempool_id")
        self.taken.remove((pool, "filled"))


def fails() -> None:
    raise ValueError("the method's own")


@pytest.mark.parametrize("tidy", [False, True])
def test_after_an_error_the_process_is_as_if_nothing_had_been_recorded(
    tidy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the trial could not go on operation by operation: `Offset increment outside graph capture`."""
    cuda = Cuda(monkeypatch, tidy=tidy)
    with pytest.raises(RuntimeError, match="previous error") as caught:
        CudaGraph().record(fails)
    assert not cuda.generator.recording
    assert not cuda.taken
    assert first_words(caught.value) == "ValueError: the method's own"
    assert CudaGraph().record(lambda: 3) == 3
    assert cuda.taken == [("pool 1", "held")]


def test_a_graph_can_share_the_memory_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda(monkeypatch, tidy=False)
    CudaGraph("pool of another").record(lambda: None)
    assert cuda.taken == [("pool of another", "held")]


def test_an_error_is_told_in_its_own_words() -> None:
    assert first_words(RuntimeError(ENDS)) == f"RuntimeError: {ENDS}"
    assert first_words(KeyError()) == "KeyError: "
    unjoined = RuntimeError("CUDA error: capturing stream has unjoined work")
    unjoined.__context__ = torch.cuda.OutOfMemoryError("CUDA out of memory.\nTried")
    assert first_words(unjoined) == "OutOfMemoryError: CUDA out of memory."


class Streams:
    """Torch's streams, of which there is one at a time."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.made, self.now, self.order = 0, "default", list[str]()
        for name, stand_in in {
            "Stream": self._stream, "stream": self._entered, "current_stream": lambda *_: self._named(self.now),
            "default_stream": lambda *_: self._named("default"), "current_device": lambda: 0,
        }.items():  # fmt: skip
            patch.setattr(torch.cuda, name, stand_in)
        self._all: dict[str, Any] = {}

    def _named(self, name: str) -> Any:
        waits = lambda other: self.order.append(f"{name} after {other.name}")  # noqa: E731
        return self._all.setdefault(name, SimpleNamespace(name=name, cuda_stream=name, wait_stream=waits))

    def _stream(self, device: Any) -> Any:
        self.made += 1
        return self._named(str(self.made))

    @contextmanager
    def _entered(self, stream: Any) -> Iterator[None]:
        before, self.now = self.now, stream.name
        yield
        self.now = before


def one_trial() -> None:
    use = GraphUse("auto", torch.device("cuda"))
    with use.stream():
        use._beside_stream()


def test_trials_of_one_thread_have_the_same_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that cuBLAS keeps for every stream would grow from trial to trial."""
    streams, made = Streams(monkeypatch), list[int]()

    def three_trials() -> None:
        for _ in range(3):
            one_trial()
        made.append(streams.made)

    for _ in range(2):
        thread = threading.Thread(target=three_trials)
        thread.start()
        thread.join()
    assert made == [2, 4]
    assert streams.order[:2] == ["1 after default", "default after 1"]
    streams.now = "a lane's"
    three_trials()
    assert made[-1] == 5, "only the one for gradients of weights"
    assert streams.now == "a lane's"
