"""The places in a member that something else can be put in, and what fits there.

"member", "objective"      the whole, and what it is trained with
"prior", "likelihood", …   its parts by name, but for those that read a pair of variables

What a place fixes of a constructor's arguments is `known`, what it suggests is `usual`.
"""

from __future__ import annotations

import math
from typing import Any

from vaezoo.data import Images
from vaezoo.likelihoods import Likelihood
from vaezoo.models import LatentVariableModel
from vaezoo.models.parts import Given
from vaezoo.objectives import Objective
from vaezoo.posteriors import Posterior
from vaezoo.priors import Prior

__all__ = ["OFFERED", "is_of", "known", "places", "usual"]

OFFERED = (Prior, Likelihood, Posterior, Objective, LatentVariableModel)


def places(model: LatentVariableModel) -> list[str]:
    """The places of a member.

    Example:
        >>> from vaezoo.models import ADGM, VAE
        >>> places(VAE())
        ['member', 'prior', 'likelihood', 'posterior', 'objective']
        >>> [p for p in places(VAE()) if p not in places(ADGM())]  # it reads the pair (x, a)
        ['posterior']
    """
    parts = [
        name
        for name, slot in model.parts.items()
        if slot.kind in OFFERED and hasattr(model, name) and not _reads_pair(slot.given)
    ]
    return ["member", *parts, "objective"]


def is_of(model: LatentVariableModel, place: str) -> type:
    """The class of everything that fits a place.

    Raises:
        ValueError: there is no such place.
    """
    if place not in places(model):
        raise ValueError(
            f"{type(model).__name__} has the places {', '.join(places(model))}, got {place!r}"
        )
    whole: dict[str, type] = {"member": LatentVariableModel, "objective": Objective}
    return whole.get(place) or model.parts[place].kind


def known(model: LatentVariableModel, place: str, data: Any = None) -> dict[str, Any]:
    """The arguments of a constructor that a place fixes, by their names."""
    if place == "member":
        return {"x_shape": model.x_shape}
    if place == "objective":
        fraction = getattr(data, "labelled_fraction", None)
        return {} if fraction is None else {"labelled_fraction": fraction}
    slot = model.parts[place]
    given = _read_by_posterior(model, slot.of) if slot.kind is Prior else slot.given
    first = given[0] if given else "x"
    latent = str(first) if slot.kind is Likelihood else slot.of
    x_shape = model.x_shape if slot.kind is Likelihood else _shape(model, first)
    classes = model.classes if "y" in given else 0
    log1p = bool(getattr(model.likelihood, "counts", False))
    fixed = {"x_shape": x_shape, "z_dim": _shape(model, latent)[0], "classes": classes}
    return fixed | {"log1p": log1p and first == "x"}


def usual(model: LatentVariableModel, place: str, data: Any = None) -> dict[str, Any]:
    """Values that options begin with in a place, rather than with those of the constructor."""
    if place == "objective":
        return {}
    if place == "member":
        named = ("z_dim", "hidden", "classes")
        values = {n: getattr(model, n) for n in named if getattr(model, n, None)}
        return {"classes": _classes(data)} | values if _classes(data) else values
    slot = model.parts[place]
    if slot.kind is Prior:
        return {"unit": _read_by_posterior(model, slot.of)[:1] == ("x",)}
    hidden = getattr(getattr(model, place), "hidden", None)
    return {"hidden": hidden} if hidden else {}


def _classes(data: Any) -> int:
    """How many classes the labels of data are of; 0 where that is not known."""
    images = getattr(data, "labelled", data)
    labels = images.labels if isinstance(images, Images) else None
    return 0 if labels is None else int(labels.max()) + 1


def _read_by_posterior(model: LatentVariableModel, latent: str) -> tuple[Given, ...]:
    """What the posterior of a latent reads."""
    slots = model.parts.values()
    return next((s.given for s in slots if s.kind is Posterior and s.of == latent), ())


def _reads_pair(given: tuple[Given, ...]) -> bool:
    return any(isinstance(variable, tuple) for variable in given)


def _shape(model: LatentVariableModel, variable: Given) -> tuple[int, ...]:
    """The shape of one image's value of a variable; of a pair that of both in one row."""
    if isinstance(variable, tuple):
        return (sum(math.prod(_shape(model, v)) for v in variable),)
    return model.x_shape if variable == "x" else (getattr(model, f"{variable}_dim"),)
