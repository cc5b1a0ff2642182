"""The importance-weighted bound and three estimators of its gradient."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vaezoo.objectives.base import Objective, Program, sum_out_labels
from vaezoo.programs.terms import Terms

__all__ = ["IWELBO"]

ESTIMATORS = ("iwae", "stl", "dreg")


class IWELBO(Objective):
    """The importance-weighted bound, weights in the log domain, labels summed out exactly.

    The estimators differ in the gradient only. With w̃_k = w_k / Σ w and φ the guide's parameters,

        iwae   Σ w̃_k d log w_k / dφ, all of it
        stl    the same without ∂ log q(z_k) / ∂φ at fixed z_k ("sticking the landing")
        dreg   Σ w̃_k² (∂ log w_k / ∂z_k) (∂z_k / ∂φ), doubly reparametrised

    The part that stl leaves out has mean zero for K = 1 only: it is biased for more. dreg is
    unbiased, and its signal-to-noise ratio does not fall with K, as that of iwae does (Rainforth
    et al.). Gradients of the model's parameters are those of iwae.

    Args:
        particles: K; at 1 it is the ELBO with a sampled KL.
        estimator: "iwae", "stl" or "dreg". The last two hold the distributions that the guide
            drew from (see `vaezoo.programs.held`): no network runs twice.
        chunk: particles at a time, which bounds memory: the same bound and gradient of the draws
            that are made, in two passes over them (see `vaezoo.programs.chunked`). Its draws are
            not those of None, which makes all at once. Where networks in training mode do not treat
            images one by one, a chunk is all that they see: a batch norm has the statistics of
            one, and dropout in an encoder is drawn for each.

    References:
        Burda, Grosse, Salakhutdinov. Importance Weighted Autoencoders. 2016. arXiv:1509.00519,
        equation 8.
        Roeder, Wu, Duvenaud. Sticking the Landing. 2017. arXiv:1703.09194, equation 8 (stl).
        Tucker, Lawson, Gu, Maddison. Doubly Reparameterized Gradient Estimators for Monte Carlo
        Objectives. 2019. arXiv:1810.04152, equation 8 (dreg).
        Rainforth et al. Tighter Variational Bounds Are Not Necessarily Better. 2018.
        arXiv:1802.04537.

    Example:
        >>> from vaezoo.models import VAE
        >>> vae, x = VAE(), torch.zeros(7, 1, 28, 28)
        >>> terms = IWELBO(50).estimate(vae.model, vae.guide, x)
        >>> bool(terms["bound"] > terms["rec"] - terms["kl"])
        True
    """

    def __init__(
        self, particles: int = 10, *, estimator: str = "iwae", chunk: int | None = None
    ) -> None:
        super().__init__(particles, chunk=chunk)
        self.estimator = estimator

    def _checked(self, name: str, value: Any) -> Any:
        if name == "estimator" and value not in ESTIMATORS:
            raise ValueError(f"estimator must be one of {ESTIMATORS}, got {value!r}")
        return super()._checked(name, value)

    def run(self, model: Program, guide: Program, *batch: Any) -> Terms:
        """The terms of a run of the pair, log q held where the estimator says so."""
        hold = self.estimator != "iwae" and torch.is_grad_enabled()
        return self._run(model, guide, *batch, hold_guide=hold)

    def bound(self, terms: Terms) -> Tensor:
        """The importance-weighted bound of each image; errors as of `sum_out_labels`."""
        total = torch.logsumexp(terms.log_wy, 1, keepdim=True)
        return sum_out_labels(terms, total - math.log(terms.particles))

    def loss_of(self, terms: Terms) -> Tensor:
        """Minus the bound, with the gradient of the estimator."""
        loss = -self.bound(terms)
        if self.estimator == "dreg" and terms.particles > 1:
            terms.scale_gradients(terms.log_wy.detach().softmax(1))
        return loss

    def __repr__(self) -> str:
        estimator = f", estimator={self.estimator!r}" if self.estimator != "iwae" else ""
        chunk = f", chunk={self.chunk}" if self.chunk else ""
        return f"IWELBO(particles={self.num_particles}{estimator}{chunk})"
