"""What a pair of programs is, what it can say of itself, and what its programs take."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor, nn

__all__ = [
    "PROGRAMS",
    "Member",
    "Pair",
    "Program",
    "check_pair",
    "described",
    "is_closed",
    "required_arguments",
]

PROGRAMS = ("model", "guide")

Program = Callable[..., Any]


class Pair(Protocol):
    """A model and its guide: two Pyro programs of the same arguments, with a plate over images."""

    model: Program
    guide: Program


class Member(nn.Module):
    """A pair that says what its batches are and what trains it: the base of the zoo's members.

    It is all that bounds, training and evaluation know of members.

    Attributes:
        classes: number of classes of the label, 0 where its programs take none.
    """

    classes: int

    @property
    def replaced_programs(self) -> tuple[str, ...]:
        """Which of "model" and "guide" were replaced by programs of your own."""
        return tuple(name for name in PROGRAMS if name in vars(self))

    def check(self, x: Tensor, y: Tensor | None = None) -> None:
        """Raise ValueError for images or labels that the programs do not take."""
        raise NotImplementedError

    def objective(self, data: Any = None) -> Any:
        """Return the objective that it is trained with, on such data, unless another is named."""
        raise NotImplementedError


def is_closed(pair: nn.Module) -> bool:
    """Whether a pair is a member of classes of vaezoo's and torch's alone, as they come.

    Then all that it computes with is its own parameters. A class or a program of one's own may use
    `pyro.param`, or a network from outside.

    Example:
        >>> from vaezoo.models import VAE
        >>> class Other(VAE):
        ...     pass
        >>> Other.__module__ = "__main__"
        >>> is_closed(VAE()), is_closed(Other())
        (True, False)
    """
    if not isinstance(pair, Member) or pair.replaced_programs:
        return False
    known = "vaezoo.", "torch."
    return all(
        type(m).__module__.startswith(known) and "forward" not in vars(m) for m in pair.modules()
    )


def check_pair(model: Any) -> None:
    """Refuse what is no module with programs `model` and `guide`.

    Raises:
        TypeError: it is none.

    Example:
        >>> from vaezoo.models import VAE
        >>> check_pair(VAE)
        Traceback (most recent call last):
        ...
        TypeError: model must be a member of the zoo or another module, got the class VAE: make an \
instance, VAE(…)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be a member of the zoo or another module, got {described(model)}"
        )
    missing = [n for n in PROGRAMS if not callable(getattr(model, n, None))]
    if missing:
        raise TypeError(
            f"a {type(model).__name__} has no program {' and no '.join(missing)}: a pair is a "
            "module with Pyro programs model and guide"
        )


def described(value: Any) -> str:
    """What was given in place of something else, for an error.

    Example:
        >>> described(3), described(int)
        ('a int', 'the class int: make an instance, int(…)')
    """
    if isinstance(value, type):
        return f"the class {value.__name__}: make an instance, {value.__name__}(…)"
    return f"a {type(value).__name__}"


def required_arguments(program: Program) -> int:
    """How many arguments a program cannot do without; a label that it can infer is none of them.

    Example:
        >>> from vaezoo.models import FSVAE, SSVAE
        >>> required_arguments(SSVAE().model), required_arguments(FSVAE().model)
        (1, 2)
    """
    program = program.forward if isinstance(program, nn.Module) else program
    function = getattr(program, "__func__", program)
    if not inspect.isfunction(function):
        return _required(program)
    if function not in _counts:  # a signature takes tens of microseconds
        _counts[function] = _required(function)
    return max(0, _counts[function] - (function is not program))


_counts: weakref.WeakKeyDictionary[Program, int] = weakref.WeakKeyDictionary()


def _required(program: Program) -> int:
    parameters = inspect.signature(program).parameters.values()
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.default is p.empty and p.kind in named for p in parameters)
