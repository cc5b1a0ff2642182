"""Priors p(z): what a latent code looks like before any image is seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from vaezoo import arguments
from vaezoo.components import Component
from vaezoo.flows import AutoregressiveFlow
from vaezoo.mixtures import NormalMixture
from vaezoo.networks import positive

__all__ = ["Flow", "MixtureOfGaussians", "Prior", "StandardNormal", "VampPrior"]


class Prior(Component):
    """p(z): `forward()` returns a distribution with event shape (z_dim,) and no batch shape."""

    z_dim: int

    def forward(self) -> dist.TorchDistribution:
        """Return p(z)."""
        raise NotImplementedError

    def follow(self, posterior: Callable[..., dist.TorchDistribution]) -> None:
        """Take note of the posterior of the member that this is the prior of; here, do nothing.

        A member calls it whenever either is swapped. A prior that overrides it serves one member
        at a time.
        """

    def follows(self) -> tuple[Callable[..., dist.TorchDistribution], ...]:
        """The posterior that `follow` took note of, or ()."""
        return ()


class StandardNormal(Prior):
    """N(0, I), fixed.

    Args:
        z_dim: latent size.

    Example:
        >>> round(StandardNormal(2)().log_prob(torch.zeros(2)).item(), 6)
        -1.837877
    """

    def __init__(self, z_dim: int) -> None:
        super().__init__()
        self.z_dim = arguments.size("z_dim", z_dim)
        self.register_buffer("zeros", torch.zeros(self.z_dim), persistent=False)
        self.register_buffer("ones", torch.ones(self.z_dim), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """Return N(0, I)."""
        return dist.Normal(self.zeros, self.ones).to_event(1)

    def __repr__(self) -> str:
        return f"StandardNormal({self.z_dim})"


class MixtureOfGaussians(Prior):
    """Σ_i w_i N(μ_i, diag σ_i²), means and variances learned.

    Means and raw variances start as N(0, I) / sqrt(k · z_dim), and σ² = softplus(raw) + 1e-8, as
    in the seed's GMVAE. Its KL from a Normal has no closed form: objectives estimate it with the
    posterior's sample.

    Args:
        z_dim: latent size.
        k: number of components.
        learn_weights: learn the weights w; they are 1/k, fixed, otherwise.

    Example:
        >>> prior = MixtureOfGaussians(10, k=500)
        >>> prior().log_prob(torch.zeros(7, 10)).shape
        torch.Size([7])
    """

    logits: Tensor

    def __init__(self, z_dim: int, *, k: int = 500, learn_weights: bool = False) -> None:
        super().__init__()
        self.z_dim, self.k = arguments.size("z_dim", z_dim), arguments.size("k", k)
        self.learn_weights = learn_weights
        self.loc = nn.Parameter(torch.randn(k, z_dim) / math.sqrt(k * z_dim))
        self.raw_scale = nn.Parameter(torch.randn(k, z_dim) / math.sqrt(k * z_dim))
        if learn_weights:
            self.logits = nn.Parameter(torch.zeros(k))
        else:
            self.register_buffer("logits", torch.zeros(k), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """Return the mixture, a `MixtureSameFamily`."""
        components = dist.Normal(self.loc, positive(self.raw_scale)).to_event(1)
        return NormalMixture(dist.Categorical(logits=self.logits), components)

    def __repr__(self) -> str:
        return f"MixtureOfGaussians({self.z_dim}, k={self.k})"


class VampPrior(Prior):
    """1/k Σ_i q(z|u_i), the posterior's own mixture over k learned pseudo-inputs u_i.

    The variational mixture of posteriors (Tomczak, Welling 2018. arXiv:1705.07120, equation 9).
    It follows the posterior of the member it is assigned to, through swaps; where that one takes
    labels, pseudo-input i has label i mod classes. Another member needs another one, which starts
    from the same pseudo-inputs as `copy.deepcopy(prior)`.

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
        self._followed: tuple[Callable[..., dist.TorchDistribution], ...] = ()

    def start_from(self, x: Tensor) -> VampPrior:
        """Set the pseudo-inputs to k images x (k, *x_shape), in [0, 1] where `unit`.

        With labels, image i should be of class i mod classes.

        Raises:
            ValueError: there are not k of them, or they do not have this prior's shape.
        """
        if x.shape != self.raw.shape:
            raise ValueError(f"expected {tuple(self.raw.shape)} images, got {tuple(x.shape)}")
        with torch.no_grad():
            self.raw.copy_(x.clamp(0.01, 0.99).logit() if self.unit else x)
        return self

    def pseudo_inputs(self) -> Tensor:
        """u, shape (k, *x_shape)."""
        return self.raw.sigmoid() if self.unit else self.raw

    def follow(self, posterior: Callable[..., dist.TorchDistribution]) -> None:
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

    def follows(self) -> tuple[Callable[..., dist.TorchDistribution], ...]:
        """The posterior that it follows, or ()."""
        return self._followed

    def forward(self) -> dist.TorchDistribution:
        """Return the mixture of posteriors.

        Raises:
            ValueError: no posterior to follow yet.
        """
        if not self._followed:
            raise ValueError("a VampPrior needs a posterior: assign it to a member, or call follow")
        labels = [self.labels] if self.classes else []
        components = self._followed[0](self.pseudo_inputs(), *labels)
        weights = dist.Categorical(logits=self.raw.new_zeros(self.k))
        normal = isinstance(getattr(components, "base_dist", None), dist.Normal)
        return (NormalMixture if normal else dist.MixtureSameFamily)(weights, components)

    def __repr__(self) -> str:
        return f"VampPrior({self.z_dim}, k={self.k})"


class Flow(Prior):
    """A masked autoregressive flow: ε = f(z) ~ N(0, I), evaluated in one pass, drawn in z_dim.

    See `vaezoo.flows`. (Papamakarios, Pavlakou, Murray 2017. arXiv:1705.07057, equation 3; as the
    prior of a VAE: Chen et al. 2017, Variational Lossy Autoencoder, arXiv:1611.02731.)

    Args:
        z_dim: latent size, at least 2.
        layers: autoregressive layers.
        hidden: widths of each layer's masked network.

    Example:
        >>> Flow(10)().log_prob(torch.zeros(7, 10)).shape
        torch.Size([7])
    """

    def __init__(self, z_dim: int, *, layers: int = 4, hidden: Sequence[int] = (128, 128)) -> None:
        super().__init__()
        self.z_dim, self.layers = arguments.size("z_dim", z_dim), arguments.size("layers", layers)
        self.hidden = arguments.shape("hidden", hidden)
        self.flow = AutoregressiveFlow(self.z_dim, layers=self.layers, hidden=self.hidden)
        self.register_buffer("zeros", torch.zeros(self.z_dim), persistent=False)
        self.register_buffer("ones", torch.ones(self.z_dim), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """Return p(z), a `TransformedDistribution`."""
        base = dist.Normal(self.zeros, self.ones).to_event(1)
        return dist.TransformedDistribution(base, [t.inv for t in self.flow()])

    def __repr__(self) -> str:
        return f"Flow({self.z_dim}, layers={self.layers})"
