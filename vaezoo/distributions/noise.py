"""The noise that a draw was made of, kept with it, so that the draw's density is exact.

log q(z|x) at a draw z = μ + L ε needs ε. Computed back from z as L⁻¹ (z - μ) it is wrong where L is
ill-conditioned or |μ| much larger than L: the difference has lost its digits, and what is left of
them is divided by L. In float32 such densities can be off by any number of nats. The Normals of
this room therefore keep their last draw and its noise, and compute the density of that draw from

    w = ε + L⁻¹ [ (z - z̄) - (μ - μ̄) - (L - L̄) ε ]

where a bar is the same number without its gradient: w is ε to the last digit, with the gradients of
L⁻¹ (z - μ) by z, μ and L. For other values the density is computed from those, as ever.

What goes to μ and L through z = μ + L ε is what goes to them directly, with the other sign. In
floats that are far apart the two do not cancel, and L⁻¹ may be infinite. Where nobody asks for the
gradient by z itself (`parameters_alone`) neither is made, and w is the constant ε.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import normal

__all__ = [
    "LOG_2_PI",
    "Draw",
    "gradient_only",
    "is_as_marked",
    "mark",
    "parameters_alone",
    "standard_noise",
]

LOG_2_PI = math.log(2 * math.pi)

Mark = Tensor | int

_alone: ContextVar[bool] = ContextVar("parameters_alone", default=False)


class Draw(NamedTuple):
    """A draw of a distribution, its noise, and how that and the parameters were by then.

    Attributes:
        value: the draw.
        noise: that it was made of.
        marks: of the draw, and of what else it was made of, by `mark`.
    """

    value: Tensor
    noise: tuple[Tensor, ...]
    marks: list[tuple[Tensor, Mark]]

    @classmethod
    def of(cls, value: Tensor, *noise: Tensor, by: Sequence[Tensor] = ()) -> Draw:
        """A draw that was just made of this noise, by these parameters."""
        return cls(value, noise, [(t, mark(t)) for t in (value, *by)])

    def is_at(self, value: Tensor) -> bool:
        """Whether a value is the draw, or a view of the same numbers in the same places."""
        if value is not self.value:
            places = value.shape, value.stride(), value.storage_offset()
            own = self.value.shape, self.value.stride(), self.value.storage_offset()
            if value._base is not self.value or places != own:
                return False
        return all(is_as_marked(t, then) for t, then in self.marks)

    def needs_its_gradient(self, value: Tensor) -> bool:
        """Whether the density at it is to have a gradient by it."""
        through_it = _alone.get() and value is self.value and value.grad_fn is not None
        return torch.is_grad_enabled() and not through_it


@contextlib.contextmanager
def parameters_alone(holds: bool = True) -> Iterator[None]:
    """Within it a draw's density has its gradient by parameters, through the draw and directly.

    Example:
        >>> from vaezoo.distributions import DiagonalNormal
        >>> loc = torch.zeros(1, requires_grad=True)
        >>> q = DiagonalNormal(loc, torch.full((1,), 1e-30))
        >>> with parameters_alone():
        ...     (q.log_prob(z := q.rsample()) + z).backward()
        >>> loc.grad
        tensor([1.])
    """
    token = _alone.set(holds)
    try:
        yield
    finally:
        _alone.reset(token)


def mark(t: Tensor) -> Mark:
    """What tells later whether a tensor has been written to.

    Example:
        >>> t = torch.zeros(2)
        >>> then = mark(t)
        >>> t += 1
        >>> is_as_marked(t, then)
        False
    """
    return t.clone() if t.is_inference() else t._version


def is_as_marked(t: Tensor, then: Mark) -> bool:
    """Whether it has not; those of inference mode do not count how often, so they are compared."""
    if isinstance(then, Tensor):
        return torch.equal(t, then)
    return not t.is_inference() and t._version == then  # it may be a copy that was made there


def standard_noise(shape: Sequence[int], like: Tensor) -> Tensor:
    """N(0, 1) of a shape, in the dtype and on the device of another tensor."""
    # torch's own, looked up at each call: benchmarks put another in its place
    noise: Tensor = normal._standard_normal(torch.Size(shape), like.dtype, like.device)  # type: ignore[attr-defined]
    return noise


def gradient_only(t: Tensor) -> Tensor:
    """0, with the gradient of t: t - t̄."""
    return t - t.detach()
