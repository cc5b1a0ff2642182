"""What a member asks of a part before it takes it.

A part is run on made-up values: on a batch of two, and, unless it takes nothing but images, with
the leading dimensions of several particles and of every label. A prior that follows a posterior
serves one member.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from vaezoo.components import Component
from vaezoo.models.naming import name_of, remedy
from vaezoo.models.parts import flat, takes
from vaezoo.models.trials import leads, made_up, moved, without_marks
from vaezoo.posteriors import Posterior
from vaezoo.priors import Prior
from vaezoo.priors.bare import as_prior

if TYPE_CHECKING:
    from vaezoo.models.base import LatentVariableModel

__all__ = ["as_part", "check_part", "claim"]

_owners: weakref.WeakKeyDictionary[Prior, weakref.ref[nn.Module]] = weakref.WeakKeyDictionary()


def as_part(model: LatentVariableModel, role: str, value: Any) -> Any:
    """The value; in the slot of a prior, a `Prior` made of a bare distribution or module.

    Raises:
        TypeError: a module returns no distribution, or fails where it is called without arguments.
    """
    if model.parts[role].kind is not Prior or isinstance(value, Component):
        return value
    if isinstance(value, nn.Module):
        _check_returns(role, value)
    return as_prior(value) or value


def _check_returns(role: str, module: nn.Module) -> None:
    """Raise TypeError unless a module returns a distribution when it is called."""
    kind = type(module).__name__
    wanted = (
        f"{role} must be a Prior, got a {kind}: a module is one if module() returns a distribution"
    )
    try:
        with without_marks(module):
            returned = module()
    except Exception as error:
        came = f"{type(error).__name__}: {error}"
        raise TypeError(f"{wanted}, and calling this one raised {came}") from error
    if not isinstance(returned, torch.distributions.Distribution):
        raise TypeError(f"{wanted}, and this one returned {name_of(returned)}")


def check_part(model: LatentVariableModel, role: str, part: Any) -> None:
    """Raise TypeError or ValueError unless a part fits the rest; it takes on device and dtype.

    One that is refused keeps its own, and the digits of its weights.
    """
    kind, of, _ = model.parts[role]
    if not isinstance(part, kind):
        raise TypeError(
            f"{role} must be a {kind.__name__}, got {name_of(part)}{remedy(kind, part)}"
        )
    if of == "y" and not model.classes:
        raise ValueError(f"{type(model).__name__} has no labels, and no use for a {role}")
    if isinstance(part, Prior):
        _check_unshared(model, part)
    like = _like(model, part)
    prior: Any = part if isinstance(part, Prior) else getattr(model, "prior", None)
    before = prior.follows() if prior is not None else ()
    try:
        with moved(part, like):
            if isinstance(part, Prior):
                _probe_prior(model, part, _posterior_of_prior(model), like)
            else:
                _probe(model, role, part, like)
            if before and part is not prior and role == _role_of_posterior(model):
                _probe_prior(model, prior, part, like)
    except Exception:
        for posterior in before:
            prior.follow(posterior)
        raise


def claim(model: LatentVariableModel, *, copied: bool = False) -> None:
    """Give the prior the posterior of its latent, once both exist, and note whose prior it is.

    A model that was `copied`, and shares its prior with the original, leaves it to that one.
    """
    prior, posterior = getattr(model, "prior", None), _posterior_of_prior(model)
    if prior is None or (copied and _owners.get(prior, lambda: None)() is not None):
        return
    if posterior is not None:
        prior.follow(posterior)
        _owners[prior] = weakref.ref(model)


def _role_of_posterior(model: LatentVariableModel) -> str:
    """The name of the posterior of the prior's latent."""
    latent = model.parts["prior"].of
    return next((n for n, p in model.parts.items() if p.kind is Posterior and p.of == latent), "")


def _posterior_of_prior(model: LatentVariableModel) -> Posterior | None:
    return getattr(model, _role_of_posterior(model), None)


def _check_unshared(model: LatentVariableModel, prior: Prior) -> None:
    owner = _owners.get(prior, lambda: None)()
    follows = type(prior).follow is not Prior.follow
    if follows and owner not in (None, model) and getattr(owner, "prior", None) is prior:
        raise ValueError(
            f"{prior!r} is the prior of another {type(owner).__name__}, whose posterior it follows,"
            " and can follow only one: give this model its own, copy.deepcopy(prior)"
        )


def _probe_prior(
    model: LatentVariableModel, prior: Prior, posterior: Component | None, like: Tensor
) -> None:
    """Run a prior on the posterior that it would follow."""
    with _refusing(model, "prior", prior):
        if posterior is not None:
            prior.follow(posterior)
    _probe(model, "prior", prior, like)
    size, of = model._event(model.parts["prior"].of)[0], getattr(prior, "z_dim", None)
    if of not in (None, size):
        raise ValueError(
            f"prior {prior!r} does not fit {_sizes(model)}: its z_dim is {of}, and {size} needed"
        )


def _probe(model: LatentVariableModel, role: str, part: Component, like: Tensor) -> None:
    """Run a part on made-up values, and compare what it returns with what the rest needs."""
    slot = model.parts[role]
    given = slot.conditions(labels=model.classes > 0)
    _check_arguments(model, role, part)
    for leading in leads(model, given):
        with _refusing(model, role, part), without_marks(part):
            distribution = part(*(made_up(model, v, leading, like) for v in given))
        _check_kind(model, role, part, distribution)
        batch = torch.broadcast_shapes(*(leading[v] for v in flat(given)))
        expected = tuple(batch), model._event(slot.of)
        shapes = tuple(distribution.batch_shape), tuple(distribution.event_shape)
        if shapes != expected:
            raise ValueError(
                f"{role} {part!r} does not fit {_sizes(model)}: expected batch and event shape "
                f"{expected}, got {shapes}{_hint(shapes, expected)}"
            )
    if slot.kind is Posterior and not distribution.has_rsample:
        raise ValueError(
            f"a posterior must be reparametrised (has_rsample), and {type(distribution).__name__} "
            "is not: a mixture can be a prior; as a posterior use DiagonalNormal"
        )


def _check_arguments(model: LatentVariableModel, role: str, part: Component) -> None:
    """Raise ValueError unless a part's forward takes what its place depends on."""
    labels = model.classes > 0
    given = model.parts[role].conditions(labels=labels)
    if not takes(part, given):
        law = model.parts[role].left_side(labels=labels)
        needed = ", ".join(["self", *("_".join(flat((v,))) for v in given)])
        own = ", ".join(["self", *inspect.signature(part.forward).parameters])
        raise ValueError(
            f"{role} {part!r} does not fit {_sizes(model)}: expected a forward({needed}) for "
            f"{law}, got forward({own})"
        )


def _check_kind(model: LatentVariableModel, role: str, part: Component, returned: Any) -> None:
    """Raise TypeError unless a part returns what programs sample from, of as many classes."""
    if not isinstance(returned, dist.Distribution):
        torchs = isinstance(returned, torch.distributions.Distribution)
        what = f"torch's {type(returned).__name__}" if torchs else name_of(returned)
        raise TypeError(
            f"{role} {part!r} is to return a distribution of pyro.distributions, got {what}"
            + (": take its class of that name, or distributions.as_pyro(…)" if torchs else "")
        )
    classes = returned.logits.shape[-1] if isinstance(returned, dist.Categorical) else None
    if model.parts[role].of == "y" and classes not in (None, model.classes):
        raise ValueError(
            f"{role} {part!r} does not fit {_sizes(model)}: expected {model.classes} classes, "
            f"got {classes}"
        )


def _sizes(model: LatentVariableModel) -> str:
    """A member's class and sizes, for an error."""
    sizes = [f"{latent}_dim={model._event(latent)[0]}" for latent in model._latents()]
    classes = [f"classes={model.classes}"] if model.classes else []
    return f"{type(model).__name__}({', '.join([f'x_shape={model.x_shape}', *sizes, *classes])})"


def _like(model: nn.Module, part: nn.Module) -> Tensor:
    """An empty tensor like the first parameter of floating point, which may be lazy."""
    both = itertools.chain(model.parameters(), part.parameters())
    first = next((p for p in both if p.dtype.is_floating_point), torch.empty(0))
    return torch.empty(0, dtype=first.dtype, device=first.device)


@contextlib.contextmanager
def _refusing(model: LatentVariableModel, role: str, part: Any) -> Iterator[None]:
    try:
        yield
    except (ValueError, RuntimeError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"{role} {part!r} does not fit {_sizes(model)}: {error}{_wanted(part)}"
        ) from error


def _wanted(part: Any) -> str:
    """What the network of a part is to put out, where it is the user's own."""
    network, shape = getattr(part, "network", None), getattr(part, "output_shape", None)
    if network is None or shape is None or getattr(network, "broadcasts", False):
        return ""
    sizes = ", ".join(map(str, shape()))
    return f"; its network is to put out (N, {sizes}), as by a last nn.Unflatten(1, ({sizes},))"


def _hint(shapes: Any, expected: Any) -> str:
    (batch, event), (wanted, inner) = shapes, expected
    if batch + event == wanted + inner and len(event) < len(inner):
        return f": write .to_event({len(inner) - len(event)})"
    if len(wanted) == 2 and (batch, event) != (wanted, inner):
        return (
            ": it is to take particles and labels as leading dimensions, which a network does that "
            "is given as network=…, and a forward of your own by networks.leading.over_leading"
        )
    return ""
