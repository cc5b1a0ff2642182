"""The variational Rényi bound, a power mean of importance weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vaezoo import arguments
from vaezoo.objectives.base import Objective, sum_out_labels
from vaezoo.programs.terms import Terms

__all__ = ["Renyi"]


class Renyi(Objective):
    """The variational Rényi bound, log mean_k w_k^(1-α) / (1-α), labels summed out exactly.

    α = 0 is the importance-weighted bound, and α = 1 the ELBO with a sampled KL, the limit α → 1.
    For α < 0 it may exceed log p(x): what is reported as the bound is the ELBO, for every α.

    Args:
        alpha: α, any finite number.
        particles: K.
        chunk: particles at a time, as of `IWELBO`.

    References:
        Li, Turner. Rényi Divergence Variational Inference. 2016. arXiv:1602.02311, equation 11.

    Example:
        >>> from vaezoo.models import VAE
        >>> vae, x = VAE(), torch.zeros(7, 1, 28, 28)
        >>> terms = Renyi(0.5, particles=50).estimate(vae.model, vae.guide, x)
        >>> bool(-terms["loss"] > terms["bound"])
        True
    """

    def __init__(
        self, alpha: float = 0.5, *, particles: int = 10, chunk: int | None = None
    ) -> None:
        super().__init__(particles, chunk=chunk)
        self.alpha = alpha

    def _checked(self, name: str, value: Any) -> Any:
        if name != "alpha":
            return super()._checked(name, value)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"alpha must be a finite number, got {value}")
        return arguments.number("alpha", value)

    def bound(self, terms: Terms) -> Tensor:
        """The ELBO of each image, its KL sampled."""
        return sum_out_labels(terms, terms.log_wy.mean(1, keepdim=True))

    def loss_of(self, terms: Terms) -> Tensor:
        """Minus the Rényi bound of each image."""
        if self.alpha == 1:
            return -self.bound(terms)
        return -sum_out_labels(terms, _power_mean(terms.log_wy, 1 - self.alpha))

    def __repr__(self) -> str:
        chunk = f", chunk={self.chunk}" if self.chunk else ""
        return f"Renyi(alpha={self.alpha:g}, particles={self.num_particles}{chunk})"


def _power_mean(log_w: Tensor, power: float) -> Tensor:
    """log(mean_k w_k^p) / p over the particles of (L, K, N), shape (L, 1, N).

    Near p = 0 the mean of the powers is 1, and its logarithm would have lost all digits. There the
    weights are divided by their geometric mean, and log1p is taken of what the mean exceeds 1 by.
    """
    middle = log_w.mean(1, keepdim=True)
    scaled = power * (log_w - middle)
    small = scaled.abs().amax(1, keepdim=True) < 1
    excess = torch.where(small, scaled, 0).expm1().mean(1, keepdim=True)
    total = torch.logsumexp(power * log_w, 1, keepdim=True) - math.log(log_w.shape[1])
    return torch.where(small, middle + excess.log1p() / power, total / power)
