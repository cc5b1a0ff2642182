"""Autoregressive flows: invertible maps of a code whose Jacobian is triangular.

One layer maps x to y by

    y_d = s_d(x_<d, c) x_d + m_d(x_<d, c),      log |dy/dx| = Σ_d log s_d

with shift m and scale s from a masked network and c a context, if there is one. Forwards it is one
pass of the network, backwards z_dim of them. A posterior is drawn forwards (inverse autoregressive
flow), a prior is evaluated forwards and drawn backwards (masked autoregressive flow).

The masked networks are Pyro's. The transform is not: `pyro.distributions.transforms` inverts in
float32 whatever the dtype of the model, and keeps tensors of the last batch inside the module.

References:
    Kingma, Salimans, Jozefowicz, Chen, Sutskever, Welling. Improving Variational Inference with
    Inverse Autoregressive Flow. 2016. arXiv:1606.04934.
    Papamakarios, Pavlakou, Murray. Masked Autoregressive Flow for Density Estimation. 2017.
    arXiv:1705.07057.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro.nn import AutoRegressiveNN, ConditionalAutoRegressiveNN
from torch import Tensor, nn
from torch.distributions import Transform, constraints

from vaezoo.distributions.full_precision import full_precision
from vaezoo.distributions.noise import is_as_marked, mark

__all__ = ["AffineAutoregressive", "AutoregressiveFlow"]

BOUND = 3.0  # of |log s| in one layer


class AffineAutoregressive(Transform):
    """One layer as a torch transform, y = s(x) x + m(x).

    Args:
        network: from x (*leading, z_dim) to shifts and raw log-scales of the same shape, each
            depending on the coordinates before it in some order.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, network: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        super().__init__(cache_size=1)
        self.network = network
        self._log_scale: tuple[Tensor, Tensor] | None = None
        self._has_gradient = False
        self._marks: list[tuple[Tensor, Tensor | int]] = []

    def __call__(self, x: Tensor) -> Tensor:
        """y (*leading, z_dim) from x of the same shape."""
        self._forget_what_changed()
        y: Tensor = super().__call__(x)
        self._marks = [(t, mark(t)) for t in self._cached()]
        return y

    def _inv_call(self, y: Tensor) -> Tensor:
        self._forget_what_changed()
        x: Tensor = super()._inv_call(y)
        self._marks = [(t, mark(t)) for t in self._cached()]
        return x

    def _forget_what_changed(self) -> None:
        """Forget what was cached and then written to; and, where a gradient is wanted, constants.

        Constants are what was cached without a gradient, as by `sample`.
        """
        constant = torch.is_grad_enabled() and not self._has_gradient
        if constant or not all(is_as_marked(t, then) for t, then in self._marks):
            self._cached_x_y, self._log_scale, self._marks = (None, None), None, []

    def _cached(self) -> list[Tensor]:
        cached: tuple[Any, Any] = self._cached_x_y
        return [t for t in cached if t is not None]

    def _parameters(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self._has_gradient = torch.is_grad_enabled()
        shift, raw = self.network(x)
        return shift, BOUND * torch.tanh(raw / BOUND)

    def _call(self, x: Tensor) -> Tensor:
        shift, log_scale = self._parameters(x)
        self._log_scale = (x, log_scale)
        return x * log_scale.exp() + shift

    def _inverse(self, y: Tensor) -> Tensor:
        """Each pass gets at least one more coordinate right, so z_dim of them get all."""
        x = torch.zeros_like(y)
        for _ in range(y.shape[-1]):
            shift, log_scale = self._parameters(x)
            x = (y - shift) * (-log_scale).exp()
        self._log_scale = (x, log_scale)
        return x

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """log |dy/dx| at x (*leading, z_dim), shape (*leading)."""
        self._forget_what_changed()
        if self._log_scale is None or self._log_scale[0] is not x:
            return self._parameters(x)[1].sum(-1)
        return self._log_scale[1].sum(-1)


class AutoregressiveFlow(nn.Module):
    """Layers of `AffineAutoregressive`, the order of the coordinates reversed from one to the next.

    Args:
        z_dim: size of the code, at least 2.
        layers: how many.
        hidden: widths of each layer's masked network, at least z_dim each.
        context: size of the context, 0 for none.

    Example:
        >>> flow = AutoregressiveFlow(3, layers=2, hidden=(8,), context=5)
        >>> [transform.bijective for transform in flow(torch.zeros(7, 5))]
        [True, True]
    """

    def __init__(
        self, z_dim: int, *, layers: int = 4, hidden: Sequence[int] = (64, 64), context: int = 0
    ) -> None:
        super().__init__()
        if z_dim < 2 or layers < 1 or not hidden or min(hidden) < z_dim:
            raise ValueError(
                "an autoregressive flow needs z_dim of at least 2, a layer, and hidden layers "
                f"at least as wide as z_dim, got z_dim={z_dim}, {layers=}, hidden={tuple(hidden)}"
            )
        self.z_dim, self.layers, self.hidden, self.context = z_dim, layers, tuple(hidden), context
        orders = [torch.arange(z_dim), torch.arange(z_dim).flip(0)]
        self.networks = nn.ModuleList(self._network(orders[i % 2]) for i in range(layers))

    def _network(self, order: Tensor) -> nn.Module:
        shape = (self.z_dim, self.context) if self.context else (self.z_dim,)
        kind = ConditionalAutoRegressiveNN if self.context else AutoRegressiveNN
        network: nn.Module = kind(
            *shape, list(self.hidden), permutation=order, nonlinearity=nn.ELU()
        )
        return network

    def forward(self, context: Tensor | None = None) -> list[AffineAutoregressive]:
        """The transforms, given a context (*leading, context) where the flow has one."""
        if (context is None) == bool(self.context):
            raise ValueError(
                f"this flow has a context of size {self.context}, got "
                f"{None if context is None else tuple(context.shape)}"
            )
        given = () if context is None else (context,)
        return [
            AffineAutoregressive(functools.partial(_given, network, given))
            for network in self.networks
        ]


def _given(network: nn.Module, given: tuple[Tensor, ...], x: Tensor) -> tuple[Tensor, Tensor]:
    """A network at x with its context filled in."""
    leading = torch.broadcast_shapes(*(t.shape[:-1] for t in (x, *given)))
    with full_precision(x):
        shift, raw = network(x.expand(*leading, x.shape[-1]), *given)
    return shift, raw
