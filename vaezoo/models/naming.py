"""Assignments that a member refuses, by the name or the kind of thing, and what to do instead."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from vaezoo.components import Component
from vaezoo.posteriors import Posterior
from vaezoo.priors import Prior

if TYPE_CHECKING:
    from vaezoo.models.base import LatentVariableModel

__all__ = ["check_name", "check_program", "name_of", "remedy"]

OF_IMAGES = (
    ": what depends on an image is a Posterior of your own, "
    "class MyPosterior(posteriors.Posterior), whose forward(x) returns the distribution"
)


def check_name(model: LatentVariableModel, name: str, value: Any) -> None:
    """Raise ValueError for sizes that cannot change, and for misspelt names of parts."""
    kind, own = type(model).__name__, type(model).__module__.startswith("vaezoo.")
    sizes = ["x_shape", "classes", "z_dim", *(f"{latent}_dim" for latent in model._latents())]
    sizes += ["hidden", "upper_hidden", "k"] if own else []
    if name in sizes and name in vars(model) and vars(model)[name] != value:
        raise ValueError(
            f"{name} is {vars(model)[name]} for the parts that this {kind} has: to change it, "
            f"build a new model, {kind}(…, {name}={value!r})"
        )
    if name in model.parts or name.startswith("_") or not isinstance(value, nn.Module):
        return
    near = difflib.get_close_matches(name, model.parts, n=1, cutoff=0.75)
    if near or (own and isinstance(value, Component)):
        hint = f"did you mean {near[0]}?" if near else "keep it outside of the model"
        raise ValueError(f"{kind} has no part {name!r}, only {', '.join(model.parts)}: {hint}")


def check_program(name: str, value: Any) -> None:
    """Raise TypeError for what can be called, but is no program: parts, classes, distributions."""
    bare = isinstance(value, torch.distributions.Distribution)
    if bare or isinstance(value, Component | type) or not callable(value):
        what = f"{name} must be a Pyro program or a Posterior, got {name_of(value)}"
        raise TypeError(what + (OF_IMAGES if bare else ""))


def name_of(value: Any) -> str:
    """What a value is, for an error."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return getattr(value, "__qualname__", None) or f"a {type(value).__name__}"


def remedy(kind: type[Component], part: Any) -> str:
    """What to do with something that is no part of this kind."""
    if isinstance(part, type):
        return f": make one of it, {part.__name__}(…)"
    if kind is Prior and callable(part) and not isinstance(part, nn.Module):
        return (
            ": assign the distribution that it returns, or write a Prior whose forward returns it"
        )
    bare = isinstance(part, nn.Module | torch.distributions.Distribution)
    return OF_IMAGES if kind is Posterior and bare and not isinstance(part, Component) else ""
