"""Distributions of torch and of libraries built on it, as Pyro's."""

from __future__ import annotations

from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

__all__ = ["Adapted", "as_pyro", "pyro_class"]


def as_pyro(distribution: torch.distributions.Distribution) -> dist.TorchDistribution:
    """The distribution itself if it is one of Pyro's, else an `Adapted`."""
    pyros = isinstance(distribution, TorchDistributionMixin)
    return distribution if pyros else Adapted(distribution)


def pyro_class(kind: type) -> type:
    """Pyro's class of the same name, if it adds methods to torch's and no attribute; or `kind`."""
    pyros = getattr(dist, kind.__name__, kind)
    same = isinstance(pyros, type) and issubclass(pyros, kind) and "__init__" not in vars(pyros)
    return pyros if same else kind


class Adapted(dist.TorchDistribution):
    """A distribution of another library, such as zuko's, as one of Pyro's."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, inner: torch.distributions.Distribution) -> None:
        self.inner = inner
        super().__init__(inner.batch_shape, inner.event_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:
        """Whether its draws have a gradient."""
        return self.inner.has_rsample

    @property
    def support(self) -> Any:
        """Its own, or all of ℝⁿ."""
        try:
            return self.inner.support
        except (NotImplementedError, AttributeError):
            return dist.constraints.real_vector

    @property
    def mean(self) -> Tensor:
        """Its own, if it has one."""
        return self.inner.mean

    def expand(self, batch_shape: Any, _instance: Any = None) -> Adapted:
        """The same distribution over a larger batch."""
        return Adapted(self.inner.expand(torch.Size(batch_shape)))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """A draw with a gradient."""
        return self.inner.rsample(torch.Size(sample_shape))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """A draw."""
        return self.inner.sample(torch.Size(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Its log-density."""
        return self.inner.log_prob(value)
