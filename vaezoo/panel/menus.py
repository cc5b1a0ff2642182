"""What can be chosen in the place of a part, read from the catalogue and from constructors.

A choice is a class and options, written as in a call: `k=50, learn_weights=True`. What the place
fixes (`x_shape`, `z_dim`, `classes`) is no option; what is left of the constructor's arguments, if
it is a number, a text or a tuple, is.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Container, Iterable, Mapping
from typing import Any, NamedTuple

from vaezoo import likelihoods, models, objectives, posteriors, priors
from vaezoo.components import Component
from vaezoo.likelihoods import Likelihood
from vaezoo.models import LatentVariableModel
from vaezoo.models.parts import takes
from vaezoo.objectives import Objective
from vaezoo.panel.places import OFFERED, is_of, known, places, usual
from vaezoo.panel.source import argument_of
from vaezoo.posteriors import Posterior
from vaezoo.priors import Prior

__all__ = ["Choice", "choices", "inside", "offered", "own_parts", "parsed", "present", "table"]

CATALOGUE: dict[type, Any] = {
    Prior: priors,
    Likelihood: likelihoods,
    Posterior: posteriors,
    Objective: objectives,
    LatentVariableModel: models,
}
ABSTRACT = (*OFFERED, Component)
SCHEDULES: dict[str, Any] = {s.__name__: s for s in (objectives.WarmUp, objectives.Cyclical)}


class Choice(NamedTuple):
    """One line of a menu.

    Attributes:
        thing: a class, or an object of the user's own, which is taken as it is.
        known: arguments that its place fixes.
        options: the others, with the values that they have to begin with.
    """

    thing: Any
    known: Mapping[str, Any]
    options: str

    def make(self, options: str | None = None) -> Any:
        """The part, with these options in place of those to begin with.

        Raises:
            ValueError: options are not written as in a call.
            TypeError, ValueError: the constructor refuses them.
        """
        if not isinstance(self.thing, type):
            return self.thing
        return self.thing(**self.known, **parsed(self.options if options is None else options))


def offered(kind: type) -> list[type]:
    """The classes of a kind that the catalogue has, those apart that are there to be derived from.

    Args:
        kind: `Prior`, `Likelihood`, `Posterior`, `Objective` or `LatentVariableModel`.

    Example:
        >>> [prior.__name__ for prior in offered(priors.Prior)]
        ['Flow', 'MixtureOfGaussians', 'StandardNormal', 'VampPrior']
    """
    catalogue = CATALOGUE[kind]
    found = [getattr(catalogue, name) for name in catalogue.__all__]
    things = [t for t in found if isinstance(t, type) and issubclass(t, kind)]
    return [t for t in things if t not in ABSTRACT]


def choices(
    model: LatentVariableModel, place: str, data: Any = None, own: Iterable[Any] = ()
) -> dict[str, Choice]:
    """The menu of a place: "member", "objective", or a part of the model by its name.

    Args:
        model: the member under exploration.
        place: one of `places(model)`.
        data: what it is trained on.
        own: parts, objectives, members or classes of them from outside the catalogue.

    Example:
        >>> menu = choices(models.VAE(), "prior")
        >>> list(menu)
        ['Flow', 'MixtureOfGaussians', 'StandardNormal', 'VampPrior']
        >>> menu["MixtureOfGaussians"].make("k=3")
        MixtureOfGaussians(10, k=3)
    """
    kind = is_of(model, place)
    slot = model.parts.get(place)
    given = slot.conditions(labels=model.classes > 0) if slot else ()
    fitting = [t for t in offered(kind) if slot is None or takes(t, given)]
    menu = {t.__name__: _choice(model, place, t, data) for t in fitting}
    for thing in own:
        if isinstance(thing, kind) or (isinstance(thing, type) and issubclass(thing, kind)):
            menu[name_in_menu(thing, menu)] = _choice(model, place, thing, data)
    return menu


def table(
    model: LatentVariableModel, objective: Any, data: Any = None, own: Iterable[Any] = ()
) -> dict[str, tuple[dict[str, Choice], str, str]]:
    """For each place its menu, and the line and the options that stand there now.

    Example:
        >>> table(models.VAE(), objectives.ELBO())["objective"][1:]
        ('ELBO', 'beta=1.0, free_bits=0.0, particles=1')
    """
    found = {}
    for place in places(model):
        menu = choices(model, place, data, own)
        found[place] = (menu, *present(menu, inside(model, objective, place)))
    return found


def inside(model: LatentVariableModel, objective: Any, place: str) -> Any:
    """What stands in a place."""
    whole = {"member": model, "objective": objective}
    return whole[place] if place in whole else getattr(model, place)


def present(menu: Mapping[str, Choice], thing: Any) -> tuple[str, str]:
    """The line of a menu that an object stands in, and its options as they are.

    Example:
        >>> vae = models.VAE(beta=4.0)
        >>> present(choices(vae, "member"), vae)
        ('VAE', 'z_dim=10, hidden=(300, 300), beta=4.0')
    """
    for name, choice in menu.items():
        if choice.thing is thing:
            return name, ""
    for name, choice in menu.items():
        if choice.thing is type(thing):
            now = {n: argument_of(thing, n, v) for n, v in parsed(choice.options).items()}
            return name, written(now)
    return "", ""


def own_parts(parts: Iterable[Any]) -> list[Any]:
    """Parts of the user's own, each once.

    Raises:
        TypeError: one of them fits no place.

    Example:
        >>> own_parts([objectives.ELBO, 3])
        Traceback (most recent call last):
        ...
        TypeError: parts are objects or classes of Prior, Likelihood, Posterior, Objective, \
LatentVariableModel, got 3: derive a class from one of these
    """
    found: list[Any] = []
    for part in parts:
        if not issubclass(part if isinstance(part, type) else type(part), OFFERED):
            kinds = ", ".join(kind.__name__ for kind in OFFERED)
            raise TypeError(
                f"parts are objects or classes of {kinds}, got {part!r}: "
                "derive a class from one of these"
            )
        if not any(part is other for other in found):
            found.append(part)
    return found


def name_in_menu(thing: Any, taken: Container[str]) -> str:
    """What a thing of the user's own is called in a menu, with a number where that is taken.

    Example:
        >>> name_in_menu(priors.StandardNormal(2), ["StandardNormal (yours)"])
        'StandardNormal (yours, 2)'
    """
    kind = thing if isinstance(thing, type) else type(thing)
    name, number = f"{kind.__name__} (yours)", 1
    while name in taken:
        number += 1
        name = f"{kind.__name__} (yours, {number})"
    return name


def parsed(options: str) -> dict[str, Any]:
    """Options by name.

    Raises:
        ValueError: they are not names and plain values, or schedules.

    Example:
        >>> parsed("k=50, hidden=(8, 8)")
        {'k': 50, 'hidden': (8, 8)}
        >>> parsed("beta=WarmUp(7, end=2.0)")
        {'beta': WarmUp(7, start=0, end=2)}
        >>> parsed("k 50")
        Traceback (most recent call last):
        ...
        ValueError: options are written as in a call, such as k=50, learn_weights=True, got 'k 50'
    """
    try:
        call: Any = ast.parse(f"f({options})", mode="eval").body
        if call.args or any(keyword.arg is None for keyword in call.keywords):
            raise ValueError
        values = {keyword.arg: _value(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError, AttributeError):
        raise ValueError(
            f"options are written as in a call, such as k=50, learn_weights=True, got {options!r}"
        ) from None
    # made here, as what a schedule refuses it says itself
    return {n: v() if isinstance(v, functools.partial) else v for n, v in values.items()}


def _value(node: Any) -> Any:
    """A plain value, or what makes a weight that changes in training."""
    if not isinstance(node, ast.Call) or ast.unparse(node.func) not in SCHEDULES:
        return ast.literal_eval(node)
    named = {keyword.arg or "": ast.literal_eval(keyword.value) for keyword in node.keywords}
    kind = SCHEDULES[ast.unparse(node.func)]
    return functools.partial(kind, *map(ast.literal_eval, node.args), **named)


def written(options: Mapping[str, Any]) -> str:
    """Options as text, from which `parsed` makes them again."""
    return ", ".join(f"{name}={value!r}" for name, value in options.items())


def _choice(model: LatentVariableModel, place: str, thing: Any, data: Any) -> Choice:
    if not isinstance(thing, type):
        return Choice(thing, {}, "")
    names = inspect.signature(thing).parameters
    fixed = {n: v for n, v in known(model, place, data).items() if n in names}
    begin = {n: p.default for n, p in names.items() if n not in fixed}
    begin |= {n: v for n, v in usual(model, place, data).items() if n in begin}
    plain = {n: v for n, v in begin.items() if isinstance(v, bool | int | float | str | tuple)}
    return Choice(thing, fixed, written(plain))
