"""How tensors that a program uses were made of a batch, so that they can be made of another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from vaezoo.scopes import own_generator

__all__ = ["Derivation", "Derivations"]


class _Place:
    """Stands for a tensor that was made of the batch; no tuple, which would be looked into."""

    def __init__(self, number: int) -> None:
        self.number = number


class _Call(NamedTuple):
    """A function of torch that ran, and the tensors that came out of it."""

    function: Callable[..., Any]
    arguments: Any
    outputs: list[int]


class Derivation:
    """The calls that made one tensor of a batch, in their order; none where it is of the batch."""

    def __init__(self, calls: list[_Call], given: dict[int, int], result: int) -> None:
        self.calls, self._given, self._result = calls, given, result

    def of(self, batch: list[Tensor]) -> Tensor:
        """What the same calls make of another batch, of the same shapes."""
        made = {number: batch[i] for number, i in self._given.items()}
        if self.calls:
            with torch.no_grad(), own_generator():
                for call in self.calls:
                    self._run(call, made)
        return made[self._result]

    def _run(self, call: _Call, made: dict[int, Tensor]) -> None:
        args, kwargs = tree_map(
            lambda a: made[a.number] if isinstance(a, _Place) else a, call.arguments
        )
        outputs = tree_leaves(call.function(*args, **kwargs))
        made.update(zip(call.outputs, outputs, strict=True))


class Derivations(TorchFunctionMode):
    """Notes, within it, what functions of torch make of a batch.

    What leaves torch on the way, as by `.numpy()` or a module of `torch.jit`, and what is changed
    in place has no derivation.

    Args:
        batch: the tensors that others are made of.

    Example:
        >>> x = torch.zeros(2, 3)
        >>> with Derivations([x]) as derivations:
        ...     doubled = 2 * x[:, :1]
        ...     derivation = derivations.of(doubled)
        >>> derivation.of([torch.ones(2, 3)])
        tensor([[2.],
                [2.]])
    """

    def __init__(self, batch: list[Tensor]) -> None:
        super().__init__()
        self._given = {id(t): i for i, t in enumerate(batch)}
        self._calls: list[_Call] = []
        self._made = {id(t): (t, _version(t), -1) for t in batch}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        outputs, arguments = func(*args, **(kwargs or {})), (args, kwargs or {})
        if any(id(a) in self._made for a in tree_leaves(arguments)):
            tensors = tree_leaves(outputs)
            new = [t for t in tensors if isinstance(t, Tensor) and id(t) not in self._made]
            self._made |= {id(t): (t, _version(t), len(self._calls)) for t in new}
            if new:
                self._calls.append(_Call(func, arguments, [id(t) for t in tensors]))
        return outputs

    def of(self, tensor: Tensor) -> Derivation | None:
        """How a tensor was made; None where that is not known. To be asked within."""
        calls: dict[int, _Call] = {}
        wanted = [tensor]
        while wanted:
            found, version, number = self._made.get(id(made := wanted.pop()), (None, None, 0))
            if found is not made or version is None or _version(made) != version:
                return None
            if number >= 0 and number not in calls:
                function, arguments, outputs = self._calls[number]
                wanted += [a for a in tree_leaves(arguments) if id(a) in self._made]
                calls[number] = _Call(function, tree_map(self._placed, arguments), outputs)
        in_order = [calls[number] for number in sorted(calls)]
        return Derivation(in_order, self._given, id(tensor))

    def _placed(self, argument: Any) -> Any:
        return _Place(id(argument)) if id(argument) in self._made else argument


def _version(tensor: Tensor) -> int | None:
    """How often it was changed in place; None where torch does not count that."""
    return None if tensor.is_inference() else tensor._version
