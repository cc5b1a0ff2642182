"""The slots of a member: which parts it has, and what each conditions on."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from vaezoo.components import Component
from vaezoo.posteriors import Classifier, Posterior

if TYPE_CHECKING:
    from vaezoo.models.base import LatentVariableModel

__all__ = ["Given", "Part", "flat", "has_lone_prior", "lone_prior", "takes"]

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


def takes(part: Any, given: tuple[Given, ...]) -> bool:
    """Whether a part, or a class of them, is to be called with as many values.

    Example:
        >>> from vaezoo.priors import StandardNormal
        >>> takes(StandardNormal, ()), takes(StandardNormal(10), ("y",))
        (True, False)
    """
    values = (part, *given) if isinstance(part, type) else given
    try:
        inspect.signature(part.forward).bind(*values)
    except TypeError:
        return False
    except ValueError:  # of what is not written in Python: it is known when it is called
        return True
    return True


def has_lone_prior(model: LatentVariableModel) -> bool:
    """Whether a member's prior is one for all images, and not another one for each label."""
    return not model.parts["prior"].conditions(labels=model.classes > 0)


def lone_prior(model: LatentVariableModel) -> Any:
    """The distribution p(z) of a member, as it is now.

    Raises:
        TypeError: the prior depends on something, such as p(z|y) on the label.

    Example:
        >>> from vaezoo.models import VAE
        >>> lone_prior(VAE()).event_shape
        torch.Size([10])
    """
    if not has_lone_prior(model):
        law = model.parts["prior"].left_side(labels=model.classes > 0)
        raise TypeError(
            f"expected a prior that depends on nothing, got the {law} of a {type(model).__name__}: "
            "a member has one whose parts say Part(Prior, 'z')"
        )
    return model.prior()
