"""SAM: the gradient is taken where the loss nearby is highest.

As in the authors' code, batch-norm's statistics are those of the first pass. The weight decay is the optimizer's: it is
in the update, not in the direction of the climb.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ltbench.api import Choice, Method, Moment, Stage, hp
from ltbench.parts import Classifier


class SharpnessAware(Method):
    """Each step uses the gradient at the worst weights within a small ball."""

    paper = (
        "Foret, Kleiner, Mobahi, Neyshabur. Sharpness-Aware Minimization. ICLR 2021, equations 2 and 3, algorithm 1."
    )
    defaults_from = "the paper (rho 0.05, its default; its grid is 0.01 to 0.5)"
    rho: float = hp(
        0.05, "radius of the ball; 0 is the plain step", search=Choice(0.01, 0.02, 0.05, 0.1, 0.2, 0.5), low=0.0
    )

    def stages(self, model: Classifier) -> Iterator[Stage]:
        self.model = model
        yield from super().stages(model)

    def step(self, gradients: Callable[[], Tensor], optimizer: torch.optim.Optimizer, now: Moment) -> Tensor:
        loss = gradients()
        weights = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        changed = [*weights, *self.model.buffers()]
        before = [tensor.detach().clone() for tensor in changed]
        self.climb(weights)
        gradients()
        with torch.no_grad():
            for tensor, value in zip(changed, before, strict=True):
                tensor.copy_(value)
        optimizer.step()
        return loss

    @torch.no_grad()
    def climb(self, weights: list[Tensor]) -> None:
        """w <- w + rho * g / |g|, the norm being that of the whole gradient."""
        slopes = [p.grad for p in weights if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in slopes]))
        torch._foreach_add_(weights, torch._foreach_mul(slopes, self.rho / norm.clamp(min=1e-12)))
