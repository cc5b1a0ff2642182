"""The VampPrior: a mixture of the posteriors of learned images."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from vaezoo import arguments
from vaezoo.distributions import DiagonalNormal, NormalMixture
from vaezoo.priors.base import Prior

__all__ = ["VampPrior"]


class VampPrior(Prior):
    """1/k Σ_i q(z|u_i), the posterior's own mixture over k learned pseudo-inputs u_i.

    The variational mixture of posteriors (Tomczak, Welling 2018. arXiv:1705.07120, equation 9).
    It follows the posterior of the member it is assigned to, through swaps; where that one takes
    labels, pseudo-input i has label i mod classes. Each member needs one of its own: a
    `copy.deepcopy(prior)` starts from the same pseudo-inputs.

    Args:
        x_shape: shape of one pseudo-input, as the posterior takes it.
        z_dim: latent size.
        k: number of pseudo-inputs.
        classes: number of classes that the posterior takes, 0 for none.
        unit: squash pseudo-inputs into (0, 1) by a sigmoid, as pixels are; else any real numbers.

    Example:
        >>> from vaezoo.posteriors import DiagonalNormal
        >>> prior = VampPrior((1, 28, 28), 10, k=50)
        >>> prior.follow(DiagonalNormal((1, 28, 28), 10))
        >>> prior().log_prob(torch.zeros(7, 10)).shape
        torch.Size([7])
    """

    labels: Tensor

    def __init__(
        self,
        x_shape: Sequence[int],
        z_dim: int,
        *,
        k: int = 500,
        classes: int = 0,
        unit: bool = True,
    ) -> None:
        super().__init__()
        names = ("x_shape", "z_dim")
        self.x_shape, self.z_dim = arguments.shape_first("VampPrior", names, x_shape, z_dim)
        self.k, self.unit = arguments.size("k", k), unit
        self.classes = arguments.size("classes", classes, least=0)
        self.raw = nn.Parameter(torch.randn(self.k, *self.x_shape))
        self.register_buffer(
            "labels", torch.arange(self.k) % max(self.classes, 1), persistent=False
        )
        # in a tuple, because nn.Module would file the posterior as a part of this one
        self._followed: tuple[nn.Module, ...] = ()

    def start_from(self, x: Tensor) -> VampPrior:
        """Set the pseudo-inputs to k images x (k, *x_shape), in [0, 1] where `unit`.

        With labels, image i should be of class i mod classes.

        Raises:
            ValueError: there are not k of them, they do not have this prior's shape, or they hold
                other numbers.
        """
        if x.shape != self.raw.shape:
            raise ValueError(f"expected {tuple(self.raw.shape)} images, got {tuple(x.shape)}")
        if not x.isfinite().all():
            raise ValueError("images must be finite, got NaN or infinity among them")
        if self.unit and ((x < 0) | (x > 1)).any():
            raise ValueError(
                f"a VampPrior with unit=True starts from pixels in [0, 1], got {x.min():g}.."
                f"{x.max():g}: divide bytes by 255, or build it with unit=False"
            )
        with torch.no_grad():
            self.raw.copy_(x.clamp(0.01, 0.99).logit() if self.unit else x)
        return self

    def pseudo_inputs(self) -> Tensor:
        """u, shape (k, *x_shape)."""
        return self.raw.sigmoid() if self.unit else self.raw

    def follow(self, posterior: nn.Module) -> None:
        """Use this posterior from now on.

        Raises:
            ValueError: it has another z_dim, or another number of classes.
        """
        for name in ("z_dim", "classes"):
            ours, theirs = getattr(self, name), getattr(posterior, name, None)
            if theirs not in (None, ours):
                raise ValueError(
                    f"a VampPrior with {name}={ours} cannot follow a posterior with {name}={theirs}"
                )
        self._followed = (posterior,)

    def follows(self) -> tuple[nn.Module, ...]:
        """The posterior, once there is one."""
        return self._followed

    def forward(self) -> dist.TorchDistribution:
        """Return the mixture of posteriors.

        Raises:
            ValueError: no posterior to follow yet.
        """
        if not self._followed:
            raise ValueError(
                "a VampPrior needs a posterior, got none: assign it to a member, or call follow"
            )
        labels = [self.labels] if self.classes else []
        components = self._followed[0](self.pseudo_inputs(), *labels)
        weights = dist.Categorical(logits=self.raw.new_zeros(self.k))
        # not of a class made from Normal, whose density may be another
        normal = type(getattr(components, "base_dist", None)) in (dist.Normal, DiagonalNormal)
        return (NormalMixture if normal else dist.MixtureSameFamily)(weights, components)

    def __repr__(self) -> str:
        return f"VampPrior({self.z_dim}, k={self.k})"
