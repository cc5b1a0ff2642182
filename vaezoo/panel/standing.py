"""The objective that a member is trained with as long as no other is chosen."""

from __future__ import annotations

import weakref
from typing import Any

from vaezoo.arguments import without_addresses
from vaezoo.bound import default_objective
from vaezoo.models import LatentVariableModel

__all__ = ["members_own", "renewed"]

# by id, as an objective need not be hashable: itself, and how it was when it was made
_members_own: dict[int, tuple[weakref.ref[Any], str]] = {}


def members_own(model: LatentVariableModel, data: Any) -> Any:
    """The objective that a member is trained with unless another is chosen."""
    objective = default_objective(model, data)
    key = id(objective)
    itself = weakref.ref(objective, lambda _: _members_own.pop(key, None))
    _members_own[key] = itself, _of(objective)
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
    known = _members_own.get(id(objective))
    if known is None or known[0]() is not objective:
        return objective
    now = members_own(model, data)
    return objective if _of(now) == known[1] else now


def _of(objective: Any) -> str:
    return without_addresses(repr(objective))
