"""The same pass with fewer kernels, and kernels that need not wait for each other: what pays in a CUDA graph.

Backward, the gradient for a layer's input is what the layer before waits for; the gradient for its weights is wanted
only by the update. On a small network neither fills a GPU, so the second kind runs beside the first. All weights are
rounded to the precision of the pass at once instead of one by one, and batch-norms count their batches at once. The
arithmetic, and with it every number, stays the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

_backward = torch.ops.aten.convolution_backward
_COUNTER = "num_batches_tracked"


class Lean:
    """A network, changed as long as this is entered. `settle` must follow the backward pass.

    Args:
        network: convolutions with a bias, of other types or that do not train stay as they are.
        stream: where gradients of weights are computed; None: where everything is.
    """

    def __init__(self, network: nn.Module, stream: Any = None) -> None:
        self.stream = stream
        self._convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d) and _plain(m)]
        self._norms = [m for m in network.modules() if type(m) is nn.BatchNorm2d and m.training and bool(m.momentum)]
        self._counters: list[tuple[nn.Module, Tensor, _Counter]] = []
        self._rounded: dict[tuple[int, torch.dtype], Tensor] = {}
        self._uses: Counter[int] = Counter()
        self._forked = False
        self._found: list[tuple[Tensor, Tensor]] = []
        self._alive: list[Tensor] = []  # what another stream reads must not be given back before it did

    def __enter__(self) -> Lean:
        for module in self._convolutions:
            module.__class__ = _Conv2d
            vars(module)["lean"] = self
        for norm in self._norms:
            counter = norm._buffers[_COUNTER]
            if counter is not None:
                self._counters.append((norm, counter, _Counter()))
                norm._buffers[_COUNTER] = self._counters[-1][2]  # type: ignore[assignment]
        return self

    def __exit__(self, *error: object) -> None:
        for module in self._convolutions:
            module.__class__ = nn.Conv2d
            del vars(module)["lean"]
        for norm, counter, _ in self._counters:
            norm._buffers[_COUNTER] = counter
        if self._forked and error[0] is not None:
            with suppress(Exception):  # a recording that ends without it may never leave the streams
                torch.cuda.current_stream().wait_stream(self.stream)

    def rounded(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """A weight in this precision, for one more use; all of them are rounded with the first that is asked for."""
        self._uses[id(weight)] += 1
        if weight.dtype == dtype:
            return weight.detach()
        if (id(weight), dtype) not in self._rounded:
            weights = [m.weight.detach() for m in self._convolutions if m.weight.dtype != dtype]
            copies = [torch.empty_like(w, dtype=dtype) for w in weights]
            torch._foreach_copy_(copies, weights)
            names = (id(m.weight) for m in self._convolutions if m.weight.dtype != dtype)
            self._rounded.update({(name, dtype): copy for name, copy in zip(names, copies, strict=True)})
        return self._rounded[id(weight), dtype]

    def take(self, weight: Tensor, given: tuple[Tensor, Tensor, Tensor], how: Any) -> None:
        """Compute the gradient of a weight.

        Args:
            given: the output's gradient, the input, the weight as it was used.
        """
        if self.stream is None:
            self._found.append((weight, self._gradient(weight, given, how)))
            return
        self._forked = True
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            gradient = self._gradient(weight, given, how)
        self._found.append((weight, gradient))
        self._alive += given

    def _gradient(self, weight: Tensor, given: tuple[Tensor, Tensor, Tensor], how: Any) -> Tensor:
        """In the weight's precision; of a weight that is used more than once in the pass's, for `settle` to add up."""
        gradient: Tensor = _gradients(given, how, [False, True, False])[1]
        return gradient.to(weight.dtype) if self._uses[id(weight)] == 1 else gradient

    @torch.no_grad()
    def settle(self) -> None:
        """Wait for the gradients and put them where autograd puts others; count the batches."""
        if self.stream is not None and self._found:
            torch.cuda.current_stream().wait_stream(self.stream)
        added: dict[int, tuple[Tensor, Tensor]] = {}
        for weight, found in self._found:  # of several uses as autograd does: as they came, in the pass's precision
            before = added.get(id(weight))
            added[id(weight)] = weight, found if before is None else before[1] + found
        for weight, found in added.values():
            found = found.to(weight.dtype)
            # In memory as the weight lies, as autograd has it: a norm over all of it adds up in that order.
            same = order_in_memory(found) == order_in_memory(weight)
            gradient = found if same else torch.empty_like(weight).copy_(found)
            weight.grad = gradient if weight.grad is None else weight.grad + gradient
        together: defaultdict[int, list[Tensor]] = defaultdict(list)
        for _, tensor, counter in self._counters:
            together[counter.count].append(tensor)
        for count, tensors in together.items():
            torch._foreach_add_(tensors, count)
        self._found, self._alive = [], []
        self._uses.clear()


def order_in_memory(tensor: Tensor) -> tuple[int, ...]:
    """The strides that matter: a dimension of one has none."""
    return tuple(stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1)


class _Counter:
    """Stands for a batch-norm's counter."""

    count = 0

    def add_(self, number: int) -> None:
        """Count on."""
        self.count += number


class _Conv2d(nn.Conv2d):
    """nn.Conv2d, but for who rounds its weight and who computes the gradient of it."""

    lean: Lean

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        kind = input.device.type
        if torch.is_autocast_enabled(kind):
            input = input.to(torch.get_autocast_dtype(kind))
        how = (self.stride, self.padding, self.dilation, self.groups)
        return torch.as_tensor(_Convolution.apply(input, self.weight, self.lean, how))


class _Convolution(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, lean: Lean, how: Any) -> Tensor:
        used = lean.rounded(weight, x.dtype)
        ctx.save_for_backward(x, used)
        ctx.weight, ctx.lean, ctx.how = weight, lean, how
        with torch.autocast(x.device.type, enabled=False):
            return torch.conv2d(x, used, None, *how)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        given = (gradient, *ctx.saved_tensors)
        ctx.lean.take(ctx.weight, given, ctx.how)
        before = _gradients(given, ctx.how, [True, False, False])[0] if ctx.needs_input_grad[0] else None
        return before, None, None, None


def _gradients(given: tuple[Tensor, ...], how: Any, wanted: list[bool]) -> Any:
    """Gradients of a convolution, as far as they are wanted: for its input, its weight, its bias."""
    stride, padding, dilation, groups = how
    return _backward(*given, None, stride, padding, dilation, False, [0, 0], groups, wanted)


def _plain(module: nn.Conv2d) -> bool:
    """A convolution without bias whose weight is trained, with zeros around the image, that nobody listens to."""
    return (
        type(module) is nn.Conv2d
        and module.bias is None
        and module.weight.requires_grad
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and not (module._forward_hooks or module._backward_hooks or module._forward_pre_hooks)
    )
