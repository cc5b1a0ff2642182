"""What programs observe of a batch, and what it may be, where that is the same for all batches."""

from __future__ import annotations

import contextlib
import copy
import sys
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from vaezoo.distributions.known import known_support
from vaezoo.programs.derivations import Derivation, Derivations
from vaezoo.programs.sites import is_factor

__all__ = ["Observed"]


class Observed(Messenger):
    """Notes the support of what is observed, and how that is made of the tensors of a batch.

    Later batches can then be looked at without a run of the programs. What is outside is not
    necessarily wrong, as programs may have changed: a run with Pyro's own checks says that.

    Args:
        batch: what the programs are called with.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> x = torch.zeros(3)
        >>> with Observed([x]) as observed:
        ...     _ = pyro.sample("x", dist.Poisson(torch.ones(2)), obs=x[1:])
        >>> observed.doubts([x + 1]), observed.doubts([x - 1])
        (False, True)
    """

    def __init__(self, batch: list[Tensor]) -> None:
        super().__init__()
        self._kinds = [_kind(t) for t in batch]
        self._derivations = Derivations(batch)
        self._supports: list[tuple[Derivation, Constraint]] = []
        self._unsure = False

    def __enter__(self) -> Any:
        self._within = contextlib.ExitStack()
        if "torch._dynamo" in sys.modules:  # what torch.compile makes would have it compiled too
            self._within.enter_context(torch.compiler.set_stance("force_eager"))
        self._within.enter_context(self._derivations)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._within.close()
        self._derivations = Derivations([])

    def _pyro_post_sample(self, msg: Any) -> None:
        own = msg["infer"].get("_deterministic") or is_factor(msg)
        if not msg["is_observed"] or own or not _is_checked(msg["fn"]):
            return
        support = known_support(msg["fn"])
        while isinstance(support, constraints.independent):
            support = support.base_constraint
        if not isinstance(support, Constraint) or isinstance(support, type(constraints.real)):
            return  # nothing says, or anything may be
        derivation, fixed = self._derivations.of(msg["value"]), _fixed(support, msg["fn"].event_dim)
        some = any(f.full_size not in (None, f.size) for f in msg["cond_indep_stack"])
        if derivation is None or fixed is None or some:
            self._unsure = True
        else:
            self._supports.append((derivation, fixed))

    def doubts(self, batch: list[Tensor]) -> bool:
        """Whether something in a batch is not what was allowed, or that cannot be told.

        NaN is none of it: it makes a NaN of the loss, unless it is masked.
        """
        same = [_kind(t) for t in batch] == self._kinds
        return self._unsure or any(
            _is_outside(batch, derivation, support, same) for derivation, support in self._supports
        )


def _kind(tensor: Tensor) -> Any:
    return tensor.shape, tensor.dtype


def _is_outside(
    batch: list[Tensor], derivation: Derivation, support: Constraint, same: bool
) -> bool:
    if derivation.calls and not same:  # sizes may be among their arguments
        return True
    try:
        value = derivation.of(batch)
        outside = ~support.check(value)
    except (RuntimeError, IndexError, TypeError, ValueError):
        return True
    nan = value.isnan()
    if outside.dim() < nan.dim():
        nan = nan.flatten(outside.dim()).any(-1)
    return bool((outside & ~nan).any())


def _is_checked(distribution: Any) -> bool:
    """Whether Pyro looks at its values: not where that is turned off for it."""
    while hasattr(distribution, "base_dist"):
        if not distribution._validate_args:
            return False
        distribution = distribution.base_dist
    return bool(getattr(distribution, "_validate_args", False))


def _fixed(constraint: Constraint, event_dim: int) -> Constraint | None:
    """It, of numbers alone or of tensors that are the same for all images; None of others."""
    found = copy.copy(constraint)
    for name, value in vars(constraint).items():
        kept: Any = value
        if isinstance(value, Constraint):
            kept = _fixed(value, event_dim)
        elif isinstance(value, Tensor):
            kept = _of_all_images(value.detach(), event_dim)
        if not isinstance(kept, Constraint | Tensor | int | float):
            return None
        setattr(found, name, kept)
    return found


def _of_all_images(bound: Tensor, event_dim: int) -> Tensor | None:
    while bound.dim() > event_dim and bool((bound == bound[:1]).all()):
        bound = bound[0]
    return None if bound.dim() > event_dim else bound.clone()
