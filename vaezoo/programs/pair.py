"""What a pair of programs is, what it can say of itself, and what its programs take."""

from __future__ import annotations

import functools
import inspect
import itertools
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from pyro.poutine.messenger import _context_wrap
from torch import Tensor, nn

__all__ = [
    "PROGRAMS",
    "Member",
    "Pair",
    "Program",
    "handed_arguments",
    "is_closed",
    "required_arguments",
]

PROGRAMS = ("model", "guide")
LABELS = {"y", "label", "target"}  # names of arguments, in the singular

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
    return all(type(m).__module__.startswith(known) and not _is_changed(m) for m in pair.modules())


def _is_changed(module: nn.Module) -> bool:
    """Whether a module computes with more than its class says."""
    return "forward" in vars(module) or bool(module._forward_hooks or module._forward_pre_hooks)


def required_arguments(program: Program) -> int:
    """How many arguments a program cannot do without; a label that it can infer is none of them.

    Of a program that takes any number, `*batch`, what the one that it stands for takes.

    Example:
        >>> from vaezoo.models import FSVAE, SSVAE
        >>> required_arguments(SSVAE().model), required_arguments(FSVAE().model)
        (1, 2)
    """
    return _counted(program).required


def handed_arguments(pair: Any, batch: Sequence[Any]) -> int:
    """How many of the tensors of a batch the programs of a pair are handed.

    What they require, and what both take by position and is None by default, up to a label, which
    they can infer. Where they take `*batch`, all; those of a member, what its class requires, and
    labels only then.

    Args:
        batch: its columns.

    Raises:
        ValueError: a tensor of the batch would not reach an argument that is there for it.

    Example:
        >>> from vaezoo.models import SSVAE
        >>> handed_arguments(SSVAE(), [[[0.5]], [3]])
        1
    """
    model, given = _counted(pair.model), len(batch)
    if isinstance(pair, Member) and _takes_all(model):
        program: Any = type(pair).model.__get__(pair)  # type: ignore[attr-defined]
        return required_arguments(program)
    taken = (p.required + p.optional for p in (model, _counted(pair.guide)) if not _takes_all(p))
    handed = max(model.required, min(given, *taken, given))
    if isinstance(pair, Member) and handed == model.required + 1 and _are_labels(batch[handed - 1]):
        return model.required
    _refuse_unreached(pair, model, handed, given)
    return handed


def _are_labels(column: Any) -> bool:
    """Whether a column is whole numbers, one for each image."""
    numbers = torch.as_tensor(column)
    return numbers.dim() == 1 and not (numbers.is_floating_point() or numbers.dtype == torch.bool)


def _refuse_unreached(pair: Any, model: _Arguments, handed: int, given: int) -> None:
    if model.behind and given > model.required + model.optional + 1:
        raise ValueError(
            f"{type(pair).__name__}.model takes {model.behind} behind a label that it can infer, "
            f"where none of a batch of {given} tensors reaches it: let it come before the label"
        )
    if isinstance(pair, Member) and pair.classes and handed > model.required:
        raise ValueError(
            f"the model of this {type(pair).__name__} takes more than images and labels, which a "
            f"batch of {given} tensors cannot tell apart: write a module with programs of your own"
        )


def _takes_all(arguments: _Arguments) -> bool:
    return arguments.takes_any and not arguments.required


class _Arguments(NamedTuple):
    """What a program takes by position: how many at least, how many more, any number at all.

    Behind a label that it can infer may be the name of another argument for a tensor.
    """

    required: int
    optional: int
    takes_any: bool
    behind: str = ""


def _counted(program: Program) -> _Arguments:
    program = program.forward if isinstance(program, nn.Module) else program
    function = getattr(program, "__func__", program)
    if not inspect.isfunction(function):
        return _arguments(_undecorated(program))
    if function not in _counts:  # a signature takes tens of microseconds
        _counts[function] = _arguments(function)
    found = _counts[function]
    if function is program:
        return found
    bound = found._replace(required=max(0, found.required - 1))
    written = _written_above(program) if _takes_all(bound) else None
    return bound if written is None else _counted(written)


_counts: weakref.WeakKeyDictionary[Program, _Arguments] = weakref.WeakKeyDictionary()


def _arguments(program: Program) -> _Arguments:
    parameters = inspect.signature(program).parameters.values()
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    placed = [p for p in parameters if p.kind in named]
    required = sum(p.default is p.empty for p in placed)
    takes_any = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)
    more = list(itertools.takewhile(_is_handed, placed[required:]))
    behind = [p.name for p in placed[required + len(more) + 1 :] if _is_handed(p)]
    return _Arguments(required, len(more), takes_any, "".join(behind[:1]))


def _is_handed(parameter: inspect.Parameter) -> bool:
    """Whether it is for a tensor of a batch, but no label."""
    return parameter.default is None and parameter.name.rstrip("s") not in LABELS


def _undecorated(program: Program) -> Program:
    """The method inside one of Pyro's handlers, which decorates it in its class."""
    while isinstance(program, functools.partial) and program.func is _context_wrap:
        _, method, *given = program.args
        program = functools.partial(method, *given)
    return program


def _written_above(program: Any) -> Program | None:
    """The program of that name of the next class above, for one that hands its arguments on."""
    owner, name = program.__self__, program.__name__
    classes = [c for c in type(owner).__mro__ if name in vars(c)]
    written = [c for c in classes if vars(c)[name] is program.__func__]
    above = classes[classes.index(written[0]) + 1 :] if written else []
    return getattr(super(written[0], owner), name) if above else None
