"""CUDA graphs on a machine without a GPU: what is asked of torch, and what an error must not leave behind."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ltbench.training.graph.lean import Lean
from ltbench.training.graph.ops import CudaGraph
from ltbench.training.graph.passes import Unfaithful, first_words
from ltbench.training.graph.update import RecordedUpdate
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


def test_no_garbage_is_collected_while_a_graph_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be the graph of an earlier trial, whose end would be an error of this one."""
    Cuda(monkeypatch, tidy=False)
    assert CudaGraph().record(gc.isenabled) is False
    assert gc.isenabled()
    with pytest.raises(RuntimeError):
        CudaGraph().record(fails)
    assert gc.isenabled()


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


def test_an_update_that_cannot_be_recorded_is_a_reason_to_train_without_graphs() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)

    def no_room(pool: Any) -> Any:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    passes: Any = SimpleNamespace(replayed=object())
    update = RecordedUpdate(torch.optim.SGD([weight], lr=0.5), passes, no_room)
    update.step()
    update.step()
    with pytest.raises(Unfaithful, match="OutOfMemoryError: CUDA out of memory"):
        update.step()
    assert weight.item() == 0.0


class Streams:
    """Torch's streams; each thread begins on the default one."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.made, self.order, self._local = 0, list[str](), threading.local()
        for name, stand_in in {
            "Stream": self._stream, "stream": self.entered, "current_stream": self.current,
            "default_stream": lambda *_: self.named("default"),
        }.items():  # fmt: skip
            patch.setattr(torch.cuda, name, stand_in)
        for kept in ("_free", "_besides"):
            patch.setattr(f"ltbench.training.graph.use.{kept}", {})

    def current(self, device: Any = None) -> Any:
        return getattr(self._local, "now", self.named("default"))

    def named(self, name: str) -> Any:
        waits = lambda other: self.order.append(f"{name} after {other.cuda_stream}")  # noqa: E731
        return SimpleNamespace(cuda_stream=name, device="cuda:0", wait_stream=waits)

    def _stream(self, device: Any) -> Any:
        self.made += 1
        return self.named(str(self.made))

    @contextmanager
    def entered(self, stream: Any) -> Iterator[None]:
        before, self._local.now = self.current(), stream
        yield
        self._local.now = before


def test_a_pass_that_fails_waits_for_its_second_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA ends no recording whose streams have not come together."""
    streams = Streams(monkeypatch)
    network = torch.nn.Conv2d(1, 1, 3, bias=False)

    def failing() -> None:
        with Lean(network, streams.named("beside")):
            network(torch.ones(1, 1, 4, 4)).sum().backward()
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert streams.order == ["beside after default", "default after beside"]
    with Lean(network, streams.named("beside")) as lean:
        pass
    lean.settle()
    assert len(streams.order) == 2, "nothing to wait for"


def one_trial() -> tuple[str, str]:
    """The streams of its steps, and of its gradients of weights."""
    use = GraphUse("auto", torch.device("cuda"))
    with use.stream():
        here: Any = torch.cuda.current_stream()
        return here.cuda_stream, use._beside_stream().cuda_stream


def test_trials_that_follow_each_other_have_the_same_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that cuBLAS keeps for every stream would grow from trial to trial. Ray gives each a thread of its own."""
    streams, found = Streams(monkeypatch), list[Any]()
    for _ in range(3):
        thread = threading.Thread(target=lambda: found.append(one_trial()))
        thread.start()
        thread.join()
    assert found == [("1", "2")] * 3
    assert streams.order[:2] == ["1 after default", "default after 1"]
    assert streams.current().cuda_stream == "default"


def test_trials_at_the_same_time_have_streams_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Streams(monkeypatch)
    with GraphUse("auto", torch.device("cuda")).stream():
        thread = threading.Thread(target=lambda: found.append(one_trial()))
        found = list[Any]()
        thread.start()
        thread.join()
    assert found == [("2", "3")]
    with streams.entered(streams.named("a lane's")):
        assert [one_trial(), one_trial()] == [("a lane's", "4")] * 2
