"""The evidence lower bound, with a weight on its KL and free bits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaezoo import arguments
from vaezoo.objectives.base import Objective
from vaezoo.objectives.schedules import Schedule
from vaezoo.programs.refusing import described
from vaezoo.programs.terms import Terms

__all__ = ["ELBO"]


class ELBO(Objective):
    """The evidence lower bound, with closed-form KLs and labels summed out exactly.

    With β or free bits the loss is minus

        rec - β Σ_j max(λ, mean over the batch of KL_j) + log p(y) - log q(y|x)

    over latent variables j (one in most members, z1 and z2 in a hierarchical one); the bound
    reported is that of β = 1 and λ = 0.

    Args:
        beta: weight of the KL in the loss (Higgins et al., equation 4), or a schedule of it.
        free_bits: λ, nats of KL that each latent variable has free (Kingma et al., equation 15,
            one group per variable).
        particles: draws of the latents per image.

    References:
        Kingma, Welling. Auto-Encoding Variational Bayes. 2014. arXiv:1312.6114, equation 7.
        Higgins et al. beta-VAE: Learning Basic Visual Concepts with a Constrained Variational
        Framework. 2017.
        Kingma et al. Improved Variational Inference with Inverse Autoregressive Flow. 2016.
        arXiv:1606.04934.

    Example:
        >>> from vaezoo.models import VAE
        >>> vae, x = VAE(), torch.zeros(7, 1, 28, 28)
        >>> terms = ELBO(beta=4.0).estimate(vae.model, vae.guide, x)
        >>> torch.allclose(terms["loss"], 4 * terms["kl"] - terms["rec"])
        True
    """

    def __init__(
        self, beta: float | Schedule = 1.0, *, free_bits: float = 0.0, particles: int = 1
    ) -> None:
        super().__init__(particles)
        self.beta, self.free_bits = beta, free_bits

    def _checked(self, name: str, value: Any) -> Any:
        if name == "beta" and callable(value):
            raise TypeError(
                "beta must be a number or an objectives.Schedule, such as objectives.WarmUp(1000), "
                f"got {described(value)}"
            )
        if name in ("beta", "free_bits") and not isinstance(value, Schedule):
            return arguments.number(name, value, least=0)
        return super()._checked(name, value)

    def bound(self, terms: Terms) -> Tensor:
        """The ELBO of each image."""
        return terms.expect(terms.rec - terms.kl + terms.log_py - terms.log_qy).mean(0)

    def loss_of(self, terms: Terms) -> Tensor:
        """Minus the ELBO with β on the KL of the latents (not on that of the labels)."""
        beta = self.beta.value if isinstance(self.beta, Schedule) else self.beta
        if not self.free_bits:
            weighted = terms.rec - beta * terms.kl + terms.log_py - terms.log_qy
            return -terms.expect(weighted).mean(0)
        rest = terms.expect(terms.rec + terms.log_py - terms.log_qy).mean(0)
        return beta * sum(map(self._paid, terms.kls.values()), torch.zeros_like(rest)) - rest

    def _paid(self, kl: Tensor) -> Tensor:
        """A variable's KL of each image (K, N) as (N,), or λ where the batch's mean is below it."""
        each = kl.mean(0)
        return torch.where(each.mean() > self.free_bits, each, self.free_bits)

    def report(self, terms: Terms) -> dict[str, Tensor]:
        """The scalars of any objective, and β where it is scheduled."""
        scalars = super().report(terms)
        if isinstance(self.beta, Schedule):
            like = scalars["bound"]
            scalars["beta"] = torch.as_tensor(self.beta.value, dtype=like.dtype, device=like.device)
        return scalars

    def step(self) -> None:
        """Advance the schedule of β, if there is one."""
        if isinstance(self.beta, Schedule):
            self.beta.step()

    def __repr__(self) -> str:
        beta = self.beta if isinstance(self.beta, Schedule) else f"{self.beta:g}"
        free = f", free_bits={self.free_bits:g}" if self.free_bits else ""
        return f"ELBO(beta={beta}{free}, particles={self.num_particles})"
