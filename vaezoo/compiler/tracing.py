"""A step of a bound as a graph of tensor operations, loss and gradients together.

A Pyro program is ordinary torch once its handlers have run. The objective is run once under
`make_fx`, which records only the tensor operations, and `torch.autograd.grad` runs inside the
recording:

    (batch, schedules, weights, buffers)  ->  (loss, bound, rec, kl, …, d loss / d weights)

Whatever changes gradients on the way (tensor hooks of doubly reparametrised gradients, parameters
held still) is then part of the graph. Every tensor that the programs read and did not make is an
input of it, so that weights, buffers and what a program holds in a closure are read anew at each
step. Everything else that was read is a constant of the graph.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from vaezoo.autograd import leaves
from vaezoo.compiler.writes import Writes, memory, tensors_in
from vaezoo.objectives import Schedule
from vaezoo.objectives.finding import schedules
from vaezoo.scopes import own_generator, unchecked

__all__ = ["Backend", "Trace", "gradients"]

_LOOKS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
_FRESH = (torch.ops.aten.lift_fresh.default, torch.ops.aten.lift_fresh_copy.default)
_NUMBERS = (Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.__dlpack__)
_GET_DATA, _SET_DATA = Tensor.data.__get__, Tensor.data.__set__  # type: ignore[attr-defined]
Backend = Callable[[GraphModule, list[Tensor]], Callable[..., Sequence[Tensor]]]


class Trace:
    """One step of a bound, recorded on one batch.

    Attributes:
        graph: from `inputs` to the terms, the loss first, and then its gradients, if there are any.
        names: of the terms.
        leaves: what the gradients belong to; a tensor that the loss does not depend on is not one.
        schedules: (owner, name) of the schedules that the objective reads.
        held: the tensors that the programs read and neither made nor were given.
        written: which of the graph's inputs it writes into.
    """

    def __init__(self, bound: nn.Module, batch: tuple[Tensor, ...]) -> None:
        from torch.fx.experimental.proxy_tensor import make_fx  # slow to import

        self.names: list[str] = []
        self.leaves: list[Tensor] = []
        self.schedules = list(schedules(bound.objective))
        self._eager: Callable[..., dict[str, Tensor]] = bound.eager  # type: ignore[assignment]
        # tracing runs the step, and the step runs after it
        with own_generator(), Writes() as writes, unchecked():
            # a lambda, because make_fx counts the arguments of a method wrongly
            step = make_fx(lambda batch, values: self._step(batch, values))
            self.graph = step(list(batch), self._values(batch))
        self.held = _lift_constants(self.graph)
        if any(t.numel() and memory(t) in self._looks.unrecorded() for t in self.held):
            raise RuntimeError("the program hands a tensor on in a way that is not recorded")
        given = enumerate(map(memory, self.inputs(batch)))
        self.written = [i for i, where in given if where in writes.memory]

    def inputs(self, batch: tuple[Tensor, ...]) -> list[Tensor]:
        """The arguments of the graph, for a batch: also what schedules and weights are now."""
        return [*(t.contiguous() for t in batch), *self._values(batch), *self.held]

    def _step(self, batch: list[Tensor], values: list[Tensor]) -> list[Tensor]:
        self._looks = _NoLooks()
        with _fixed(self.schedules, values), self._looks, _NoNumbers(self._looks):
            terms = self._eager(*batch)
        self.names = sorted(terms, key="loss".__ne__)
        found = gradients(terms.get("loss"))
        self.leaves = [p for p, _ in found]
        return [*(terms[name] for name in self.names), *(g for _, g in found)]

    def _values(self, batch: tuple[Tensor, ...]) -> list[Tensor]:
        """What the schedules say now, as tensors."""
        like = next((t for t in batch if t.is_floating_point()), torch.empty(0))
        return [like.new_tensor(getattr(o, name).value) for o, name in self.schedules]


def gradients(loss: Tensor | None) -> list[tuple[Tensor, Tensor]]:
    """Those of a loss by each of its leaves that it depends on, with the leaves; no hook runs.

    Example:
        >>> a = torch.tensor(3.0, requires_grad=True)
        >>> [(leaf is a, g.item()) for leaf, g in gradients(a * a)]
        [(True, 6.0)]
    """
    ends = leaves(loss)
    if loss is None or not ends:
        return []
    with _unhooked(ends):
        found = torch.autograd.grad(loss, ends, allow_unused=True)
    return [(p, g) for p, g in zip(ends, found, strict=True) if g is not None]


def _lift_constants(graph: GraphModule) -> list[Tensor]:
    """Make inputs of all tensors that a graph holds, and return them in order."""
    nodes = graph.graph.find_nodes(op="get_attr")
    names = sorted({node.target for node in nodes})
    last = graph.graph.find_nodes(op="placeholder")[-1]
    inputs = {}
    for name in names:
        with graph.graph.inserting_after(last):
            inputs[name] = last = graph.graph.placeholder(name.strip("_"))
    for node in nodes:
        node.replace_all_uses_with(inputs[node.target])
        graph.graph.erase_node(node)
    tensors = [getattr(graph, name) for name in names]
    for name in names:
        delattr(graph, name)
    graph.graph.set_codegen(torch.fx.graph.CodeGen())  # flat arguments, no tree of them
    graph.recompile()
    return tensors


class _NoLooks(TorchDispatchMode):
    """Refuses programs that look at the value of a tensor from outside: what follows is constant.

    Of tensors made while tracing, `make_fx` knows which have values to look at.

    Attributes:
        made: the memory of tensors made within it.
        constant: the memory of those that are the same at every step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.made: set[int | None] = set()
        self.constant: set[int | None] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _LOOKS and memory(args[0]) not in self.made:
            raise RuntimeError(f"the program looks at the value of a tensor ({func})")
        given = set(map(memory, tensors_in((args, kwargs))))
        found = func(*args, **(kwargs or {}))
        made = set(map(memory, tensors_in(found)))
        random = torch.Tag.nondeterministic_seeded in func.tags
        if func in _FRESH:  # of numbers in the program; what holds them first has been given
            self.constant |= made | given
        elif given <= self.constant and not random:
            self.constant |= made
        else:
            self.constant -= made | (given if func._schema.is_mutable else set())
        # what an operation returns may be a view of what it was given
        self.made |= made if func in _FRESH else made - given
        return found

    def unrecorded(self) -> set[int | None]:
        """The memory of tensors that depend on the batch: where a graph holds such, it is wrong."""
        return self.made - self.constant


class _NoNumbers(TorchFunctionMode):
    """Refuses programs that hand the values of a tensor to NumPy or Python, which trace nothing."""

    def __init__(self, looks: _NoLooks) -> None:
        super().__init__()
        self.looks = looks

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _NUMBERS and memory(args[0]) not in self.looks.constant:
            raise RuntimeError(f"the program looks at the value of a tensor ({func.__name__})")
        if func == _SET_DATA:
            raise RuntimeError("the program sets the data of a tensor")
        if func == _GET_DATA:  # the same, but recorded
            return args[0].detach()
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def _unhooked(ends: list[Tensor]) -> Iterator[None]:
    """Without the hooks of leaves, which run when the gradients are handed out."""
    hooks = [p._backward_hooks for p in ends]
    for p in ends:
        p._backward_hooks = None
    try:
        yield
    finally:
        for p, own in zip(ends, hooks, strict=True):
            p._backward_hooks = own


class _Fixed(Schedule):
    """A schedule that says one tensor: while tracing, an input of the graph."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        self.tensor = tensor

    @property
    def value(self) -> Any:
        return self.tensor


@contextlib.contextmanager
def _fixed(schedules: list[tuple[Any, str]], values: list[Tensor]) -> Iterator[None]:
    before = [getattr(owner, name) for owner, name in schedules]
    for (owner, name), value in zip(schedules, values, strict=True):
        setattr(owner, name, _Fixed(value))
    try:
        yield
    finally:
        for (owner, name), schedule in zip(schedules, before, strict=True):
            setattr(owner, name, schedule)
