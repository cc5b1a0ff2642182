"""The slots of a member, and taking the means of what it draws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pyro.poutine.messenger import Messenger
from torch import Tensor

from vaezoo.components import Component
from vaezoo.posteriors import Classifier, Posterior

__all__ = ["AtMeans", "Given", "Part", "flat", "mean_of"]

Given = str | tuple[str, ...]


class Part(NamedTuple):
    """One slot of a member: the kind of component, the variable it models, what it conditions on.

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

    def conditions(self, *, labels: bool) -> tuple[Given, ...]:
        """What it is called with, in a member with labels or without."""
        return self.given if labels else tuple(v for v in self.given if v != "y")

    def left_side(self, *, labels: bool) -> str:
        """The distribution's name in an equation.

        Example:
            >>> from vaezoo.models import ADGM
            >>> ADGM.parts["posterior"].left_side(labels=True)
            'q(z|x, a, y)'
        """
        law = "q" if issubclass(self.kind, Posterior | Classifier) else "p"
        given = ", ".join(flat(self.conditions(labels=labels)))
        return f"{law}({self.of}|{given})" if given else f"{law}({self.of})"


def flat(given: tuple[Given, ...]) -> Iterator[str]:
    """The variables one by one, those of a pair too."""
    for variable in given:
        yield from (variable,) if isinstance(variable, str) else variable


def mean_of(distribution: Any) -> Tensor:
    """The mean of a distribution, or one draw where it is not known."""
    try:
        mean: Tensor = distribution.mean
    except NotImplementedError:
        mean = distribution.sample()
    return mean


class AtMeans(Messenger):
    """Within it every latent that can be reparametrised takes its mean."""

    def _pyro_sample(self, msg: Any) -> None:
        if msg["fn"].has_rsample and not msg["done"] and not msg["is_observed"]:
            msg["value"], msg["done"] = mean_of(msg["fn"]), True
