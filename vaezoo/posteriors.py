"""Approximate posteriors q(z|x) and q(z|x, y), and the classifier q(y|x)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions.utils import vec_to_tril_matrix

from vaezoo import arguments, normals
from vaezoo.components import Component
from vaezoo.flows import AutoregressiveFlow
from vaezoo.leading import over_leading
from vaezoo.networks import MLP, positive, signed_log1p

__all__ = ["Classifier", "DiagonalNormal", "Flow", "FullNormal", "LowRankNormal", "Posterior"]


Pair = Tensor | tuple[Tensor, Tensor]


class Posterior(Component):
    """q(z|x[, y]): `forward(x[, y])` returns a distribution with event shape (z_dim,).

    It must be reparametrised (`has_rsample`) and accept leading dimensions in x and y.
    """

    z_dim: int

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return q(z|x[, y]) for images x, shape (*leading, *x_shape)."""
        raise NotImplementedError


class _Amortised(Posterior):
    """A posterior whose parameters are what one network puts out; `_outputs` says their shape.

    Args:
        x_shape: shape of one image.
        z_dim: latent size.
        hidden: widths of the hidden layers of the default `MLP`.
        classes: number of classes of y; 0 for q(z|x).
        network: your own module from images (N, *x_shape), and labels (N,) if any, to what the
            posterior reads for each.
        log1p: show the network `signed_log1p` of x: for counts, which are far from 1.
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        z_dim: int,
        *,
        hidden: Sequence[int] = (300, 300),
        classes: int = 0,
        network: nn.Module | None = None,
        log1p: bool = False,
    ) -> None:
        super().__init__()
        self.log1p = log1p
        kind = type(self).__name__
        self.x_shape, self.z_dim = arguments.shape_first(kind, ("x_shape", "z_dim"), x_shape, z_dim)
        self.hidden = arguments.shape("hidden", hidden)
        self.classes = arguments.size("classes", classes, least=0)
        self.network = (
            MLP(self.x_shape, self.hidden, self._outputs(), classes=self.classes)
            if network is None
            else arguments.module("network", network)
        )

    def _outputs(self) -> tuple[int, ...]:
        raise NotImplementedError

    def _read(self, x: Tensor, y: Tensor | None) -> Tensor:
        """The network's outputs (*leading, …) for images (*leading, *x_shape), or a pair."""
        return over_leading(self.network, _seen(x, self.log1p), y, self.x_shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.z_dim})"


class DiagonalNormal(_Amortised):
    """N(μ(x), diag σ²(x)), the posterior of Kingma & Welling 2014.

    Args:
        x_shape: shape of one image.
        z_dim: latent size.
        hidden: widths of the hidden layers of the default `MLP`.
        classes: number of classes of y; 0 for q(z|x).
        network: your own module from images (and labels) to (2, z_dim): means and raw scales.
        log1p: show the network `networks.signed_log1p` of x: for counts, which are far from 1.

    Example:
        >>> import torch
        >>> q = DiagonalNormal((1, 28, 28), 10)(torch.zeros(7, 1, 28, 28))
        >>> q.batch_shape, q.event_shape
        (torch.Size([7]), torch.Size([10]))
    """

    def _outputs(self) -> tuple[int, ...]:
        return (2, self.z_dim)

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return q(z|x[, y])."""
        loc, raw_scale = self._read(x, y).unbind(-2)
        return normals.DiagonalNormal(loc, positive(raw_scale)).to_event(1)


class FullNormal(_Amortised):
    """N(μ(x), L(x) Lᵀ(x)) with a lower triangular Cholesky factor L, its diagonal positive.

    The network puts out z_dim means, z_dim raw scales and z_dim (z_dim - 1) / 2 numbers below the
    diagonal, in one vector. The KL from N(0, I) has a closed form and is used. Arguments as in
    `DiagonalNormal`.

    Example:
        >>> q = FullNormal((1, 28, 28), 10)(torch.zeros(7, 1, 28, 28))
        >>> q.covariance_matrix.shape
        torch.Size([7, 10, 10])
    """

    def _outputs(self) -> tuple[int, ...]:
        return (self.z_dim * (self.z_dim + 3) // 2,)

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return q(z|x[, y])."""
        d = self.z_dim
        loc, raw_scale, below = self._read(x, y).split([d, d, d * (d - 1) // 2], -1)
        tril = torch.diag_embed(positive(raw_scale))
        if d > 1:
            tril = tril + vec_to_tril_matrix(below, -1)
        return normals.FullNormal(loc, scale_tril=tril)


class LowRankNormal(_Amortised):
    """N(μ(x), W(x) Wᵀ(x) + diag σ²(x)), with W of a few columns.

    The network puts out (rank + 2, z_dim): means, raw scales and W's columns. The KL from N(0, I)
    has a closed form and is used.

    Args:
        rank: columns of W, at least 1; the rest as in `DiagonalNormal`.

    Example:
        >>> q = LowRankNormal((1, 28, 28), 10, rank=2)(torch.zeros(7, 1, 28, 28))
        >>> q.cov_factor.shape
        torch.Size([7, 10, 2])
    """

    rank: int

    def __init__(
        self,
        x_shape: Sequence[int],
        z_dim: int,
        *,
        rank: int = 2,
        hidden: Sequence[int] = (300, 300),
        classes: int = 0,
        network: nn.Module | None = None,
        log1p: bool = False,
    ) -> None:
        # before nn.Module's __init__, which _outputs is called in
        self.__dict__["rank"] = arguments.size("rank", rank)
        options: dict[str, Any] = {"classes": classes, "network": network, "log1p": log1p}
        super().__init__(x_shape, z_dim, hidden=hidden, **options)

    def _outputs(self) -> tuple[int, ...]:
        return (self.rank + 2, self.z_dim)

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return q(z|x[, y])."""
        loc, raw_scale, *columns = self._read(x, y).unbind(-2)
        return normals.LowRankNormal(loc, torch.stack(columns, -1), positive(raw_scale).square())

    def __repr__(self) -> str:
        return f"LowRankNormal({self.z_dim}, rank={self.rank})"


class Flow(_Amortised):
    """An inverse autoregressive flow on a diagonal Normal, with a context from image and label.

    z = f_T(… f_1(μ(x) + σ(x) ε, c(x)) …, c(x)); the network puts out μ, raw σ and the context c in
    one vector. Drawing z and its density takes one pass of each layer; the density at any other
    point takes z_dim. (Kingma et al. 2016. arXiv:1606.04934, algorithm 1.) See `vaezoo.flows`.

    Args:
        layers: autoregressive layers.
        flow_hidden: widths of each layer's masked network, at least z_dim each.
        context: size of c; the rest as in `DiagonalNormal`.

    Example:
        >>> q = Flow((1, 28, 28), 10)(torch.zeros(7, 1, 28, 28))
        >>> q.log_prob(q.rsample()).shape
        torch.Size([7])
    """

    context: int

    def __init__(
        self,
        x_shape: Sequence[int],
        z_dim: int,
        *,
        layers: int = 2,
        flow_hidden: Sequence[int] = (128,),
        context: int = 32,
        hidden: Sequence[int] = (300, 300),
        classes: int = 0,
        network: nn.Module | None = None,
        log1p: bool = False,
    ) -> None:
        self.__dict__["context"] = arguments.size("context", context)
        options: dict[str, Any] = {"classes": classes, "network": network, "log1p": log1p}
        super().__init__(x_shape, z_dim, hidden=hidden, **options)
        self.layers = arguments.size("layers", layers)
        self.flow_hidden = arguments.shape("flow_hidden", flow_hidden)
        self.flow = AutoregressiveFlow(
            self.z_dim, layers=self.layers, hidden=self.flow_hidden, context=self.context
        )

    def _outputs(self) -> tuple[int, ...]:
        return (2 * self.z_dim + self.context,)

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return q(z|x[, y]), a `TransformedDistribution`."""
        d = self.z_dim
        loc, raw_scale, context = self._read(x, y).split([d, d, self.context], -1)
        base = normals.DiagonalNormal(loc, positive(raw_scale)).to_event(1)
        return dist.TransformedDistribution(base, list(self.flow(context)))

    def __repr__(self) -> str:
        return f"Flow({self.z_dim}, layers={self.layers})"


class Classifier(Component):
    """q(y|x), a Categorical over the classes.

    Args:
        x_shape: shape of one image.
        classes: number of classes.
        hidden: widths of the hidden layers of the default `MLP` (ReLU, as in the seed).
        network: your own module from images to (classes,) logits.
        log1p: show the network `networks.signed_log1p` of x: for counts, which are far from 1.

    Example:
        >>> import torch
        >>> Classifier((1, 28, 28), 10)(torch.zeros(7, 1, 28, 28)).probs.shape
        torch.Size([7, 10])
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        classes: int,
        *,
        hidden: Sequence[int] = (300, 300),
        network: nn.Module | None = None,
        log1p: bool = False,
    ) -> None:
        super().__init__()
        self.log1p = log1p
        names = ("x_shape", "classes")
        self.x_shape, self.classes = arguments.shape_first("Classifier", names, x_shape, classes)
        arguments.size("classes", self.classes, least=2)
        self.hidden = arguments.shape("hidden", hidden)
        self.network = (
            MLP(self.x_shape, self.hidden, (self.classes,), activation=nn.ReLU)
            if network is None
            else arguments.module("network", network)
        )

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        """Return q(y|x) for images x, shape (*leading, *x_shape)."""
        seen = _seen(x, self.log1p)
        return dist.Categorical(logits=over_leading(self.network, seen, None, self.x_shape))

    def __repr__(self) -> str:
        return f"Classifier({self.classes})"


def _seen(x: Pair, log1p: bool) -> Pair:
    """What a network is shown of x, or of the image of a pair."""
    if not log1p:
        return x
    return signed_log1p(x) if isinstance(x, Tensor) else (signed_log1p(x[0]), *x[1:])
