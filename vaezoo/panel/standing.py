"""The objective that a member is trained with as long as no other is chosen."""

from __future__ import annotations

import weakref
from typing import Any

from vaezoo.arguments import without_addresses
from vaezoo.bound import default_objective
from vaezoo.models import LatentVariableModel

__all__ = ["members_own", "renewed"]

_members_own: weakref.WeakSet[Any] = weakref.WeakSet()


def members_own(model: LatentVariableModel, data: Any) -> Any:
    """The objective that a member is trained with unless another is chosen."""
    objective = default_objective(model, data)
    _members_own.add(objective)
    return objective


def renewed(model: LatentVariableModel, objective: Any, data: Any) -> Any:
    """An objective, anew if it is the member's own and another by now, as by `model.beta = 4`.

    Example:
        >>> from vaezoo.models import VAE
        >>> vae = VAE()
        >>> objective = members_own(vae, None)
        >>> vae.beta = 4.0
        >>> renewed(vae, objective, None)
        ELBO(beta=4, particles=1)
    """
    if objective not in _members_own:
        return objective
    now = members_own(model, data)
    same = without_addresses(repr(now)) == without_addresses(repr(objective))
    return objective if same else now
