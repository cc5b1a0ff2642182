"""What programs observe of a batch, and what it may be, where that is the same for all batches."""

from __future__ import annotations

import copy
from typing import Any

from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions.constraints import Constraint

from vaezoo.distributions.known import known_support

__all__ = ["Observed"]


class Observed(Messenger):
    """Notes the support of each tensor of a batch that is observed as it is within it.

    Later batches can then be looked at without a run of the programs. What is outside is not
    necessarily wrong, as programs may have changed: a run with Pyro's own checks says that.

    Args:
        batch: what the programs are called with.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> x = torch.zeros(3)
        >>> with Observed([x]) as observed:
        ...     _ = pyro.sample("x", dist.Poisson(torch.ones(3)), obs=x)
        >>> observed.doubts([x + 1]), observed.doubts([x - 1])
        (False, True)
    """

    def __init__(self, batch: list[Tensor]) -> None:
        super().__init__()
        self._batch = batch
        self._supports: list[tuple[int, Constraint]] = []

    def _pyro_post_sample(self, msg: Any) -> None:
        places = [i for i, t in enumerate(self._batch) if t is msg["value"]]
        if not (msg["is_observed"] and places and _is_checked(msg["fn"])):
            return
        support = known_support(msg["fn"])
        fixed = _fixed(support) if isinstance(support, Constraint) else None
        if fixed is not None:
            self._supports += [(i, fixed) for i in places]

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._batch = []

    def doubts(self, batch: list[Tensor]) -> bool:
        """Whether something in a batch is not what was allowed; NaN makes a NaN of the loss."""
        looked_at = [(batch[i], support) for i, support in self._supports if i < len(batch)]
        return any(
            bool((~support.check(t)).any()) and not t.isnan().any() for t, support in looked_at
        )


def _is_checked(distribution: Any) -> bool:
    """Whether Pyro looks at its values: not where that is turned off for it."""
    while hasattr(distribution, "base_dist"):
        if not distribution._validate_args:
            return False
        distribution = distribution.base_dist
    return bool(getattr(distribution, "_validate_args", False))


def _fixed(constraint: Constraint) -> Constraint | None:
    """It, made of numbers alone; None where a tensor in it has several, which may be of a batch."""
    found = copy.copy(constraint)
    for name, value in vars(constraint).items():
        kept: Any = value
        if isinstance(value, Constraint):
            kept = _fixed(value)
        elif isinstance(value, Tensor) and len(each := value.unique()) == 1:
            kept = each.item()
        if not isinstance(kept, Constraint | int | float):
            return None
        setattr(found, name, kept)
    return found
