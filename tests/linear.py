"""A linear-Gaussian VAE of which everything is known in closed form.

    p(z) = N(0, I)    p(x|z) = N(W z + b, v I)    q(z|x) = N(G (x - b), diag s²)

W has orthogonal columns, so that the posterior is diagonal, and q is that one unless changed.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal
from zoo import X_SHAPE, Affine, affine_decoder

from vaezoo import likelihoods, models

D: dict[str, Any] = {"dtype": torch.float64}
NATS = 0.5 * math.log(2 * math.pi * math.e)


class Linear:
    """The VAE, and what is known of it.

    Args:
        gains: lengths of the columns of W, one for each latent.
        variance: v.
        widen: q's standard deviations, in those of the posterior.
        turn: radians by which q's means of the first two latents are turned.
    """

    def __init__(
        self,
        gains: tuple[float, ...] = (1.0, 2.0, 3.0),
        *,
        variance: float = 0.25,
        widen: float = 1.0,
        turn: float = 0.0,
    ) -> None:
        n, generator = len(gains), torch.Generator().manual_seed(0)
        columns = torch.linalg.qr(torch.randn(16, n, generator=generator, **D)).Q
        self.w, self.b = columns * torch.tensor(gains, **D), torch.linspace(-1, 1, 16, **D)
        self.variance = variance
        precision = 1 + self.w.square().sum(0) / variance
        self.scale = precision.rsqrt() * widen
        turned = torch.eye(n, **D)
        if turn:
            c, s = math.cos(turn), math.sin(turn)
            turned[:2, :2] = torch.tensor([[c, -s], [s, c]], **D)
        self.gain = self.w / variance / precision @ turned
        self.covariance = self.w @ self.w.T + variance * torch.eye(16, **D)
        self.vae = models.VAE(
            X_SHAPE,
            n,
            likelihood=likelihoods.Normal(
                n, X_SHAPE, network=affine_decoder(self.w.T, self.b), variance=variance
            ),
            posterior=Affine(self.gain, -self.b @ self.gain, self.scale),
        ).double()

    def draw(self, n: int) -> Tensor:
        """Images (n, 1, 4, 4) of the model."""
        return self._p().sample((n,)).reshape(n, *X_SHAPE)

    def log_px(self, x: Tensor) -> Tensor:
        """log p(x) of images (n, 1, 4, 4)."""
        return self._p().log_prob(x.flatten(1))

    def mean_log_px(self) -> float:
        """E log p(x) over images of the model."""
        return -self._p().entropy().item()

    def aggregate(self) -> Tensor:
        """The covariance of q(z), where x are images of the model."""
        return self.gain.T @ self.covariance @ self.gain + torch.diag(self.scale**2)

    def _p(self) -> MultivariateNormal:
        return MultivariateNormal(self.b, self.covariance)
