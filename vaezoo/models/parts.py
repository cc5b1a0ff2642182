"""What a member's parts are, and running them at their means."""

from __future__ import annotations

from typing import Any, NamedTuple

from pyro.poutine.messenger import Messenger
from torch import Tensor

from vaezoo.components import Component

__all__ = ["AtMeans", "Given", "Part", "mean_of"]

Given = str | tuple[str, ...]


class Part(NamedTuple):
    """What a member's part is: a kind of component for p or q of one variable, given others.

    Variables are named as the programs' sites: x, the label y, and latents. Two that a part takes
    in one argument, as a pair of tensors, stand in a tuple. `y` falls away in members without
    labels. A `Posterior` must be reparametrised, since the guide draws from it.

    Example:
        >>> from vaezoo.models import VAE
        >>> VAE.parts["likelihood"].given
        ('z', 'y')
    """

    kind: type[Component]
    of: str
    given: tuple[Given, ...] = ()


def mean_of(found: Any) -> Tensor:
    """The mean of a distribution, or one draw where it is not known."""
    try:
        mean: Tensor = found.mean
    except NotImplementedError:
        mean = found.sample()
    return mean


class AtMeans(Messenger):
    """Within it every latent that can be reparametrised takes its mean."""

    def _pyro_sample(self, msg: Any) -> None:
        if msg["fn"].has_rsample and not msg["done"] and not msg["is_observed"]:
            msg["value"], msg["done"] = mean_of(msg["fn"]), True
