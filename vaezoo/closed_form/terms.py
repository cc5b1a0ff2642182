"""What each image costs, over copies of a batch: for every particle, and for every label."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaezoo.closed_form.densities import duplicate, kl_cat, log_mean_exp

__all__ = [
    "Decoder",
    "Encoder",
    "LogLikelihood",
    "Terms",
    "every_class",
    "importance_weighted",
    "sum_out",
]

Encoder = Callable[..., tuple[Tensor, Tensor]]
Decoder = Callable[..., Tensor]
LogLikelihood = Callable[[Tensor, Tensor], Tensor]


class Terms(NamedTuple):
    """What each image costs, in nats, shape (N,).

    nelbo is rec + β kl, rec is -log p(x|z) at the sample, and log_w is log p(x, z) - log q(z|x)
    there: the log importance weight. Of a label that is summed out, nelbo, kl and rec are averages
    by q(y|x), kl holds its KL too, and log_w is log Σ_y p(y) w(y).
    """

    nelbo: Tensor
    kl: Tensor
    rec: Tensor
    log_w: Tensor


def importance_weighted(
    member: Callable[..., Terms], *batch: Tensor, particles: int, noise: Any = None
) -> Tensor:
    """The importance-weighted bound of any member here, by `particles` copies of the batch.

    Of a member with a label that is summed out it is log 1/m Σ_i Σ_y p(y) w(y, z_i), which is no
    more than log p(x) in expectation, and approaches it.

    Args:
        member: one of the functions here with its networks filled in (`functools.partial`).
        batch: x, or x and y.
        particles: copies, m.
        noise: ε, shape (particles · N, z_dim), copy by copy; as the member takes it.

    Example:
        >>> x = torch.tensor([[0.0], [1.0]])
        >>> def member(x, *, noise):  # a weight of 1 for black images, e for white ones
        ...     return Terms(x, x, x, log_w=x.flatten())
        >>> importance_weighted(member, x, particles=3).tolist()
        [0.0, 1.0]
    """
    copies = [duplicate(t, particles) for t in batch]
    log_w = member(*copies, noise=noise).log_w
    return log_mean_exp(log_w.reshape(particles, len(batch[0])), 0)


def every_class(log_q: Tensor, *batch: Tensor) -> tuple[Tensor, ...]:
    """Labels (classes · N,), class by class, and for each of them a copy of each tensor.

    Example:
        >>> every_class(torch.zeros(2, 3), torch.tensor([5, 7]))
        (tensor([0, 0, 1, 1, 2, 2]), tensor([5, 7, 5, 7, 5, 7]))
    """
    n, classes = log_q.shape
    y = torch.arange(classes, device=log_q.device).repeat_interleave(n)
    return y, *(duplicate(t, classes) for t in batch)


def sum_out(log_q: Tensor, each: Terms) -> Terms:
    """Sum a label out: Σ_y q(y|x) [ each term - log p(y) + log q(y|x) ], with p(y) uniform.

    Args:
        log_q: log q(y|x), shape (N, classes).
        each: terms of a copy of the batch for every class, shapes (classes · N,), class by class.

    Example:
        >>> log_q, each = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([3.0, 5.0])
        >>> round(sum_out(log_q, Terms(each, 0 * each, each, -each)).nelbo.item(), 6)
        4.0
    """
    n, classes = log_q.shape
    q, log_p = log_q.exp(), torch.full_like(log_q, -math.log(classes))
    rec, kl_z = ((q.T * t.reshape(classes, n)).sum(0) for t in (each.rec, each.kl))
    kl = kl_z + kl_cat(q, log_q, log_p)
    return Terms(rec + kl, kl, rec, log_mean_exp(each.log_w.reshape(classes, n), 0))
