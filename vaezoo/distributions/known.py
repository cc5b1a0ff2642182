"""What a distribution of any kind says of itself, and None where it does not."""

from __future__ import annotations

from typing import Any

from torch import Tensor

__all__ = ["known_mean", "known_moments", "known_support"]


def known_mean(distribution: Any) -> Tensor | None:
    """The mean; None where there is none, or NaNs stand for it as in a Cauchy.

    Example:
        >>> from torch.distributions import Cauchy, Normal
        >>> known_mean(Normal(2.0, 1.0)), known_mean(Cauchy(2.0, 1.0))
        (tensor(2.), None)
    """
    return _number(distribution, "mean")


def known_moments(distribution: Any) -> tuple[Tensor, Tensor] | None:
    """Mean and variance; None where one is not known or not finite.

    Example:
        >>> from torch.distributions import Normal, StudentT
        >>> known_moments(Normal(2.0, 1.0)), known_moments(StudentT(2.0))
        ((tensor(2.), tensor(1.)), None)
    """
    mean, variance = known_mean(distribution), _number(distribution, "variance")
    if mean is None or variance is None:
        return None
    finite = bool(mean.isfinite().all() and variance.isfinite().all())
    return (mean, variance) if finite else None


def known_support(distribution: Any) -> Any:
    """The constraint of its values; None for one whose author did not say.

    Example:
        >>> from torch.distributions import Distribution, Normal
        >>> known_support(Normal(0.0, 1.0)), known_support(Distribution(validate_args=False))
        (Real(), None)
    """
    return _said(distribution, "support")


def _number(distribution: Any, moment: str) -> Tensor | None:
    found: Tensor | None = _said(distribution, moment)
    return None if found is None or found.isnan().any() else found


def _said(distribution: Any, name: str) -> Any:
    try:
        return getattr(distribution, name)
    except (NotImplementedError, AttributeError):
        return None
