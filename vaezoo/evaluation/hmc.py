"""Hamiltonian Monte Carlo for many chains of many images at once.

References:
    Neal. MCMC using Hamiltonian dynamics. 2011. arXiv:1206.1901, figure 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["State", "evaluated", "transition"]

Densities = Callable[[Tensor], tuple[Tensor, Tensor]]


class State(NamedTuple):
    """Chains (K, N, D), the two log-densities there (K, N), and their gradients (K, N, D)."""

    h: Tensor
    log_start: Tensor
    log_end: Tensor
    gradients: tuple[Tensor, Tensor]

    def log_density(self, beta: float) -> Tensor:
        """(1 - β) log_start + β log_end, shape (K, N); where β is 0 or 1, of one of them alone."""
        if beta in (0, 1):
            return self.log_end if beta else self.log_start
        return (1 - beta) * self.log_start + beta * self.log_end

    def change(self, before: float, beta: float) -> Tensor:
        """From one β to another, (K, N): -∞ where there is no density at the other."""
        there = self.log_density(beta)
        return torch.where(there == -torch.inf, there, there - self.log_density(before))

    def gradient(self, beta: float) -> Tensor:
        """Its gradient in the chains, shape (K, N, D)."""
        return (1 - beta) * self.gradients[0] + beta * self.gradients[1]


def evaluated(densities: Densities, h: Tensor) -> State:
    """Both densities and their gradients at chains.

    Example:
        >>> state = evaluated(lambda h: (-h.sum(-1), -h.square().sum(-1)), torch.ones(2, 3, 1))
        >>> state.log_density(0.5)[0], state.gradient(0.5)[0, 0]
        (tensor([-1., -1., -1.]), tensor([-1.5000]))
    """
    with torch.enable_grad():
        h = h.detach().requires_grad_()
        both = densities(h)
        # a density that is the same everywhere knows nothing of h
        sums = [each.sum() + 0 * h.sum() for each in both]
        gradients = [torch.autograd.grad(s, h, retain_graph=i == 0) for i, s in enumerate(sums)]
    (start,), (end,) = gradients
    return State(h.detach(), both[0].detach(), both[1].detach(), (start, end))


def transition(
    densities: Densities, state: State, beta: float, size: Tensor, steps: int
) -> tuple[State, Tensor]:
    """A move of every chain that leaves (1 - β) log_start + β log_end as it is, by leapfrog steps.

    Args:
        densities: of chains (K, N, D), two log-densities (K, N).
        state: where the chains are.
        beta: β.
        size: of a step, for each image (N,).
        steps: how many.

    Returns:
        Where they are then, and how probable each move was, (K, N).

    Example:
        >>> both = lambda h: (-h.square().sum(-1),) * 2
        >>> state = evaluated(both, torch.ones(2, 3, 1))
        >>> moved, acceptance = transition(both, state, 0.5, torch.full((3,), 1e-3), 5)
        >>> bool((acceptance > 0.999).all()), moved.h.shape
        (True, torch.Size([2, 3, 1]))
    """
    momentum, size = torch.randn_like(state.h), size[:, None]
    energy = state.log_density(beta) - 0.5 * momentum.square().sum(-1)
    new = state
    for _ in range(steps):
        momentum = momentum + 0.5 * size * new.gradient(beta)
        new = evaluated(densities, new.h + size * momentum)
        momentum = momentum + 0.5 * size * new.gradient(beta)
    change = new.log_density(beta) - 0.5 * momentum.square().sum(-1) - energy
    # a path that diverged ends nowhere
    acceptance = change.nan_to_num(nan=-torch.inf).clamp(max=0).exp()
    taken = torch.rand_like(acceptance) < acceptance
    return _where(taken, new, state), acceptance


def _where(taken: Tensor, new: State, old: State) -> State:
    each = taken[..., None]
    gradients = [torch.where(each, a, b) for a, b in zip(new.gradients, old.gradients, strict=True)]
    return State(
        torch.where(each, new.h, old.h),
        torch.where(taken, new.log_start, old.log_start),
        torch.where(taken, new.log_end, old.log_end),
        (gradients[0], gradients[1]),
    )
