"""A training step: loss, gradients, update.

    step = Step(Bound(vae), torch.optim.Adam(vae.parameters(), lr=1e-3, fused=True)).compile()
    for (x,) in batches:
        terms = step(x)

does what a loop around a `Bound` does. Compiled, all of it is one graph where the optimizer is a
plain Adam on a CPU (see `vaezoo.updates`); otherwise the bound is compiled, and the update is the
optimizer's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from vaezoo.bound import Bound
from vaezoo.compiled import Graphs
from vaezoo.tracing import Backend
from vaezoo.updates import AdamUpdate

__all__ = ["Step"]


class Step:
    """One step of an optimizer on a batch.

    Args:
        bound: the objective.
        optimizer: over its parameters.
        max_grad_norm: scale gradients down to this norm, over all parameters, where it is larger.

    Example:
        >>> from vaezoo.models import VAE
        >>> bound = Bound(VAE())
        >>> step = Step(bound, torch.optim.Adam(bound.parameters()))
        >>> x = torch.zeros(7, 1, 28, 28)
        >>> bool(step(x)["loss"] > step(x)["loss"])
        True
    """

    def __init__(
        self,
        bound: Bound,
        optimizer: torch.optim.Optimizer,
        *,
        max_grad_norm: float | None = None,
    ) -> None:
        if max_grad_norm is not None and not max_grad_norm > 0:
            raise ValueError(f"max_grad_norm must be positive, got {max_grad_norm}")
        self.bound, self.optimizer, self.max_grad_norm = bound, optimizer, max_grad_norm
        self._graphs: Graphs | None = None

    def compile(
        self, backend: str | Backend = "inductor", *, announce: Callable[[str], object] = str
    ) -> Step:
        """Compile steps from now on, under the rules of `Bound.compile`; returns self."""
        self._graphs = None
        if self.max_grad_norm is None and AdamUpdate.fits(self.optimizer):
            self._graphs = Graphs(backend, announce, AdamUpdate(self.optimizer))
        else:
            self.bound.compile(backend, announce=announce)
        return self

    def __call__(self, *batch: Tensor) -> dict[str, Tensor]:
        """Take the step; returns the bound's terms.

        Nothing is updated where the loss is NaN or infinite. Gradients are left in the parameters,
        unless the update is part of the graph; then they have none.
        """
        if self._graphs is not None and not self._graphs.follow():
            self.compile(self._graphs.backend, announce=self._graphs.announce)
        if self._graphs is None:
            terms = self.bound(*batch)
        else:
            terms = self._graphs(self.bound, batch)
            if self._graphs.updated:
                return terms
        if math.isfinite(terms["loss"].item()):
            self._update(terms["loss"])
        return terms

    def _update(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        if self.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters(), self.max_grad_norm)
        self.optimizer.step()

    def _parameters(self) -> Iterable[Tensor]:
        return (p for group in self.optimizer.param_groups for p in group["params"])
