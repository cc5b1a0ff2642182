"""What a member's parts are, and two ways of running them: as a probe, and at their means."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from vaezoo.components import Component
from vaezoo.scopes import in_mode, one_thread

__all__ = ["AtMeans", "Given", "Part", "mean_of", "probing"]

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


@contextlib.contextmanager
def probing(part: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients, so that a look at a part leaves no mark on it."""
    with one_thread(), torch.no_grad(), in_mode(part, False):
        yield


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
