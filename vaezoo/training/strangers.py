"""Parameters that come up on the way: nobody trains them, and it should be said."""

from __future__ import annotations

import pyro
import torch
from torch import nn

from vaezoo.programs.pair import is_closed
from vaezoo.training.weights import parameters_of

__all__ = ["Strangers"]


class Strangers:
    """Parameters that an optimizer does not know, of a model or new in Pyro's store.

    Args:
        optimizer: of the training that begins.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> _ = model.bias.requires_grad_(False)
        >>> strangers = Strangers(torch.optim.SGD([model.weight], lr=0.1))
        >>> strangers.of(model)
        ''
        >>> _ = model.bias.requires_grad_(True)
        >>> strangers.of(model)[:37]
        'the optimizer does not know bias. Cau'
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self._stored = {*pyro.get_param_store().keys()}

    def of(self, model: nn.Module) -> str:
        """What to say of them; nothing, where there are none."""
        known = {id(p) for p in parameters_of(self.optimizer)}
        stored = pyro.get_param_store().named_parameters()
        new = {n: p for n, p in stored if not (n in self._stored or is_closed(model))}
        named = {n: p for n, p in model.named_parameters() if p.requires_grad} | new
        names = [name for name, p in named.items() if id(p) not in known]
        if not names:
            return ""
        return (
            f"the optimizer does not know {', '.join(names)}. Causes: a part that was thawed or "
            "swapped on the way, or a pyro.param that the first batch does not reach. Cure: "
            "another fit(…, history=history) from here"
        )
